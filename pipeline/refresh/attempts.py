"""Computing one block, more than once if need be: what every executor does with a block."""

import time

from cache_store.errors import ScaeError
from cache_store.writer import GenerationWriter
from pipeline.errors import BlockFailure, NetworkError, RefreshError, Stopped
from pipeline.refresh.blocks import Block
from pipeline.refresh.runner import BlockResult, BlockRunner, StopRequested

PAUSE_SECONDS = 0.25
"""Wait before the second attempt; each further one waits twice as long."""

BlockOutcome = BlockResult | BlockFailure
"""How a block ended."""


def attempt_block(
    runner: BlockRunner,
    writer: GenerationWriter,
    block: Block,
    stop: StopRequested,
    following: Block | None = None,
) -> BlockOutcome:
    """Compute a block; what may pass, such as a file system's hiccup, is tried again.

    Args:
        runner: Computes it.
        writer: The generation it belongs to.
        block: The block.
        stop: Asked between batches and between attempts.
        following: The block that will be run next, if known.

    Returns:
        The result, or the failure that the last attempt ended with.

    Raises:
        RefreshError: If data or weights are not those of the plan: no block can be computed.
        Stopped: If `stop` says so.
    """
    attempts = 0
    while True:
        attempts += 1
        try:
            return runner.run(writer, block, stop, following)
        except (Stopped, RefreshError):
            raise
        except Exception as error:  # noqa: BLE001  # a user's network may raise anything
            # What a network answers does not depend on the attempt.
            by_network = isinstance(error, NetworkError)
            if by_network or attempts > runner.plan.options.retries:
                told = _told(error, runner, block)
                return BlockFailure(block.number, attempts, told, by_network)
        _pause(attempts, stop)


def _told(error: Exception, runner: BlockRunner, block: Block) -> str:
    if isinstance(error, ScaeError):
        return str(error)
    where = f"in the {len(block)} images from {runner.data.describe(block.start)}"
    return f"{type(error).__name__}: {error} ({where})"


def _pause(attempts: int, stop: StopRequested) -> None:
    until = time.monotonic() + PAUSE_SECONDS * 2 ** (attempts - 1)
    while time.monotonic() < until:
        if stop():
            raise Stopped("stopped before the block was tried again: run the same command again")
        time.sleep(PAUSE_SECONDS / 5)
