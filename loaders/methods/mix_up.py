"""MixUp (Zhang et al., 2018): two images blended, labels alike.

Legend: B samples.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from loaders.beta import symmetric_beta
from loaders.checks import check_positive
from loaders.methods.draft import Draft, mixed_labels
from loaders.methods.method import Method, MethodOptions, Setting
from loaders.methods.pasting import permutation
from loaders.policy import Event

__all__ = ["MixUp"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MixUp(Method, MethodOptions):
    """Blend every batch with a permutation of itself, one ratio a batch.

    Raises:
        OptionError: If an option is outside its range.
    """

    name: ClassVar[str] = "mixup"

    alpha: float = 1.0
    """Parameter of the ratio's Beta distribution, above 0: 1 on CIFAR, 0.2 on ImageNet; the author
    advises 0.2 to 0.4 for small networks."""

    def __post_init__(self) -> None:
        check_positive("alpha", self.alpha)

    @property
    def soft_labels(self) -> bool:
        """True."""
        return True

    def build(self, setting: Setting) -> "MixUp":
        """Return the method for a run: itself."""
        return self

    def apply(self, draft: Draft) -> None:
        """Blend all images of a batch in place."""
        lam = float(symmetric_beta(self.alpha, 1, draft.batch_stream("ratio"))[0])
        partners_B = permutation(len(draft), draft.batch_stream("partner"))
        others = draft.images[partners_B] * (1.0 - lam)
        draft.images.mul_(lam).add_(others)
        draft.labels = mixed_labels(
            draft.classes,
            draft.classes[partners_B],
            np.full(len(draft), lam),
            draft.num_classes,
        )
        draft.events[:] = Event.MIXUP
