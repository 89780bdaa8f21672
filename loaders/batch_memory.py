"""Where a batch's images are made: in a worker, in the memory that the training loop will read."""

import math

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from loaders.batch_ring import BatchRing, Place

_lender: BatchRing | None = None  # a worker's, set by the first batch that it is asked for


def borrow_from(ring: BatchRing | None) -> None:
    """Make the images of this worker process in a ring's places from now on."""
    global _lender  # a worker serves one loader
    _lender = ring


def new_images(shape: tuple[int, ...]) -> Tensor:
    """Return an uninitialised float32 tensor of `shape`.

    In a worker process it lies in memory shared with the parent, as PyTorch's own collation does
    it: a tensor made elsewhere would be copied there once more. The memory has no name in the file
    system and ends with its last user.
    """
    worker = get_worker_info()
    if worker is None:
        return torch.empty(shape, dtype=torch.float32)
    lent = None if _lender is None else _lender.lend(worker.id, shape)
    if lent is not None:
        return lent
    num_bytes = math.prod(shape) * torch.float32.itemsize
    storage = torch.UntypedStorage._new_shared(num_bytes, device="cpu")  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=torch.float32).set_(storage, 0, shape)  # type: ignore[call-overload]


def handed_over(tensor: Tensor) -> Place | None:
    """Return the place to send instead of a tensor made here in a ring; None for any other one."""
    return None if _lender is None else _lender.hand_over(tensor)
