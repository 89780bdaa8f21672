"""Find the layer whose output enters the pooling, or check the one that was named."""

import difflib
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from pipeline.errors import NetworkError
from pipeline.saliency.feature_grid import MAX_PREFIX, FeatureGrid, describe_output
from pipeline.saliency.hooks import borrowed, removing, unwrap

__all__ = ["TargetLayer", "find_target_layer"]

_NUM_LISTED = 10
"""Layers named in an error message: the last ones, which are those that matter."""
_POOLING = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_NORMS_BEFORE_ATTENTION = ("norm1", "ln_1", "layernorm_before")


@dataclass(frozen=True, slots=True)
class TargetLayer:
    """A layer that Grad-CAM can look at."""

    name: str
    """Dotted name inside the unwrapped network, such as `layer3`."""
    channels: int
    """C of the layer's output."""
    height: int
    """h in cells, for the image size asked."""
    width: int
    """w in cells, for the image size asked."""


@dataclass(slots=True)
class _Trace:
    """What a forward pass of one image showed."""

    size: tuple[int, int]
    token_grid: tuple[int, int] | None
    calls: Counter[str] = field(default_factory=Counter)
    grids: dict[str, FeatureGrid] = field(default_factory=dict)
    """Layers with a grid as output, in the order in which they finished."""
    outputs: dict[str, str] = field(default_factory=dict)
    """Every layer that ran, with its output described."""

    def see(self, name: str, module: nn.Module, args: object, output: object) -> None:
        """Note one layer's output; a forward hook once `name` is bound."""
        self.calls[name] += 1
        self.outputs[name] = describe_output(output)
        self.grids.pop(name, None)
        grid = FeatureGrid.of(output, size=self.size, token_grid=self._grid_for(output))
        # Adaptive pooling to more than one cell (VGG) repeats cells when the image is small.
        if grid is not None and not isinstance(module, _POOLING):
            self.grids[name] = grid

    def _grid_for(self, output: object) -> tuple[int, int] | None:
        """Return the grid of tokens: as told, else that of the patches they were made from."""
        if self.token_grid or not isinstance(output, Tensor) or output.ndim != 3:
            return self.token_grid
        for grid in reversed(self.grids.values()):
            prefix = output.shape[1] - grid.height * grid.width
            if grid.layout == "BChw" and 0 <= prefix <= MAX_PREFIX:
                return grid.height, grid.width
        return None

    def usable(self) -> dict[str, FeatureGrid]:
        """Return the grids of layers that ran once, in order."""
        return {name: grid for name, grid in self.grids.items() if self.calls[name] == 1}

    def listing(self) -> str:
        """Return the last usable layers with their (C, h, w) for an error message."""
        usable = list(self.usable().items())
        # The outermost names say most: inner ones follow when there is room.
        by_depth = sorted(usable, key=lambda item: item[0].count("."))
        depth = by_depth[:_NUM_LISTED][-1][0].count(".") if usable else 0
        shown = [item for item in usable if item[0].count(".") <= depth][-_NUM_LISTED:]
        texts = [f"{name} ({grid.channels}, {grid.height}, {grid.width})" for name, grid in shown]
        return ", ".join(texts) or "none"


def find_target_layer(
    network: nn.Module,
    size: int | tuple[int, int],
    name: str | None = None,
    token_grid: tuple[int, int] | None = None,
) -> TargetLayer:
    """Find the layer for Grad-CAM by running the network once on an empty image.

    Without a name it is the layer that finishes last among those with a spatial output of more
    than one cell, that is the outermost one whose output enters the global pooling: `layer3` of
    a CIFAR ResNet, `layer4` of a torchvision ResNet, `features` of a DenseNet. Layers that run
    more than once (a shared activation) are passed over. Where the last one has tokens it is the
    norm before the last attention: after that, patch tokens have no influence on a class token.

    Args:
        network: A classifier of (B, 3, H, W) images; DDP and compile wrappers are looked through.
        size: Side, or (H, W), of the images in pixels.
        name: Dotted name to check instead of searching.
        token_grid: (h, w) of the patch tokens in layers with tokens (B, N, C); None takes the grid
            of the patch embedding, or a square with or without one class token.

    Returns:
        The layer's name, and its output's channels, height and width at that size.

    Raises:
        NetworkError: If no layer fits, or the named one does not exist or does not fit.
    """
    network = unwrap(network)
    height, width = (size, size) if isinstance(size, int) else size
    trace = _trace(network, (height, width), token_grid)
    if name is None:
        name = _search(network, trace)
    else:
        name = _check_name(network, trace, name)
    grid = trace.grids[name]
    return TargetLayer(name, grid.channels, grid.height, grid.width)


def _trace(network: nn.Module, size: tuple[int, int], token_grid: tuple[int, int] | None) -> _Trace:
    trace = _Trace(size, token_grid)
    some = next((tensor for tensor in network.parameters()), torch.empty(0))
    with borrowed(network, device_type=some.device.type):
        image = torch.zeros((1, 3, *size), dtype=some.dtype, device=some.device)
        layers = [(name, module) for name, module in network.named_modules() if name]
        handles = [
            module.register_forward_hook(partial(trace.see, name)) for name, module in layers
        ]
        with removing(handles):
            try:
                network(image)
            except (RuntimeError, ValueError, AssertionError) as error:
                raise NetworkError(
                    f"network {type(network).__name__} must take images of (3, {size[0]},"
                    f" {size[1]}), got {type(error).__name__}: {_first_line(error)}: mend it, or"
                    " give the images' size that it wants"
                ) from error
    return trace


def _search(network: nn.Module, trace: _Trace) -> str:
    usable = trace.usable()
    if not usable:
        seen = ", ".join(f"{name} {shape}" for name, shape in trace.outputs.items())
        raise NetworkError(
            f"network {type(network).__name__} has no layer with a spatial output (B, C, h, w),"
            f" h * w > 1, that runs once at {trace.size[0]}x{trace.size[1]}, got"
            f" {_shorten(seen) or 'no layers at all'}: maps need one, so use another network or"
            " larger images"
        )
    last = next(reversed(usable))
    if usable[last].layout != "BNC":
        return last
    norms = [name for name in usable if name.endswith(_NORMS_BEFORE_ATTENTION)]
    if not norms:
        # Which tokens the head looks at can't be seen from outside.
        raise NetworkError(
            f"network {type(network).__name__} ends in tokens without a norm before attention that"
            f" is called {', '.join(_NORMS_BEFORE_ATTENTION)}, got none: name the layer with"
            f" --target-layer; layers: {trace.listing()}"
        )
    return norms[-1]


def _check_name(network: nn.Module, trace: _Trace, name: str) -> str:
    names = {alias: module for alias, module in network.named_modules(remove_duplicate=False)}
    if not name or name not in names:
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
        raise NetworkError(
            f"target layer must be a layer of {type(network).__name__}, got {name!r}{hint};"
            f" layers (C, h, w): {trace.listing()}"
        )
    first = next(known for known, module in network.named_modules() if module is names[name])
    if trace.calls[first] == 1 and first in trace.grids:
        return first
    ran = trace.calls[first]
    found = f"{ran} calls" if ran != 1 else f"output {trace.outputs[first]}"
    raise NetworkError(
        f"target layer {name!r} must run once and give a spatial output (B, C, h, w), got {found};"
        f" layers (C, h, w): {trace.listing()}"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]


def _shorten(text: str, limit: int = 600) -> str:
    return text if len(text) <= limit else f"... {text[-limit:]}"
