"""Mistakes about caches that belong to other images, or not to each other."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tests.cli.errors.provoke import OWN_CACHE, REFRESH, Mistake, done, each

if TYPE_CHECKING:
    from tests.cli.errors.provoke import Place

PREVIEW = "preview --cache {cache} --out {tmp}/picture.png"


def _other_image(place: Place) -> None:
    path = place.own_data() / "bee" / "5.jpg"
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(path)


def _one_more_image(place: Place) -> None:
    target = place.own_data() / "bee"
    shutil.copy(target / "5.jpg", target / "6.jpg")


MISMATCH_MISTAKES = (
    Mistake(
        "cache-of-other-data",
        f"{REFRESH} --data {{tmp}}/data --cache {{cache}}",
        "with 18 samples and fingerprint",
        "make one for it with 'scae refresh --cache' and another folder",
        "cache_store/identity.py::Identity.require",
        prepare=lambda place: (place.own_data() / "bee" / "5.jpg").unlink(),
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
        prepare=lambda place: done(
            f"{REFRESH} --data {{data}} --cache {{tmp}}/deep.zarr --deep", place
        ),
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
        "diff-lambda",
        "cache diff {cache} {cache} --lambda nan",
        "lambda must be finite, got nan",
        "finite",
        "pipeline/refresh/compare.py::compare_generations",
    ),
    Mistake(
        "diff-of-other-shapes",
        f"cache diff {{cache}} {OWN_CACHE}",
        "those of",
        "only maps of one shape can be compared",
        "pipeline/refresh/compare.py::_match",
        prepare=lambda place: done(
            f"{REFRESH} --data {{data}} --cache {OWN_CACHE} --target-layer layer2", place
        ),
    ),
    Mistake(
        "diff-of-other-samples",
        f"cache diff {{cache}} {OWN_CACHE}",
        "have no sample in common",
        "compare caches of one data set",
        "pipeline/refresh/compare.py::_match#2",
        prepare=each(
            lambda place: shutil.copytree(place.data / "ant", place.tmp / "data" / "xen"),
            lambda place: shutil.copytree(place.data / "ant", place.tmp / "data" / "yak"),
            lambda place: done(f"{REFRESH} --data {{tmp}}/data --cache {OWN_CACHE}", place),
        ),
    ),
)
