"""Data shared by the loaders' tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torchvision import tv_tensors

from cache_store.provenance import Provenance
from cache_store.store import SaliencyStore
from cache_store.writer import GenerationPlan
from loaders.build import build_loader
from loaders.geometry import CropFlip
from loaders.image_data import ArrayData
from loaders.policy import ScaePolicy
from loaders.shapes import render_shapes
from loaders.shapes_forms import FORM_NAMES
from loaders.transforms import StandardTransform
from loaders.view import View
from tests.loaders.index_trees import make_tree
from tests.loaders.marked_maps import maps_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cache_store.generation import Generation
    from loaders.scae_loader import ScaeLoader

    Publish = Callable[..., Generation]
    MakeLoader = Callable[..., ScaeLoader]

Floats = NDArray[np.float64]
Seen = tuple[Floats, Floats, NDArray[np.bool_]]
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


@pytest.fixture
def tree(tmp_path: Path, indexes: Path) -> Path:  # it comes first
    """Eleven files of four classes that no index is of yet."""
    return make_tree(tmp_path / "data")


@pytest.fixture(scope="session")
def small_shapes() -> ArrayData:
    """40 rendered scenes of 4 classes (16, 12, 8 and 4 images), 32x32, with masks."""
    labels_N = np.repeat(np.arange(4), [16, 12, 8, 4])
    images, masks = render_shapes("train", labels_N, np.arange(len(labels_N)))
    return ArrayData(images, labels_N, FORM_NAMES[:4], name="shapes", masks=masks)


@pytest.fixture(scope="session")
def map_hw() -> NDArray[np.uint8]:
    """One saliency map of (5, 6) cells."""
    return np.random.default_rng(3).integers(0, 256, (5, 6)).astype(np.uint8)


@pytest.fixture(scope="session")
def upsampled() -> Callable[[NDArray[np.uint8], tuple[int, int]], Floats]:
    """torch's own upsampling of a map to every pixel of the whole image, not normalised."""

    def upsample(map_hw: NDArray[np.uint8], size: tuple[int, int]) -> Floats:
        source = torch.from_numpy(map_hw.astype(np.float64) / 255)[None, None]
        values = torch.nn.functional.interpolate(
            source, size=size, mode="bilinear", align_corners=False
        )
        return values[0, 0].numpy()

    return upsample


@pytest.fixture(scope="session")
def chi_square() -> Callable[[Floats, Floats], float]:
    """The p-value of counts against probabilities; bins expecting fewer than 5 are merged."""

    def p_value(counts: Floats, probabilities: Floats) -> float:
        expected = probabilities.ravel() * counts.sum()
        order = np.argsort(expected)
        observed, expected = counts.ravel()[order], expected[order]
        # Small bins join until their sum passes the next multiple of 5; large ones stay alone.
        small = expected < 5
        numbers = np.where(small, np.cumsum(expected) // 5, 0).astype(np.int64)
        numbers[~small] = numbers[small].max(initial=-1) + 1 + np.arange((~small).sum())
        _, numbers = np.unique(numbers, return_inverse=True)
        merged, needed = np.bincount(numbers, observed), np.bincount(numbers, expected)
        # A rest below 5 joins the next bin.
        for position in range(len(needed) - 1):
            if needed[position] < 5:
                merged[position + 1] += merged[position]
                needed[position + 1] += needed[position]
        kept = needed >= 5
        if kept.sum() < 2:
            return 1.0  # one pixel has it all
        return float(stats.chisquare(merged[kept], needed[kept]).pvalue)

    return p_value


@pytest.fixture(scope="session")
def seen_by() -> Callable[[View], Seen]:
    """u, v and "inside" at every output pixel of a view, from the definition."""
    return seen


def seen(view: View) -> Seen:
    height, width = view.size
    y, x = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    places = np.stack((x, y, np.ones_like(x)))
    mapped = np.tensordot(np.reshape(view.matrix, (3, 3)), places, axes=1)
    inside = np.ones((height, width), dtype=bool)
    for plane in view.half_planes:
        inside &= np.tensordot(np.array(plane), places, axes=1) > 0
    return mapped[0] / mapped[2], mapped[1] / mapped[2], inside


def rendered_coordinates(size: tuple[int, int]) -> torch.Tensor:
    height, width = size
    v, u = torch.meshgrid(
        (torch.arange(height, dtype=torch.float64) + 0.5) / height,
        (torch.arange(width, dtype=torch.float64) + 0.5) / width,
        indexing="ij",
    )
    return torch.stack((u, v, torch.ones_like(u)))


@pytest.fixture(scope="session")
def coordinates() -> Callable[[tuple[int, int]], torch.Tensor]:
    """u, v at every pixel centre of a canvas, and ones: (3, H, W) float64."""
    return rendered_coordinates


@pytest.fixture(scope="session")
def check_view() -> Callable[..., View]:
    """The oracle: a pipeline moves an image of coordinates and ones beside a view."""

    def check(
        pipeline: Callable[..., Any],
        size: tuple[int, int],
        *,
        seed: int,
        tolerance: float,
        blurred: bool = False,
    ) -> View:
        """Compare every pixel that the pipeline did not fill in.

        `blurred` is for bilinear turns: a pixel centre on the edge of a canvas shows half of it,
        one at its corner a quarter; with a fill, torchvision squares these shares.
        """
        torch.manual_seed(seed)
        image, view = pipeline(tv_tensors.Image(rendered_coordinates(size)), View.whole(size))
        assert isinstance(view, View)
        assert tuple(image.shape[-2:]) == view.size
        u, v, inside = seen(view)
        ones = image[2].numpy()
        low, high = (1 / 16 - 1e-9, 0.5 + 1e-9) if blurred else (0.5, 0.5)
        assert inside[ones > high].all()
        assert not inside[ones < low].any()
        # Interpolation leans on its neighbours near a clip, and clamps at the canvas border.
        sure = inside & (ones > 1 - 1e-9)
        np.testing.assert_allclose(image[0].numpy()[sure], u[sure], rtol=0, atol=tolerance)
        np.testing.assert_allclose(image[1].numpy()[sure], v[sure], rtol=0, atol=tolerance)
        return view

    return check


@pytest.fixture
def publish_maps() -> Publish:
    """Publish given maps for a data set."""

    def publish(
        data: ArrayData,
        cache: str | Path,
        maps: NDArray[np.uint8],
        epoch: int = 0,
        block_rows: int = 16,
        *,
        neighbours: bool = True,
        deep: bool | None = None,
    ) -> Generation:
        store = SaliencyStore.create(
            cache,
            sample_ids=data.sample_ids,
            content_ids=data.content_ids,
            labels=data.labels,
            fingerprint=data.fingerprint,
            data=data.name,
            deep=deep,
        )
        size = data.images.shape[1]
        provenance = Provenance(
            data=data.name,
            fingerprint=data.fingerprint,
            network="formula",
            weights="random",
            weights_digest="0",
            target_layer="none",
            size=size,
            mean=MEAN,
            std=STD,
            batch_size=8,
            channels_last=False,
            precision="fp32",
            device_type="cpu",
            code_version="0",
            epoch=epoch,
        )
        plan = GenerationPlan(
            provenance=provenance,
            num_samples=len(data),
            map_shape=(maps.shape[1], maps.shape[2]),
            block_rows=block_rows,
            chunk_rows=8,
        )
        writer = store.begin(plan)
        for block in range(writer.num_blocks):
            start, stop = writer.block_range(block)
            writer.write_block(block, maps[start:stop], np.ones(stop - start), ())
        classes_K5 = np.full((data.num_classes, 5), -1, np.int32)
        if neighbours:
            classes_K5[:, 0] = (np.arange(data.num_classes) + 1) % data.num_classes
        return store.publish(writer, classes_K5)

    return publish


@pytest.fixture
def publish_for(tmp_path: Path, publish_maps: Publish) -> Publish:
    """Publish maps of a data set into tmp_path / 'c' that tell whose they are."""

    def publish(data: ArrayData, epoch: int = 0, *, deep: bool | None = None) -> Generation:
        maps = maps_of(data, epoch)
        return publish_maps(data, tmp_path / "c", maps, epoch, neighbours=False, deep=deep)

    return publish


@pytest.fixture
def mixed_data() -> ArrayData:
    """46 random 8x8 images: classes of 20, 12, 8, 5 and 1, of which the last three are tail."""
    labels = np.repeat(np.arange(5), [20, 12, 8, 5, 1])
    images = np.random.default_rng(5).integers(0, 256, (46, 8, 8, 3), np.uint8)
    return ArrayData(images, labels, list("abcde"), name="mixed")


@pytest.fixture
def make_loader(tmp_path: Path, mixed_data: ArrayData, publish_maps: Publish) -> MakeLoader:
    """Build loaders that erase and mix, by a cache of generations 1 and 2."""
    cache = tmp_path / "loader-cache"
    for epoch in range(2):
        maps = np.random.default_rng(epoch).integers(0, 256, (46, 3, 4)).astype(np.uint8)
        maps[::9] = 0  # flat: uniform centres
        publish_maps(mixed_data, cache, maps, epoch=epoch)
    policy = ScaePolicy(
        num_epochs=4,
        class_counts=tuple(mixed_data.class_counts.tolist()),
        lambda_max=20.0,
        curriculum=False,
        tau=0.5,
        p_min=0.4,
        p_max=0.9,
        partner="neighbor",
    )

    def make(**options: object) -> ScaeLoader:
        settings: dict[str, object] = {
            "cache": cache,
            "policy": policy,
            "batch_size": 8,
            "generation": 1,
            "seed": 3,
            **options,
        }
        transform = StandardTransform(geometry=CropFlip(8, padding=2), mean=MEAN, std=STD)
        return build_loader(mixed_data, transform, **settings)  # type: ignore[arg-type]

    return make
