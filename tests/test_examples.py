"""The examples run as their first lines say, and show what they promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def _run(*words: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-P", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", ["plain_pytorch.py", "lightning_module.py"])
def test_a_stopped_and_resumed_run_equals_an_undisturbed_one(tmp_path: Path, name: str) -> None:
    lines = _run(str(EXAMPLES / name), str(tmp_path))
    assert lines[-1] == "equal to the bit: True"
    reports = [line for line in lines if line.startswith("epoch ")]
    assert "without a map 100.0% of the erased" in reports[0]
    assert "mean A_hat at centres" in reports[-1]


def test_two_ranks_deliver_each_sample_once_by_the_same_maps(tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2")
    lines = _run(*launcher, str(EXAMPLES / "torchrun_ddp.py"), str(tmp_path))
    assert sorted(lines) == [
        f"rank {rank} of 2, epoch {epoch}: generation {epoch // 2}, every sample once: True"
        for rank in range(2)
        for epoch in range(4)
    ]
