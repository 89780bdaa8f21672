"""What the store's tests share: a process to kill, and stores of some generations."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cache_store.store import SaliencyStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cache_store.generation import Generation

HERE = Path(__file__).parent


class Child:
    """A process that does jobs on caches; see child_writer.py."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(HERE / "child_writer.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, **job: Any) -> None:  # noqa: ANN401
        """Hand over a job and don't wait."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job, default=str) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for the answer to the oldest job."""
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["trace"]
        return answer

    def run(self, **job: Any) -> dict[str, Any]:  # noqa: ANN401
        """Do one job and return its answer."""
        self.start(**job)
        return self.answer()

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.terminate()
        self._process.wait()


@pytest.fixture(scope="module")
def make_child() -> Iterator[Callable[[], Child]]:
    """Start child processes that end with the module's last test."""
    started: list[Child] = []

    def make() -> Child:
        started.append(Child())
        return started[-1]

    yield make
    for child in started:
        child.stop()


@pytest.fixture(scope="module")
def child(make_child: Callable[[], Child]) -> Child:
    """Start one child process for the module."""
    return make_child()


@pytest.fixture
def copied(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    make_store: Callable[..., SaliencyStore],
    publish: Callable[..., Generation],
) -> Callable[[int, int], SaliencyStore]:
    """Open a store of so many generations and samples; made once, then copied."""

    def copy(num_generations: int, num_samples: int) -> SaliencyStore:
        made = tmp_path_factory.getbasetemp() / f"generations-{num_generations}-{num_samples}"
        if not made.exists():
            store = make_store(made, num_samples)
            for salt in range(num_generations):
                publish(store, weights=str(salt), salt=salt)
        shutil.copytree(made, tmp_path / "c")
        return SaliencyStore.open(tmp_path / "c", "r+", fsync=False)

    return copy


@pytest.fixture
def store(copied: Callable[[int, int], SaliencyStore]) -> SaliencyStore:
    """Four generations of 12 samples."""
    return copied(4, 12)
