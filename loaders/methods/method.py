"""What every augmentation by name is: options that a recipe holds, and a method made from them.

Legend: K classes, S side of the network's input.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from loaders.image_data import ImageData
    from loaders.methods.draft import Draft

__all__ = ["Method", "MethodOptions", "Setting"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What a method is used with, known once a run is put together."""

    num_epochs: int
    """T, at least 1."""
    class_counts: tuple[int, ...]
    """(K,) samples of each class in the training set as trained."""
    size: int
    """S in pixels."""
    mean: tuple[float, ...]
    """Per channel, what normalising subtracts from pixels in [0, 1]."""
    std: tuple[float, ...]
    """Per channel, what normalising divides by."""


class Method(ABC):
    """Edits a batch after it has been normalised. Everything random comes from the draft's keys."""

    __slots__ = ()

    @property
    def soft_labels(self) -> bool:
        """Whether labels become shares of classes, (B, K), that a loss must be able to take."""
        return False

    @property
    def needs_maps(self) -> bool:
        """Whether the method is pointless without cached maps."""
        return False

    def guidance(self, epoch: int) -> float:
        """Return how strongly saliency steers the method at a 0-based epoch.

        For SCAE it is lambda(t) of Eq. 5; refreshes are skipped where it is near 0.
        """
        return 0.0

    def check_data(self, data: "ImageData") -> None:  # noqa: B027  # most need nothing of it
        """Raise DataError if the data lacks what the method needs."""

    @abstractmethod
    def apply(self, draft: "Draft") -> None:
        """Edit a batch in place: images, labels, and the record of what was done."""


class MethodOptions(ABC):
    """Options of one method; subclasses are frozen dataclasses that refuse values out of range."""

    __slots__ = ()

    name: ClassVar[str]
    """How recipes call the method."""

    @property
    def soft_labels(self) -> bool:
        """Whether labels become shares of classes."""
        return False

    @property
    def reads_maps(self) -> bool:
        """Whether the method looks at cached maps, where there are some."""
        return False

    @abstractmethod
    def build(self, setting: Setting) -> Method | None:
        """Return the method for a run, None for 'none'.

        Raises:
            OptionError: If the options do not fit the run.
        """
