"""Computing blocks in one process: read, forward pass, Grad-CAM, quantise, write the shard.

While the network is at one batch, threads read the next ones (`feed`).

Legend: B rows of a batch, R rows of a block, h, w height and width of a map, K classes.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache_store.rows import rows_of
from cache_store.store import SaliencyStore
from cache_store.writer import GenerationWriter
from loaders.image_data import ImageData
from pipeline.errors import NetworkError, RefreshError, Stopped
from pipeline.refresh.blocks import Block, cut_batches
from pipeline.refresh.feed import CopyToGpu, Feed
from pipeline.refresh.normalise import Normalise
from pipeline.refresh.plan import RefreshPlan, resolve_device
from pipeline.saliency.methods import MethodChoice
from pipeline.saliency.networks import BuiltNetwork
from pipeline.saliency.quantise import quantise

StopRequested = Callable[[], bool]


@dataclass(slots=True)
class BlockResult:
    """What a finished block tells: never the maps."""

    block: int
    """Number of the block."""
    num_rows: int
    """Rows in it."""
    skipped: tuple[int, ...] = ()
    """Rows whose image could not be read."""
    seconds: dict[str, float] = field(
        default_factory=lambda: {"decode": 0.0, "network": 0.0, "write": 0.0}
    )
    """Time spent, by what was done: 'decode' is the time that the network waited for images."""


class BlockRunner:
    """Computes blocks of one plan; opens data and network once.

    It is to be closed, as a context manager does, since its threads read ahead.

    Args:
        plan: The plan.
        data: The data if it is open already.
        built: The network if it is built already.

    Raises:
        RefreshError: If data or weights are no longer what was planned, or the device is not there.
    """

    def __init__(
        self, plan: RefreshPlan, data: ImageData | None = None, built: BuiltNetwork | None = None
    ) -> None:
        self.plan = plan
        provenance = plan.generation.provenance
        data = data if data is not None else plan.data.open()
        built = built or plan.network.build()
        _check_unchanged("data set", data.fingerprint, provenance.fingerprint)
        _check_unchanged("weights", built.weights_digest, provenance.weights_digest)
        self.data = _in_cache_order(data, plan.cache)
        self._device = torch.device(resolve_device(provenance.device_type))
        on_gpu = self._device.type == "cuda"
        self._normalise = Normalise(provenance.mean, provenance.std, provenance.size)
        self._feed = Feed(
            self.data,
            provenance.size,
            threads=plan.options.decode_threads or available_cores(),
            skip=plan.options.on_error == "skip",
            copy=CopyToGpu(self._device) if on_gpu else None,
            pinned=on_gpu,
            normalise=None if on_gpu else self._normalise,
        )
        layout = torch.channels_last if provenance.channels_last else torch.contiguous_format
        self._layout = layout
        network = built.module.to(self._device).to(memory_format=layout)
        self._stop: StopRequested = lambda: False
        self._explainer = MethodChoice.of_record(provenance.method).explainer(
            network, provenance.target_layer, plan.generation.map_shape, self._go_on
        )

    def __enter__(self) -> Self:
        """Return the runner, which closes at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """End the threads that read ahead."""
        self._feed.close()

    def run(
        self,
        writer: GenerationWriter,
        block: Block,
        stop: StopRequested = lambda: False,
        following: Block | None = None,
    ) -> BlockResult:
        """Compute one block and write its shard and receipt.

        Args:
            writer: The generation it belongs to.
            block: The block.
            stop: Asked between batches, and while waiting for images.
            following: The block that will be run next, if known: its first images are read ahead.

        Raises:
            ImageReadError: If an image can't be read and `on_error` is 'raise'.
            NetworkError: If the network gives no finite logits, naming a sample.
            Stopped: If `stop` says so between two batches; the block leaves no receipt.
        """
        maps_Rhw, probability_R, result = self.compute(block, stop, following)
        with _timed(result, "write"):
            writer.write_block(block.number, maps_Rhw, probability_R, result.skipped)
        return result

    def compute(
        self,
        block: Block,
        stop: StopRequested = lambda: False,
        following: Block | None = None,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], BlockResult]:
        """Compute one block and write nothing; arguments as for `run`.

        Returns:
            Maps (R, h, w) uint8, probabilities (R,) float32, and what else there is to tell.

        Raises:
            ImageReadError: If an image can't be read and `on_error` is 'raise'.
            NetworkError: If the network gives no finite logits, naming a sample.
            Stopped: If `stop` says so between two batches.
        """
        result = BlockResult(block.number, len(block))
        height, width = self.plan.generation.map_shape
        maps_Rhw = np.zeros((len(block), height, width), np.uint8)
        probability_R = np.zeros(len(block), np.float32)
        skipped: list[int] = []
        self._stop = stop
        batch_size = self.plan.generation.provenance.batch_size
        batches = cut_batches(block, batch_size)
        beyond = cut_batches(following, batch_size) if following else ()
        for number, rows in enumerate(batches):
            part = slice(rows.start - block.start, rows.stop - block.start)
            with _timed(result, "decode"):
                fed = self._feed.take(rows, batches[number + 1 :], beyond, self._go_on)
            maps_Bhw, probability_B = self._explain(fed.images, rows, result)
            maps_Rhw[part], probability_R[part] = maps_Bhw, probability_B
            maps_Rhw[part][fed.unreadable] = 0
            skipped += [rows.start + int(i) for i in np.flatnonzero(fed.unreadable)]
        result.skipped = tuple(skipped)
        return maps_Rhw, probability_R, result

    def _go_on(self) -> None:
        if self._stop():
            raise Stopped("stopped before the block was finished: run the same command again")

    def _explain(
        self, images_BSS3: Tensor, rows: range, result: BlockResult
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        with _timed(result, "network"):
            labels = torch.from_numpy(self.data.labels[rows.start : rows.stop].copy())
            # A short batch would be summed in another order on another number of threads: fill up.
            missing = self.plan.generation.provenance.batch_size - len(rows)
            if missing:
                fill = torch.arange(len(rows) + missing).clamp_max(len(rows) - 1)
                labels, images_BSS3 = labels[fill], images_BSS3[fill.to(self._device)]
            labels_B = labels.to(self._device)
            if images_BSS3.dtype == torch.uint8:
                images_BSS3 = self._normalise.on_device(images_BSS3)
            inputs = images_BSS3.permute(0, 3, 1, 2).contiguous(memory_format=self._layout)
            bf16 = self.plan.generation.provenance.precision == "bf16"
            with torch.autocast(self._device.type, torch.bfloat16, enabled=bf16):
                try:
                    maps_Bhw, logits_BK = self._explainer.maps_and_logits(inputs, labels_B)
                except NetworkError as error:
                    raise NetworkError(
                        f"{error} (in the batch from {self.data.describe(rows[0])})"
                    ) from error
            probability_B = logits_BK.softmax(1).gather(1, labels_B[:, None])[:, 0]
            kept = slice(len(rows))
            return quantise(maps_Bhw[kept].cpu().numpy()), probability_B[kept].cpu().numpy()


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_cache_order(data: ImageData, cache: str) -> ImageData:
    """Return the data with rows in the order of the cache's, which an earlier job has set."""
    cache_ids = SaliencyStore.open(cache).sample_ids()
    if np.array_equal(cache_ids, data.sample_ids):
        return data
    return data.subset(rows_of(data.sample_ids, cache_ids))


def _check_unchanged(what: str, found: str, planned: str) -> None:
    if found != planned:
        raise RefreshError(
            f"the {what} of this process has digest {found[:12]}, the plan was made for "
            f"{planned[:12]}: it changed since, or this machine sees another copy; plan again"
        )


@contextmanager
def _timed(result: BlockResult, what: str) -> Iterator[None]:
    begun = time.perf_counter()
    try:
        yield
    finally:
        result.seconds[what] += time.perf_counter() - begun
