"""Exit codes, by which scripts decide: of every command each that it can end with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest

from cli.commands import UserErrorCommand
from cli.main import main
from tests.cli.errors.provoke import Place, scae

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REFRESH = "refresh --data {data} --cache {tmp}/maps.zarr --weights random --size 16 --network "
WATCH = (
    "watch {run}/checkpoints --state {tmp}/watch --data {data} --cache {tmp}/maps.zarr --size 16"
)
SWEEP = "sweep {run}/recipe.toml --runs {tmp}/runs"
SPEED = "--rounds 3 --batch-size 2"
ANOTHER = "--without captum --without torchcam --without pytorch-grad-cam"
STOPPING = "{tmp}/stopping.py:build"
"""A network that asks its own process to stop while it is built."""

DONE = (
    f"{REFRESH} resnet8",
    "train --from-run {run} --run {tmp}/again",
    "evaluate {run} --data {data}",
    f"{SWEEP} --dry-run",
    "report {run} --out {tmp}/report",
    f"{WATCH} --network resnet8 --epochs 2 --interval 1 --until-done",
    "preview --data {data} --cache {cache} --out {tmp}/maps.png",
    "doctor --cache {cache}",
    f"bench refresh --network resnet8 --size 16 {SPEED} {ANOTHER}",
    f"bench loader --images 4 --size 16 {SPEED}",
    "cache info {cache}",
    "cache ls {cache}",
    "cache verify {cache}",
    "cache repair {cache}",
    "cache gc {cache} --keep 1 --dry-run",
    "cache export {cache} {tmp}/maps.npz",
    "cache diff {cache} {cache}",
    "completion zsh",
)
FAILED = (
    f"{REFRESH} resnet9",
    "train --from-run {run} --run {run}",
    "evaluate {tmp}/none",
    f"{SWEEP} --set train.epoch=1",
    "report {tmp}/none --out {tmp}/report",
    "watch {tmp} --network resnet9 --data {data} --cache {tmp}/maps.zarr --epochs 2",
    "preview --data {data} --cache {tmp}/none --out {tmp}/maps.png",
    "doctor --cache {tmp}/file/maps.zarr",
    "bench refresh --network resnet9",
    "bench loader --data {tmp} --images 4",
    "cache info {tmp}/none",
    "cache ls {tmp}/none",
    "cache verify {tmp}/none",
    "cache repair {tmp}/none",
    "cache gc {tmp}/none --keep 1",
    "cache export {tmp}/none {tmp}/maps.npz",
    "cache diff {cache}@9 {cache}",
)
STOPPED = (
    f"{REFRESH} {STOPPING}",
    f"train --from-run {{run}} --run {{tmp}}/new --network {STOPPING}",
    f"{SWEEP} --set network.name={STOPPING}",
    f"{WATCH} --network {STOPPING} --epochs 2 --interval 1",
)
"""Commands that can be resumed; the others have nothing to go on from."""


def _leaves(group: click.Group = main, path: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        words = f"{path} {name}".strip()
        if isinstance(command, click.Group):
            yield from _leaves(command, words)
        else:
            yield words, command


COMMANDS = dict(_leaves())


def _command(line: str) -> str:
    first, second, *_ = line.split()
    return f"{first} {second}" if first in ("cache", "bench") else first


@pytest.fixture
def place(shared: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("SCAE_RESIDENT_DIR", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, shared.data, shared.cache, shared.run, monkeypatch)


@pytest.mark.parametrize("line", DONE, ids=_command)
def test_what_is_done_ends_with_0(line: str, place: Place) -> None:
    place.patch.setattr("pipeline.bench.loader_speed.MEMORY_SAMPLES", 64)
    answer = scae(line, place)
    assert (answer.code, answer.message) == (0, ""), answer.output


@pytest.mark.parametrize("line", FAILED, ids=_command)
def test_what_fails_for_a_reason_ends_with_1(line: str, place: Place) -> None:
    place.write("file", "")
    answer = scae(line, place)
    assert answer.code == 1, answer.output
    assert answer.message or _command(line) == "doctor"


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_usage_ends_with_2(command: str, place: Place) -> None:
    answer = scae(f"{command} --no-such-option", place)
    assert (answer.code, answer.message[:29]) == (2, "No such option '--no-such-opt")


@pytest.mark.parametrize("line", STOPPED, ids=_command)
def test_what_is_stopped_and_can_be_resumed_ends_with_75(line: str, place: Place) -> None:
    place.write(
        "stopping.py",
        "import os, signal\n"
        "from pipeline.saliency.cifar_resnet import CifarResNet\n"
        "def build(num_classes):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return CifarResNet(depth=8, num_classes=num_classes)\n",
    )
    answer = scae(line, place)
    assert answer.code == 75, answer.output
    assert "stopped" in answer.message


def test_every_command_is_held_to_its_codes() -> None:
    assert sorted(map(_command, DONE)) == sorted(COMMANDS)
    assert sorted([*map(_command, FAILED), "completion"]) == sorted(COMMANDS)
    # Whose errors end in one line, those that nobody has thought of with 70.
    assert all(isinstance(command, UserErrorCommand) for command in COMMANDS.values())
