"""Mistakes about where caches lie, and about generations that are not there."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from tests.cli.errors.provoke import OWN_CACHE, REFRESH, Mistake, done, each

if TYPE_CHECKING:
    from tests.cli.errors.provoke import Place


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
        f"cache export {OWN_CACHE} {{tmp}}/out.npz",
        "has no published generation",
        "run 'scae refresh'",
        "cache_store/store.py::SaliencyStore.latest",
        prepare=lambda place: done(
            f"{REFRESH} --data {{data}} --cache {OWN_CACHE} --block-rows 6 --part 1/3", place
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
)
