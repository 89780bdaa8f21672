"""Random numbers that are a pure function of a key, computed over whole batches.

Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011)
turns a counter and a key into four words. Here the key is a hash of (seed, epoch, purpose) and the
counter holds (sample index, draw, block), so no row's numbers depend on which rows are beside it.
"""

import copy
import hashlib
import operator
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from loaders.errors import OptionError

# B rows, K numbers of a row, N Philox blocks of a row, 4 words of a block.

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_WORD = 0xFFFFFFFF
_MULTIPLIERS_21 = np.array(_MULTIPLIERS, np.uint64)[:, None]
_LOW, _HALF = np.uint64(_WORD), np.uint64(32)

_DOUBLES_PER_BLOCK = 2
"""Two 32-bit words make one double of 53 random bits."""

_MAX_BLOCKS = 1 << 32
"""The block number is one counter word, so a row can give 2**33 doubles."""


class Uniforms(Protocol):
    """Anything that hands out uniform numbers: `KeyedStream`, or a NumPy `Generator`."""

    def random(self, shape: tuple[int, int], /) -> NDArray[np.float64]:
        """Return `shape` float64 numbers in [0, 1)."""
        ...


def philox4x32(
    counter: Sequence[NDArray[np.uint64]], key: tuple[int, int]
) -> tuple[NDArray[np.uint64], ...]:
    """Return the ten-round Philox4x32 of every counter.

    Args:
        counter: Four arrays of one shape, dtype uint64, each value below 2**32.
        key: Two words below 2**32.

    Returns:
        Four uint64 arrays of that shape, each value below 2**32.
    """
    shape = np.shape(counter[0])
    words = [np.asarray(word, dtype=np.uint64).reshape(-1) for word in counter]
    even, odd = np.stack((words[0], words[2])), np.stack((words[1], words[3]))
    _mix(even, odd, _round_keys(key))
    return tuple(word.reshape(shape) for word in (even[0], odd[0], even[1], odd[1]))


def _mix(
    even_2N: NDArray[np.uint64], odd_2N: NDArray[np.uint64], keys_R21: NDArray[np.uint64]
) -> None:
    """Do all rounds in place on words 0 and 2, and 1 and 3, of N counters.

    These two pairs go through each round alike: half as many calls of NumPy.
    """
    product = np.empty_like(even_2N)
    swapped = product[::-1]
    for keys_21 in keys_R21:
        np.multiply(even_2N, _MULTIPLIERS_21, out=product)
        np.right_shift(swapped, _HALF, out=even_2N)
        even_2N ^= odd_2N
        even_2N ^= keys_21
        np.bitwise_and(swapped, _LOW, out=odd_2N)


@lru_cache(maxsize=256)
def _round_keys(key: tuple[int, int]) -> NDArray[np.uint64]:
    """Return the key words of every round: (rounds, 2, 1) uint64, not to be written to."""
    rounds_R11 = np.arange(_ROUNDS, dtype=np.uint64)[:, None, None]
    words_21, weyl_21 = (np.array(pair, np.uint64)[:, None] for pair in (key, _WEYL))
    return (words_21 + rounds_R11 * weyl_21) & _LOW


class KeyedStream:
    """One stream of uniform numbers a row, each a pure function of its key.

    Successive calls continue every row's stream: `random((B, 3))` then `random((B, 2))` give what
    `random((B, 5))` gives. A row's numbers depend on (seed, epoch, index, draw, purpose) alone.

    Args:
        seed: The run's seed, any integer.
        epoch: The epoch, any integer.
        indices: (B,) sample indices in [0, 2**63).
        draws: (B,) how often the sample came before in this epoch's global order, in [0, 2**32).
        purpose: What the numbers are for; two purposes never share numbers.

    Raises:
        OptionError: If `indices` and `draws` are not two (B,) integer arrays in those ranges.
    """

    def __init__(
        self,
        seed: int,
        epoch: int,
        indices: NDArray[np.int64],
        draws: NDArray[np.int64],
        purpose: str,
    ) -> None:
        index_B = _checked("indices", indices, limit=1 << 63)
        draw_B = _checked("draws", draws, limit=1 << 32)
        if index_B.shape != draw_B.shape:
            raise OptionError(
                f"indices and draws of a keyed stream must have one shape, got {index_B.shape} "
                f"and {draw_B.shape}"
            )
        self._seed, self._epoch = seed, epoch
        self._key = _hashed_key(seed, epoch, purpose)
        self._counter_B = (index_B & np.uint64(_WORD), index_B >> np.uint64(32), draw_B)
        self._position = 0

    def __len__(self) -> int:
        return len(self._counter_B[0])

    def take(self, rows: NDArray[np.int64]) -> "KeyedStream":
        """Return the streams of these rows, from where they are; this one does not move on."""
        taken = copy.copy(self)
        c0, c1, c2 = self._counter_B
        taken._counter_B = (c0[rows], c1[rows], c2[rows])
        return taken

    def purposed(self, purpose: str) -> "KeyedStream":
        """Return the streams of the same rows for another purpose, from their beginning."""
        other = copy.copy(self)
        other._key = _hashed_key(self._seed, self._epoch, purpose)
        other._position = 0
        return other

    def random(self, shape: tuple[int, int], /) -> NDArray[np.float64]:
        """Return the next K numbers of every row: (B, K) float64 in [0, 1), 53 random bits each.

        Raises:
            OptionError: If `shape` is not (number of rows, K >= 0), or a row's stream is used up.
        """
        rows, columns = shape
        if rows != len(self) or columns < 0:
            raise OptionError(
                f"shape asked of a keyed stream must be ({len(self)}, 0 or more), got {shape}"
            )
        start, stop = self._position, self._position + columns
        first, last = start // _DOUBLES_PER_BLOCK, -(-stop // _DOUBLES_PER_BLOCK)
        if last > _MAX_BLOCKS:
            raise OptionError(f"a keyed stream gives at most 2**33 numbers a row, got {stop}")
        self._position = stop
        doubles_BK = self._blocks(first, last)
        offset = start - first * _DOUBLES_PER_BLOCK
        return doubles_BK[:, offset : offset + columns]

    def _blocks(self, first: int, last: int) -> NDArray[np.float64]:
        """Return the doubles of blocks [first, last): (B, 2 * N) float64."""
        num_rows, num = len(self), last - first
        c0_B, c1_B, c2_B = self._counter_B
        even, odd = np.empty((2, 2, num_rows, num), np.uint64)
        even[0], even[1], odd[0] = c0_B[:, None], c2_B[:, None], c1_B[:, None]
        odd[1] = np.arange(first, last, dtype=np.uint64)
        even, odd = even.reshape(2, -1), odd.reshape(2, -1)
        _mix(even, odd, _round_keys(self._key))
        even <<= _HALF
        even |= odd
        even >>= np.uint64(11)
        doubles = np.empty((num_rows * num, _DOUBLES_PER_BLOCK))
        np.multiply(even.T, 2.0**-53, out=doubles)
        return doubles.reshape(num_rows, _DOUBLES_PER_BLOCK * num)


def _checked(name: str, values: NDArray[np.int64], *, limit: int) -> NDArray[np.uint64]:
    array_B = np.asarray(values)
    if array_B.ndim != 1 or array_B.dtype.kind not in "iu":
        raise OptionError(
            f"{name} of a keyed stream must be a (B,) integer array, got {array_B.shape} "
            f"{array_B.dtype}"
        )
    if array_B.size and not (0 <= array_B.min() and int(array_B.max()) < limit):
        raise OptionError(
            f"{name} of a keyed stream must be in [0, {limit}), got {array_B.min()} to "
            f"{array_B.max()}"
        )
    return array_B.astype(np.uint64)


@lru_cache(maxsize=256)
def _hashed_key(seed: int, epoch: int, purpose: str) -> tuple[int, int]:
    """Return two key words. blake2b, since `hash()` of a text differs from process to process."""
    text = f"{operator.index(seed)}|{operator.index(epoch)}|{purpose}"
    low, high = struct.unpack("<2I", hashlib.blake2b(text.encode(), digest_size=8).digest())
    return low, high
