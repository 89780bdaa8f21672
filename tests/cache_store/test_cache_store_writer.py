"""What a block's writer takes, and what it stores of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cache_store.errors import CacheFormatError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cache_store.store import SaliencyStore
    from cache_store.writer import GenerationPlan

    MakeStore = Callable[..., SaliencyStore]
    MakePlan = Callable[..., GenerationPlan]
    Maps = Callable[..., NDArray[np.uint8]]


@pytest.mark.parametrize(
    ("probability", "message"),
    [
        pytest.param(np.ones(7), r"must be \(8,\) floating, got \(7,\)", id="length"),
        pytest.param(np.ones(8, np.int64), "must be .* floating, got .* int64", id="type"),
        pytest.param(np.linspace(0, 1.1, 8), r"must be in \[0, 1\], got 0.0 to 1.1", id="range"),
        pytest.param(np.full(8, np.nan), r"must be in \[0, 1\], got nan", id="nan"),
    ],
)
def test_probabilities_that_are_none_are_refused_before_anything_is_written(
    tmp_path: Path,
    make_store: MakeStore,
    make_plan: MakePlan,
    formula_maps: Maps,
    probability: NDArray[Any],
    message: str,
) -> None:
    writer = make_store(tmp_path / "c").begin(make_plan())
    with pytest.raises(CacheFormatError, match=message):
        writer.write_block(0, formula_maps(0, 8), probability, ())
    assert not (tmp_path / "c" / "generations" / "000001").exists()


def test_probabilities_are_rounded_to_the_nearest_of_16_bits_and_flat_maps_counted(
    tmp_path: Path, make_store: MakeStore, make_plan: MakePlan, formula_maps: Maps
) -> None:
    store = make_store(tmp_path / "c")
    writer = store.begin(make_plan())
    values = np.random.default_rng(0).random(20).astype(np.float32)
    values[:4] = 0, 1, 0.9998, 1.0000001  # the last as a softmax can come out
    maps = formula_maps(0, 20)
    maps[[1, 9, 19]] = 0
    maps[4] = 200
    for block in range(writer.num_blocks):
        part = slice(*writer.block_range(block))
        writer.write_block(block, maps[part], values[part], ())
    generation = store.publish(writer)
    assert generation.manifest.num_flat == 4
    found = generation.probabilities
    assert found[:4].tolist() == [0, 1, 1, 1]
    powers = np.exp2(np.ceil(np.log2(np.maximum(values, 1e-9))))
    assert (np.abs(found - values) <= powers * 2.0**-12).all()
