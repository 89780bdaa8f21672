"""Mistakes about caches that are damaged, or are none, and about their repair."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch

from pipeline.saliency.networks import build_network
from tests.cli.errors.provoke import OWN_CACHE, REFRESH, Mistake, done, each

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.errors.provoke import Place

EXPORT = f"cache export {OWN_CACHE} {{tmp}}/out.npz"


def _file(place: Place, pattern: str) -> Path:
    """Return the one file of an own cache that a pattern names."""
    (path,) = [path for path in place.own_cache().glob(pattern) if path.is_file()]
    return path


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _attributes(place: Place, **fields: object) -> None:
    path = place.own_cache() / "zarr.json"
    metadata = json.loads(path.read_text())
    metadata["attributes"] = fields
    path.write_text(json.dumps(metadata))


def _damaged_maps_of_a_file(place: Place) -> None:
    weights = place.tmp / "weights.pt"
    torch.save(build_network("resnet8", num_classes=3).module.state_dict(), weights)
    line = f"refresh --network resnet8 --size 16 --data {{data}} --cache {OWN_CACHE}"
    done(f"{line} --weights {weights}", place)
    (path,) = (place.tmp / "maps.zarr").glob("generations/*/saliency/c/0/0/0")
    _flip(path)


DAMAGE_MISTAKES = (
    Mistake(
        "zarr-group-of-others",
        f"cache info {OWN_CACHE}",
        "is not a saliency cache: its zarr.json has no attribute 'scae'",
        "name the folder that 'scae refresh --cache' was given",
        "cache_store/identity.py::Identity.decode",
        prepare=lambda place: _attributes(place, title="mine"),
    ),
    Mistake(
        "format-of-the-future",
        f"cache info {OWN_CACHE}",
        "has format version 99, this scae reads up to",
        "upgrade scae",
        "cache_store/records.py::check_version",
        prepare=lambda place: _attributes(place, scae={"format_version": 99}),
    ),
    Mistake(
        "identity-missing",
        f"{REFRESH} --data {{data}} --cache {OWN_CACHE} --epoch 3",
        "identity.json is missing",
        "run 'scae cache verify",
        "cache_store/identity.py::check_claim",
        prepare=lambda place: _file(place, "**/identity.json").unlink(),
    ),
    Mistake(
        "record-changed",
        f"{REFRESH} --data {{data}} --cache {OWN_CACHE} --epoch 3",
        "its checksum does not match its content",
        "run 'scae cache repair' on its cache",
        "cache_store/records.py::decode_record#2",
        prepare=lambda place: _flip(_file(place, "**/identity.json")),
    ),
    Mistake(
        "manifest-missing",
        EXPORT,
        "is published, but has no manifest",
        "run 'scae cache verify",
        "cache_store/store.py::SaliencyStore.generation",
        prepare=lambda place: _file(place, "_scae/manifests/*").unlink(),
    ),
    Mistake(
        "manifest-changed",
        EXPORT,
        "is not the manifest that was published",
        "run 'scae cache repair' on its cache",
        "cache_store/manifest.py::read_manifest",
        prepare=lambda place: _flip(_file(place, "_scae/manifests/*")),
    ),
    Mistake(
        "maps-missing",
        EXPORT,
        "is missing",
        "run 'scae cache verify",
        "cache_store/zarr_view.py::check_object",
        prepare=lambda place: _file(place, "generations/*/saliency/c/**/*").unlink(),
    ),
    Mistake(
        "maps-cut-off",
        EXPORT,
        "bytes, the manifest lists",
        "run 'scae cache verify",
        "cache_store/zarr_view.py::check_object#2",
        prepare=lambda place: _file(place, "generations/*/saliency/c/**/*").write_bytes(b"short"),
    ),
    Mistake(
        "maps-changed",
        EXPORT,
        "has changed since publication",
        "run 'scae cache verify",
        "cache_store/zarr_view.py::check_object#3",
        prepare=lambda place: _flip(_file(place, "generations/*/saliency/c/**/*")),
    ),
    Mistake(
        "ids-changed",
        "preview --data {data} --out {tmp}/picture.png --cache " + OWN_CACHE,
        "object samples/sample_id/c/0",
        "run 'scae cache verify",
        "cache_store/zarr_view.py::check_object#3",
        prepare=lambda place: _flip(_file(place, "samples/sample_id/c/**/*")),
    ),
    Mistake(
        "repair-without-weights",
        f"cache repair {OWN_CACHE} --data {{data}}",
        "the maps were made from a weights file with digest",
        "name it with --weights",
        "cli/cache_repair.py::_sources.network",
        prepare=_damaged_maps_of_a_file,
    ),
    Mistake(
        "repair-with-other-data",
        f"cache repair {OWN_CACHE} --data {{tmp}}/data --weights random",
        "was made from data with digest",
        "give the data that it was made from, with the same options",
        "pipeline/refresh/repair_sources.py::SourcesAtHand._require_same",
        prepare=each(
            lambda place: _flip(_file(place, "generations/*/saliency/c/**/*")),
            lambda place: (place.own_data() / "bee" / "5.jpg").unlink(),
        ),
    ),
)
