"""A refresh on two nodes by ssh, with a stand-in for ssh that runs the command here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cache_store.store import SaliencyStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "scripts" / "dask_nodes.sh"
# As sshd does: the words are one line for the shell of the node, whose folder is another.
FAKE_SSH = """#!/bin/bash
while [ "${1:0:1}" = - ]; do [ "$1" = -o ] && shift; shift; done
node=$1; shift
echo "$node $*" >>"$NODES_FOLDER/ssh"
[ "$node" != down ] || { echo "ssh: connect to host down: No route to host" >&2; exit 255; }
cd / && exec sh -c "$*"
"""
FAKE_DASK = """#!/bin/bash
trap 'kill $! 2>/dev/null; exit 0' TERM
gpu=${CUDA_VISIBLE_DEVICES:-none}
echo "dask $* (threads $OMP_NUM_THREADS, gpu $gpu, in $PWD)" >>"$NODES_FOLDER/calls"
if [ "$1" = scheduler ]; then
    printf '{\\n  "address": "tcp://here:1234",\\n  "workers": {}\\n}' >"$3.part"
    mv "$3.part" "$3"
fi
sleep 60 & wait
"""
FAKE_SCAE = """#!/bin/bash
echo "scae $*" >>"$NODES_FOLDER/calls"
{fake}
"""
WAITS = "trap 'kill $! 2>/dev/null; exit 75' TERM; sleep 60 &"


class Nodes:
    """A folder with stand-ins for ssh, dask and scae, in which the script is run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token = uuid.uuid4().hex
        self.environment = {
            **os.environ,
            "NODES_FOLDER": str(folder),
            "NODES_TOKEN": self.token,
            "NODES": "node1 node2",
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "PROGRAMS": str(folder / "programs"),
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(folder / "tmp"),
            "THREADS": "1",
        }
        self.environment.pop("CUDA_VISIBLE_DEVICES", None)
        (folder / "tmp").mkdir()
        self.put(folder / "programs" / "dask", FAKE_DASK)
        self.put(folder / "bin" / "ssh", FAKE_SSH)
        self.fake("exit 0")

    def put(self, path: Path, text: str) -> None:
        """Write a program."""
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def fake(self, line: str) -> None:
        """Make the stand-in for scae do something."""
        self.put(self.folder / "programs" / "scae", FAKE_SCAE.format(fake=line))

    def start(self, *words: object) -> subprocess.Popen[str]:
        """Start the script."""
        return subprocess.Popen(
            [SCRIPT, *map(str, words)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: object) -> tuple[int, str]:
        """Return how the script ended and what it said."""
        started = self.start(*words)
        _, errors = started.communicate(timeout=240)
        return started.returncode, errors

    def calls(self) -> str:
        """Return what was run, the order of the workers aside."""
        path = self.folder / "calls"
        return path.read_text() if path.exists() else ""

    def wait_for(self, text: str) -> None:
        """Wait until something was run."""
        until = time.monotonic() + 60
        while text not in self.calls():
            assert time.monotonic() < until, self.calls()
            time.sleep(0.05)

    def living(self) -> list[str]:
        """Return the command lines of the processes that the script has started."""
        found = []
        for folder in Path("/proc").iterdir():
            try:
                if self.token.encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return found


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    folder = tmp_path / "two nodes"
    folder.mkdir()
    nodes = Nodes(folder)
    yield nodes
    # Guards look at their input each second at least; the stand-ins end at once.
    until = time.monotonic() + 20
    while nodes.living() and time.monotonic() < until:
        time.sleep(0.1)
    assert nodes.living() == []


@pytest.mark.torture  # four processes that import torch; the tests below do without
def test_workers_on_each_node_compute_what_one_process_computes(
    nodes: Nodes, tmp_path: Path, jpeg_folder: Callable[..., Path]
) -> None:
    nodes.environment["PROGRAMS"] = str(Path(sys.executable).parent)
    words = ["--data", jpeg_folder(num=4), "--network", "resnet8", "--weights", "random"]
    words += ["--size", 16, "--batch-size", 4, "--block-rows", 4, "--cache", "maps.zarr"]
    code, errors = nodes.run(*words)
    assert code == 0, errors
    assert sorted(line.split()[0] for line in (nodes.folder / "ssh").read_text().splitlines()) == [
        "node1",
        "node2",
    ]
    generation = SaliencyStore.open(nodes.folder / "maps.zarr").latest()
    assert len(generation) == 12
    assert generation.verify().damaged == {}
    assert nodes.living() == []
    assert not list((nodes.folder / "tmp").glob("scae-nodes-*"))


def test_the_command_gets_its_words_and_the_scheduler_and_workers_end_with_it(nodes: Nodes) -> None:
    nodes.fake(
        'until [ "$(grep -c "^dask worker" "$NODES_FOLDER/calls")" = 2 ]; do sleep 0.1; done'
    )
    code, errors = nodes.run("--data", "my photos", "--cache", "c")
    assert (code, errors) == (0, "")
    calls = nodes.calls()
    assert "scae refresh --data my photos --cache c --scheduler tcp://here:1234\n" in calls
    for name in ("node1-0", "node2-1"):
        assert f"dask worker tcp://here:1234 --name {name} --nthreads 1 " in calls
    assert calls.count(f"(threads 1, gpu none, in {nodes.folder})") == 3
    assert nodes.living() == []
    assert list((nodes.folder / "tmp").iterdir()) == []


def test_each_gpu_of_a_node_gets_a_worker_and_localhost_needs_no_ssh(nodes: Nodes) -> None:
    nodes.environment |= {"GPUS": "2", "NODES": "localhost node2"}
    nodes.fake(
        'until [ "$(grep -c "^dask worker" "$NODES_FOLDER/calls")" = 4 ]; do sleep 0.1; done'
    )
    assert nodes.run() == (0, "")
    for gpu in (0, 1):
        assert nodes.calls().count(f"gpu {gpu},") == 2
    ssh = (nodes.folder / "ssh").read_text().splitlines()
    assert [line.split()[0] for line in ssh] == ["node2", "node2"]


@pytest.mark.parametrize("code", [1, 2, 75])
def test_a_refresh_that_fails_ends_scheduler_and_workers_and_its_code_is_ours(
    code: int, nodes: Nodes
) -> None:
    nodes.fake(f"exit {code}")
    found, errors = nodes.run()
    assert found == code
    assert nodes.living() == []
    (logs,) = (nodes.folder / "tmp").glob("*/logs")
    assert f"what scheduler and workers printed is in {logs}" in errors
    assert len(list(logs.iterdir())) == 3


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_the_command_and_ends_all(signum: signal.Signals, nodes: Nodes) -> None:
    nodes.fake(
        "sleep 60 & trap 'kill $!; exit 75' TERM; echo ready >>\"$NODES_FOLDER/calls\"; wait"
    )
    started = nodes.start()
    nodes.wait_for("ready")
    started.send_signal(signum)
    started.communicate(timeout=60)
    assert started.returncode == 75
    assert nodes.living() == []


def test_a_killed_script_leaves_no_scheduler_and_no_worker(nodes: Nodes) -> None:
    nodes.fake('echo ready >>"$NODES_FOLDER/calls"; sleep 1')
    started = nodes.start()
    nodes.wait_for("dask worker tcp://here:1234 --name node2")
    nodes.wait_for("ready")
    started.kill()
    started.communicate(timeout=60)  # the fixture waits for the rest, and finds none


def test_a_node_that_is_down_is_named_and_the_other_goes_on(nodes: Nodes) -> None:
    nodes.environment["NODES"] = "down node2"
    nodes.fake("sleep 2")
    code, errors = nodes.run()
    assert code == 0
    assert "the worker on down has ended with 255: ssh: connect to host down: No route" in errors


def test_no_node_at_all_ends_the_command_with_1(nodes: Nodes) -> None:
    nodes.environment["NODES"] = "down"
    nodes.fake(f"{WAITS} wait")
    code, errors = nodes.run()
    assert code == 1
    assert "no node has a worker left" in errors


def test_a_scheduler_that_can_not_start_is_told(nodes: Nodes) -> None:
    nodes.put(nodes.folder / "programs" / "dask", "#!/bin/sh\necho no such interface; exit 3\n")
    code, errors = nodes.run()
    assert code == 1
    assert "no scheduler: no such interface" in errors
    assert "scae" not in nodes.calls()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"NODES": ""}, "NODES must name machines"), ({"PROGRAMS": "/x"}, "no scae and dask in /x")],
)
def test_what_is_missing_is_named(change: dict[str, str], message: str, nodes: Nodes) -> None:
    nodes.environment |= change
    code, errors = nodes.run()
    assert code == 2
    assert message in errors
    assert nodes.calls() == ""
