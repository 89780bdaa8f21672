"""CutMix (Yun et al., 2019): a box of another image of the batch, labels mixed by area.

Legend: B samples.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from loaders.beta import symmetric_beta
from loaders.checks import check_positive, check_share
from loaders.methods.draft import Draft
from loaders.methods.method import Method, MethodOptions, Setting
from loaders.methods.pasting import cut_boxes, paste_boxes, permutation, soft_unmixed

__all__ = ["CutMix"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CutMix(Method, MethodOptions):
    """With probability `prob` paste one box, at one place, between all images of a batch.

    Raises:
        OptionError: If an option is outside its range.
    """

    name: ClassVar[str] = "cutmix"

    prob: float = 0.5
    """Probability of a batch to be mixed, in [0, 1]: 0.5 on CIFAR, 1 on ImageNet."""

    alpha: float = 1.0
    """Parameter of the Beta distribution of the share that stays, above 0."""

    def __post_init__(self) -> None:
        check_share("prob", self.prob)
        check_positive("alpha", self.alpha)

    @property
    def soft_labels(self) -> bool:
        """True."""
        return True

    def build(self, setting: Setting) -> "CutMix":
        """Return the method for a run: itself."""
        return self

    def apply(self, draft: Draft) -> None:
        """Mix a batch, or leave it and make its labels shares all the same."""
        if draft.batch_stream("event").random((1, 1))[0, 0] >= self.prob:
            soft_unmixed(draft)
            return
        lam = float(symmetric_beta(self.alpha, 1, draft.batch_stream("ratio"))[0])
        partners_B = permutation(len(draft), draft.batch_stream("partner"))
        place_12 = draft.batch_stream("centre").random((1, 2))
        centre_12 = (place_12 * draft.size).astype(np.int64)
        box_14 = cut_boxes(lam, centre_12, draft.size)
        paste_boxes(draft, partners_B, np.repeat(box_14, len(draft), axis=0))
