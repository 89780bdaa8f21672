"""SCAE end to end through the loader: the equations as a user's training loop sees them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from cache_store.errors import CacheMismatchError, CacheNotFoundError
from loaders.batches import BatchKey
from loaders.build import build_loader
from loaders.errors import DataError, GeometryError, OptionError
from loaders.folder_data import FolderData
from loaders.followed_transform import build_transform
from loaders.geometry import CropFlip, ResizedCropFlip, Whole
from loaders.image_data import ArrayData
from loaders.map_style_data import MapStyleData
from loaders.policy import Event, ScaePolicy
from loaders.scae_dataset import ScaeDataset
from loaders.transforms import StandardTransform

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cache_store.generation import Generation

    Toy = Callable[..., ArrayData]
    Publish = Callable[..., Generation]

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def _corner_maps(num: int) -> NDArray[np.uint8]:
    """Row i is salient in one of four corners: i % 4."""
    maps = np.zeros((num, 4, 4), np.uint8)
    for row in range(num):
        maps[row, 3 * (row // 2 % 2), 3 * (row % 2)] = 255
    return maps


def _policy(data: ArrayData, **options: object) -> ScaePolicy:
    settings: dict[str, object] = {
        "num_epochs": 4,
        "class_counts": tuple(data.class_counts.tolist()),
        "p_min": 1.0,
        "p_max": 1.0,
        **options,
    }
    return ScaePolicy(**settings)  # type: ignore[arg-type]


STANDARD = StandardTransform(geometry=CropFlip(16), mean=MEAN, std=STD)
WHOLE = StandardTransform(geometry=Whole(16), mean=MEAN, std=STD)


def _key(indices: list[int], epoch: int = 0, generation: int = 0) -> BatchKey:
    rows = np.array(indices, np.int64)
    return BatchKey(
        epoch=epoch, generation=generation, step=0, indices=rows, draws=np.zeros_like(rows)
    )


def test_untouched_images_are_normalised_pixels(toy_images: Toy) -> None:
    data = toy_images()
    images, labels = ScaeDataset(data, None, None, WHOLE).batch(_key([3, 1]))
    expected = (data.images[[3, 1]] / 255 - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(images.permute(0, 2, 3, 1).numpy(), expected, atol=2e-6)
    assert labels.tolist() == [3, 1]


def test_erased_pixels_are_the_box_and_nothing_else(toy_images: Toy) -> None:
    data = toy_images()
    plain = ScaeDataset(data, None, None, STANDARD).batch(_key(list(range(40))))
    erased = ScaeDataset(data, None, _policy(data), STANDARD).batch(_key(list(range(40))))
    assert (erased.events == Event.ERASE).all()
    for row in range(40):
        y0, x0, y1, x1 = erased.boxes[row].tolist()
        expected = plain.images[row].clone()
        expected[:, y0:y1, x0:x1] = 0
        assert (y1 - y0) * (x1 - x0) > 0
        torch.testing.assert_close(erased.images[row], expected, rtol=0, atol=0)


def test_rectangles_gather_where_the_cached_map_is_salient(
    tmp_path: Path, toy_images: Toy, publish_maps: Publish
) -> None:
    data = toy_images()
    publish_maps(data, tmp_path / "c", _corner_maps(40))
    policy = _policy(data, lambda_max=200.0, curriculum=False, area=(0.004, 0.004))
    dataset = ScaeDataset(data, tmp_path / "c", policy, WHOLE)
    boxes = dataset.batch(_key(list(range(40)), generation=1)).boxes.numpy()
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    rows = np.arange(40)
    np.testing.assert_array_equal(centres[:, 0] > 8, rows // 2 % 2 == 1)
    np.testing.assert_array_equal(centres[:, 1] > 8, rows % 2 == 1)


def test_rectangles_follow_the_flip_of_their_image(
    tmp_path: Path, toy_images: Toy, publish_maps: Publish
) -> None:
    """A map used without the view would put half of the boxes on the wrong side."""
    data = toy_images()
    publish_maps(data, tmp_path / "c", _corner_maps(40))
    policy = _policy(data, lambda_max=200.0, curriculum=False, area=(0.004, 0.004))
    transform = StandardTransform(geometry=CropFlip(16, padding=0), mean=MEAN, std=STD)
    erased = ScaeDataset(data, tmp_path / "c", policy, transform)
    plain = ScaeDataset(data, None, None, transform)
    key = _key(list(range(40)), generation=1)
    boxes = erased.batch(key).boxes.numpy()
    right = (boxes[:, 1] + boxes[:, 3]) / 2 > 8
    whole = ScaeDataset(data, None, None, WHOLE).batch(key).images
    flipped = np.array(
        [
            not torch.equal(image, original)
            for image, original in zip(plain.batch(key).images, whole, strict=True)
        ]
    )
    assert 5 < flipped.sum() < 35
    np.testing.assert_array_equal(right, (np.arange(40) % 2 == 1) ^ flipped)


def test_data_in_another_order_still_finds_its_own_maps(
    tmp_path: Path, toy_images: Toy, publish_maps: Publish
) -> None:
    publish_maps(toy_images(), tmp_path / "c", _corner_maps(40))
    rows = np.random.default_rng(1).permutation(40)[:30].tolist()
    data = toy_images(rows=rows)
    policy = _policy(data, lambda_max=200.0, curriculum=False, area=(0.004, 0.004))
    dataset = ScaeDataset(data, tmp_path / "c", policy, WHOLE)
    boxes = dataset.batch(_key(list(range(30)), generation=1)).boxes.numpy()
    right = (boxes[:, 1] + boxes[:, 3]) / 2 > 8
    np.testing.assert_array_equal(right, np.array(rows) % 2 == 1)


def test_lambda_grows_with_the_epoch(
    tmp_path: Path, toy_images: Toy, publish_maps: Publish
) -> None:
    data = toy_images()
    publish_maps(data, tmp_path / "c", np.repeat(_corner_maps(4)[3:4], 40, 0))
    dataset = ScaeDataset(data, tmp_path / "c", _policy(data, lambda_max=40.0), WHOLE)
    means = []
    for epoch in (0, 3):
        boxes = dataset.batch(_key(list(range(40)), epoch, 1)).boxes.float()
        means.append(float(((boxes[:, 0] + boxes[:, 2]) / 2).mean()))
    assert means[0] < 10 < 11 < means[1]


def test_without_a_map_centres_are_uniform_and_counted(
    tmp_path: Path, toy_images: Toy, publish_maps: Publish
) -> None:
    data = toy_images()
    maps = _corner_maps(40)
    maps[::2] = 0
    publish_maps(data, tmp_path / "c", maps)
    dataset = ScaeDataset(data, tmp_path / "c", _policy(data), WHOLE)
    batch = dataset.batch(_key(list(range(40)), 1, 1))
    np.testing.assert_array_equal(batch.unguided.numpy(), np.arange(40) % 2 == 0)
    assert dataset.batch(_key(list(range(40)), 1, 0)).unguided.all()


def _tail_data() -> ArrayData:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [600, 30, 1])
    images = rng.integers(0, 256, (631, 4, 4, 3), np.uint8)
    return ArrayData(images, labels, ["head", "tail", "lone"])


SMALL = StandardTransform(geometry=Whole(4), mean=(0.0,) * 3, std=(1.0,) * 3)


def test_tail_classes_mix_erase_or_stay_in_the_shares_of_equation_8() -> None:
    data = _tail_data()
    policy = ScaePolicy(num_epochs=300, class_counts=tuple(data.class_counts.tolist()))
    dataset = ScaeDataset(data, None, policy, SMALL)
    tail, lone = [], []
    for epoch in range(300):
        events = dataset.batch(_key(list(range(600, 631)), epoch)).events.numpy()
        tail.append(events[:30])
        lone.append(events[30])
    p_k = 0.1 + 0.4 * (30 / 600) ** 0.5
    shares = np.bincount(np.concatenate(tail), minlength=3) / 9000
    np.testing.assert_allclose(shares, [0.5 * (1 - p_k), 0.5 * p_k, 0.5], atol=0.016)
    assert Event.MIXUP not in lone  # one sample has no partner: the erase branch
    assert Event.ERASE in lone


def test_mixed_samples_blend_with_another_sample_of_their_class() -> None:
    data = _tail_data()
    policy = ScaePolicy(
        num_epochs=1, class_counts=tuple(data.class_counts.tolist()), beta=1.0, alpha=1.0
    )
    plain = ScaeDataset(data, None, None, SMALL)
    originals = plain.batch(_key(list(range(600, 630)))).images.flatten(1).double()
    batch = ScaeDataset(data, None, policy, SMALL).batch(_key(list(range(600, 630))))
    mixed = batch.images.flatten(1).double()
    assert (batch.events == Event.MIXUP).all()
    assert batch.labels.tolist() == [1] * 30
    ratios = []
    for row in range(30):
        best = (np.inf, -1, 0.0)
        for other in range(30):
            if other == row:
                continue
            step = originals[row] - originals[other]
            mu = float((mixed[row] - originals[other]) @ step / (step @ step))
            error = float((originals[other] + mu * step - mixed[row]).norm())
            best = min(best, (error, other, mu))
        assert best[0] < 1e-4
        ratios.append(best[2])
    assert 0 <= min(ratios) < 0.3 < 0.7 < max(ratios) <= 1


def test_neighbour_partners_give_soft_labels(tmp_path: Path, publish_maps: Publish) -> None:
    data = _tail_data()
    publish_maps(data, tmp_path / "c", np.zeros((631, 2, 2), np.uint8))
    counts = tuple(data.class_counts.tolist())
    policy = ScaePolicy(num_epochs=1, class_counts=counts, beta=1.0, partner="neighbor")
    dataset = ScaeDataset(data, tmp_path / "c", policy, SMALL)
    labels = dataset.batch(_key(list(range(590, 630)), generation=1)).labels
    assert labels.shape == (40, 3)
    torch.testing.assert_close(labels.sum(1), torch.ones(40))
    torch.testing.assert_close(labels[:10], torch.tensor([[1.0, 0, 0]] * 10))
    assert (labels[10:, 0] == 0).all()
    assert ((labels[10:, 2] > 0) & (labels[10:, 2] < 1)).sum() > 5


def test_a_generation_without_neighbours_mixes_within_the_class_and_says_so(
    tmp_path: Path, publish_maps: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    data = _tail_data()
    publish_maps(data, tmp_path / "c", np.zeros((631, 2, 2), np.uint8), neighbours=False)
    counts = tuple(data.class_counts.tolist())
    policy = ScaePolicy(num_epochs=2, class_counts=counts, beta=1.0, partner="neighbor")
    dataset = ScaeDataset(data, tmp_path / "c", policy, SMALL)
    dataset.set_epoch(1, 1)
    assert [record.message for record in caplog.records] == [
        "generation 1 has no class neighbours: MixUp partners come from the own class"
    ]
    batch = dataset.batch(_key(list(range(600, 630)), generation=1))
    assert (batch.events == Event.MIXUP).all()
    torch.testing.assert_close(batch.labels, torch.tensor([[0.0, 1, 0]] * 30))


def test_epochs_and_generations_change_the_batches(
    tmp_path: Path, toy_images: Toy, publish_maps: Publish
) -> None:
    data = toy_images()
    publish_maps(data, tmp_path / "c", _corner_maps(40), epoch=0)
    publish_maps(data, tmp_path / "c", _corner_maps(40)[::-1].copy(), epoch=1)
    dataset = ScaeDataset(
        data, tmp_path / "c", _policy(data, lambda_max=50.0, curriculum=False), WHOLE
    )
    boxes = {
        (epoch, generation): dataset.batch(_key(list(range(40)), epoch, generation)).boxes
        for epoch in (0, 1)
        for generation in (0, 1, 2)
    }
    for first in boxes:
        for second in boxes:
            assert torch.equal(boxes[first], boxes[second]) == (first == second)


def test_an_epoch_holds_each_sample_once_over_all_ranks(toy_images: Toy) -> None:
    data = toy_images()
    for world in (1, 2, 4):
        seen: list[int] = []
        for rank in range(world):
            loader = build_loader(data, WHOLE, batch_size=4, rank=rank, world_size=world)
            seen += [index for batch in loader for index in batch.indices.tolist()]
        assert sorted(seen) == list(range(40))


def test_a_plain_data_loader_sees_the_epoch_change_in_persistent_workers(
    tmp_path: Path, toy_images: Toy, publish_maps: Publish
) -> None:
    data = toy_images()
    publish_maps(data, tmp_path / "c", _corner_maps(40))
    dataset = ScaeDataset(data, tmp_path / "c", _policy(data), STANDARD)
    loader = DataLoader(
        dataset,
        batch_size=10,
        num_workers=2,
        persistent_workers=True,
        multiprocessing_context="fork",
    )
    epochs = []
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        images = torch.cat([images for images, _ in loader])
        epochs.append(images)
        expected = dataset.batch(_key(list(range(40)), epoch, 1)).images
        torch.testing.assert_close(images, expected, rtol=0, atol=0)
    assert not torch.equal(epochs[0], epochs[1])
    assert torch.equal(epochs[0], epochs[2])


class _Pairs:
    """A data set as users have them."""

    def __init__(self, data: ArrayData) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = torch.from_numpy(self._data.images[index].copy()).permute(2, 0, 1)
        return image, int(self._data.labels[index])


def test_any_data_set_of_image_and_label_can_be_wrapped(toy_images: Toy) -> None:
    data = toy_images()
    wrapped = ScaeDataset(_Pairs(data), None, None, WHOLE)
    ours = ScaeDataset(data, None, None, WHOLE)
    torch.testing.assert_close(wrapped[5][0], ours[5][0], rtol=0, atol=0)
    assert int(wrapped[5][1]) == 1


def test_a_wrapped_data_set_of_something_else_is_refused_by_sample(toy_images: Toy) -> None:
    class Floats(_Pairs):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            image, label = super().__getitem__(index)
            return image / 255, label

    data = MapStyleData(Floats(toy_images()))
    with pytest.raises(DataError, match=r"image Floats\[2\] must be .* got \(16, 16, 3\) float32"):
        data.read(2)


def test_torchvision_pipelines_are_keyed_and_followed(
    tmp_path: Path, toy_images: Toy, publish_maps: Publish
) -> None:
    data = toy_images()
    publish_maps(data, tmp_path / "c", _corner_maps(40))
    pipeline = v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.2)], p=0.5),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    policy = _policy(data, lambda_max=200.0, curriculum=False, area=(0.004, 0.004), fill=9.0)
    dataset = ScaeDataset(data, tmp_path / "c", policy, build_transform(pipeline, size=16))
    state = torch.get_rng_state()
    first = dataset.batch(_key(list(range(40)), generation=1))
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(99)
    torch.testing.assert_close(
        dataset.batch(_key(list(range(40)), generation=1)).images, first.images, rtol=0, atol=0
    )
    alone = dataset.batch(_key([17], generation=1))
    torch.testing.assert_close(alone.images[0], first.images[17], rtol=0, atol=0)
    right = ((first.boxes[:, 1] + first.boxes[:, 3]) / 2 > 8).numpy()
    moved = right != (np.arange(40) % 2 == 1)
    assert 5 < moved.sum() < 35


def test_a_pipeline_that_ends_in_the_wrong_size_is_refused(toy_images: Toy) -> None:
    transform = build_transform(v2.ToDtype(torch.float32, scale=True), size=8)
    with pytest.raises(DataError, match=re.escape("8x8 pixels, got (3, 16, 16) torch.float32")):
        ScaeDataset(toy_images(), None, None, transform).batch(_key([0]))


def test_images_of_different_sizes_are_cropped_and_resized(toy_images: Toy) -> None:
    transform = StandardTransform(geometry=ResizedCropFlip(8), mean=MEAN, std=STD)
    batch = ScaeDataset(toy_images(), None, None, transform).batch(_key([0, 1, 2]))
    assert batch.images.shape == (3, 3, 8, 8)


def test_a_cache_of_other_data_is_refused_at_the_start(
    tmp_path: Path, toy_images: Toy, publish_maps: Publish
) -> None:
    publish_maps(toy_images(), tmp_path / "c", _corner_maps(40))
    other = toy_images(44)
    with pytest.raises(CacheMismatchError, match=r"no row for .* of the 44 samples.*scae refresh"):
        build_loader(other, WHOLE, cache=tmp_path / "c", policy=_policy(other))


def test_a_cache_that_is_not_there_is_an_error_and_not_uniform_centres(
    tmp_path: Path, toy_images: Toy
) -> None:
    data = toy_images()
    with pytest.raises(CacheNotFoundError, match="make one with 'scae refresh'"):
        build_loader(data, WHOLE, cache=tmp_path / "none", policy=_policy(data))
    build_loader(data, WHOLE, cache=tmp_path / "none", policy=_policy(data), generation=0)


def test_an_epoch_beyond_the_schedule_is_refused(toy_images: Toy) -> None:
    data = toy_images()
    loader = build_loader(data, WHOLE, policy=_policy(data))
    with pytest.raises(OptionError, match=re.escape("epoch must be in [0, 4), got 4")):
        loader.set_epoch(4)


@pytest.mark.parametrize("geometry", [CropFlip(16), ResizedCropFlip(12), Whole(16)], ids=repr)
def test_files_and_memory_give_the_same_bytes_and_boxes(
    tmp_path: Path, toy_images: Toy, publish_maps: Publish, geometry: CropFlip
) -> None:
    """More images than are decoded together, so that a batch is made in parts."""
    data = toy_images()
    for row in range(len(data)):
        folder = tmp_path / "data" / data.class_names[data.labels[row]]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(data.images[row]).save(folder / f"{row:02d}.png")
    files = FolderData(tmp_path / "data")
    memory = files.load()
    publish_maps(memory, tmp_path / "c", _corner_maps(40))
    transform = StandardTransform(geometry=geometry, mean=MEAN, std=STD)
    policy = _policy(data, p_min=0.5, p_max=0.5, lambda_max=50.0, curriculum=False)
    key = _key([*range(39, -1, -1), 5], epoch=1, generation=1)
    first, second = (
        ScaeDataset(source, tmp_path / "c", policy, transform).batch(key)
        for source in (files, memory)
    )
    for name in ("images", "labels", "events", "boxes", "unguided"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert len(set(first.events.tolist())) >= 2


def test_a_folder_can_be_held_in_memory(tmp_path: Path, toy_images: Toy) -> None:
    data = toy_images()
    for row in range(4):
        folder = tmp_path / data.class_names[data.labels[row]]
        folder.mkdir()
        Image.fromarray(data.images[row]).save(folder / "0.png")
    loader = build_loader(FolderData(tmp_path), WHOLE, in_memory=True)
    assert isinstance(loader.dataset.data, ArrayData)
    wrapped = build_loader(_Pairs(data), WHOLE, in_memory=True, sampler="sequential")
    plain = build_loader(_Pairs(data), WHOLE, sampler="sequential")
    assert isinstance(wrapped.dataset.data, ArrayData)
    assert wrapped.dataset.data.fingerprint == plain.dataset.data.fingerprint
    for one, other in zip(wrapped, plain, strict=True):
        assert torch.equal(one.images, other.images)
    Image.fromarray(data.images[0][:8]).save(tmp_path / "a" / "1.png")
    with pytest.raises(DataError, match="must have one size to be held in memory"):
        build_loader(FolderData(tmp_path), WHOLE, in_memory=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"num_workers": -1}, "num_workers must be at least 0 .* got -1", id="workers"),
        pytest.param({"prefetch_factor": 0}, "prefetch_factor at least 1, got 0 and 0", id="none"),
        pytest.param({"rank": 1}, "must be given together, got rank=1 world_size=None", id="rank"),
        pytest.param(
            {"start_method": "thread", "num_workers": 1},
            "start_method must be one of fork, spawn, forkserver, got 'thread'",
            id="start",
        ),
    ],
)
def test_loader_options_outside_their_range_are_refused(
    toy_images: Toy, options: dict[str, object], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        build_loader(toy_images(), WHOLE, **options)  # type: ignore[arg-type]


def test_plain_torchvision_pipeline_is_refused_with_the_way_to_wrap_it(toy_images: Toy) -> None:
    plain = v2.Compose([v2.RandomCrop(32, padding=4)])
    with pytest.raises(GeometryError, match=r"got Compose: wrap a .* as build_transform\(pipeline"):
        ScaeDataset(toy_images(4), None, None, plain)
