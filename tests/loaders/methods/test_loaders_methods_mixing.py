"""CutMix, MixUp and SaliencyMix against torchvision, OpenCV and restatements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import v2

from loaders.beta import symmetric_beta
from loaders.errors import OptionError
from loaders.methods.cut_mix import CutMix
from loaders.methods.mix_up import MixUp
from loaders.methods.pasting import cut_boxes, permutation
from loaders.methods.saliency_mix import SaliencyMixOptions
from loaders.policy import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from loaders.methods.draft import Draft
    from loaders.methods.method import Method, Setting

    MakeDraft = Callable[..., Draft]
    MakeSetting = Callable[..., Setting]

cv2 = pytest.importorskip("cv2", reason="OpenCV is an extra: pip install scae[saliencymix]")


def _lam(draft: Draft, alpha: float) -> float:
    return float(symmetric_beta(alpha, 1, draft.batch_stream("ratio"))[0])


@pytest.mark.parametrize("step", range(5))
def test_mixup_equals_torchvision_for_the_same_ratio_and_partners(
    make_draft: MakeDraft, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft, plain = make_draft(step=step), make_draft(step=step)
    rolled = np.roll(np.arange(12), 1)
    monkeypatch.setattr("loaders.methods.mix_up.permutation", lambda _num, _rng: rolled)
    MixUp(alpha=0.7).apply(draft)
    theirs = v2.MixUp(alpha=0.7, num_classes=4)
    lam = _lam(plain, 0.7)
    with mock.patch.object(theirs._dist, "sample", return_value=torch.tensor([lam])):
        images, labels = theirs(plain.images, plain.labels)
    torch.testing.assert_close(draft.images, images)
    torch.testing.assert_close(draft.labels, labels)
    assert (draft.events == Event.MIXUP).all()


@pytest.mark.parametrize("size", [15, 16])
@pytest.mark.parametrize("step", range(8))
def test_cutmix_equals_torchvision_for_the_same_box_and_partners(
    make_draft: MakeDraft, step: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft, plain = make_draft(12, size, step=step), make_draft(12, size, step=step)
    rolled = np.roll(np.arange(12), 1)
    monkeypatch.setattr("loaders.methods.cut_mix.permutation", lambda _num, _rng: rolled)
    CutMix(prob=1.0, alpha=0.5).apply(draft)
    y, x = (plain.batch_stream("centre").random((1, 2))[0] * size).astype(int).tolist()
    theirs = v2.CutMix(num_classes=4)
    lam = _lam(plain, 0.5)
    places = [torch.tensor([x]), torch.tensor([y])]
    with (
        mock.patch.object(theirs._dist, "sample", return_value=torch.tensor([lam])),
        mock.patch("torch.randint", mock.Mock(side_effect=places)),
    ):
        images, labels = theirs(plain.images, plain.labels)
    assert torch.equal(draft.images, images)
    torch.testing.assert_close(draft.labels, labels)
    assert (draft.events == Event.PASTE).all()


def _own_share(draft: Draft) -> np.ndarray[Any, Any]:
    """Return how much of each label is the sample's own class, where its partner is of another."""
    return draft.labels[torch.arange(len(draft)), torch.from_numpy(draft.classes)].numpy()


@pytest.mark.parametrize("per_image", [False, True])
def test_labels_hold_exactly_the_areas_that_stayed(
    make_draft: MakeDraft, setting: MakeSetting, *, per_image: bool
) -> None:
    """Every image is one constant value, so the pasted pixels can be counted."""
    maps = np.random.default_rng(0).integers(0, 256, (12, 4, 4)).astype(np.uint8)
    for step in range(20):
        draft = make_draft(12, maps=maps, labels=np.arange(12) % 4, step=step)
        draft.images[:] = torch.arange(12.0)[:, None, None, None]
        options = SaliencyMixOptions(prob=1.0, saliency="maps", per_image=per_image)
        options.build(setting()).apply(draft)
        for slot in range(12):
            values = draft.images[slot, 0].flatten()
            expected = torch.zeros(4)
            for value, count in zip(*torch.unique(values, return_counts=True), strict=True):
                expected[int(value) % 4] += count / 256
            torch.testing.assert_close(draft.labels[slot], expected, rtol=0, atol=1e-6)
        assert len(np.unique(draft.boxes, axis=0)) > 1 or not per_image or draft.boxes.sum() == 0
        torch.testing.assert_close(draft.labels.sum(1), torch.ones(12))


@pytest.mark.parametrize("kind", [CutMix, SaliencyMixOptions])
def test_mixing_fires_with_its_probability_and_labels_are_always_shares(
    make_draft: MakeDraft, setting: MakeSetting, kind: type[CutMix]
) -> None:
    method: Method = kind(prob=0.3).build(setting())
    mixed = 0
    for step in range(400):
        draft = make_draft(4, 8, step=step)
        before = draft.images.clone()
        method.apply(draft)
        assert draft.labels.shape == (4, 4)
        if draft.events.any():
            mixed += 1
        else:
            assert torch.equal(draft.images, before)
            assert torch.equal(draft.labels.argmax(1), torch.arange(4))
            assert float(draft.labels.max()) == 1.0
    assert stats.binomtest(mixed, 400, 0.3).pvalue > 1e-4


def test_partners_are_uniform_permutations() -> None:
    counts = np.zeros((5, 5))
    for step in range(4000):
        generator = np.random.default_rng(step)
        partners = permutation(5, generator)
        assert sorted(partners) == list(range(5))
        counts[np.arange(5), partners] += 1
    assert stats.chisquare(counts.ravel()).pvalue > 1e-4


def test_whole_batch_draws_depend_on_the_step_alone(make_draft: MakeDraft) -> None:
    for method in (MixUp(), CutMix(prob=1.0)):
        drafts = [
            make_draft(step=step, seed=seed) for step, seed in ((3, 1), (3, 1), (4, 1), (3, 2))
        ]
        for draft in drafts:
            method.apply(draft)
        assert torch.equal(drafts[0].images, drafts[1].images)
        assert not torch.equal(drafts[0].images, drafts[2].images)
        assert not torch.equal(drafts[0].images, drafts[3].images)


def test_cut_boxes_keep_the_drawn_share_inside_and_less_at_the_border() -> None:
    inside = cut_boxes(0.75, np.array([[50, 50]]), (100, 100))
    assert inside.tolist() == [[25, 25, 75, 75]]
    assert cut_boxes(0.75, np.array([[0, 99]]), (100, 100)).tolist() == [[0, 74, 25, 100]]
    assert cut_boxes(1.0, np.array([[5, 5]]), (10, 10)).tolist() == [[5, 5, 5, 5]]


def _official_box(image: Any, lam: float) -> tuple[int, int, int, int]:  # noqa: ANN401
    """SaliencyMix's box (y0, x0, y1, x1) from bytes in OpenCV's order, restated."""
    size = image.shape[0]
    cut = int(size * np.sqrt(1.0 - lam))
    _, saliency = cv2.saliency.StaticSaliencyFineGrained_create().computeSaliency(image)
    levels = (saliency * 255).astype("uint8")
    y, x = np.unravel_index(np.argmax(levels, axis=None), levels.shape)
    return (
        int(np.clip(y - cut // 2, 0, size)),
        int(np.clip(x - cut // 2, 0, size)),
        int(np.clip(y + cut // 2, 0, size)),
        int(np.clip(x + cut // 2, 0, size)),
    )


@pytest.mark.parametrize("per_image", [False, True])
def test_saliencymix_boxes_lie_around_opencvs_peak_of_the_source(
    make_draft: MakeDraft, setting: MakeSetting, *, per_image: bool
) -> None:
    method = SaliencyMixOptions(prob=1.0, per_image=per_image).build(setting())
    for step in range(10):
        draft = make_draft(step=step)
        lam = _lam(draft, 1.0)
        partners = permutation(12, draft.batch_stream("partner"))
        method.apply(draft)
        pixels = draft.sources.data.images  # type: ignore[attr-defined]
        expected = [
            _official_box(
                np.ascontiguousarray(pixels[partners[slot if per_image else 0]][..., ::-1]), lam
            )
            for slot in range(12)
        ]
        assert draft.boxes.tolist() == [list(box) for box in expected]


def test_saliencymix_by_maps_follows_the_map_and_is_uniform_without_one(
    make_draft: MakeDraft, setting: MakeSetting
) -> None:
    maps = np.zeros((12, 4, 4), np.uint8)
    maps[:, 0, 3] = 255
    method = SaliencyMixOptions(prob=1.0, saliency="maps").build(setting())
    assert method.needs_maps
    assert method.guidance(0) == 1.0
    centres = []
    for step in range(30):
        draft = make_draft(maps=maps, step=step)
        method.apply(draft)
        # Beyond the outer cell's centre the map is level: its first highest pixel is (0, 14).
        expected = cut_boxes(_lam(draft, 1.0), np.array([[0, 14]]), (16, 16))
        assert draft.boxes.tolist() == [expected[0].tolist()] * 12
        draft = make_draft(maps=maps, step=step, generation=0)
        method.apply(draft)
        centres.append(draft.boxes[0])
        assert draft.unguided.any()
    assert len(np.unique(np.array(centres)[:, 0])) > 5


def test_missing_detector_is_refused_when_the_method_is_built(
    setting: MakeSetting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(cv2, "saliency")
    with pytest.raises(OptionError, match=r'pip install "scae\[saliencymix\]".*saliency = "maps"'):
        SaliencyMixOptions().build(setting())
    SaliencyMixOptions(saliency="maps").build(setting())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MixUp(alpha=0.0), "alpha must be above 0 and finite, got 0.0"),
        (lambda: CutMix(prob=-0.1), r"prob must be in \[0, 1\], got -0.1"),
        (lambda: CutMix(alpha=float("inf")), "alpha must be above 0 and finite, got inf"),
        (lambda: SaliencyMixOptions(saliency="net"), "saliency must be one of opencv, maps"),  # type: ignore[arg-type]
    ],
)
def test_options_out_of_range_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make()
