"""Small JSON records that carry their own checksum, so that a damaged one is never believed."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cache_store.errors import CacheFormatError, DamagedCacheError
from cache_store.layout import FORMAT_VERSION

Record = dict[str, Any]

CURE = "run 'scae cache repair' on its cache"
"""What to do about a record that is damaged."""


def canonical_json(value: object) -> bytes:
    """Serialise to JSON in one way only: keys sorted, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256(data: bytes) -> str:
    """Return the SHA-256 of some bytes as hex."""
    return hashlib.sha256(data).hexdigest()


def encode_record(fields: Mapping[str, Any]) -> bytes:
    """Return a record's bytes, with the format version and its checksum added."""
    body = {"format_version": FORMAT_VERSION, **fields}
    return canonical_json({**body, "checksum": sha256(canonical_json(body))})


def decode_record(data: bytes, place: str) -> Record:
    """Return a record's fields after checking version and checksum.

    Args:
        data: The record's bytes.
        place: Where they were read, for messages.

    Raises:
        DamagedCacheError: If the bytes are not a record, or the checksum does not match.
        CacheFormatError: If a newer version of the software wrote it.
    """
    try:
        fields = json.loads(data)
        checksum = fields.pop("checksum")
        version = fields["format_version"]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DamagedCacheError(f"{place} is not a record of a cache: {error!r}; {CURE}") from error
    if checksum != sha256(canonical_json(fields)):
        raise DamagedCacheError(
            f"{place} has changed: its checksum does not match its content; {CURE}"
        )
    check_version(version, place)
    return dict(fields)


def require_fields(record: Record, number: int, names: set[str], place: str) -> None:
    """Refuse a record that is whole, but of another kind or another generation.

    Raises:
        DamagedCacheError: If a field is missing, or `generation` is not `number`.
    """
    missing = sorted(names - set(record))
    if missing or record.get("generation") != number:
        said = f"no {missing[0]}" if missing else f"generation {record.get('generation')!r}"
        raise DamagedCacheError(
            f"{place} is another record than its name says: it has {said}; {CURE}"
        )


def check_version(version: object, place: str) -> None:
    """Refuse a format that is newer than this software.

    Raises:
        CacheFormatError: If it is.
    """
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise CacheFormatError(
            f"{place} has format version {version!r}, this scae reads up to {FORMAT_VERSION}: "
            "upgrade scae"
        )
