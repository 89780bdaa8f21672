from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from torch import nn

from cache_store.errors import CacheMismatchError
from cache_store.store import SaliencyStore
from loaders.image_data import ArrayData
from pipeline.errors import BlocksFailed, RefreshError, Stopped
from pipeline.refresh.job import execute
from pipeline.refresh.plan import RefreshOptions, plan_refresh
from pipeline.refresh.sources import DataSource, NetworkSource
from pipeline.saliency.networks import build_network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cache_store.generation import Generation
    from pipeline.refresh.job import RefreshReport

OPTIONS = RefreshOptions(size=16, batch_size=5, block_rows=8, chunk_rows=4)


def _refresh(
    data: ArrayData,
    cache: str | Path,
    options: RefreshOptions = OPTIONS,
    *,
    seed: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> RefreshReport:
    source = DataSource(name="toy")
    network = NetworkSource(name="resnet8", num_classes=data.num_classes, seed=seed)
    built = network.build()
    plan = plan_refresh(source, network, cache, options, opened=data, built=built)
    return execute(plan, opened=data, built=built, stop=stop)


def _captum_maps(
    data: ArrayData, seed: int = 0
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Maps divided by their maximum, by another library, one image at a time."""
    built = build_network("resnet8", num_classes=4, seed=seed)
    network = built.module.eval()
    mean, std = torch.tensor(built.mean), torch.tensor(built.std)
    images = (torch.from_numpy(data.images.copy()).float() / 255 - mean) / std
    cam = LayerGradCam(network, network.layer3)
    maps = []
    for image, label in zip(images, data.labels.tolist(), strict=True):
        found = cam.attribute(image.permute(2, 0, 1)[None], label, relu_attributions=True)
        maps.append((found[0, 0] / found.max().clamp_min(1e-30)).detach().double().numpy())
    return np.stack(maps)


def test_stored_maps_are_what_captum_computes_for_each_sample(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    data = toy_images()
    generation = _refresh(data, tmp_path / "c").generation
    expected = _captum_maps(data) * 255
    assert np.abs(np.asarray(generation.saliency[:]) - expected).max() <= 0.51


def test_probability_is_the_labels_softmax(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    data = toy_images()
    generation = _refresh(data, tmp_path / "c").generation
    built = build_network("resnet8", num_classes=4)
    images = torch.from_numpy(data.images.copy()).float() / 255
    images = (images - torch.tensor(built.mean)) / torch.tensor(built.std)
    with torch.no_grad():
        logits = built.module.eval()(images.permute(0, 3, 1, 2))
    expected = logits.softmax(1)[torch.arange(40), torch.from_numpy(data.labels.copy())]
    np.testing.assert_allclose(generation.probabilities, expected.numpy(), rtol=1e-3)


def test_class_neighbours_are_nearest_rows_of_the_last_layer(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    generation = _refresh(toy_images(), tmp_path / "c").generation
    linear = build_network("resnet8", num_classes=4).module.get_submodule("linear")
    rows = linear.state_dict()["weight"].numpy()
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for label in range(4):
        cosine = unit @ unit[label]
        order = [k for k in np.argsort(-cosine) if k != label]
        assert generation.class_neighbours[label].tolist() == [*order, -1, -1]


def test_rerun_of_a_finished_refresh_computes_nothing(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    first = _refresh(toy_images(), tmp_path / "c")
    again = _refresh(toy_images(), tmp_path / "c")
    assert again.reused
    assert again.generation.number == first.generation.number == 1
    assert SaliencyStore.open(tmp_path / "c").generations() == (1,)


def test_stopped_refresh_publishes_nothing_and_is_taken_up_again(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    calls = iter(range(1000))
    with pytest.raises(Stopped, match="run the same command again"):
        _refresh(toy_images(), tmp_path / "c", stop=lambda: next(calls) >= 5)
    assert SaliencyStore.open(tmp_path / "c").generations() == ()
    report = _refresh(toy_images(), tmp_path / "c")
    assert report.num_rows_found == 16
    undisturbed = _refresh(toy_images(), tmp_path / "other")
    assert report.generation.digest == undisturbed.generation.digest


def test_other_weights_make_the_next_generation(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    _refresh(toy_images(), tmp_path / "c")
    second = _refresh(toy_images(), tmp_path / "c", seed=1).generation
    third = _refresh(toy_images(), tmp_path / "c", seed=0).generation
    assert (second.number, third.number) == (2, 3)
    assert second.digest != third.digest


def _row_of(generation: Generation, sample_id: int) -> int:
    return generation.sample_ids.tolist().index(sample_id)


def test_data_in_another_order_writes_maps_to_their_own_rows(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    first = _refresh(toy_images(), tmp_path / "c").generation
    rows = np.random.default_rng(0).permutation(40).tolist()
    shuffled = toy_images(rows=rows)
    second = _refresh(shuffled, tmp_path / "c", seed=1).generation
    expected = _captum_maps(shuffled, seed=1) * 255
    assert first.sample_ids.tolist() == second.sample_ids.tolist()
    for position, sample_id in enumerate(shuffled.sample_ids.tolist()):
        stored = np.asarray(second.saliency[_row_of(second, sample_id)])
        assert np.abs(stored - expected[position]).max() <= 0.51


def test_cache_of_other_data_is_refused(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    _refresh(toy_images(), tmp_path / "c")
    with pytest.raises(CacheMismatchError, match=r"make one for it with .*another folder"):
        _refresh(toy_images(rows=list(range(39))), tmp_path / "c")


def _from_folder(folder: Path, cache: Path, options: RefreshOptions) -> RefreshReport:
    source = DataSource(name=str(folder))
    return execute(
        plan_refresh(source, NetworkSource(name="resnet8", num_classes=3), cache, options)
    )


def test_unreadable_image_fails_the_refresh_by_name(
    tmp_path: Path, jpeg_folder: Callable[..., Path]
) -> None:
    folder = jpeg_folder()
    (folder / "dog" / "03.jpg").write_bytes(b"not a picture")
    with pytest.raises(BlocksFailed, match=r"dog/03\.jpg"):
        _from_folder(folder, tmp_path / "c", OPTIONS)
    assert SaliencyStore.open(tmp_path / "c").generations() == ()


def test_skipped_image_gets_a_flat_map_and_is_counted(
    tmp_path: Path, jpeg_folder: Callable[..., Path]
) -> None:
    folder = jpeg_folder()
    (folder / "dog" / "03.jpg").write_bytes(b"not a picture")
    options = RefreshOptions(size=16, batch_size=4, block_rows=8, chunk_rows=4, on_error="skip")
    generation = _from_folder(folder, tmp_path / "c", options).generation
    assert generation.manifest.skipped == (13,)
    assert not np.asarray(generation.saliency[13]).any()
    assert np.asarray(generation.saliency[:]).any((1, 2)).sum() == len(generation) - 1
    assert generation.manifest.num_flat == 1


def test_logits_that_are_not_finite_name_a_sample_and_publish_nothing(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    data = toy_images()
    network = NetworkSource(name="resnet8", num_classes=4)
    built = network.build()
    with torch.no_grad():
        next(m for m in built.module.modules() if isinstance(m, nn.Linear)).bias[1] = torch.nan
    plan = plan_refresh(
        DataSource(name="toy"), network, tmp_path / "c", OPTIONS, opened=data, built=built
    )
    with pytest.raises(BlocksFailed, match=r"not finite.*toy\[0\]"):
        execute(plan, opened=data, built=built)
    assert SaliencyStore.open(tmp_path / "c").generations() == ()


def test_weights_changed_since_the_plan_are_refused(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    data = toy_images()
    network = NetworkSource(name="resnet8", num_classes=4)
    plan = plan_refresh(DataSource(name="toy"), network, tmp_path / "c", OPTIONS, opened=data)
    other = build_network("resnet8", num_classes=4, seed=5)
    with pytest.raises(RefreshError, match=r"weights of this process.*plan again"):
        execute(plan, opened=data, built=other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        ({"block_rows": 10, "chunk_rows": 4}, "multiple of chunk_rows 4, got 10"),
        ({"size": 0}, "size must be 1 or more, got 0"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RefreshError, match=message):
        RefreshOptions(**options)


def test_plan_summary_says_what_will_be_written(
    tmp_path: Path, toy_images: Callable[..., ArrayData]
) -> None:
    plan = plan_refresh(
        DataSource(name="toy"),
        NetworkSource(name="resnet8", num_classes=4),
        tmp_path / "c",
        OPTIONS,
        opened=toy_images(),
    )
    assert "toy, 40 images" in plan.summary()
    assert "maps      4x4 uint8, 640 bytes in 5 blocks of 8 rows" in plan.summary()
    assert not (tmp_path / "c").exists()
