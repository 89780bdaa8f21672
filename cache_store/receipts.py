"""Receipts: proof on disk that one block's shard is there, so that a rerun does only the rest.

Legend: B rows of the block.
"""

import base64
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cache_store.errors import DamagedCacheError
from cache_store.records import CURE, decode_record, encode_record


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What a finished block returns: never the maps."""

    block: int
    """Number of the block, which is the number of its shard."""
    length: int
    """Size of the shard in bytes."""
    sha256: str
    """Hex SHA-256 of the shard."""
    probability: NDArray[np.float16]
    """Probability of each row's label, (B,) float16, in [0, 1]."""
    num_flat: int
    """Rows whose map prefers no place."""
    skipped: tuple[int, ...] = ()
    """Rows whose image could not be read; their maps are flat."""

    def encode(self) -> bytes:
        """Return the receipt as a checksummed record."""
        packed = np.ascontiguousarray(self.probability, "<f2").tobytes()
        return encode_record(
            {
                "block": self.block,
                "length": self.length,
                "sha256": self.sha256,
                "probability": base64.b64encode(packed).decode(),
                "flat": self.num_flat,
                "skipped": list(self.skipped),
            }
        )

    @classmethod
    def decode(cls, data: bytes, place: str) -> Self:
        """Read a receipt back.

        Raises:
            DamagedCacheError: If it has changed or is none.
        """
        fields: dict[str, Any] = decode_record(data, place)
        try:
            probability_B = np.frombuffer(base64.b64decode(fields["probability"]), "<f2")
            return cls(
                block=fields["block"],
                length=fields["length"],
                sha256=fields["sha256"],
                probability=probability_B.astype(np.float16),
                num_flat=fields["flat"],
                skipped=tuple(fields["skipped"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedCacheError(f"{place} is not a receipt: {error!r}; {CURE}") from error
