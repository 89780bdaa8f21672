"""Mistakes about caches: none there, made for other data, damaged, or not to be written."""

from __future__ import annotations

import json
import os
import shutil
import socket
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from pipeline.saliency.networks import build_network
from tests.cli.errors.provoke import REFRESH, Mistake, each, scae

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.errors.provoke import Place

OWN = "{tmp}/maps.zarr"
EXPORT = f"cache export {OWN} {{tmp}}/out.npz"
PREVIEW = "preview --cache {cache} --out {tmp}/picture.png"


def _refresh(place: Place, words: str, code: int = 0) -> None:
    answer = scae(f"{REFRESH} {words}", place)
    assert answer.code == code, answer.stderr


def _file(place: Place, pattern: str) -> Path:
    """Return the one file of an own cache that a pattern names."""
    (path,) = [path for path in place.own_cache().glob(pattern) if path.is_file()]
    return path


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _fewer_images(place: Place) -> None:
    place.own_data()
    (place.tmp / "data" / "bee" / "5.jpg").unlink()


def _other_image(place: Place) -> None:
    path = place.own_data() / "bee" / "5.jpg"
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(path)


def _one_more_image(place: Place) -> None:
    target = place.own_data() / "bee"
    shutil.copy(target / "5.jpg", target / "6.jpg")


def _attributes(place: Place, **fields: object) -> None:
    path = place.own_cache() / "zarr.json"
    metadata = json.loads(path.read_text())
    metadata["attributes"] = fields
    path.write_text(json.dumps(metadata))


def _no_server(place: Place) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "SCAE_STORE_TRIES": "1",
    }
    for name, value in variables.items():
        place.patch.setenv(name, value)


def _damaged_maps_of_a_file(place: Place) -> None:
    weights = place.tmp / "weights.pt"
    torch.save(build_network("resnet8", num_classes=3).module.state_dict(), weights)
    words = f"refresh --network resnet8 --size 16 --data {{data}} --cache {OWN} --weights {weights}"
    answer = scae(words, place)
    assert answer.code == 0, answer.stderr
    (path,) = (place.tmp / "maps.zarr").glob("generations/*/saliency/c/0/0/0")
    _flip(path)


CACHE_MISTAKES = (
    Mistake(
        "no-cache",
        "cache info {tmp}/none",
        "no cache at",
        "make one with 'scae refresh'",
        "cache_store/store.py::SaliencyStore.open#2",
    ),
    Mistake(
        "no-cache-to-verify",
        "cache verify {tmp}/none",
        "no cache at",
        "make one with 'scae refresh'",
        "cache_store/verify.py::verify_cache",
    ),
    Mistake(
        "no-cache-to-list",
        "cache ls {tmp}/none",
        "no cache at",
        "make one with 'scae refresh'",
        "cache_store/store.py::SaliencyStore.open#2",
    ),
    Mistake(
        "no-cache-to-tidy-up",
        "cache gc {tmp}/none --keep 2",
        "no cache at",
        "make one with 'scae refresh'",
        "cache_store/store.py::SaliencyStore.open#2",
    ),
    Mistake(
        "unknown-scheme",
        "cache info ftp://host/maps",
        "cache URL must be a local path, file://, memory://, s3://",
        "got ftp://",
        "cache_store/backend.py::open_backend",
    ),
    Mistake(
        "credentials-in-the-url",
        "cache info s3://key:secret@bucket/maps",
        "s3:// URL of a cache must be a bucket and a prefix only",
        "credentials and options belong into",
        "cache_store/object_backend.py::_open_store",
    ),
    Mistake(
        "retries-no-number",
        "cache info s3://bucket/maps",
        "SCAE_STORE_TRIES and SCAE_STORE_SECONDS must be numbers",
        "'many'",
        "cache_store/retries.py::RetryOptions.from_environment",
        prepare=lambda place: place.patch.setenv("SCAE_STORE_TRIES", "many"),
    ),
    Mistake(
        "retries-none",
        "cache info s3://bucket/maps",
        "max_tries (SCAE_STORE_TRIES) must be >= 1",
        "got 0",
        "cache_store/retries.py::RetryOptions.__post_init__",
        prepare=lambda place: place.patch.setenv("SCAE_STORE_TRIES", "0"),
    ),
    Mistake(
        "retries-negative-time",
        "cache info s3://bucket/maps",
        "(SCAE_STORE_SECONDS) must be >= 0 seconds",
        "got -1",
        "cache_store/retries.py::RetryOptions.__post_init__#2",
        prepare=lambda place: place.patch.setenv("SCAE_STORE_SECONDS", "-1"),
    ),
    Mistake(
        "store-does-not-answer",
        "cache info s3://bucket/maps",
        "can't read s3://bucket/maps/zarr.json",
        "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL",
        "cache_store/object_backend.py::ObjectBackend._refusal#3",
        prepare=_no_server,
    ),
    Mistake(
        "cache-of-other-data",
        f"{REFRESH} --data {{tmp}}/data --cache {{cache}}",
        "with 18 samples and fingerprint",
        "make one for it with 'scae refresh --cache' and another folder",
        "cache_store/identity.py::Identity.require",
        prepare=_fewer_images,
    ),
    Mistake(
        "cache-without-deep",
        f"{REFRESH} --data {{data}} --cache {{cache}} --deep",
        "was made without --deep",
        "leave it out, or make a cache with",
        "cache_store/identity.py::require_same_depth#2",
    ),
    Mistake(
        "cache-with-deep",
        f"{REFRESH} --data {{data}} --cache {{tmp}}/deep.zarr",
        "was made with --deep",
        "add --deep",
        "cache_store/identity.py::require_same_depth",
        prepare=lambda place: _refresh(place, "--data {data} --cache {tmp}/deep.zarr --deep"),
    ),
    Mistake(
        "place-taken",
        f"{REFRESH} --data {{data}} --cache {{tmp}}",
        "is neither empty nor a cache, it holds notes.txt",
        "choose another --cache",
        "cache_store/identity.py::claim_place",
        prepare=lambda place: place.write("notes.txt", "mine"),
    ),
    Mistake(
        "cache-folder-not-to-be-made",
        f"{REFRESH} --data {{data}} --cache {{tmp}}/notes.txt/maps.zarr",
        "can't make folder",
        "or choose another --cache",
        "cache_store/local_backend.py::_cant",
        prepare=lambda place: place.write("notes.txt", "mine"),
    ),
    Mistake(
        "no-such-generation",
        "cache export {cache} {tmp}/out.npz --generation 9",
        "no generation 9 in cache",
        "published are: 1",
        "cache_store/store.py::SaliencyStore._not_found",
    ),
    Mistake(
        "no-such-generation-to-verify",
        "cache verify {cache} --generation 9",
        "no generation 9 in cache",
        "published are: 1",
        "cache_store/verify.py::_check_asked",
    ),
    Mistake(
        "nothing-published",
        EXPORT,
        "has no published generation",
        "run 'scae refresh'",
        "cache_store/store.py::SaliencyStore.latest",
        prepare=lambda place: _refresh(
            place, f"--data {{data}} --cache {OWN} --block-rows 6 --part 1/3"
        ),
    ),
    Mistake(
        "export-would-replace",
        "cache export {cache} {tmp}/out.npz",
        "is there already",
        "choose another name, or --force to replace it",
        "cache_store/export.py::_is_there",
        prepare=lambda place: place.write("out.npz", "old"),
    ),
    Mistake(
        "export-into-no-folder",
        "cache export {cache} {tmp}/none/out.npz",
        "can't write",
        "choose another name, in a folder that is there",
        "cache_store/export.py::export_generation",
    ),
    Mistake(
        "zarr-group-of-others",
        f"cache info {OWN}",
        "is not a saliency cache: its zarr.json has no attribute 'scae'",
        "name the folder that 'scae refresh --cache' was given",
        "cache_store/identity.py::Identity.decode",
        prepare=lambda place: _attributes(place, title="mine"),
    ),
    Mistake(
        "format-of-the-future",
        f"cache info {OWN}",
        "has format version 99, this scae reads up to",
        "upgrade scae",
        "cache_store/records.py::check_version",
        prepare=lambda place: _attributes(place, scae={"format_version": 99}),
    ),
    Mistake(
        "identity-missing",
        f"{REFRESH} --data {{data}} --cache {OWN} --epoch 3",
        "identity.json is missing",
        "run 'scae cache verify",
        "cache_store/identity.py::check_claim",
        prepare=lambda place: _file(place, "**/identity.json").unlink(),
    ),
    Mistake(
        "record-changed",
        f"{REFRESH} --data {{data}} --cache {OWN} --epoch 3",
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
        "preview --data {data} --out {tmp}/picture.png --cache " + OWN,
        "object samples/sample_id/c/0",
        "run 'scae cache verify",
        "cache_store/zarr_view.py::check_object#3",
        prepare=lambda place: _flip(_file(place, "samples/sample_id/c/**/*")),
    ),
    Mistake(
        "no-row-for-a-sample",
        f"{PREVIEW} --data {{tmp}}/data",
        "has no row for 1 of the 19 samples",
        "it was made for other data",
        "cache_store/rows.py::match_rows",
        prepare=_one_more_image,
    ),
    Mistake(
        "image-changed",
        "train --run {tmp}/new --from-run {run} --cache {cache} --data {tmp}/data "
        "--set augment.method=scae",
        "1 of 18 images have changed since cache",
        "or accept their old maps with --accept-stale",
        "cache_store/rows.py::match_rows#2",
        prepare=_other_image,
    ),
    Mistake(
        "resident-folder-not-to-be-made",
        "train --run {tmp}/new --from-run {run} --cache {cache} --set augment.method=scae",
        "can't make folder",
        "set SCAE_RESIDENT_DIR to another",
        "cache_store/resident.py::resident_folder",
        prepare=lambda place: place.patch.setenv(
            "SCAE_RESIDENT_DIR", str(place.write("notes.txt", "mine"))
        ),
    ),
    Mistake(
        "resident-folder-of-others",
        "train --run {tmp}/new --from-run {run} --cache {cache} --set augment.method=scae",
        "is not a folder of this user",
        "set SCAE_RESIDENT_DIR to another",
        "cache_store/resident.py::resident_folder#2",
        prepare=each(
            lambda place: (place.tmp / f"scae-{os.getuid()}").symlink_to(place.data),
            lambda place: place.patch.setenv("SCAE_RESIDENT_DIR", str(place.tmp)),
        ),
    ),
    Mistake(
        "repair-without-weights",
        f"cache repair {OWN} --data {{data}}",
        "the maps were made from a weights file with digest",
        "name it with --weights",
        "cli/cache_repair.py::_sources.network",
        prepare=_damaged_maps_of_a_file,
    ),
    Mistake(
        "repair-with-other-data",
        f"cache repair {OWN} --data {{tmp}}/data --weights random",
        "was made from data with digest",
        "give the data that it was made from, with the same options",
        "pipeline/refresh/repair_sources.py::SourcesAtHand._require_same",
        prepare=each(
            lambda place: _flip(_file(place, "generations/*/saliency/c/**/*")), _fewer_images
        ),
    ),
    Mistake(
        "diff-lambda",
        "cache diff {cache} {cache} --lambda nan",
        "lambda must be finite, got nan",
        "finite",
        "pipeline/refresh/compare.py::compare_generations",
    ),
    Mistake(
        "diff-of-other-shapes",
        f"cache diff {{cache}} {OWN}",
        "those of",
        "only maps of one shape can be compared",
        "pipeline/refresh/compare.py::_match",
        prepare=lambda place: _refresh(
            place, f"--data {{data}} --cache {OWN} --target-layer layer2"
        ),
    ),
    Mistake(
        "diff-of-other-samples",
        f"cache diff {{cache}} {OWN}",
        "have no sample in common",
        "compare caches of one data set",
        "pipeline/refresh/compare.py::_match#2",
        prepare=each(
            lambda place: shutil.copytree(place.data / "ant", place.tmp / "data" / "xen"),
            lambda place: shutil.copytree(place.data / "ant", place.tmp / "data" / "yak"),
            lambda place: _refresh(place, f"--data {{tmp}}/data --cache {OWN}"),
        ),
    ),
)
