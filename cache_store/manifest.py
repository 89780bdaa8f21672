"""The manifest of a generation: every object's length and checksum, and what its maps are from."""

from dataclasses import dataclass, field
from typing import Any, Self

from cache_store.backend import Backend, require
from cache_store.errors import DamagedCacheError
from cache_store.layout import generation_key, manifest_key
from cache_store.records import CURE, canonical_json, decode_record, encode_record, sha256
from cache_store.writer import GenerationPlan

Objects = dict[str, tuple[int, str]]
"""Key -> (length in bytes, hex SHA-256)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a published generation consists of."""

    generation: int
    """Number of the generation."""
    plan: GenerationPlan
    """What it was made from and how its rows are cut."""
    objects: Objects
    """Every object of the cache that this generation reads."""
    skipped: tuple[int, ...]
    """Rows whose image could not be read; their maps are flat."""
    num_flat: int
    """Rows whose map prefers no place, those of `skipped` too."""
    writer: str
    """Id of the job that claimed the number."""
    software: dict[str, str]
    """Versions of the libraries that wrote the bytes."""
    published_at: str
    """UTC time of publication, ISO 8601."""
    notes: dict[str, float] = field(default_factory=dict)
    """Figures that the maker of the maps has to tell, by name; see `docs/format.md`."""

    @property
    def digest(self) -> str:
        """Hex SHA-256 over the objects, wherever and whenever they were made.

        Two caches whose generations have the same digest hold the same bytes.
        """
        group = generation_key(self.generation)
        content = sorted(
            (key.removeprefix(group), digest) for key, (_, digest) in self.objects.items()
        )
        return sha256(canonical_json(content))

    def encode(self) -> bytes:
        """Return the manifest as a checksummed record."""
        notes = {"notes": self.notes} if self.notes else {}
        return encode_record(
            notes
            | {
                "generation": self.generation,
                "plan": self.plan.as_dict(),
                "objects": {key: list(value) for key, value in self.objects.items()},
                "skipped": list(self.skipped),
                "flat": self.num_flat,
                "writer": self.writer,
                "software": self.software,
                "published_at": self.published_at,
            }
        )

    @classmethod
    def decode(cls, data: bytes, place: str) -> Self:
        """Read a manifest back.

        Raises:
            DamagedCacheError: If it has changed or is none.
        """
        fields: dict[str, Any] = decode_record(data, place)
        try:
            objects = {
                key: (int(size), str(digest)) for key, (size, digest) in fields["objects"].items()
            }
            return cls(
                generation=fields["generation"],
                plan=GenerationPlan.from_dict(fields["plan"]),
                objects=objects,
                skipped=tuple(fields["skipped"]),
                num_flat=int(fields["flat"]),
                writer=fields["writer"],
                software=fields["software"],
                published_at=fields["published_at"],
                notes=dict(fields.get("notes", {})),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedCacheError(f"{place} is not a manifest: {error!r}; {CURE}") from error


def read_manifest(backend: Backend, number: int, expected_sha256: str | None = None) -> Manifest:
    """Read a generation's manifest.

    Args:
        backend: The cache.
        number: The generation.
        expected_sha256: What the pointer says of the manifest, None where there is no pointer yet.

    Raises:
        CacheNotFoundError: If there is none.
        DamagedCacheError: If it has changed.
    """
    key = manifest_key(number)
    data = require(backend, key)
    if expected_sha256 is not None and sha256(data) != expected_sha256:
        raise DamagedCacheError(
            f"{backend.url}/{key} is not the manifest that was published; {CURE}"
        )
    return Manifest.decode(data, f"{backend.url}/{key}")
