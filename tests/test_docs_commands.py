"""Every command that the pages print works as printed, or is declared here with the reason.

A page without a plan is run as it is. Words that are run instead of printed ones, and blocks that
are only checked, belong to `PLANS`; one that its page no longer has fails.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.doc_blocks import (
    MADE,
    ROOT,
    NotRun,
    PagePlan,
    Swap,
    blocks_of,
    check_options,
    run_page,
    scae_words,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.doc_blocks import ReaderFolder

PAGES = sorted((ROOT / "docs").glob("*.md"))
INLINE = re.compile(r"`(scae [^`]+)`")
NO_COMMANDS = {"scae data 1"}
"""A tag of the format."""
HISTORY = "CHANGELOG.md"
"""Names what commands were called when they changed."""
SHORT = "--debug --set train.epochs=1"
"""A recipe's debug form, without new maps."""
PLANS: dict[str, PagePlan] = {
    "clusters.md": PagePlan(
        swaps=(Swap("--data shapes", "--data shapes --classes 4", "less to wait for"),),
        not_run=(
            NotRun("scae doctor", "needs a cache of the reader's; tests/cli runs it"),
            NotRun("srun --nodes=2 scae doctor", "needs SLURM, a bucket and node1"),
            NotRun("NODES=", "needs two nodes; tests/scripts runs it with a stand-in for ssh"),
            NotRun("dask scheduler --scheduler-file /shared", "needs several nodes"),
            NotRun("PARTS=20", "needs SLURM; tests/refresh runs the scripts with a stand-in"),
            NotRun("scae train --recipe", "needs two nodes; tests/training runs it on one"),
            NotRun("python -P scripts/slurm/jobqueue.py", "needs SLURM, as the others"),
            NotRun("sbatch --nodes=2", "needs SLURM; tests/training runs it with a stand-in"),
            NotRun('{"time"', "a line of a log, of another run"),
        ),
    ),
    "harvest.md": PagePlan(
        not_run=(
            NotRun("scae train --recipe recipes/cifar10_lt_harvest.toml",
                   "hours; tests/training runs both kinds on small data"),
            NotRun("scae refresh --data shapes --cache true.zarr", "of the run above"),
        ),
    ),
    "long-tail.md": PagePlan(
        swaps=(
            Swap("runs/first --resume", "runs/first --resume --debug --imbalance 50", "hours"),
            Swap("--data ~/photos", "--data shapes --classes 4 --imbalance 50", "the debug form's"),
            Swap("plain.toml uniform.toml permuted.toml mean_p.toml --seeds 0 1 2",
                 f"uniform.toml --seeds 0 {SHORT} --set data.imbalance=50", "days on a CPU"),
            Swap("scae_crt.toml --seeds 0 1 2", "scae_crt.toml --seeds 0 --dry-run", "the same"),
        ),
    ),
    "pictures.md": PagePlan(
        swaps=(
            Swap("--run runs/shapes", "--run runs/shapes --debug", "minutes"),
            Swap("--data shapes", "--data shapes --classes 4", "the debug form's"),
        ),
    ),
    "reports.md": PagePlan(
        swaps=(
            Swap("recipes/table3_rho100_*.toml --seeds 0 1 2",
                 f"recipes/table3_rho100_{{cutmix,scae}}.toml --seeds 0 {SHORT}", "days on a CPU"),
        ),
    ),
    "training.md": PagePlan(
        swaps=(
            Swap("recipes/shapes.toml", f"recipes/shapes.toml {SHORT}", "minutes"),
        ),
        not_run=(NotRun("scae train --recipe R.toml", "needs a cluster; tests/training has one"),),
    ),
    "tutorial.md": PagePlan(
        swaps=(
            Swap("make train", f"{MADE} --debug", "minutes: the debug form has 4 classes"),
            Swap("--data shapes", "--data shapes --classes 4 --imbalance 50", "as the debug form"),
            Swap("epoch-0039.pt", "epoch-0001.pt", "the debug form has 2 epochs"),
            Swap("--seeds 0 1 --runs", f"--seeds 0 1 {SHORT} --runs", "minutes"),
        ),
    ),
    "object-storage.md": PagePlan(
        not_run=(NotRun("pip install", "needs a bucket; tests/cache_store has a server for one"),),
    ),
    "watch.md": PagePlan(
        not_run=(
            NotRun("scae watch runs/lt", "waits for ever, for a run that trains"),
            NotRun("scae watch checkpoints", "waits for ever, for a training of the reader's"),
            NotRun("[Unit]", "a unit of systemd"),
            NotRun("#!/bin/bash", "needs SLURM; tests/cli runs it with a stand-in"),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)], ids=lambda p: p.name)
def test_every_block_of_a_page_runs(page: Path, reader: ReaderFolder) -> None:
    run_page(page, PLANS.get(page.name, PagePlan()), reader)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != HISTORY], ids=lambda p: p.name
)
def test_every_option_that_a_text_names_is_there(page: Path) -> None:
    text = " ".join(page.read_text().split())
    for printed in set(INLINE.findall(text)) - NO_COMMANDS:
        words = scae_words(printed.replace("[", "").replace("]", ""))
        assert words is not None
        check_options(words)


def test_every_plan_has_its_page() -> None:
    assert PLANS.keys() <= {page.name for page in PAGES}
