"""Mistakes about runs: their folders, going on with them, and their ranks."""

from __future__ import annotations

import errno
import fcntl
import shutil
from typing import TYPE_CHECKING

import torch

from tests.cli.errors.provoke import NEW_RUN, NEXT_RUN, REFRESH, Mistake, done, each

if TYPE_CHECKING:
    from tests.cli.errors.provoke import Place

OWN = "train --from-run {run} --run {tmp}/run --resume"


def _locked(place: Place) -> None:
    def lockf(*_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "held")

    place.own_run()
    place.patch.setattr(fcntl, "lockf", lockf)


def _future_checkpoint(place: Place) -> None:
    for path in (place.own_run() / "checkpoints").iterdir():
        torch.save(torch.load(path, weights_only=True) | {"version": 99}, path)


def _trained_with_maps(place: Place) -> None:
    """Train with the maps of an own cache, then put a cache of other maps into its place."""
    place.own_cache()
    for words in (
        "train --from-run {run} --run {tmp}/run --cache {tmp}/maps.zarr --set augment.method=scae",
        f"{REFRESH} --data {{data}} --cache {{tmp}}/other.zarr --seed 1",
    ):
        done(words, place)
    shutil.rmtree(place.tmp / "maps.zarr")
    (place.tmp / "other.zarr").rename(place.tmp / "maps.zarr")


RUN_MISTAKES = (
    Mistake(
        "run-is-there",
        "train --from-run {run} --run {run}",
        "holds a run already",
        "go on with it by --resume, or name another --run",
        "pipeline/training/trainer.py::_taken",
    ),
    Mistake(
        "nothing-to-resume",
        f"{NEXT_RUN} --resume must",
        "has no checkpoint to go on from",
        "name the run's own --run, or begin it by --resume auto",
        "pipeline/training/trainer.py::_taken#2",
    ),
    Mistake(
        "run-folder-not-to-be-made",
        "train --from-run {run} --run {tmp}/notes.txt/run",
        "can't make run folder",
        "name another --run",
        "pipeline/training/run_folder.py::RunFolder.make",
        prepare=lambda place: place.write("notes.txt", "mine"),
    ),
    Mistake(
        "run-in-use",
        OWN,
        "works in",
        "wait for it, stop it, or name another folder",
        "pipeline/training/folder_lock.py::folder_lock#2",
        prepare=_locked,
    ),
    Mistake(
        "log-not-to-be-written",
        OWN,
        "can't write log",
        "see its permissions, or name another --run",
        "pipeline/training/run_log.py::JsonLines.__init__",
        prepare=each(
            lambda place: place.own_run(),
            lambda place: (place.tmp / "run" / "log.jsonl").unlink(),
            lambda place: (place.tmp / "run" / "log.jsonl").mkdir(),
        ),
    ),
    Mistake(
        "resumed-with-another-recipe",
        f"{OWN} --set train.lr=0.2",
        "was made by another recipe than this one",
        "or use another --run",
        "pipeline/training/checkpoint.py::load_checkpoint",
        prepare=lambda place: place.own_run(),
    ),
    Mistake(
        "checkpoint-damaged",
        OWN,
        "can't read checkpoint",
        "remove it to resume from the one before",
        "pipeline/training/checkpoint.py::read_state",
        prepare=lambda place: [
            path.write_bytes(b"junk") for path in (place.own_run() / "checkpoints").iterdir()
        ],
    ),
    Mistake(
        "metrics-damaged",
        OWN,
        "metrics.csv: 'utf-8' codec can't decode",
        "remove it, it is written anew from the checkpoint",
        "pipeline/training/run_folder.py::RunFolder._unreadable",
        prepare=lambda place: (place.own_run() / "metrics.csv").write_bytes(b"\xff\x00"),
    ),
    Mistake(
        "checkpoint-of-another-version",
        OWN,
        "has version 99, this scae reads",
        "begin anew with another --run",
        "pipeline/training/checkpoint.py::read_state#2",
        prepare=_future_checkpoint,
    ),
    Mistake(
        "ranks-half-started",
        NEXT_RUN,
        "can't join the other ranks",
        "start all of them by torchrun or scae train --ranks",
        "pipeline/training/ranks.py::joined_ranks",
        prepare=lambda place: place.patch.setenv("WORLD_SIZE", "2"),
    ),
    Mistake(
        "maps-of-another-cache",
        "train --run {tmp}/run --resume --from-run {tmp}/run --cache {tmp}/maps.zarr",
        "the checkpoint was trained with",
        "name the cache of this run with --cache, or begin anew with another --run",
        "pipeline/training/refreshes.py::Refreshes.resume",
        prepare=_trained_with_maps,
    ),
    Mistake(
        "recipe-beside-from-run",
        f"{NEXT_RUN} --recipe {{tmp}}/mine.toml",
        "--from-run takes the recipe of that run",
        "leave out --recipe",
        "cli/train.py::_recipe_of",
        code=2,
    ),
    Mistake(
        "from-no-run",
        f"{NEW_RUN} --from-run {{tmp}}",
        "has no recipe.toml",
        "--from-run",
        "cli/train.py::_recipe_of#2",
        code=2,
    ),
    Mistake(
        "meeting-point",
        f"{NEXT_RUN} --nodes 2 --rendezvous somewhere",
        "can't meet at --rendezvous somewhere: it must be HOST:PORT",
        "name a machine of the run, as all of them know it, and a free port",
        "pipeline/training/launch.py::_check_meeting",
    ),
)
