"""Every method draws from keys alone, and is refused where it can't work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from loaders.build import build_loader
from loaders.errors import OptionError
from loaders.geometry import CropFlip
from loaders.methods.registry import METHODS
from loaders.policy import Event
from loaders.scae_dataset import ScaeDataset
from loaders.transforms import StandardTransform

if TYPE_CHECKING:
    from collections.abc import Callable

    from loaders.image_data import ArrayData
    from loaders.methods.draft import Draft
    from loaders.methods.method import Method, Setting

    MakeDraft = Callable[..., Draft]
    MakeSetting = Callable[..., Setting]

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
STANDARD = StandardTransform(geometry=CropFlip(16), mean=MEAN, std=STD)

OPTIONS: dict[str, dict[str, Any]] = {
    "scae": {},
    "random_erasing": {},
    "cutout": {"num_holes": 2},
    "grid_mask": {"period": (6, 12), "rotate": 90, "ramp_epochs": 1},
    "mixup": {},
    "cutmix": {"prob": 1.0},
    "saliencymix": {"prob": 1.0, "saliency": "maps", "per_image": True},
    "keepaugment": {"mode": "paste", "saliency": "maps", "length": 6},
}
BATCHWISE = ("mixup", "cutmix", "saliencymix")


def _built(name: str, setting: Setting) -> Method:
    method = METHODS[name](**OPTIONS[name]).build(setting)
    assert method is not None
    return method


def _bytes(draft: Draft, slots: slice = slice(None)) -> tuple[bytes, ...]:
    arrays = (draft.images[slots].numpy(), draft.labels[slots].numpy(), draft.events[slots])
    return tuple(array.tobytes() for array in (*arrays, draft.boxes[slots], draft.erased[slots]))


def test_every_method_has_a_case_here() -> None:
    assert set(OPTIONS) == set(METHODS) - {"none"}


@pytest.mark.parametrize("name", OPTIONS)
def test_equal_keys_give_equal_bytes(
    make_draft: MakeDraft, setting: MakeSetting, name: str
) -> None:
    maps = np.random.default_rng(1).integers(0, 256, (24, 4, 4)).astype(np.uint8)
    numbers: dict[str, dict[str, int]] = {
        "first": {"epoch": 2, "step": 1, "seed": 5},
        "again": {"epoch": 2, "step": 1, "seed": 5},
        "seed": {"epoch": 2, "step": 1, "seed": 6},
        "epoch": {"epoch": 3, "step": 1, "seed": 5},
    }
    seen = {}
    for which, key in numbers.items():
        torch.manual_seed(len(which))
        draft = make_draft(24, maps=maps, **key)
        _built(name, setting()).apply(draft)
        seen[which] = _bytes(draft)
    assert seen["first"] == seen["again"]
    assert seen["first"] != seen["seed"]
    assert seen["first"] != seen["epoch"]


@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in BATCHWISE])
def test_methods_of_single_samples_do_not_look_at_companions(
    make_draft: MakeDraft, setting: MakeSetting, name: str
) -> None:
    maps = np.random.default_rng(1).integers(0, 256, (24, 4, 4)).astype(np.uint8)
    together = make_draft(24, maps=maps, epoch=2, step=1)
    _built(name, setting()).apply(together)
    for row in range(24):
        alone = make_draft(24, maps=maps, epoch=2, step=9, rows=[row])
        _built(name, setting()).apply(alone)
        assert _bytes(alone) == _bytes(together, slice(row, row + 1))


@pytest.mark.parametrize("name", OPTIONS)
def test_soft_labels_come_exactly_where_they_are_announced(
    make_draft: MakeDraft, setting: MakeSetting, name: str
) -> None:
    draft = make_draft(24, epoch=2)
    method = _built(name, setting())
    method.apply(draft)
    assert method.soft_labels == (draft.labels.ndim == 2)
    assert METHODS[name](**OPTIONS[name]).soft_labels == method.soft_labels
    assert draft.labels.dtype == (torch.float32 if method.soft_labels else torch.int64)


@pytest.mark.parametrize(
    "name", [name for name, options in OPTIONS.items() if options.get("saliency") != "maps"]
)
def test_methods_run_in_workers_with_the_same_batches(
    toy_images: Callable[..., ArrayData], setting: MakeSetting, name: str
) -> None:
    """One step in this process, and the same in a worker."""
    data = toy_images()
    seen = []
    for workers in (0, 1):
        loader = build_loader(
            data, STANDARD, policy=_built(name, setting()), batch_size=20, num_workers=workers
        )
        loader.set_epoch(3)
        seen.append([batch.images for batch in loader])
    for first, second in zip(*seen, strict=True):
        assert torch.equal(first, second)
    plain = build_loader(data, STANDARD, batch_size=20)
    plain.set_epoch(3)
    assert not all(
        torch.equal(batch.images, mine) for batch, mine in zip(plain, seen[0], strict=True)
    )


@pytest.mark.parametrize("name", ["saliencymix", "keepaugment"])
def test_methods_that_need_maps_are_refused_without_a_cache(
    toy_images: Callable[..., ArrayData], setting: MakeSetting, name: str
) -> None:
    with pytest.raises(OptionError, match="saliency maps and there is no cache: name one"):
        ScaeDataset(toy_images(), None, _built(name, setting()), STANDARD)


def test_plain_data_loaders_mix_each_batch_its_own_way(
    toy_images: Callable[..., ArrayData], setting: MakeSetting
) -> None:
    """They do not tell a batch's number: the first sample's row stands in for it."""
    data = toy_images()
    dataset = ScaeDataset(data, None, _built("mixup", setting()), STANDARD)
    shares = {
        float(min(label.max() for _, label in dataset.__getitems__(list(range(first, first + 8)))))
        for first in (0, 8, 16, 24, 32)
    }
    assert len(shares) == 5


def test_pasted_pixels_are_mixed_and_not_erased(
    toy_images: Callable[..., ArrayData], setting: MakeSetting
) -> None:
    method = METHODS["cutmix"](prob=1.0).build(setting())  # type: ignore[call-arg]
    loader = build_loader(toy_images(), STANDARD, policy=method, batch_size=20)
    for batch in loader:
        assert (batch.events == Event.PASTE).all()
        assert not batch.erased.any()
    report = loader.report()
    assert (report.mixed, report.erased, report.erased_pixels) == (40, 0, 0.0)
