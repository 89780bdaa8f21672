"""Readers that know nothing of scae open a published generation and find every value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tensorstore
import xarray
import zarr

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cache_store.generation import Generation
    from cache_store.store import SaliencyStore

    Values = dict[str, NDArray[Any]]

GROUP = "generations/000001"
PATHS = {
    "saliency": f"{GROUP}/saliency",
    "probability": f"{GROUP}/probability",
    "class_neighbours": f"{GROUP}/class_neighbours",
    "sample_id": "samples/sample_id",
    "content_id": "samples/content_id",
    "label": "samples/label",
}
"""Name of an array -> where it lies below the cache's root."""


@pytest.fixture
def cache(
    tmp_path: Path,
    make_store: Callable[..., SaliencyStore],
    publish: Callable[..., Generation],
) -> Path:
    publish(make_store(tmp_path / "c"), salt=3)
    return tmp_path / "c"


@pytest.fixture
def expected(formula_maps: Callable[..., NDArray[np.uint8]]) -> Values:
    maps = formula_maps(0, 20, 3)
    ids = np.arange(20, dtype=np.uint64) + np.uint64(100)
    return {
        "saliency": maps,
        "probability": (maps[:, 0, 0] / 256).astype(np.float16),
        "class_neighbours": np.full((1, 5), -1, np.int32),
        "sample_id": ids,
        "content_id": (ids * np.uint64(3)).astype(np.uint32),
        "label": (np.arange(20) % 4).astype(np.int32),
    }


def _tensorstore(cache: Path, path: str) -> Any:  # noqa: ANN401
    return tensorstore.open(
        {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(cache / path)}},
        open=True,
        read=True,
    ).result()


@pytest.mark.parametrize("name", PATHS)
def test_tensorstore_reads_every_value(cache: Path, expected: Values, name: str) -> None:
    opened = _tensorstore(cache, PATHS[name])
    values = np.asarray(opened.read().result())
    assert values.dtype == expected[name].dtype
    np.testing.assert_array_equal(values, expected[name])


def test_tensorstore_reads_single_rows(cache: Path, expected: Values) -> None:
    opened = _tensorstore(cache, PATHS["saliency"])
    for row in range(20):
        np.testing.assert_array_equal(opened[row].read().result(), expected["saliency"][row])


@pytest.mark.parametrize("name", PATHS)
def test_plain_zarr_reads_every_value(cache: Path, expected: Values, name: str) -> None:
    array = zarr.open_group(str(cache), mode="r", zarr_format=3)[PATHS[name]]
    assert isinstance(array, zarr.Array)
    values = np.asarray(array[:])
    assert values.dtype == expected[name].dtype
    np.testing.assert_array_equal(values, expected[name])


def test_xarray_reads_maps_as_fractions_by_the_cf_attributes(cache: Path, expected: Values) -> None:
    with xarray.open_zarr(cache, group=GROUP, consolidated=False) as data:
        saliency = data["saliency"]
        assert saliency.dims == ("sample", "y", "x")
        assert saliency.dtype.kind == "f"
        np.testing.assert_allclose(saliency.values, expected["saliency"] / 255, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(
            np.rint(saliency.values * 255).astype(np.uint8), expected["saliency"]
        )
        for name in ("probability", "class_neighbours"):
            np.testing.assert_array_equal(data[name].values, expected[name])


def test_xarray_reads_the_samples(cache: Path, expected: Values) -> None:
    with xarray.open_zarr(cache, group="samples", consolidated=False) as data:
        for name in ("sample_id", "content_id", "label"):
            assert data[name].dims == ("sample",)
            np.testing.assert_array_equal(data[name].values, expected[name])
