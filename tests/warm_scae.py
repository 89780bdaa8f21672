"""Runs commands and Python files in forks of a process that has imported everything already.

A command started so differs from one of its own only in not importing PyTorch anew (3 s): it has
the caller's folder, environment, standard streams and signals, and ends with its own exit code.
`commands_in` writes them for a PATH; there they hand over what they were called with.

Started as a file, this is the process that forks: `python -P warm_scae.py SOCKET`. It ends with its
standard input.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

IMPORTED = (
    "torchvision.models",
    "torchvision.transforms.v2",
    "distributed",
    "matplotlib.pyplot",
    "rich.progress",
    "cli.main",
    "cli.cache_verify",
    "cli.evaluate",
    "cli.preview",
    "cli.refresh",
    "cli.report",
    "cli.sweep",
    "cli.train",
    "cli.watch",
    "pipeline.pictures.preview",
    "pipeline.refresh.job",
    "pipeline.training.trainer",
)
"""What takes long to import."""
SCRIPTS = ("scae", "dask", "torchrun")
"""Console scripts of installed packages."""
HEAD_BYTES = 10
CLIENT = """#!{python} -ISu
import json, os, signal, socket, sys
place = socket.socket(socket.AF_UNIX)
place.connect({address!r})
words = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
request = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(place, [b"%{head}d" % len(request)], [0, 1, 2])
place.sendall(request)
for signum in (signal.SIGTERM, signal.SIGINT):
    signal.signal(signum, lambda signum, _: place.send(bytes([signum])))
code = int.from_bytes(place.recv(1), "big", signed=True)
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@contextmanager
def commands_in(folder: Path) -> Iterator[Path]:
    """Run the process that forks, and give a folder for PATH with `python` and `SCRIPTS`."""
    address = folder / "socket"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen()
    place = folder / "bin"
    place.mkdir()
    for name in ("python", *SCRIPTS):
        text = CLIENT.format(python=sys.executable, address=str(address), head=HEAD_BYTES)
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    words = [sys.executable, "-P", __file__, str(listener.fileno())]
    with (
        listener,
        subprocess.Popen(words, stdin=subprocess.PIPE, pass_fds=[listener.fileno()]) as forking,
    ):
        yield place
        forking.communicate(timeout=30)


def _received(connection: socket.socket) -> tuple[list[Any], list[int]]:
    head, fds, _, _ = socket.recv_fds(connection, HEAD_BYTES, 3)
    with connection.makefile("rb") as file:
        return json.loads(file.read(int(head))), fds


def _become(request: list[Any], fds: list[int]) -> list[str]:
    """Take over the caller's streams, folder and environment; return its words."""
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    words, folder, environment = request
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    return list(words)


def _run(words: list[str]) -> None:
    """Do in this process what the words would do in one of their own."""
    if words[0] in SCRIPTS:
        # The script itself: with --ranks the command starts its own file again.
        sys.argv = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
        (script,) = entry_points(group="console_scripts", name=words[0])
        sys.exit(script.load()())
    rest = [word for word in words[1:] if word != "-P"]
    sys.argv = rest[1:] if rest[0] == "-m" else rest
    if rest[0] == "-m":
        runpy.run_module(rest[1], run_name="__main__", alter_sys=True)
    elif rest[0].startswith("-"):
        sys.exit(f"only `python FILE` and `python -m MODULE` are known here, got {words}")
    else:
        runpy.run_path(rest[0], run_name="__main__")


def _wait_for(process: int, caller: socket.socket) -> None:
    """Pass on the caller's signals until the process ends, then tell the caller its code."""
    ended = os.pidfd_open(process)
    while True:
        ready, _, _ = select.select([ended, caller.fileno()], [], [])
        if ended in ready:
            _, status = os.waitpid(process, 0)
            code = os.waitstatus_to_exitcode(status)
            with suppress(BrokenPipeError):  # the caller has not waited
                caller.send(code.to_bytes(1, "big", signed=code < 0))
            return
        signals = caller.recv(1)
        os.kill(process, signals[0] if signals else signal.SIGKILL)


def _called(listener: socket.socket) -> list[str] | None:
    """Fork twice for each caller until standard input ends; return in a fork, with its words."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # of forks that wait, nobody asks the code
    while True:
        ready, _, _ = select.select([listener.fileno(), sys.stdin.fileno()], [], [])
        if sys.stdin.fileno() in ready:
            return None
        caller, _ = listener.accept()
        with caller:
            request, fds = _received(caller)
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                process = os.fork()
                if process == 0:
                    return _become(request, fds)
                for fd in fds:
                    os.close(fd)
                _wait_for(process, caller)
                os._exit(0)
        for fd in fds:
            os.close(fd)


def _main() -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    with socket.socket(fileno=int(sys.argv[1])) as listener:
        words = _called(listener)
    if words is not None:
        _run(words)


if __name__ == "__main__":
    _main()
