"""Who runs the blocks: a plain loop in this process, or a Dask cluster, by the same function."""

from collections.abc import Callable, Generator, Sequence
from itertools import zip_longest
from typing import Protocol

from cache_store.writer import GenerationWriter
from pipeline.refresh.attempts import BlockOutcome, attempt_block
from pipeline.refresh.blocks import Block
from pipeline.refresh.plan import RefreshPlan
from pipeline.refresh.runner import BlockRunner, StopRequested


class Executor(Protocol):
    """Runs blocks in any order and hands back each outcome as it comes."""

    @property
    def num_workers(self) -> int:
        """Processes that compute at the moment."""

    @property
    def dashboard(self) -> str | None:
        """Address of a page that shows the work, None if there is none."""

    def run(
        self, plan: RefreshPlan, number: int, blocks: Sequence[Block], stop: StopRequested
    ) -> Generator[BlockOutcome | None]:
        """Run blocks of generation `number`; every one has its outcome when the generator ends.

        None means that nothing has happened for a moment.
        """


class LoopExecutor:
    """Runs the blocks one after another in this process.

    Args:
        runner: Makes the runner; by default one that opens data and network itself.
    """

    num_workers = 1
    dashboard = None

    def __init__(self, runner: Callable[[RefreshPlan], BlockRunner] = BlockRunner) -> None:
        self._runner = runner

    def run(
        self, plan: RefreshPlan, number: int, blocks: Sequence[Block], stop: StopRequested
    ) -> Generator[BlockOutcome | None]:
        """Run blocks of generation `number` in order.

        Raises:
            RefreshError: If data or weights are no longer what was planned.
            Stopped: If `stop` says so between two batches.
        """
        if not blocks:
            return
        writer = GenerationWriter.attach(plan.cache, number, fsync=plan.options.fsync)
        with self._runner(plan) as runner:
            for block, following in zip_longest(blocks, blocks[1:]):
                yield attempt_block(runner, writer, block, stop, following)
