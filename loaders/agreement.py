"""One answer for all ranks of a job."""

from collections.abc import Callable

import torch.distributed

from cache_store.errors import ScaeError


def ranks_can_talk() -> bool:
    """Return whether this process is one of several of a `torch.distributed` job."""
    distributed = torch.distributed
    return (
        distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )


def from_rank_zero(ask: Callable[[], int]) -> int:
    """Ask on rank 0 and return its answer on every rank; all ranks must call this together.

    Args:
        ask: Called on rank 0 only.

    Raises:
        ScaeError: On every rank, if `ask` raised it on rank 0: no rank is left waiting.
    """
    answer: list[int | ScaeError | None] = [None]
    if torch.distributed.get_rank() == 0:
        try:
            answer = [ask()]
        except ScaeError as error:
            answer = [error]
    torch.distributed.broadcast_object_list(answer, src=0)
    if isinstance(answer[0], ScaeError):
        raise answer[0]
    return int(answer[0] or 0)
