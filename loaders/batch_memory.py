"""Where a batch's images are made: in a worker, in the memory that the training loop will read."""

import math

import torch
from torch import Tensor
from torch.utils.data import get_worker_info


def new_images(shape: tuple[int, ...]) -> Tensor:
    """Return an uninitialised float32 tensor of `shape`.

    In a worker process it lies in memory shared with the parent, as PyTorch's own collation does
    it: a tensor made elsewhere would be copied there once more. The memory has no name in the file
    system and ends with its last user.
    """
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.float32)
    num_bytes = math.prod(shape) * torch.float32.itemsize
    storage = torch.UntypedStorage._new_shared(num_bytes, device="cpu")  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=torch.float32).set_(storage, 0, shape)  # type: ignore[call-overload]
