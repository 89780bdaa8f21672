"""Writing a generation block by block: claim a number, write shards, leave receipts.

Legend: B rows of a block, h, w height and width of a map.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cache_store.arrays import ArraySpec, decode_object, encode_object, saliency_spec
from cache_store.backend import Backend, open_backend, require
from cache_store.errors import CacheFormatError, DamagedCacheError
from cache_store.gains import gains_and_floors
from cache_store.layout import (
    PLANS,
    PUBLISHED,
    generation_key,
    plan_key,
    published_key,
    receipt_key,
    receipts_key,
    record_number,
)
from cache_store.leases import is_condemned
from cache_store.provenance import Provenance
from cache_store.receipts import Receipt
from cache_store.records import (
    canonical_json,
    decode_record,
    encode_record,
    require_fields,
    sha256,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationPlan:
    """What a generation is made from and how its rows are cut: equal plans give equal bytes."""

    provenance: Provenance
    """What the maps depend on."""
    num_samples: int
    """N."""
    map_shape: tuple[int, int]
    """(h, w) of the target layer's output."""
    block_rows: int
    """Rows of a block, which is a shard."""
    chunk_rows: int
    """Rows of a chunk within a shard."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            "provenance": self.provenance.as_dict(),
            "num_samples": self.num_samples,
            "map_shape": list(self.map_shape),
            "block_rows": self.block_rows,
            "chunk_rows": self.chunk_rows,
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """Read back what `as_dict` gave."""
        height, width = fields["map_shape"]
        return cls(
            provenance=Provenance.from_dict(fields["provenance"]),
            num_samples=fields["num_samples"],
            map_shape=(height, width),
            block_rows=fields["block_rows"],
            chunk_rows=fields["chunk_rows"],
        )

    def digest(self) -> str:
        """Return the hex SHA-256 over all fields."""
        return sha256(canonical_json(self.as_dict()))

    def saliency_spec(self, number: int) -> ArraySpec:
        """Describe the maps' array as generation `number` stores it."""
        return saliency_spec(
            generation_key(number),
            self.num_samples,
            self.map_shape,
            self.block_rows,
            self.chunk_rows,
        )


class GenerationWriter:
    """One generation in the making; several processes may write blocks of it at once.

    A shard is created, never replaced: of two writers of one block the first one's bytes stay, and
    both receipts describe those bytes. Only a shard that can't be decoded is written again.
    """

    def __init__(self, backend: Backend, number: int, plan: GenerationPlan, writer_id: str) -> None:
        self.backend = backend
        self.number = number
        self.plan = plan
        self.writer_id = writer_id
        self.spec = plan.saliency_spec(number)

    @classmethod
    def attach(cls, url: str, number: int, *, fsync: bool = True) -> Self:
        """Open a generation in the making from another process.

        Raises:
            CacheNotFoundError: If nobody has claimed that number.
        """
        backend = open_backend(url, fsync=fsync)
        record = read_plan(backend, number)
        return cls(backend, number, GenerationPlan.from_dict(record["plan"]), record["writer"])

    @property
    def num_blocks(self) -> int:
        """Number of blocks."""
        return self.spec.num_objects

    def block_range(self, block: int) -> tuple[int, int]:
        """Return a block's first row and the row after its last."""
        start = block * self.plan.block_rows
        return start, min(start + self.plan.block_rows, self.plan.num_samples)

    def write_block(
        self,
        block: int,
        maps_Bhw: NDArray[np.uint8],
        probability_B: NDArray[np.floating[Any]],
        skipped: tuple[int, ...],
    ) -> Receipt:
        """Write one block's shard and its receipt; doing it twice changes nothing.

        Args:
            block: Number of the block.
            maps_Bhw: (B, h, w) uint8, 255 = 1.0, of all the block's rows.
            probability_B: The network's probability of each row's label, (B,) in [0, 1]; it is
                rounded to float16.
            skipped: Rows (numbers in the data set) whose image could not be read.

        Raises:
            CacheFormatError: If maps or probabilities do not fit the plan.
        """
        rounded_B = _rounded(block, probability_B, len(maps_Bhw))
        data = encode_object(self.spec, block, maps_Bhw)
        key = self.spec.object_key(block)
        if not self.backend.create(key, data):
            data, maps_Bhw = self._adopt(block, data, maps_Bhw)
        size = self.plan.provenance.size
        gains_B, _ = gains_and_floors(maps_Bhw, (size, size))
        receipt = Receipt(
            block=block,
            length=len(data),
            sha256=sha256(data),
            probability=rounded_B,
            num_flat=int(np.count_nonzero(gains_B == 0)),
            skipped=skipped,
        )
        self.backend.write(receipt_key(self.number, block), receipt.encode())
        return receipt

    def receipt(self, block: int) -> Receipt | None:
        """Return a block's receipt if its shard is there as the receipt says, else None."""
        key = receipt_key(self.number, block)
        data = self.backend.read(key)
        shard = self.backend.read(self.spec.object_key(block))
        if data is None or shard is None:
            return None
        try:
            receipt = Receipt.decode(data, f"{self.backend.url}/{key}")
        except DamagedCacheError:
            return None
        return receipt if (len(shard), sha256(shard)) == (receipt.length, receipt.sha256) else None

    def receipts(self) -> dict[int, Receipt]:
        """Return the valid receipts by block: what a rerun need not do again."""
        there = {record_number(info.key) for info in self.backend.list(receipts_key(self.number))}
        found = {block: self.receipt(block) for block in range(self.num_blocks) if block in there}
        return {block: receipt for block, receipt in found.items() if receipt is not None}

    def pending(self) -> tuple[int, ...]:
        """Return the blocks that have no valid receipt, none if the generation is published."""
        if self.backend.length(published_key(self.number)) is not None:
            return ()
        done = self.receipts()
        return tuple(block for block in range(self.num_blocks) if block not in done)

    def _adopt(
        self, block: int, data: bytes, maps_Bhw: NDArray[np.uint8]
    ) -> tuple[bytes, NDArray[np.uint8]]:
        key = self.spec.object_key(block)
        stored = self.backend.read(key)
        if stored == data:
            return data, maps_Bhw
        if stored is not None:
            try:
                return stored, decode_object(self.spec, block, stored)
            except CacheFormatError:
                pass  # half of a shard, left by a power cut without fsync: written again below
        self.backend.write(key, data)
        return data, maps_Bhw


def _rounded(
    block: int, probability_B: NDArray[np.floating[Any]], num_rows: int
) -> NDArray[np.float16]:
    if probability_B.shape != (num_rows,) or probability_B.dtype.kind != "f":
        raise CacheFormatError(
            f"probability of block {block} must be ({num_rows},) floating, "
            f"got {probability_B.shape} {probability_B.dtype}"
        )
    # Rounded first: a softmax can come out as 1.0000001.
    rounded_B = probability_B.astype(np.float16)
    if not ((rounded_B >= 0) & (rounded_B <= 1)).all():
        raise CacheFormatError(
            f"probability of block {block} must be in [0, 1], "
            f"got {probability_B.min()} to {probability_B.max()}"
        )
    return rounded_B


def read_plan(backend: Backend, number: int) -> dict[str, Any]:
    """Return the record that claimed a generation's number: fields `plan` and `writer`.

    Raises:
        CacheNotFoundError: If nobody has claimed it.
        DamagedCacheError: If the record has changed.
    """
    key = plan_key(number)
    place = f"{backend.url}/{key}"
    record = decode_record(require(backend, key), place)
    require_fields(record, number, {"generation", "plan", "writer", "claimed_at"}, place)
    return record


def unfinished_plans(backend: Backend) -> dict[int, GenerationPlan]:
    """Return the plan of each number that was claimed and is neither published nor collected."""
    published = {record_number(info.key) for info in backend.list(PUBLISHED)}
    claimed = {record_number(info.key) for info in backend.list(PLANS)} - published
    return {
        number: GenerationPlan.from_dict(read_plan(backend, number)["plan"])
        for number in sorted(filter(None, claimed))
        if not is_condemned(backend, number)
    }


def claim(backend: Backend, plan: GenerationPlan, *, join_latest: bool = True) -> GenerationWriter:
    """Join the unpublished generation of this very plan, else claim the next free number.

    A number belongs to one plan for ever, so blocks of different plans can never mix. The latest
    generation is joined also where a twin has just published it, if `join_latest`: nothing is
    pending there.
    """
    published = {record_number(info.key) or 0 for info in backend.list(PUBLISHED)}
    latest = max(published, default=0) if join_latest else 0
    numbers = sorted(filter(None, (record_number(info.key) for info in backend.list(PLANS))))
    for number in reversed(numbers):
        # Before the plan: a collection marks the plan first and takes the pointer away then.
        if number != latest and backend.length(published_key(number)) is not None:
            continue
        if is_condemned(backend, number):
            continue
        record = read_plan(backend, number)
        if GenerationPlan.from_dict(record["plan"]).digest() == plan.digest():
            return GenerationWriter(backend, number, plan, record["writer"])
    number = numbers[-1] + 1 if numbers else 1
    writer_id = uuid.uuid4().hex
    record_bytes = encode_record(
        {
            "generation": number,
            "plan": plan.as_dict(),
            "writer": writer_id,
            "claimed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )
    if not backend.create(plan_key(number), record_bytes):
        # Another job took that number meanwhile.
        return claim(backend, plan, join_latest=join_latest)
    return GenerationWriter(backend, number, plan, writer_id)
