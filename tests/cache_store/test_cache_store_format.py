"""The stored format: what version 1 wrote is read for ever, and docs/format.md says all of it.

The second half reads the cache in tests/data by the document's rules alone, with nothing of ours.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cache_store.errors import CacheFormatError
from cache_store.records import encode_record
from cache_store.store import SaliencyStore
from cache_store.verify import verify_cache
from cache_store.writer import GenerationPlan, read_plan

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROOT = Path(__file__).parent.parent.parent
FIXTURE = ROOT / "tests" / "data" / "format-1"
DOCUMENT = ROOT / "docs" / "format.md"
NUM_SAMPLES = 70
PUBLISHED = (2, 3)
UNFINISHED = 5


def _maps(generation: int) -> NDArray[np.uint8]:
    rows = np.arange(NUM_SAMPLES).reshape(-1, 1, 1)
    maps = (rows * 31 + np.arange(15).reshape(1, 3, 5) * 17 + generation * 101) % 256
    return np.where(rows % 7 == 6, 0, maps).astype(np.uint8)


def _gains_and_floors(
    maps: NDArray[np.uint8],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Look all 32 x 32 pixels up, as the document defines it."""
    places = (np.arange(32) + 0.5) / 32
    rows, columns = ((np.arange(cells) + 0.5) / cells for cells in (3, 5))
    tall = [[np.interp(places, rows, line) for line in one.T] for one in maps / 255]
    images = np.array(
        [[np.interp(places, columns, line) for line in np.array(one).T] for one in tall]
    )
    low, high = images.min((1, 2)), images.max((1, 2))
    spread = np.where(high > low, high - low, 1)
    return np.where(high > low, 1 / spread, 0).astype(np.float32), low.astype(np.float32)


def _probability(maps: NDArray[np.uint8]) -> NDArray[np.float16]:
    return (maps[:, 0, 0] / 256).astype(np.float16)


def _ids(factor: int) -> NDArray[np.uint64]:
    return np.arange(NUM_SAMPLES, dtype=np.uint64) * np.uint64(factor)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return a copy of the committed cache."""
    return Path(shutil.copytree(FIXTURE, tmp_path / "format-1"))


@pytest.mark.parametrize("number", PUBLISHED)
def test_cache_of_format_1_reads_back_every_value(cache: Path, number: int) -> None:
    generation = SaliencyStore.open(cache).generation(number)
    maps = _maps(number)
    np.testing.assert_array_equal(np.asarray(generation.saliency[:]), maps)
    np.testing.assert_array_equal(generation.probabilities, _probability(maps))
    neighbours = (np.arange(4)[:, None] + np.arange(1, 6)) % 4
    np.testing.assert_array_equal(generation.class_neighbours, neighbours)
    np.testing.assert_array_equal(generation.sample_ids, _ids(0x9E3779B97F4A7C15))
    np.testing.assert_array_equal(generation.content_ids, _ids(0xD1B54A32D192ED03) % 2**32)
    np.testing.assert_array_equal(generation.labels, np.arange(NUM_SAMPLES) % 4)
    assert generation.provenance.weights_digest == f"{number:064x}"
    assert generation.provenance.epoch == number * 4 - 1
    assert generation.manifest.skipped == (6,)
    resident = generation.resident()
    np.testing.assert_array_equal(resident.maps, maps)


def test_cache_of_format_1_is_whole(cache: Path) -> None:
    store = SaliencyStore.open(cache)
    assert store.generations() == PUBLISHED
    report = verify_cache(cache)
    assert report.damaged == {}
    assert report.foreign == ()


def test_generation_begun_in_format_1_is_finished_by_this_version(cache: Path) -> None:
    store = SaliencyStore.open(cache, "r+")
    plan = GenerationPlan.from_dict(read_plan(store._backend, UNFINISHED)["plan"])
    writer = store.begin(plan)
    assert writer.number == UNFINISHED
    assert writer.pending() == (0, 2)
    for block in writer.pending():
        start, stop = writer.block_range(block)
        maps = _maps(UNFINISHED)[start:stop]
        writer.write_block(block, maps, _probability(maps), ())
    generation = store.publish(writer)
    np.testing.assert_array_equal(np.asarray(generation.saliency[:]), _maps(UNFINISHED))
    np.testing.assert_array_equal(generation.probabilities, _probability(_maps(UNFINISHED)))


def test_a_newer_format_is_refused_by_name(cache: Path) -> None:
    root = cache / "zarr.json"
    fields = json.loads(root.read_text())
    fields["attributes"]["scae"]["format_version"] = 2
    root.write_text(json.dumps(fields))
    with pytest.raises(CacheFormatError, match="format version 2, this scae reads up to 1: up"):
        SaliencyStore.open(cache)


def test_a_newer_record_is_refused_by_name(cache: Path) -> None:
    pointer = cache / "_scae" / "published" / "000003.json"
    pointer.write_bytes(encode_record({"format_version": 2, "generation": 3}))
    store = SaliencyStore.open(cache)
    with pytest.raises(CacheFormatError, match="format version 2, this scae reads up to 1"):
        store.generation(3)
    assert store.generation(2).number == 2


# From here on: a second reader, made from docs/format.md.


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _record(key: str) -> dict[str, Any]:
    data = (FIXTURE / key).read_bytes()
    fields: dict[str, Any] = json.loads(data)
    assert _canonical(fields) == data
    checksum = fields.pop("checksum")
    assert checksum == _sha256(_canonical(fields))
    assert fields["format_version"] == 1
    return fields


RECORDS = sorted(p.relative_to(FIXTURE).as_posix() for p in FIXTURE.glob("_scae/**/*.json"))


@pytest.mark.parametrize("key", RECORDS)
def test_every_record_has_the_documented_form(key: str) -> None:
    _record(key)


@pytest.mark.parametrize("number", PUBLISHED)
def test_pointer_manifest_and_digest_follow_the_document(number: int) -> None:
    name = f"{number:06d}"
    pointer = _record(f"_scae/published/{name}.json")
    manifest = _record(f"_scae/manifests/{name}.json")
    stored = (FIXTURE / f"_scae/manifests/{name}.json").read_bytes()
    assert pointer["manifest_sha256"] == _sha256(stored)
    prefix = f"generations/{name}"
    pairs = sorted(
        [key.removeprefix(prefix), digest] for key, (_, digest) in manifest["objects"].items()
    )
    assert pointer["digest"] == _sha256(_canonical(pairs))
    for key, (length, digest) in manifest["objects"].items():
        data = (FIXTURE / key).read_bytes()
        assert (len(data), _sha256(data)) == (length, digest)
    assert _record(f"_scae/plans/{name}.json")["plan"] == manifest["plan"]


def test_identity_follows_the_document() -> None:
    identity = _record("_scae/identity.json")
    group = json.loads((FIXTURE / "zarr.json").read_text())
    assert identity.pop("rows") == _sha256(_ids(0x9E3779B97F4A7C15).astype("<u8").tobytes())
    assert group["attributes"]["scae"] == identity


def test_receipt_follows_the_document() -> None:
    receipt = _record(f"_scae/receipts/{UNFINISHED:06d}/000001.json")
    shard = (FIXTURE / f"generations/{UNFINISHED:06d}/saliency/c/1/0/0").read_bytes()
    assert (receipt["block"], receipt["length"], receipt["sha256"]) == (
        1,
        len(shard),
        _sha256(shard),
    )
    maps = _maps(UNFINISHED)[32:64]
    assert base64.b64decode(receipt["probability"]) == _probability(maps).tobytes()
    assert receipt["flat"] == np.count_nonzero(~maps.any((1, 2)))


def test_resident_file_follows_the_document(cache: Path) -> None:
    generation = SaliencyStore.open(cache).generation(2)
    path = generation.resident().path
    data = path.read_bytes()
    assert path.name == f"{generation.digest[:40]}.maps"
    assert data[:8] == b"SCAEMAP2"
    (length,) = struct.unpack_from("<Q", data, 8)
    header = json.loads(data[16 : 16 + length])
    assert data[16 + length : 4096].strip(b"\0") == b""
    assert header.pop("checksum") == _sha256(_canonical(header))
    assert header["shape"] == [NUM_SAMPLES, 3, 5]
    crcs = [zlib.crc32(data[at : at + (4 << 20)]) for at in range(4096, len(data), 4 << 20)]
    assert header["crc32"] == zlib.crc32(struct.pack(f"<{len(crcs)}I", *crcs))
    size = NUM_SAMPLES * 15
    assert data[4096 : 4096 + size] == _maps(2).tobytes()
    columns = np.frombuffer(data[4096 + size + -size % 8 :], "<f4").reshape(2, NUM_SAMPLES)
    np.testing.assert_allclose(columns, _gains_and_floors(_maps(2)), rtol=1e-6, atol=1e-7)


def _names(value: object) -> set[str]:
    """Return the names of all fields, those of `objects` (keys of the cache) and `software` not."""
    if not isinstance(value, dict):
        return set()
    inner = [_names(item) for name, item in value.items() if name not in ("objects", "software")]
    return set(value).union(*inner)


@pytest.mark.parametrize("key", [*RECORDS, "zarr.json", "generations/000002/zarr.json"])
def test_the_document_names_every_field(key: str) -> None:
    documented = set(re.findall(r"`([A-Za-z0-9_]+)`", DOCUMENT.read_text()))
    fields = json.loads((FIXTURE / key).read_bytes())
    assert _names(fields if key in RECORDS else fields["attributes"]) <= documented


@pytest.mark.parametrize("name", ["saliency", "probability", "class_neighbours"])
def test_the_document_names_every_array(name: str) -> None:
    assert f"`generations/NNNNNN/{name}`" in DOCUMENT.read_text()
    assert (FIXTURE / "generations" / "000002" / name / "zarr.json").exists()


def test_the_document_places_every_object() -> None:
    document = DOCUMENT.read_text()
    for path in FIXTURE.rglob("*"):
        if path.is_file():
            key = path.relative_to(FIXTURE).as_posix()
            general = re.sub(r"\d{6}\.json", "NNNNNN.json", re.sub(r"/\d{6}/", "/NNNNNN/", key))
            general = re.sub(r"(receipts/NNNNNN)/NNNNNN", r"\1/BBBBBB", general)
            general = re.sub(r"[0-9a-f]{32}", "ID", general)
            general = re.sub(r"/c/\d+", "/c/B", general)
            assert f"`{general}`" in document, key
