"""Keyed streams: known answers, purity, uniformity, independence."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from loaders.errors import OptionError
from loaders.randomness import KeyedStream, Uniforms, philox4x32

Floats = NDArray[np.float64]


def draw(
    columns: int,
    *,
    seed: int = 7,
    epoch: int = 3,
    indices: NDArray[np.int64] | None = None,
    draws: NDArray[np.int64] | None = None,
    purpose: str = "centre",
) -> Floats:
    index_B = np.arange(256) if indices is None else indices
    draw_B = np.zeros_like(index_B) if draws is None else draws
    stream = KeyedStream(seed, epoch, index_B, draw_B, purpose)
    return stream.random((len(index_B), columns))


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        pytest.param(
            [0, 0, 0, 0],
            (0, 0),
            [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8],
            id="zeros",
        ),
        pytest.param(
            [0xFFFFFFFF] * 4,
            (0xFFFFFFFF, 0xFFFFFFFF),
            [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
            id="ones",
        ),
        pytest.param(
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            (0xA4093822, 0x299F31D0),
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
            id="digits-of-pi",
        ),
    ],
)
def test_philox_gives_the_published_answers(
    counter: list[int], key: tuple[int, int], expected: list[int]
) -> None:
    words = philox4x32([np.array([word], dtype=np.uint64) for word in counter], key)
    assert [int(word[0]) for word in words] == expected


def test_numbers_fill_the_unit_interval_evenly() -> None:
    numbers = draw(400).ravel()
    assert numbers.min() >= 0.0
    assert numbers.max() < 1.0
    assert stats.kstest(numbers, "uniform").pvalue > 1e-4
    bins = np.histogram(numbers, bins=1000, range=(0, 1))[0]
    assert stats.chisquare(bins).pvalue > 1e-4


def test_low_bits_are_uniform_too() -> None:
    low_bits = (draw(400).ravel() * 2.0**53).astype(np.int64) % 1024
    assert stats.chisquare(np.bincount(low_bits, minlength=1024)).pvalue > 1e-4


@pytest.mark.parametrize("position", [0, 1, 5])
def test_each_position_is_uniform_over_neighbouring_samples(position: int) -> None:
    numbers = draw(6, indices=np.arange(50_000))[:, position]
    assert stats.kstest(numbers, "uniform").pvalue > 1e-4


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"epoch": 4}, id="next-epoch"),
        pytest.param({"seed": 8}, id="next-seed"),
        pytest.param({"purpose": "centrf"}, id="other-purpose"),
        pytest.param({"indices": np.arange(256) + 1}, id="next-index"),
        pytest.param({"draws": np.ones(256, dtype=np.int64)}, id="next-draw"),
        pytest.param({"indices": np.arange(256) + (1 << 32)}, id="high-index-word"),
    ],
)
def test_neighbouring_keys_give_unrelated_numbers(other: dict[str, object]) -> None:
    ours, theirs = draw(200).ravel(), draw(200, **other).ravel()  # type: ignore[arg-type]
    assert not np.any(ours == theirs)
    assert stats.pearsonr(ours, theirs).pvalue > 1e-4
    cells = np.histogram2d(ours, theirs, bins=16, range=((0, 1), (0, 1)))[0]
    assert stats.chisquare(cells.ravel()).pvalue > 1e-4


def test_successive_numbers_of_a_row_are_unrelated() -> None:
    numbers_BK = draw(200)
    assert stats.pearsonr(numbers_BK[:, :-1].ravel(), numbers_BK[:, 1:].ravel()).pvalue > 1e-4


def test_numbers_do_not_depend_on_companions() -> None:
    index_B = np.array([5, 900, 17, 2**40, 0])
    draw_B = np.array([0, 1, 2, 3, 4])
    together = draw(9, indices=index_B, draws=draw_B)
    for row in range(5):
        alone = draw(9, indices=index_B[row : row + 1], draws=draw_B[row : row + 1])
        np.testing.assert_array_equal(alone[0], together[row])


@pytest.mark.parametrize("split", [[1] * 11, [4, 7], [3, 0, 8], [11, 0]])
def test_calls_continue_each_row(split: list[int]) -> None:
    index_B = np.arange(20)
    stream = KeyedStream(1, 2, index_B, np.zeros_like(index_B), "mix")
    parts = [stream.random((20, columns)) for columns in split]
    whole = draw(11, seed=1, epoch=2, indices=index_B, purpose="mix")
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_numbers_are_the_same_in_another_process() -> None:
    code = (
        "import numpy as np; from loaders.randomness import KeyedStream;"
        "s = KeyedStream(7, 3, np.arange(4), np.zeros(4, np.int64), 'centre');"
        "print(s.random((4, 3)).tobytes().hex())"
    )
    command = [sys.executable, "-P", "-c", code]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert output.strip() == draw(3, indices=np.arange(4)).tobytes().hex()


def test_a_numpy_generator_serves_as_well() -> None:
    source: Uniforms = np.random.default_rng(0)
    assert source.random((2, 3)).shape == (2, 3)


def test_no_rows_give_no_numbers() -> None:
    assert draw(5, indices=np.arange(0)).shape == (0, 5)


@pytest.mark.parametrize(
    ("indices", "draws", "message"),
    [
        pytest.param(np.zeros((2, 2), int), np.zeros(2, int), r"got \(2, 2\)", id="shape"),
        pytest.param(np.zeros(2), np.zeros(2, int), "got .* float64", id="type"),
        pytest.param(np.array([-1]), np.zeros(1, int), "got -1 to -1", id="negative"),
        pytest.param(np.zeros(1, int), np.array([1 << 32]), "got 4294967296", id="large-draw"),
        pytest.param(np.zeros(2, int), np.zeros(3, int), r"\(2,\) and \(3,\)", id="lengths"),
    ],
)
def test_stream_rejects_keys_it_cannot_hold(
    indices: NDArray[np.int64], draws: NDArray[np.int64], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        KeyedStream(0, 0, indices, draws, "centre")


def test_stream_rejects_another_number_of_rows() -> None:
    stream = KeyedStream(0, 0, np.arange(3), np.zeros(3, np.int64), "centre")
    with pytest.raises(OptionError, match=r"must be \(3, 0 or more\), got \(2, 1\)"):
        stream.random((2, 1))


def test_some_rows_go_on_alone() -> None:
    index_B, draw_B = np.array([5, 2, 9, 2]), np.array([0, 0, 3, 1])
    whole = KeyedStream(1, 2, index_B, draw_B, "centre")
    expected = KeyedStream(1, 2, index_B, draw_B, "centre").random((4, 8))
    np.testing.assert_array_equal(whole.random((4, 3)), expected[:, :3])
    rows = np.array([3, 0])
    some = whole.take(rows)
    np.testing.assert_array_equal(some.random((2, 5)), expected[rows, 3:])
    np.testing.assert_array_equal(whole.random((4, 5)), expected[:, 3:])  # did not move on
    assert len(whole.take(np.array([], np.int64))) == 0
