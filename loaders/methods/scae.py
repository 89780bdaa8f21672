"""SCAE: decide, draw centres, erase and mix a batch at a time (Eq. 1 to 8).

Legend: E samples to be erased, M samples to be mixed, N samples of the data set.
"""

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from loaders.batches import NO_GENERATION
from loaders.centres import centres_and_saliency
from loaders.erasing import centred_boxes, sample_sides
from loaders.errors import DataError
from loaders.gains import exact_gains
from loaders.image_data import ImageData
from loaders.map_source import MapBatch
from loaders.methods.draft import Draft, mixed_labels
from loaders.methods.method import Method, MethodOptions, Setting
from loaders.partners import permuted_within_classes
from loaders.policy import ErasingOptions, Event, ScaePolicy

__all__ = ["Scae", "ScaeOptions"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaeOptions(ErasingOptions, MethodOptions):
    """Semantic-aware, curriculum-guided, class-aware erasing (Eq. 1 to 8).

    Raises:
        OptionError: If an option is outside its range.
    """

    name: ClassVar[str] = "scae"

    def __post_init__(self) -> None:
        self.policy(num_epochs=1, class_counts=(1, 1))  # refuses what is outside its range

    @property
    def soft_labels(self) -> bool:
        """Whether partners may be of other classes."""
        return self.partner == "neighbor"

    @property
    def reads_maps(self) -> bool:
        """Whether maps place the rectangles, and not true masks."""
        return self.maps != "mask"

    def policy(self, *, num_epochs: int, class_counts: tuple[int, ...]) -> ScaePolicy:
        """Return the policy for a training set."""
        options = {item.name: getattr(self, item.name) for item in fields(self)}
        return ScaePolicy(num_epochs=num_epochs, class_counts=class_counts, **options)

    def build(self, setting: Setting) -> "Scae":
        """Return the method for a run."""
        return Scae(self.policy(num_epochs=setting.num_epochs, class_counts=setting.class_counts))


class Scae(Method):
    """SCAE on a batch: decide, fetch maps, draw all centres at once, erase, mix.

    Args:
        policy: When to erase, when to mix, how strongly saliency guides.
    """

    __slots__ = ("_permuted_N", "policy")

    def __init__(self, policy: ScaePolicy) -> None:
        self.policy = policy
        self._permuted_N: NDArray[np.int64] | None = None

    @property
    def soft_labels(self) -> bool:
        """Whether partners may be of other classes."""
        return self.policy.partner == "neighbor"

    def check_data(self, data: ImageData) -> None:
        """Raise DataError if true masks are wanted as maps and the data has none."""
        if self.policy.maps == "mask" and data.masks is None:
            raise DataError(
                f'maps = "mask" needs data whose object masks are known, and {data.name} has none: '
                "use shapes"
            )

    def guidance(self, epoch: int) -> float:
        """Return lambda(t) of Eq. 5.

        Raises:
            OptionError: If the policy has no such epoch.
        """
        return self.policy.lam(epoch)

    def apply(self, draft: Draft) -> None:
        """Erase some samples in place and mix others, never both."""
        events_B = self.policy.decide(draft.classes, draft.stream("event"))
        erased_E = np.flatnonzero(events_B == Event.ERASE)
        boxes_E4, draft.saliency[erased_E] = self._boxes(draft, erased_E)
        draft.erase(erased_E, boxes_E4, self.policy.fill)
        self._mix(draft, np.flatnonzero(events_B == Event.MIXUP))

    def _boxes(
        self, draft: Draft, slots_E: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Draw rectangles: centres by Eq. 4, sides as Random Erasing does.

        Returns:
            (E, 4) int64 boxes; (E,) float32 A_hat at their centres, nan for a flat or missing map.
        """
        policy, maps = self.policy, self._maps(draft, slots_E)
        draft.unguided[slots_E] = maps.gains == 0
        if len(slots_E) == 0:
            return np.zeros((0, 4), np.int64), np.zeros(0, np.float32)
        centres_E2, saliency_E = centres_and_saliency(
            maps.maps,
            draft.size,
            policy.lam(draft.key.epoch),
            draft.stream("centre", slots_E),
            gains=maps.gains,
            floors=maps.floors,
            views=draft.views.take(slots_E),
        )
        heights_E, widths_E = sample_sides(
            len(slots_E),
            draft.size,
            draft.stream("sides", slots_E),
            area=policy.area,
            aspect=policy.aspect,
            aspect_law=policy.aspect_law,
        )
        saliency_E[maps.gains == 0] = np.nan
        boxes_E4 = centred_boxes(centres_E2, heights_E, widths_E, draft.size, border=policy.border)
        return boxes_E4, saliency_E.astype(np.float32)

    def _maps(self, draft: Draft, slots_E: NDArray[np.int64]) -> MapBatch:
        if self.policy.maps == "own":
            return draft.maps(slots_E)
        data, rows_E = draft.sources.data, draft.key.indices[slots_E]
        if self.policy.maps == "permuted":
            if self._permuted_N is None:
                self._permuted_N = permuted_within_classes(data.labels, draft.sources.seed)
            return draft.sources.maps.fetch(draft.key.generation, self._permuted_N[rows_E])
        self.check_data(data)
        maps_EHW = np.asarray(data.masks)[rows_E].astype(np.uint8) * np.uint8(255)
        return MapBatch(maps_EHW, *exact_gains(maps_EHW, draft.size))

    def _mix(self, draft: Draft, slots_M: NDArray[np.int64]) -> None:
        """Mix partners into some images in place (Eq. 8, upper case)."""
        key, sources = draft.key, draft.sources
        others_B, share_B = draft.classes.copy(), np.ones(len(draft))
        if len(slots_M):
            neighbours = None
            if self.soft_labels and key.generation != NO_GENERATION:
                neighbours = sources.maps.class_neighbours(key.generation)
            partners_M = sources.partners.draw(
                key.indices[slots_M], draft.stream("partner", slots_M), neighbours
            )
            others, _ = sources.transform.load(
                sources.data, partners_M, draft.stream("partner-geometry", slots_M)
            )
            ratio_M = self.policy.mixing_ratio(len(slots_M), draft.stream("ratio", slots_M))
            mu = torch.from_numpy(ratio_M).float()[:, None, None, None]
            slots = torch.from_numpy(slots_M)
            draft.images[slots] = mu * draft.images[slots] + (1 - mu) * others
            draft.events[slots_M] = Event.MIXUP
            others_B[slots_M], share_B[slots_M] = sources.data.labels[partners_M], ratio_M
        if self.soft_labels:
            draft.labels = mixed_labels(draft.classes, others_B, share_B, draft.num_classes)
