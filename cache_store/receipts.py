"""Receipts: proof on disk that one block's shard is there, so that a rerun does only the rest.

Legend: B rows of the block.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cache_store.errors import DamagedCacheError
from cache_store.records import decode_record, encode_record

COLUMNS = ("gain", "floor", "probability")
"""Arrays of one float32 a sample that a block computes beside its maps."""

Columns = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What a finished block returns: never the maps."""

    block: int
    """Number of the block, which is the number of its shard."""
    length: int
    """Size of the shard in bytes."""
    sha256: str
    """Hex SHA-256 of the shard."""
    columns: dict[str, NDArray[np.float32]]
    """gain, floor and probability of the block's rows, each (B,) float32."""
    skipped: tuple[int, ...] = ()
    """Rows whose image could not be read; their maps are flat."""

    def encode(self) -> bytes:
        """Return the receipt as a checksummed record."""
        packed = {
            name: base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()
            for name, values in self.columns.items()
        }
        return encode_record(
            {
                "block": self.block,
                "length": self.length,
                "sha256": self.sha256,
                "columns": packed,
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
            columns = {
                name: np.frombuffer(base64.b64decode(fields["columns"][name]), "<f4")
                for name in COLUMNS
            }
            return cls(
                block=fields["block"],
                length=fields["length"],
                sha256=fields["sha256"],
                columns=columns,
                skipped=tuple(fields["skipped"]),
            )
        except (KeyError, ValueError) as error:
            raise DamagedCacheError(f"{place} is not a receipt: {error!r}") from error
