"""What the README prints must work as printed."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.doc_blocks import MADE, NotRun, PagePlan, ReaderFolder, Swap, run_page

if TYPE_CHECKING:
    from tests.slurm import FakeSlurm

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
CLUSTER = """\
dask scheduler --host 127.0.0.1 --port 0 --no-dashboard \
    --scheduler-file scheduler.json &
dask worker --scheduler-file scheduler.json --nthreads 1 --no-nanny \
    --no-dashboard &
"""
"""Starts what is said to be there."""
REFRESH = "scae refresh --data ~/photos --cache c2.zarr"
CHECKED = "minutes, on a machine to itself; docs/benchmarks.md has its figures"
DEBUG = Swap(
    "recipes/shapes.toml --run runs/shapes --resume",
    "recipes/shapes.toml --run runs/shapes --resume --debug",
    "minutes on a CPU: the debug form has 4 classes",
)
PLAN = PagePlan(
    swaps=(
        Swap("make train", MADE, "make would set up an environment"),
        DEBUG,
        Swap("make test", "make -n test", "this is a part of it"),
        Swap("--data shapes", "--data shapes --classes 4 --imbalance 50", "as the debug form"),
        Swap("--run runs/control", "--run runs/control --debug --epochs 1", "minutes on a CPU"),
        Swap(
            "recipes/shapes.toml recipes/control_shapes_lambda_0.toml --seeds 0 1",
            "recipes/control_shapes_lambda_0.toml --seeds 0 --debug --set train.epochs=1",
            "minutes on a CPU",
        ),
        Swap(
            "torchvision:resnet50 --weights resnet50.pth",
            "my_network.py:build --weights weights.pt",
            "no weights of a ResNet-50 here",
        ),
        Swap(
            "torchvision:resnet50 --run",
            "resnet8 --set data.size=72 --epochs 1 --run",
            "hours on a CPU",
        ),
        Swap("resnet32 --epochs 200", "resnet8 --epochs 1", "hours on a CPU"),
        Swap("PARTS=20", "PARTS=2", "each is a process of its own"),
        Swap("--nodes=2", "--nodes=1", "one machine here"),
        Swap("cifar10_lt.toml --data ~/cifar10", "cifar10_lt.toml --debug --epochs 1", "hours"),
        Swap(
            "scae refresh --data ~/photos --cache c2.zarr",
            f"{CLUSTER}scae refresh --data ~/photos --cache c2.zarr",
            "no node1",
        ),
        Swap(
            "--scheduler tcp://node1:8786",
            "--scheduler-file scheduler.json",
            "its port is one that is free",
        ),
    ),
    rows=True,
    not_run=(NotRun("scae bench", CHECKED), NotRun("python -P benchmarks", CHECKED)),
)


def test_every_block_runs(
    reader: ReaderFolder, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FAKE_SLURM", "STAGGER_SECONDS"):
        monkeypatch.setenv(name, slurm.environment[name])
    commands = (*reader.path, slurm.folder / "bin")
    run_page(README, PLAN, ReaderFolder(reader.folder, reader.home, commands))
    codes = {job: slurm.wait_for(job) for job in (1, 2, 3)}
    assert codes == {1: [0, 0], 2: [0], 3: [0]}, [slurm.log(job) for job in codes]


def test_make_train_runs_what_is_run_in_its_place() -> None:
    done = subprocess.run(
        ["make", "-n", "--no-print-directory", "train"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    words = shlex.split(done.stdout.replace("\\\n", ""))
    assert words[-len(MADE.split()) :] == f".venv/bin/{MADE}".split()


LINKS = re.findall(r"\]\(([^)#]+)\)", README.read_text())
SCRIPTS = re.findall(r"(?:benchmarks|examples)/\w+\.py", README.read_text())


@pytest.mark.parametrize("target", sorted({*LINKS, *SCRIPTS}))
def test_every_file_that_is_named_is_there(target: str) -> None:
    assert (ROOT / target).is_file()
