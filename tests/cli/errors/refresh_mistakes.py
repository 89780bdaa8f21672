"""Mistakes about how maps are computed: methods, devices, blocks, parts, workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pipeline.refresh import dask_cluster
from tests.cli.errors.provoke import NEW_CACHE, Mistake, done, each

if TYPE_CHECKING:
    from tests.cli.errors.provoke import Place

RESNET = f"{NEW_CACHE} --weights random --network resnet8"


def _part(place: Place, words: str) -> None:
    done(f"{RESNET} --part 1/3 {words}", place)


REFRESH_MISTAKES = (
    Mistake(
        "channels-without-scorecam",
        f"{RESNET} --channels 3",
        "channels must be 1 or more and go with method scorecam, got 3 with gradcam",
        "go with method scorecam",
        "pipeline/saliency/methods.py::MethodChoice.__post_init__#2",
    ),
    Mistake(
        "block-rows",
        f"{RESNET} --block-rows 300",
        "block_rows must be a multiple of chunk_rows 256, got 300",
        "a multiple of",
        "pipeline/refresh/plan.py::RefreshOptions.__post_init__#3",
    ),
    Mistake(
        "no-gpu",
        f"{RESNET} --device cuda",
        "device cuda is not available here",
        "use --device cpu, or auto",
        "pipeline/refresh/plan.py::resolve_device",
        prepare=lambda place: place.patch.setattr(torch.cuda, "is_available", lambda: False),
    ),
    Mistake(
        "parts-missing",
        f"{RESNET} --block-rows 6 --finalize --parts 3",
        "2 of 3 blocks are missing, parts 2/3, 3/3 (blocks 1-2)",
        "run them again, then --finalize",
        "pipeline/refresh/parts.py::finalize",
        prepare=lambda place: _part(place, "--block-rows 6"),
    ),
    Mistake(
        "parts-of-another-plan",
        f"{RESNET} --block-rows 18 --finalize",
        "no part of this plan has begun in cache",
        "give --finalize the options of the parts",
        "pipeline/refresh/parts.py::_begun_writer",
        prepare=lambda place: _part(place, "--block-rows 6"),
    ),
    Mistake(
        "worker-memory",
        f"{RESNET} --workers 1 --memory-limit lots",
        "memory_limit must be a size such as 4GiB, got 'lots'",
        "such as 4GiB",
        "pipeline/refresh/dask_cluster.py::_parse_bytes",
    ),
    Mistake(
        "scheduler-not-there",
        f"{RESNET} --scheduler tcp://127.0.0.1:1",
        "can't reach the Dask scheduler at tcp://127.0.0.1:1",
        "check the address, and that it runs, with 'scae doctor'",
        "pipeline/refresh/dask_cluster.py::_reach#2",
        prepare=each(
            lambda place: place.patch.setattr(dask_cluster, "CONNECT_SECONDS", 0.0),
            lambda place: place.patch.setattr(dask_cluster, "TRY_SECONDS", 0.1),
        ),
    ),
    Mistake(
        "scheduler-file-is-junk",
        f"{RESNET} --scheduler-file {{tmp}}/scheduler.json",
        "scheduler.json: the file is not one that a scheduler writes",
        "check the address, and that it runs, with 'scae doctor'",
        "pipeline/refresh/dask_cluster.py::_reach#2",
        prepare=each(
            lambda place: place.write("scheduler.json", "{}"),
            lambda place: place.patch.setattr(dask_cluster, "CONNECT_SECONDS", 0.0),
        ),
    ),
    Mistake(
        "image-larger-than-memory",
        "refresh --data {data} --cache {tmp}/new.zarr --network resnet8 --weights random "
        "--size 100000000",
        "out of memory",
        "use smaller batches or fewer workers",
        "",
    ),
    Mistake(
        "scheduler-beside-workers",
        f"{RESNET} --workers 2 --scheduler tcp://x:1",
        "only one of --workers and --scheduler can be given",
        "only one of",
        "cli/cluster_options.py::require_scheduler",
        code=2,
    ),
    Mistake(
        "tls-without-scheduler",
        f"{RESNET} --tls-cert {{tmp}}/cert.pem",
        "--tls-cert has no effect without --scheduler",
        "--scheduler",
        "cli/cluster_options.py::_require",
        code=2,
        prepare=lambda place: place.write("cert.pem", "x"),
    ),
    Mistake(
        "option-without-value",
        f"{RESNET} --network-option width",
        "--network-option: must be KEY=VALUE, got 'width'",
        "KEY=VALUE",
        "cli/commands.py::key_values",
        code=2,
    ),
    Mistake(
        "token-grid",
        f"{RESNET} --token-grid 7",
        "must be rows x columns such as 14x14, got '7'",
        "such as 14x14",
        "cli/method_options.py::_token_grid",
        code=2,
    ),
    Mistake(
        "part-word",
        f"{RESNET} --part third",
        "part must be K/N such as 3/20, got 'third'",
        "such as 3/20",
        "pipeline/refresh/part.py::Part.parse cli/refresh.py::_read_part",
        code=2,
    ),
    Mistake(
        "part-above-parts",
        f"{RESNET} --part 4/3",
        "part must be K/N with 1 <= K <= N, got 4/3",
        "1 <= K <= N",
        "pipeline/refresh/part.py::Part.__post_init__",
        code=2,
    ),
    Mistake(
        "part-beside-finalize",
        f"{RESNET} --part 1/3 --finalize",
        "only one of --part and --finalize can be given",
        "only one of",
        "cli/refresh.py::_check_usage",
        code=2,
    ),
    Mistake(
        "parts-without-finalize",
        f"{RESNET} --parts 3",
        "--parts has no effect without --finalize",
        "--finalize",
        "cli/refresh.py::_check_usage#2",
        code=2,
    ),
)
