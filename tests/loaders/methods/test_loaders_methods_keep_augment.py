"""KeepAugment: the quantile rule by brute force, and what is cut or put back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from loaders.errors import OptionError
from loaders.methods.keep_augment import (
    KeepAugmentOptions,
    draw_regions,
    region_importance,
)
from loaders.policy import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from loaders.methods.draft import Draft
    from loaders.methods.method import Setting

    MakeDraft = Callable[..., Draft]
    MakeSetting = Callable[..., Setting]


def _brute_force(saliency: NDArray[Any], length: int) -> NDArray[np.float64]:
    height, width = saliency.shape
    return np.array(
        [
            [saliency[y : y + length, x : x + length].sum() for x in range(width - length + 1)]
            for y in range(height - length + 1)
        ]
    )


@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    data=st.data(),
    seed=st.integers(0, 10_000),
    flat=st.booleans(),
)
def test_importance_is_the_sum_over_each_region(
    height: int, width: int, data: st.DataObject, seed: int, *, flat: bool
) -> None:
    length = data.draw(st.integers(1, min(height, width)))
    rng = np.random.default_rng(seed)
    saliency = np.full((2, height, width), 0.25) if flat else rng.random((2, height, width))
    ours = region_importance(saliency, length)
    for image, importance in zip(saliency, ours, strict=True):
        expected = _brute_force(image, length) * 65536 / image.max()
        np.testing.assert_allclose(importance, expected, atol=0.5 * length**2)
        assert not flat or len(np.unique(importance)) == 1


def test_a_black_map_has_no_importance() -> None:
    assert not region_importance(np.zeros((1, 6, 6)), 3).any()


@pytest.mark.parametrize("important", [False, True])
@pytest.mark.parametrize("tau", [0.2, 0.6, 0.9])
def test_regions_are_uniform_beyond_the_quantile(tau: float, *, important: bool) -> None:
    """The law of drawing again until a region qualifies, by brute force over all positions."""
    importance = np.random.default_rng(3).integers(0, 40, 49)
    limit = np.quantile(importance, tau)
    fits = importance > limit if important else importance < limit
    rng, num = np.random.default_rng(0), 20_000
    drawn = draw_regions(np.tile(importance, (num, 1)), tau, rng, important=important)
    counts = np.bincount(drawn, minlength=49)
    assert not counts[~fits].any()
    assert stats.chisquare(counts[fits]).pvalue > 1e-4


@pytest.mark.parametrize("important", [False, True])
def test_where_no_region_qualifies_the_best_ones_are_drawn(*, important: bool) -> None:
    flat = np.full((3000, 9), 4)
    drawn = draw_regions(flat, 0.5, np.random.default_rng(0), important=important)
    assert stats.chisquare(np.bincount(drawn, minlength=9)).pvalue > 1e-4
    # Most positions share the lowest value, so that none is below the median.
    importance = np.tile([0, 0, 0, 0, 0, 0, 5, 7, 9], (3000, 1))
    tau = 1.0 if important else 0.5
    drawn = draw_regions(importance, tau, np.random.default_rng(0), important=important)
    assert set(drawn.tolist()) == ({8} if important else {0, 1, 2, 3, 4, 5})


def _corner_maps(num: int) -> NDArray[np.uint8]:
    maps = np.zeros((num, 4, 4), np.uint8)
    maps[:, :2, :2] = 255
    return maps


def test_selective_cut_spares_what_the_map_shows(
    make_draft: MakeDraft, setting: MakeSetting
) -> None:
    options = KeepAugmentOptions(saliency="maps", length=6, tau=0.5)
    method = options.build(setting())
    draft = make_draft(200, maps=_corner_maps(200))
    before = draft.images.clone()
    method.apply(draft)
    assert (draft.events == Event.ERASE).all()
    assert (draft.erased == 36).all()
    saliency = draft.saliency_field(np.array([0])).dense()
    importance = region_importance(saliency, 6)[0]
    limit = np.quantile(importance, 0.5)
    for slot, (y0, x0, y1, x1) in enumerate(draft.boxes.tolist()):
        assert importance[y0, x0] < limit or importance[y0, x0] == importance.min()
        expected = before[slot].clone()
        expected[:, y0:y1, x0:x1] = 0
        assert torch.equal(draft.images[slot], expected)


def test_selective_paste_puts_an_important_square_back(
    make_draft: MakeDraft, setting: MakeSetting
) -> None:
    options = KeepAugmentOptions(mode="paste", saliency="maps", length=6, prob=0.8)
    method = options.build(setting())
    draft = make_draft(100, maps=_corner_maps(100))
    before = draft.images.clone()
    state = torch.get_rng_state()
    method.apply(draft)
    assert torch.equal(state, torch.get_rng_state())
    kept = draft.events == Event.KEEP
    assert 60 < kept.sum() < 95
    changed = 0
    for slot in range(100):
        y0, x0, y1, x1 = draft.boxes[slot].tolist()
        if not kept[slot]:
            assert torch.equal(draft.images[slot], before[slot])
            continue
        assert torch.equal(draft.images[slot][:, y0:y1, x0:x1], before[slot][:, y0:y1, x0:x1])
        assert max(y0, x0) <= 8  # towards the salient corner
        changed += not torch.equal(draft.images[slot], before[slot])
    assert changed > 0.7 * kept.sum()


def test_augmented_images_are_those_of_torchvision_on_the_bytes(
    make_draft: MakeDraft, setting: MakeSetting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without randomness in the way: the base turns bytes upside down in value."""
    monkeypatch.setattr(
        "loaders.methods.keep_augment._base_augmentation",
        lambda _name, _size: lambda pixels: 255 - pixels,
    )
    draft = make_draft(6, maps=_corner_maps(6))
    pixels = draft.sources.data.images  # type: ignore[attr-defined]
    options = KeepAugmentOptions(mode="paste", saliency="maps", length=1)
    options.build(setting()).apply(draft)
    mean, std = np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.25, 0.3])
    expected = ((255 - pixels) / 255 - mean) / std
    ours = draft.images.permute(0, 2, 3, 1).numpy()
    assert np.isclose(ours, expected, atol=1e-5).all(axis=3).sum((1, 2)).tolist() == [255] * 6


def test_with_gradients_the_worker_only_prepares(
    make_draft: MakeDraft, setting: MakeSetting
) -> None:
    for mode in ("cut", "paste"):
        options = KeepAugmentOptions(mode=mode, length=6)
        draft = make_draft()
        before = draft.images.clone()
        method = options.build(setting())
        method.apply(draft)
        assert not method.needs_maps
        assert (draft.events == (Event.ERASE if mode == "cut" else Event.KEEP)).all()
        assert (draft.erased == (36 if mode == "cut" else 0)).all()
        assert not draft.boxes.any()
        if mode == "cut":
            assert draft.originals is None
            assert torch.equal(draft.images, before)
        else:
            assert draft.originals is not None
            assert torch.equal(draft.originals, before)
            assert not torch.equal(draft.images, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "swap"}, "mode must be one of cut, paste, got 'swap'"),
        ({"base": "cutmix"}, "base must be one of randaugment, autoaugment, got 'cutmix'"),
        ({"saliency": "opencv"}, "saliency must be one of gradient, maps, got 'opencv'"),
        ({"length": 0}, "length must be a whole number of at least 1, got 0"),
        ({"tau": 1.2}, r"tau must be in \[0, 1\], got 1.2"),
        ({"gradient_size": 0.5}, "gradient_size must be a whole number of at least 1, got 0.5"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        KeepAugmentOptions(**options)


def test_squares_that_leave_no_choice_are_refused(setting: MakeSetting) -> None:
    with pytest.raises(OptionError, match=r"length .* below the image's 16 pixels, got 16"):
        KeepAugmentOptions().build(setting(16))
    with pytest.raises(OptionError, match="gradient_size must be at most the image's 32 pixels"):
        KeepAugmentOptions(gradient_size=64).build(setting(32))
