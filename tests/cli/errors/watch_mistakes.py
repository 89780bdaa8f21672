"""Mistakes about watching runs and loops of a user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cli.errors.provoke import Mistake

if TYPE_CHECKING:
    from tests.cli.errors.provoke import Place

LOOP = "watch {tmp} --network resnet8 --data {data} --cache {tmp}/new.zarr"


def _adaptive(place: Place) -> None:
    path = place.own_run() / "recipe.toml"
    path.write_text(path.read_text().replace("[refresh]", '[refresh]\nwhen = "adaptive"'))


WATCH_MISTAKES = (
    Mistake(
        "loop-half-named",
        "watch {tmp} --network resnet8",
        "--network also needs --data, --cache, --epochs",
        "--epochs",
        "cli/watch.py::_check_usage",
        code=2,
    ),
    Mistake(
        "loop-options-of-a-run",
        "watch {run} --batch-size 3",
        "--batch-size: a run's recipe says that",
        "for a loop of your own add --network",
        "cli/watch.py::_check_usage#2",
        code=2,
    ),
    Mistake(
        "watching-a-run-that-never-refreshes",
        "watch {run} --until-done",
        "never refreshes in its 1 epochs",
        "nothing to watch",
        "pipeline/refresh/watch_refresh.py::check_followed",
    ),
    Mistake(
        "checkpoints-without-a-number",
        f"{LOOP} --epochs 9 --pattern weights.pt --until-done",
        "pattern of checkpoints must be a file name with {epoch} in it once",
        "such as epoch-{epoch}.pt, got 'weights.pt'",
        "pipeline/refresh/watch_checkpoints.py::CheckpointFolder.__init__",
    ),
    Mistake(
        "watching-an-adaptive-run",
        "watch {tmp}/run --until-done",
        "refresh.when must be 'interval' for a watcher, got 'adaptive'",
        "by refresh.executor = 'dask'",
        "pipeline/training/followed_run.py::followed_run",
        prepare=_adaptive,
    ),
)
