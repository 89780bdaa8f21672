"""The plan of a refresh: what will be computed, cut how, written where. It computes no map."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch

from cache_store.arrays import DEFAULT_BLOCK_ROWS, DEFAULT_CHUNK_ROWS
from cache_store.provenance import Provenance
from cache_store.wording import counted
from cache_store.writer import GenerationPlan
from loaders.image_data import ImageData
from pipeline.errors import RefreshError
from pipeline.refresh.blocks import Block, cut_blocks
from pipeline.refresh.sources import DataSource, NetworkSource
from pipeline.saliency.methods import MethodChoice
from pipeline.saliency.networks import BuiltNetwork
from pipeline.saliency.precision import choose_precision
from pipeline.saliency.target_layer import find_target_layer

Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshOptions:
    """How maps are computed. All but the last four change the bytes and belong to the plan."""

    method: Literal["gradcam", "scorecam"] = "gradcam"
    """Saliency method; Score-CAM costs a forward pass a channel."""
    channels: int | None = None
    """Channels that Score-CAM uses of each image, those of largest variance; None for all."""
    target_layer: str | None = None
    """Dotted layer name, None finds it."""
    token_grid: tuple[int, int] | None = None
    """(h, w) of a transformer's patch tokens, None finds it."""
    size: int | None = None
    """Side in pixels that whole images are squashed to, None for the network's own."""
    batch_size: int = 64
    """Images a forward pass; a short last batch is filled up."""
    channels_last: bool = True
    """Lay tensors out NHWC: 1.2 to 1.8 times faster on CPUs, and what GPUs want."""
    precision: Precision = "fp32"
    """Precision of the forward pass; 'auto' is bf16 where the device has instructions for it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network runs."""
    epoch: int | None = None
    """0-based epoch whose end the weights are from."""
    block_rows: int = DEFAULT_BLOCK_ROWS
    """Rows of a block, which is a shard and a task."""
    chunk_rows: int = DEFAULT_CHUNK_ROWS
    """Rows of a chunk within a shard."""
    decode_threads: int | None = None
    """Images decoded at the same time by one process, None for as many as it has cores."""
    on_error: Literal["raise", "skip"] = "raise"
    """An unreadable image stops the refresh, or gets a flat map and is counted."""
    fsync: bool = True
    """Wait until the disk has what is written."""
    retries: int = 2
    """How often a block that failed is tried again before the job goes on without it."""

    def __post_init__(self) -> None:
        MethodChoice(self.method, self.channels)
        for name in ("size", "batch_size", "block_rows", "chunk_rows", "decode_threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RefreshError(f"{name} must be 1 or more, got {value}")
        if self.retries < 0:
            raise RefreshError(f"retries must be 0 or more, got {self.retries}")
        if self.block_rows % self.chunk_rows:
            raise RefreshError(
                f"block_rows must be a multiple of chunk_rows {self.chunk_rows}, "
                f"got {self.block_rows}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshPlan:
    """Everything a process needs to compute any block."""

    cache: str
    """Path or URL of the cache."""
    data: DataSource
    """How to open the data."""
    network: NetworkSource
    """How to build the network."""
    generation: GenerationPlan
    """What is stored about the maps."""
    options: RefreshOptions
    """How they are computed, with every choice resolved."""

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks, in row order."""
        return cut_blocks(self.generation.num_samples, self.generation.block_rows)

    @property
    def num_bytes(self) -> int:
        """Bytes of all maps, before compression."""
        height, width = self.generation.map_shape
        return self.generation.num_samples * height * width

    def summary(self) -> str:
        """Describe the plan in a few lines for a person."""
        plan, provenance = self.generation, self.generation.provenance
        height, width = plan.map_shape
        return "\n".join(
            [
                f"data      {provenance.data}, {counted(plan.num_samples, 'image')}, "
                f"fingerprint {provenance.fingerprint[:12]}",
                f"network   {provenance.network}, weights {provenance.weights} "
                f"{provenance.weights_digest[:12]}, layer {provenance.target_layer}",
                f"method    {provenance.method} in {provenance.precision} on "
                f"{provenance.device_type} ({self._precision_reason()})",
                f"images    squashed to {provenance.size}x{provenance.size}, "
                f"batches of {provenance.batch_size}",
                f"maps      {height}x{width} uint8, {self.num_bytes:,} bytes in "
                f"{counted(len(self.blocks), 'block')} of {counted(plan.block_rows, 'row')}",
                f"cache     {self.cache}",
            ]
        )

    def _precision_reason(self) -> str:
        device_type = self.generation.provenance.device_type
        return choose_precision(self.options.precision, device_type).reason


def plan_refresh(
    data: DataSource,
    network: NetworkSource,
    cache: str | Path,
    options: RefreshOptions | None = None,
    *,
    opened: ImageData | None = None,
    built: BuiltNetwork | None = None,
) -> RefreshPlan:
    """Plan the maps of a whole data set; nothing is written.

    Args:
        data: How to open the data.
        network: How to build the network.
        cache: Path or URL of the cache.
        options: How to compute; None for the defaults.
        opened: The data if it is open already.
        built: The network if it is built already.

    Raises:
        DataError: If the data can't be opened.
        NetworkError: If the network can't be built, or has no layer to explain.
        RefreshError: If the device is not there.
    """
    options = options or RefreshOptions()
    opened = opened if opened is not None else data.open()
    built = built or network.build()
    size = options.size or built.native_size
    layer = find_target_layer(built.module, size, options.target_layer, options.token_grid)
    device_type = resolve_device(options.device)
    provenance = Provenance(
        data=opened.name,
        fingerprint=opened.fingerprint,
        network=built.name,
        weights=built.weights_kind,
        weights_digest=built.weights_digest,
        method=MethodChoice(options.method, options.channels).record,
        target_layer=layer.name,
        size=size,
        mean=built.mean,
        std=built.std,
        batch_size=options.batch_size,
        channels_last=options.channels_last,
        precision=choose_precision(options.precision, device_type).name,
        device_type=device_type,
        code_version=version("scae"),
        epoch=options.epoch,
    )
    generation = GenerationPlan(
        provenance=provenance,
        num_samples=len(opened),
        map_shape=(layer.height, layer.width),
        block_rows=options.block_rows,
        chunk_rows=options.chunk_rows,
    )
    return RefreshPlan(
        cache=str(cache), data=data, network=network, generation=generation, options=options
    )


def resolve_device(device: str) -> str:
    """Return 'cpu' or 'cuda' for a device word.

    Raises:
        RefreshError: If CUDA is asked for and not there.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise RefreshError("device cuda is not available here: use --device cpu, or auto")
    return device
