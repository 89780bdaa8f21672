"""Reading batches ahead of the network: decode, squash, and normalise or copy to the device.

Shape suffixes: B images of a batch, S side in pixels that images are squashed to.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loaders.decode import THREADS_FROM_BYTES, read_squashed, squash_rows
from loaders.errors import ImageReadError
from loaders.image_data import ArrayData, ImageData
from pipeline.refresh.normalise import Normalise

__all__ = ["CopyToGpu", "FedBatch", "Feed"]

POLL_SECONDS = 0.5
"""How often a wait for images looks whether it should end."""
_MIN_AHEAD = 2
"""Batches read ahead at least: one that is done and one that is worked on."""
_ROWS_A_TASK = 4
"""Images that a thread reads at a time; a whole batch where images are small."""

Copy = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class FedBatch:
    """A batch that has been read."""

    images: Tensor
    """(B, S, S, 3) on the device; uint8, or float32 where the feed normalises."""
    unreadable: NDArray[np.bool_]
    """(B,), images that could not be read and are black."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """A batch that threads are at work on."""

    images: Tensor
    normalised: Tensor | None
    unreadable: NDArray[np.bool_]
    tasks: list[Future[None]]
    copied: Future[Tensor] | None

    def waited_for(self) -> list[Future[Any]]:
        return [*self.tasks, *([self.copied] if self.copied else [])]

    def raise_failure(self) -> None:
        """Raise what the first task that failed raised, if one has."""
        for future in self.waited_for():
            if future.done() and not future.cancelled() and (error := future.exception()):
                raise error

    def cancel(self) -> None:
        for future in self.waited_for():
            future.cancel()


class Feed(AbstractContextManager["Feed"]):
    """Hands out batches in the order asked for, and reads the ones after them meanwhile.

    Batches hold the same bytes for any number of threads. Memory is bounded: the batch handed out,
    two ahead of it (more where batches are smaller than the number of threads), and one full-size
    image a thread.

    Args:
        data: The data set; its `read` is called from threads unless it is in memory.
        size: S, side in pixels.
        threads: Images decoded at the same time; small images are decoded by one thread.
        skip: Whether unreadable images become black ones instead of an error.
        copy: Brings a batch to the device in a thread of its own; None leaves it where it is.
        pinned: Whether batches are read into page-locked memory, as `copy` may want.
        normalise: Applied by the reading threads, so that on a CPU nothing is left to do between
            two batches; None hands out bytes, of which a GPU needs a quarter copied.
    """

    def __init__(
        self,
        data: ImageData,
        size: int,
        *,
        threads: int,
        skip: bool = False,
        copy: Copy | None = None,
        pinned: bool = False,
        normalise: Normalise | None = None,
    ) -> None:
        self._data = data
        self._size = size
        self._threads = threads
        self._skip = skip
        self._copy = copy
        self._pinned = pinned
        self._normalise = normalise
        self._pool: ThreadPoolExecutor | None = None
        self._copier: ThreadPoolExecutor | None = None
        self._rows_a_task: int | None = None
        self._readings: dict[range, _Reading] = {}

    def __enter__(self) -> Self:
        """Return the feed, which closes at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """End all threads, after the images that they have in hand; `take` would start new ones."""
        self._keep(())
        for executor in (self._pool, self._copier):
            if executor:
                executor.shutdown(cancel_futures=True)
        self._pool = self._copier = None

    def take(
        self,
        rows: range,
        ahead: Sequence[range] = (),
        beyond: Sequence[range] = (),
        go_on: Callable[[], None] = lambda: None,
    ) -> FedBatch:
        """Return the images of `rows`, and have threads read the batches after them.

        Args:
            rows: Rows of the data set.
            ahead: The batches after it: an error in one that is being read is raised at once.
            beyond: The batches after those, whose errors are not this caller's concern yet.
            go_on: Called while waiting; what it raises ends the wait.

        Raises:
            ImageReadError: If an image can't be read and unreadable ones are not skipped.
            CancelledError: If the feed is closed meanwhile by another thread.
        """
        try:
            reading = self._wait_for(rows, ahead, beyond, go_on)
        except BaseException:
            self._keep(())  # whoever comes again reads again
            raise
        del self._readings[rows]
        read = reading.images if reading.normalised is None else reading.normalised
        images_BSS3 = reading.copied.result() if reading.copied else read
        return FedBatch(images_BSS3, reading.unreadable)

    def _wait_for(
        self,
        rows: range,
        ahead: Sequence[range],
        beyond: Sequence[range],
        go_on: Callable[[], None],
    ) -> _Reading:
        upcoming = [*ahead, *beyond][: self._num_ahead(len(rows))]
        self._keep((rows, *upcoming))
        readings = [self._reading(batch) for batch in (rows, *upcoming)]
        unfinished = set(readings[0].waited_for())
        while unfinished:
            go_on()
            for reading in readings[: 1 + len(ahead)]:
                reading.raise_failure()
            unfinished = wait(unfinished, POLL_SECONDS, FIRST_EXCEPTION).not_done
            for future in unfinished:
                if future.cancelled():  # which no wait would ever end
                    future.result()
        readings[0].raise_failure()
        return readings[0]

    def _num_ahead(self, batch: int) -> int:
        return max(_MIN_AHEAD, -(-2 * self._threads // batch))

    def _keep(self, wanted: Iterable[range]) -> None:
        """Forget what was read ahead for a caller who has gone elsewhere."""
        wanted = set(wanted)
        for rows in self._readings.keys() - wanted:
            self._readings.pop(rows).cancel()

    def _reading(self, rows: range) -> _Reading:
        if rows not in self._readings:
            self._readings[rows] = self._begin(rows)
        return self._readings[rows]

    def _begin(self, rows: range) -> _Reading:
        shape = (len(rows), self._size, self._size, 3)
        images_BSS3 = torch.zeros(shape, dtype=torch.uint8, pin_memory=self._pinned)
        unreadable_B = np.zeros(len(rows), np.bool_)
        normalised_BSS3 = torch.empty(shape) if self._normalise else None
        pool = self._pool = self._pool or self._open_pool(rows[0])
        tasks = [
            pool.submit(self._prepare, rows, places, images_BSS3, normalised_BSS3, unreadable_B)
            for places in self._cut(len(rows))
        ]
        copied = None
        if self._copy:
            self._copier = self._copier or ThreadPoolExecutor(1, "scae-copy")
            copied = self._copier.submit(_copied, self._copy, images_BSS3, tasks)
        return _Reading(images_BSS3, normalised_BSS3, unreadable_B, tasks, copied)

    def _cut(self, batch: int) -> Iterator[range]:
        step = self._rows_a_task or batch
        return (range(start, min(start + step, batch)) for start in range(0, batch, step))

    def _open_pool(self, first_row: int) -> ThreadPoolExecutor:
        large = not isinstance(self._data, ArrayData) and self._is_large(first_row)
        self._rows_a_task = _ROWS_A_TASK if large else None
        return ThreadPoolExecutor(self._threads if large else 1, "scae-read")

    def _is_large(self, row: int) -> bool:
        try:
            return self._data.read(row).nbytes >= THREADS_FROM_BYTES
        except ImageReadError:
            return True  # it will be met again, and raised or skipped then

    def _prepare(
        self,
        rows: range,
        places: range,
        images_BSS3: Tensor,
        normalised_BSS3: Tensor | None,
        unreadable_B: NDArray[np.bool_],
    ) -> None:
        self._read(rows, places, images_BSS3.numpy(), unreadable_B)
        if self._normalise and normalised_BSS3 is not None:
            part = slice(places.start, places.stop)
            self._normalise.here(images_BSS3.numpy()[part], normalised_BSS3.numpy()[part])

    def _read(
        self,
        rows: range,
        places: range,
        images_BSS3: NDArray[np.uint8],
        unreadable_B: NDArray[np.bool_],
    ) -> None:
        if isinstance(self._data, ArrayData):
            squash_rows(self._data, rows[places.start : places.stop], images_BSS3[places.start :])
            return
        for place in places:
            try:
                read_squashed(self._data, rows[place], images_BSS3[place])
            except ImageReadError:
                if not self._skip:
                    raise
                unreadable_B[place] = True
            except Exception as error:  # a user's data set may raise anything, and not say where
                raise ImageReadError(
                    f"cannot read image {self._data.describe(rows[place])}, got"
                    f" {type(error).__name__}: {error}"
                ) from error


class CopyToGpu:
    """Copies a batch to a GPU on a stream of its own, so that it overlaps with kernels.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __call__(self, images: Tensor) -> Tensor:
        """Return the copy, which is complete."""
        with torch.cuda.stream(self._stream):
            copied = images.to(self._device, non_blocking=True)
        self._stream.synchronize()
        # It was made on our stream and is used, and let go, on the caller's.
        copied.record_stream(torch.cuda.default_stream(self._device))
        return copied


def _copied(copy: Copy, images: Tensor, tasks: Sequence[Future[None]]) -> Tensor:
    for task in tasks:
        task.result()
    return copy(images)
