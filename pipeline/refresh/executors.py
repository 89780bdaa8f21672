"""Who runs the blocks: a plain loop in this process, or a Dask cluster, by the same function."""

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Protocol

from cache_store.writer import GenerationWriter
from pipeline.refresh.blocks import Block
from pipeline.refresh.plan import RefreshPlan
from pipeline.refresh.runner import BlockResult, BlockRunner, StopRequested


class Executor(Protocol):
    """Runs blocks in any order and hands back each result as it comes."""

    def run(
        self, plan: RefreshPlan, number: int, blocks: Sequence[Block], stop: StopRequested
    ) -> Iterator[BlockResult]:
        """Run blocks of generation `number`; every one is done when the iterator ends."""


class LoopExecutor:
    """Runs the blocks one after another in this process.

    Args:
        runner: Makes the runner; by default one that opens data and network itself.
    """

    def __init__(self, runner: Callable[[RefreshPlan], BlockRunner] = BlockRunner) -> None:
        self._runner = runner

    def run(
        self, plan: RefreshPlan, number: int, blocks: Sequence[Block], stop: StopRequested
    ) -> Iterator[BlockResult]:
        """Run blocks of generation `number` in order.

        Raises:
            Stopped: If `stop` says so between two batches.
        """
        writer = GenerationWriter.attach(plan.cache, number, fsync=plan.options.fsync)
        with self._runner(plan) as runner:
            for block, following in zip_longest(blocks, blocks[1:]):
                yield runner.run(writer, block, stop, following)
