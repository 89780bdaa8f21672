"""Random Erasing, Cutout and GridMask against restatements of the official algorithms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision.transforms import v2

from loaders.errors import OptionError
from loaders.methods.cutout import Cutout
from loaders.methods.grid_mask import GridMask
from loaders.methods.random_erasing import RandomErasing
from loaders.policy import Event
from loaders.randomness import KeyedStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from loaders.methods.draft import Draft
    from loaders.methods.method import Setting

    MakeDraft = Callable[..., Draft]
    MakeSetting = Callable[..., Setting]


def _streams(num: int, purpose: str) -> KeyedStream:
    return KeyedStream(1, 0, np.arange(num), np.zeros(num, np.int64), purpose)


def _official_random_erasing(count: int, side: int) -> NDArray[np.int64]:
    """Boxes of zhunzhong07/Random-Erasing's loop, one image after another."""
    rng = np.random.default_rng(0)
    boxes: list[tuple[int, int, int, int]] = []
    while len(boxes) < count:
        for _ in range(100):
            area = rng.uniform(0.02, 0.4) * side * side
            aspect = rng.uniform(0.3, 1 / 0.3)
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if w < side and h < side:
                y, x = rng.integers(0, side - h + 1), rng.integers(0, side - w + 1)
                boxes.append((int(y), int(x), int(y + h), int(x + w)))
                break
    return np.array(boxes)


def _torchvision_random_erasing(count: int, side: int) -> NDArray[np.int64]:
    """Boxes of torchvision's own transform, read off an image of ones."""
    transform: Any = v2.RandomErasing(p=1.0)
    torch.manual_seed(0)
    boxes = []
    for _ in range(count):
        erased = (transform(torch.ones(1, side, side))[0] == 0).numpy()
        rows, columns = np.flatnonzero(erased.any(1)), np.flatnonzero(erased.any(0))
        boxes.append((rows[0], columns[0], rows[-1] + 1, columns[-1] + 1))
    return np.array(boxes)


def _measures(boxes: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Height, width, area, top and right edge."""
    y0, x0, y1, x1 = boxes.T
    return [y1 - y0, x1 - x0, (y1 - y0) * (x1 - x0), y0, x1]


@pytest.mark.parametrize(
    ("law", "reference"),
    [("official", _official_random_erasing), ("torchvision", _torchvision_random_erasing)],
)
def test_random_erasing_follows_the_law_it_names(
    law: Any,  # noqa: ANN401
    reference: Callable[[int, int], NDArray[np.int64]],
) -> None:
    count = 6000
    expected = reference(count, 32)
    boxes, found = RandomErasing(law=law).boxes(
        (32, 32), _streams(count, "sides"), _streams(count, "centre")
    )
    assert found.all()
    assert boxes.min() >= 0
    assert boxes.max() <= 32
    for ours, theirs in zip(_measures(boxes), _measures(expected), strict=True):
        assert stats.ks_2samp(ours, theirs).pvalue > 1e-4


def test_random_erasing_leaves_an_image_alone_where_no_pair_fits(make_draft: MakeDraft) -> None:
    draft = make_draft(30)
    before = draft.images.clone()
    RandomErasing(prob=1.0, area=(0.99, 1.0), aspect=(1.0, 1.0)).apply(draft)
    assert torch.equal(draft.images, before)
    assert not draft.events.any()
    assert not draft.erased.any()


def test_scae_law_cuts_at_the_border_and_always_erases(make_draft: MakeDraft) -> None:
    draft = make_draft(200)
    RandomErasing(prob=1.0, law="scae", fill=7.0).apply(draft)
    assert (draft.events == Event.ERASE).all()
    assert (draft.images == 7.0).sum((2, 3)).numpy().T.tolist() == [draft.erased.tolist()] * 3
    y0, x0, y1, x1 = draft.boxes.T
    touching = (y0 == 0) | (x0 == 0) | (y1 == 16) | (x1 == 16)
    assert touching.mean() > 0.5


def test_random_erasing_fires_with_its_probability(make_draft: MakeDraft) -> None:
    draft = make_draft(2000, 8)
    RandomErasing(prob=0.3).apply(draft)
    assert stats.binomtest(int((draft.events == Event.ERASE).sum()), 2000, 0.3).pvalue > 1e-4


def test_random_fill_is_normal_noise_that_its_key_decides(make_draft: MakeDraft) -> None:
    first, again = make_draft(300), make_draft(300)
    alone = make_draft(300, rows=[17])
    method = RandomErasing(prob=1.0, fill="random")
    before = first.images.clone()
    for draft in (first, again, alone):
        method.apply(draft)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.images[17], alone.images[0])
    changed = first.images[first.images != before].numpy()
    assert stats.kstest(changed, "norm").pvalue > 1e-4


def _official_cutout(side: int, length: int, y: int, x: int) -> NDArray[np.float32]:
    mask = np.ones((side, side), np.float32)
    y1, y2 = np.clip(y - length // 2, 0, side), np.clip(y + length // 2, 0, side)
    x1, x2 = np.clip(x - length // 2, 0, side), np.clip(x + length // 2, 0, side)
    mask[y1:y2, x1:x2] = 0
    return mask


@pytest.mark.parametrize("length", [2, 7, 8, 16])
def test_cutout_equals_the_official_mask_for_the_same_centre(length: int) -> None:
    uniforms = np.random.default_rng(0).random((300, 2))
    boxes = Cutout(length=length).boxes((16, 16), uniforms)
    for (u, v), (y0, x0, y1, x1) in zip(uniforms, boxes, strict=True):
        ours = np.ones((16, 16), np.float32)
        ours[y0:y1, x0:x1] = 0
        np.testing.assert_array_equal(ours, _official_cutout(16, length, int(u * 16), int(v * 16)))


def test_cutout_erases_every_image_and_counts_overlaps_once(make_draft: MakeDraft) -> None:
    draft = make_draft(100)
    draft.images.fill_(1.0)
    Cutout(length=10, num_holes=4).apply(draft)
    assert (draft.events == Event.ERASE).all()
    np.testing.assert_array_equal(draft.erased, (draft.images[:, 0] == 0).sum((1, 2)).numpy())
    assert (draft.erased > 100).any()


def _official_grid_mask(
    side: int, d: int, ratio: float, starts: tuple[int, int], angle: int, mode: int
) -> NDArray[np.float32]:
    """The mask of dvlab-research/GridMask's grid.py, strip by strip."""
    hh = math.ceil(math.sqrt(side * side + side * side))
    strip = math.ceil(d * ratio)
    mask = np.ones((hh, hh), np.float32)
    for axis, start in enumerate(starts):
        for i in range(-1, hh // d + 1):
            s = d * i + start
            t = max(min(s + strip, hh), 0)
            s = max(min(s, hh), 0)
            if axis == 0:
                mask[s:t, :] = 0
            else:
                mask[:, s:t] = 0
    turned = np.asarray(Image.fromarray(np.uint8(mask)).rotate(angle)).astype(np.float32)
    top = (hh - side) // 2
    mask = turned[top : top + side, top : top + side]
    return 1 - mask if mode == 1 else mask


@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("rotate", [1, 360])
def test_grid_mask_equals_the_official_mask(rotate: int, mode: Any) -> None:  # noqa: ANN401
    method = GridMask(period=(6, 33), ratio=0.4, rotate=rotate, mode=mode)
    for uniforms in np.random.default_rng(2).random((60, 4)):
        d = 6 + int(uniforms[0] * 27)
        starts = (int(uniforms[1] * d), int(uniforms[2] * d))
        expected = _official_grid_mask(32, d, 0.4, starts, int(uniforms[3] * rotate), mode)
        np.testing.assert_array_equal(method.kept((32, 32), uniforms), expected == 1)


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_grid_mask_erases_about_the_squares_share(ratio: float) -> None:
    # Periods that are multiples of 4, so that a strip is exactly its share of a period.
    rng = np.random.default_rng(0)
    shares = []
    for period in (8, 12, 16, 20):
        method = GridMask(period=(period, period + 1), ratio=ratio, rotate=360)
        shares += [1 - method.kept((64, 64), rng.random(4)).mean() for _ in range(200)]
    assert np.mean(shares) == pytest.approx((1 - ratio) ** 2, abs=0.01)


def test_grid_mask_probability_grows_in_a_line(make_draft: MakeDraft, setting: MakeSetting) -> None:
    method = GridMask(period=(8, 16)).build(setting(num_epochs=10))
    assert method.ramp_epochs == 8
    assert [method.probability(epoch) for epoch in (0, 4, 8, 9)] == [0, 0.4, 0.8, 0.8]
    draft = make_draft(500, epoch=0)
    before = draft.images.clone()
    method.apply(draft)
    assert torch.equal(draft.images, before)
    draft = make_draft(500, epoch=4)
    draft.images.fill_(1.0)
    method.apply(draft)
    assert stats.binomtest(int((draft.events == Event.ERASE).sum()), 500, 0.4).pvalue > 1e-4
    np.testing.assert_array_equal(draft.erased, (draft.images[:, 0] == 0).sum((1, 2)).numpy())
    assert GridMask(ramp_epochs=0).probability(0) == 0.8


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomErasing(prob=1.5), r"prob must be in \[0, 1\], got 1.5"),
        (lambda: RandomErasing(law="mine"), "law must be one of official, torchvision, scae"),  # type: ignore[arg-type]
        (lambda: RandomErasing(area=(0.5, 2.0)), r"area must be .* got \(0.5, 2.0\)"),
        (lambda: RandomErasing(fill="red"), "fill must be one of random, got 'red'"),  # type: ignore[arg-type]
        (lambda: Cutout(length=1), "length must be a whole number of at least 2, got 1"),
        (lambda: Cutout(num_holes=0), "num_holes must be a whole number of at least 1, got 0"),
        (lambda: GridMask(period=(9, 9)), r"period must be two whole numbers .* got \(9, 9\)"),
        (lambda: GridMask(ratio=1.0), "ratio must be above 0 and below 1, got 1.0"),
        (lambda: GridMask(rotate=0), r"rotate must be a whole number in \[1, 360\], got 0"),
        (lambda: GridMask(mode=2), "mode must be 0 or 1, got 2"),  # type: ignore[arg-type]
        (lambda: GridMask(ramp_epochs=-1), "ramp_epochs must be a whole number of at least 0"),
    ],
)
def test_options_out_of_range_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make()


def test_masks_larger_than_the_image_are_refused_with_a_cure(setting: MakeSetting) -> None:
    with pytest.raises(OptionError, match=r"16 pixels, got up to 32.*set period = \[12, 17\]"):
        GridMask().build(setting(16))
    assert GridMask(period=(12, 17)).build(setting(16)).period == (12, 17)
    with pytest.raises(OptionError, match="at most the image's 16 pixels, got 20"):
        Cutout(length=20).build(setting(16))
