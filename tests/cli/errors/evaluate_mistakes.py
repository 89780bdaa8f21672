"""Mistakes about measuring runs and networks."""

from __future__ import annotations

from tests.cli.errors.provoke import Mistake

EVALUATE = "evaluate --network resnet8 --weights random --data shapes"

EVALUATE_MISTAKES = (
    Mistake(
        "checkpoint-not-there",
        "evaluate {run} --checkpoint {tmp}/none.pt",
        "no checkpoint at",
        "name a file in a run's checkpoints/",
        "pipeline/training/tested_network.py::tested_run",
    ),
    Mistake(
        "no-run",
        "evaluate {tmp}/none",
        "no run in",
        "name a folder of `scae train`, or a network with --network, --weights and --data",
        "pipeline/training/tested_network.py::tested_run#2",
    ),
    Mistake(
        "crop-larger-than-the-image",
        "evaluate {run} --data {data} --resize 16 --center-crop 20",
        "the centre crop must be 1 pixel or more and at most the resized shorter side",
        "got a crop of 20 from 16",
        "loaders/cropped_data.py::CentreCropped.__init__",
    ),
    Mistake(
        "evaluate-nothing",
        "evaluate",
        "name either RUN (or its --checkpoint) or --network",
        "one of them",
        "cli/evaluate.py::_check_usage",
        code=2,
    ),
    Mistake(
        "weights-of-a-run",
        "evaluate {run} --weights random",
        "--weights has no effect without --network",
        "--network",
        "cli/evaluate.py::_check_usage#2",
        code=2,
    ),
    Mistake(
        "network-alone",
        "evaluate --network resnet8",
        "--network needs --weights and --data",
        "--weights and --data",
        "cli/evaluate.py::_check_usage#3",
        code=2,
    ),
    Mistake(
        "root-alone",
        "evaluate {run} --root {tmp}",
        "--root has no effect without --data",
        "--data",
        "cli/evaluate.py::_check_usage#4",
        code=2,
    ),
    Mistake(
        "squashed-and-cut",
        f"{EVALUATE} --size 16 --resize 20",
        "--size squashes images",
        "give --center-crop instead with --resize",
        "cli/evaluate.py::_check_usage#5",
        code=2,
    ),
)
