"""The processes that train one network together, as torchrun starts them; one alone is a rank too.

Numbers and texts travel over gloo, gradients over NCCL where there are GPUs.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cache_store.errors import ScaeError
from pipeline.errors import OtherRankFailed, Stopped, TrainingError

T = TypeVar("T")

PATIENCE = timedelta(hours=4)
"""How long a rank waits for the others, who may be refreshing or measuring: longer than any of it.
One that dies is noticed at once, by its launcher and by its closed connection."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process's place among those that train together."""

    rank: int = 0
    """Number of this process, 0 <= rank < size."""
    size: int = 1
    """Number of processes."""
    on_machine: int = 1
    """How many of them share this machine."""

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def share(self, num: int) -> range:
        """Return this rank's contiguous share of `num` items; the ranks' own, in turn, are all."""
        return range(num * self.rank // self.size, num * (self.rank + 1) // self.size)

    def any_of(self, flags: Sequence[bool]) -> list[bool]:
        """Return for each flag whether any rank has it True; all must call this together."""
        if self.size == 1:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.uint8)
        torch.distributed.all_reduce(raised, torch.distributed.ReduceOp.MAX)
        return [bool(flag) for flag in raised]

    def gathered(self, value: T) -> list[T]:
        """Return every rank's value, on rank 0, and an empty list on the others."""
        if self.size == 1:
            return [value]
        values: list[Any] | None = [None] * self.size if self.leads else None
        torch.distributed.gather_object(value, values)
        return values or []

    def from_first(self, work: Callable[[], T]) -> T:
        """Do something on rank 0 only, and return its result on every rank.

        Raises:
            ScaeError: On every rank, if rank 0 raised one: no rank is left waiting.
        """
        if self.size == 1:
            return work()
        answer: list[Any] = [None, None]
        error: ScaeError | None = None
        if self.leads:
            try:
                answer[0] = work()
            except ScaeError as raised:
                error, answer[1] = raised, _told(raised)
        torch.distributed.broadcast_object_list(answer)
        self._raise_first(error, [answer[1]])
        result: T = answer[0]
        return result

    def together(self, work: Callable[[], T]) -> T:
        """Do something on every rank, and return its result when all are done.

        Raises:
            ScaeError: On the first rank that raised one; OtherRankFailed, or Stopped, on the rest.
        """
        if self.size == 1:
            return work()
        result: Any = None
        error: ScaeError | None = None
        try:
            result = work()
        except ScaeError as raised:
            error = raised
        told: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(told, _told(error))
        self._raise_first(error, told)
        done: T = result
        return done

    def _raise_first(self, own: ScaeError | None, told: list[tuple[bool, str] | None]) -> None:
        """Raise the first rank's error: its own there, one that stands for it elsewhere."""
        first = next((rank for rank, one in enumerate(told) if one is not None), None)
        if first is None:
            return
        if own is not None and first == self.rank:
            raise own
        stopped, message = told[first] or (False, "")
        raise Stopped(message) if stopped else OtherRankFailed(message)

    def share_buffers(self, network: nn.Module) -> None:
        """Give every rank the buffers of rank 0: BatchNorm's statistics are of its own batches."""
        if self.size > 1:
            for buffer in network.buffers():
                torch.distributed.broadcast(buffer, 0)

    def parallel(self, module: nn.Module, side: int) -> DistributedDataParallel | None:
        """Return the module so wrapped that gradients are means over the ranks; None for one rank.

        Args:
            module: From images to logits, on this rank's device.
            side: Height and width of its images.
        """
        if self.size == 1:
            return None
        wrapped = DistributedDataParallel(module)
        _settle(wrapped, side)
        return wrapped


ALONE = Ranks()
"""The only process of a run."""


def _settle(wrapped: DistributedDataParallel, side: int) -> None:
    """Let the gradients' buckets take their final order now.

    They do after the first step. The order decides in which order more than two ranks add up, so
    a resumed run would differ from an undisturbed one in the last bits of its first step.
    """
    modes = [(module, module.training) for module in wrapped.modules()]
    wrapped.eval()  # so that neither BatchNorm's statistics nor any generator move
    device = next(wrapped.parameters()).device
    wrapped(torch.zeros(1, 3, side, side, device=device)).sum().backward()
    for parameter in wrapped.parameters():
        parameter.grad = None
    for module, training in modes:
        module.training = training


@contextmanager
def joined_ranks(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun has started, and leave them at the end; else be alone.

    Args:
        device: "cpu", or "cuda": each rank of a machine takes one GPU.

    Raises:
        TrainingError: If they can't be joined, there are fewer GPUs than ranks on this machine, or
            one of them is lost meanwhile.
    """
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        yield _own_place()
        return
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks()
        return
    _take_gpu(device)
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    try:
        distributed.init_process_group(backend, timeout=PATIENCE)
    except (RuntimeError, ValueError, KeyError) as error:
        raise TrainingError(
            f"can't join the other ranks: {str(error).splitlines()[0]}; start all of them by "
            "torchrun or scae train --ranks"
        ) from error
    try:
        with _lost_ranks_named():
            yield _own_place()
    finally:
        distributed.destroy_process_group()


def _own_place() -> Ranks:
    on_machine = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size(), on_machine)


def _take_gpu(device: str) -> None:
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device != "cuda":
        return
    if local >= torch.cuda.device_count():
        raise TrainingError(
            f"rank {local} of this machine has no GPU: start at most {torch.cuda.device_count()} "
            "ranks here, or set train.device to cpu"
        )
    torch.cuda.set_device(local)


def _told(error: ScaeError | None) -> tuple[bool, str] | None:
    """Return what other ranks are told: errors themselves need not survive the journey."""
    return None if error is None else (isinstance(error, Stopped), str(error))


@contextmanager
def _lost_ranks_named() -> Iterator[None]:
    """Turn what gloo and NCCL raise when a rank is gone into a message.

    Raises:
        TrainingError: Instead of it.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_lost(error):
            raise
        raise TrainingError(
            f"another rank is gone ({_reason(error)}): see its messages, and go on from "
            "the last checkpoint with the same command and --resume"
        ) from error


def _reason(error: RuntimeError) -> str:
    """Return the first sentence of an error of gloo or NCCL, without its place in their sources."""
    return re.sub(r"^\[[^]]*\] ", "", str(error)).split(". ")[0]


def _is_lost(error: RuntimeError) -> bool:
    """Tell a lost connection; out of backward passes it comes as a plain RuntimeError."""
    if isinstance(error, torch.distributed.DistError):
        return True
    return any(word in str(error) for word in ("gloo", "NCCL", "Connection closed"))
