"""Borrow a network for a look inside, and give it back exactly as it was found."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.hooks import RemovableHandle

from pipeline.errors import NetworkError
from pipeline.saliency.feature_grid import FeatureGrid, describe_output

__all__ = ["ActivationTap", "borrowed", "removing", "unwrap"]

_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)
_LOCKS: WeakKeyDictionary[nn.Module, AbstractContextManager[bool]] = WeakKeyDictionary()
_LOCKS_GUARD = threading.Lock()


def unwrap(network: nn.Module) -> nn.Module:
    """Return the network inside DDP, DataParallel, AveragedModel and `torch.compile` wrappers.

    Hooks added to a compiled network are silently ignored, so the plain one has to run; and
    layer names must not depend on how the network happens to be wrapped.
    """
    while True:
        # `torch.compile` returns a private class: its one child of this name is all there is.
        inner = network._modules.get("_orig_mod")
        if inner is None and isinstance(network, _WRAPPERS):
            inner = network.module
        if inner is None:
            return network
        network = inner


@contextmanager
def borrowed(network: nn.Module, *, device_type: str = "cpu") -> Iterator[None]:
    """Hold `network` in eval mode without gradients, and restore it also after an exception.

    Restored are the train/eval mode of each module, the grad mode and the autocast cache.
    Threads that borrow the same network object take turns.

    Args:
        network: An unwrapped network (see `unwrap`).
        device_type: Type of the device that the network runs on, for the autocast settings.

    Raises:
        NetworkError: If inference mode is on and the network itself was made under it.
    """
    with ExitStack() as stack:
        stack.enter_context(_lock_of(network))
        if torch.is_inference_mode_enabled():
            _refuse_inference_tensors(network)
            stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(_eval_mode(network))
        if any(module._compiled_call_impl is not None for module in network.modules()):
            # Modules compiled in place (`module.compile()`) would ignore hooks as well.
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        if torch.is_autocast_enabled(device_type):
            # Weight casts made here have no gradient history: left in the cache of a torch before
            # https://github.com/pytorch/pytorch/pull/165068, they would cut off the weights of a
            # training step in the same autocast region.
            dtype = torch.get_autocast_dtype(device_type)
            stack.enter_context(torch.autocast(device_type, dtype=dtype, cache_enabled=False))
        stack.enter_context(torch.no_grad())
        yield


@contextmanager
def removing(handles: list[RemovableHandle]) -> Iterator[None]:
    """Remove the hooks in `handles` on the way out, also after an exception."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class ActivationTap:
    """A forward hook that keeps one layer's output and may record what follows for autograd.

    Called under `no_grad` it detaches the layer's output. To record, it makes that a leaf that
    requires gradients and turns grad mode on for the rest of the forward pass, which the caller
    turns off again (`borrowed` does). What it hands on is a copy.

    Args:
        layer: Dotted name of the layer, for messages.
        batch: Number of images B in the batch.
        size: (H, W) of the images, which tells the layouts of outputs apart.
        token_grid: (h, w) of the patch tokens if the output has tokens; None is a square.
        record: Whether to record.
    """

    def __init__(
        self,
        layer: str,
        *,
        batch: int,
        size: tuple[int, int],
        token_grid: tuple[int, int] | None,
        record: bool,
    ) -> None:
        self.leaf: Tensor | None = None
        """The layer's output, detached; None before the layer has run."""
        self.grid: FeatureGrid | None = None
        """Where the leaf's channels and positions are; None before the layer has run."""
        self._layer = layer
        self._batch = batch
        self._size = size
        self._token_grid = token_grid
        self._record = record
        self._thread = threading.get_ident()

    def __call__(self, module: nn.Module, args: tuple[object, ...], output: object) -> object:
        """Keep `output` and return its copy.

        Raises:
            NetworkError: If the layer runs twice or its output is not a grid of features.
        """
        if threading.get_ident() != self._thread:
            return output  # a plain forward pass of another thread is none of our business
        if self.leaf is not None:
            raise NetworkError(
                f"target layer {self._layer!r} must run once in a forward pass, got a second"
                " call: name a layer that is not shared"
            )
        self.grid = FeatureGrid.of(output, size=self._size, token_grid=self._token_grid)
        if not isinstance(output, Tensor) or self.grid is None or len(output) != self._batch:
            tokens = (
                f"{self._token_grid[0]}x{self._token_grid[1]}" if self._token_grid else "square"
            )
            raise NetworkError(
                f"target layer {self._layer!r} must give ({self._batch}, C, h, w), a channels-last"
                f" ({self._batch}, h, w, C) or {tokens} tokens ({self._batch}, N, C), got"
                f" {describe_output(output)}: name another layer, or the tokens' grid"
            )
        self.leaf = output.detach()
        if self._record:
            self.leaf.requires_grad_()
            torch.set_grad_enabled(True)
        # A copy and not a view: networks such as DenseNet go on in place, which a leaf forbids.
        return self.leaf.clone()


def _lock_of(network: nn.Module) -> AbstractContextManager[bool]:
    with _LOCKS_GUARD:
        return _LOCKS.setdefault(network, threading.RLock())


@contextmanager
def _eval_mode(network: nn.Module) -> Iterator[None]:
    # The attribute and not `.eval()`: an overridden `.train()` may do more than set the mode.
    modes = [(module, module.training) for module in network.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, training in modes:
            module.training = training


def _refuse_inference_tensors(network: nn.Module) -> None:
    for name, tensor in network.state_dict(keep_vars=True).items():
        if tensor.is_inference():
            raise NetworkError(
                f"network {type(network).__name__} must be made outside torch.inference_mode for"
                f" Grad-CAM, got an inference tensor in {name!r}: build it before the block, or"
                " use torch.no_grad"
            )
