"""SaliencyMix (Uddin et al., 2021): CutMix whose box lies around the source's salient peak.

Legend: B samples, M chosen samples, H, W sides of an image.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from loaders.beta import symmetric_beta
from loaders.checks import check_positive, check_share, check_word
from loaders.methods.draft import Draft
from loaders.methods.fine_grained import FineGrained
from loaders.methods.method import Method, MethodOptions, Setting
from loaders.methods.pasting import cut_boxes, paste_boxes, permutation, soft_unmixed
from loaders.methods.pixels import to_bytes

__all__ = ["SaliencyMix", "SaliencyMixOptions"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SaliencyMixOptions(MethodOptions):
    """With probability `prob` paste a box around the most salient pixel of its source image.

    Raises:
        OptionError: If an option is outside its range.
    """

    name: ClassVar[str] = "saliencymix"

    prob: float = 0.5
    """Probability of a batch to be mixed, in [0, 1]: 0.5 on CIFAR, 1 on ImageNet."""

    alpha: float = 1.0
    """Parameter of the Beta distribution of the share that stays, above 0."""

    saliency: Literal["opencv", "maps"] = "opencv"
    """opencv: the official fine-grained detector, on the pixels; maps: the cached Grad-CAM maps."""

    per_image: bool = False
    """False, official: one box for the whole batch, from the first image's source; True: each
    image's box lies around its own source's peak."""

    def __post_init__(self) -> None:
        check_share("prob", self.prob)
        check_positive("alpha", self.alpha)
        check_word("saliency", self.saliency, ("opencv", "maps"))

    @property
    def soft_labels(self) -> bool:
        """True."""
        return True

    @property
    def reads_maps(self) -> bool:
        """Whether saliency comes from cached maps."""
        return self.saliency == "maps"

    def build(self, setting: Setting) -> "SaliencyMix":
        """Return the method for a run.

        Raises:
            OptionError: If the detector is not installed.
        """
        return SaliencyMix(self, setting)


class SaliencyMix(Method):
    """SaliencyMix on a batch.

    Args:
        options: What can be chosen.
        setting: Says how images were normalised: the detector reads bytes.
    """

    __slots__ = ("_detector", "_setting", "options")

    def __init__(self, options: SaliencyMixOptions, setting: Setting) -> None:
        self.options, self._setting = options, setting
        self._detector = FineGrained() if options.saliency == "opencv" else None

    @property
    def soft_labels(self) -> bool:
        """True."""
        return True

    @property
    def needs_maps(self) -> bool:
        """Whether peaks come from cached maps."""
        return self._detector is None

    def guidance(self, epoch: int) -> float:
        """Return 1 where peaks come from cached maps."""
        return float(self.needs_maps)

    def apply(self, draft: Draft) -> None:
        """Mix a batch, or leave it and make its labels shares all the same."""
        if draft.batch_stream("event").random((1, 1))[0, 0] >= self.options.prob:
            soft_unmixed(draft)
            return
        lam = float(symmetric_beta(self.options.alpha, 1, draft.batch_stream("ratio"))[0])
        partners_B = permutation(len(draft), draft.batch_stream("partner"))
        sources = partners_B if self.options.per_image else partners_B[:1]
        boxes_B4 = cut_boxes(lam, self._peaks(draft, sources), draft.size)
        paste_boxes(draft, partners_B, np.broadcast_to(boxes_B4, (len(draft), 4)))

    def _peaks(self, draft: Draft, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the most salient pixel (y, x) of each of (M,) slots: (M, 2) int64."""
        if self._detector is None:
            return _map_peaks(draft, slots)
        setting = self._setting
        pixels = to_bytes(draft.images[slots], setting.mean, setting.std).numpy()
        return np.array([self._detector.peak(image) for image in pixels])


def _map_peaks(draft: Draft, slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first highest pixel of each map as its image shows it; uniform without a map."""
    saliency_MHW = draft.saliency_field(slots).dense()
    peaks = np.stack(np.divmod(saliency_MHW.reshape(len(slots), -1).argmax(1), draft.size[1]), 1)
    uniform = (draft.stream("centre", slots).random((len(slots), 2)) * draft.size).astype(np.int64)
    return np.where(draft.unguided[slots, None], uniform, peaks)
