"""Reading ahead: the same bytes, errors by name and at once, bounded, and no thread left."""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from cache_store.errors import ScaeError
from loaders.decode import read_resized
from loaders.errors import ImageReadError
from loaders.folder_data import FolderData
from loaders.image_data import ArrayData, ImageData
from loaders.map_style_data import MapStyleData
from pipeline.errors import Stopped
from pipeline.refresh.feed import Feed
from pipeline.refresh.job import execute
from pipeline.refresh.normalise import Normalise
from pipeline.refresh.plan import RefreshOptions, plan_refresh
from pipeline.refresh.sources import DataSource, NetworkSource
from pipeline.saliency.networks import build_network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

BATCHES = (range(5), range(5, 10), range(10, 15), range(15, 20), range(20, 23))


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    def ours() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("scae")]

    assert not ours()
    yield
    assert not ours()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 photographs large enough for threads, of several sizes."""
    place = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(3)
    for number in range(23):
        target = place / f"class{number % 2}" / f"{number:02}.jpg"
        target.parent.mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (70 + number, 90, 3), np.uint8)
        Image.fromarray(pixels).save(target, quality=90)
    return place


class Counted(ImageData):
    """Wraps a data set to count and delay its reads."""

    def __init__(self, data: ImageData, seconds: float = 0.0) -> None:
        super().__init__(
            name=data.name,
            class_names=data.class_names,
            labels=data.labels,
            sample_ids=data.sample_ids,
            content_ids=data.content_ids,
        )
        self.data = data
        self.seconds = seconds
        self.rows: list[int] = []

    def describe(self, row: int) -> str:
        return self.data.describe(row)

    def read(self, row: int) -> NDArray[np.uint8]:
        self.rows.append(row)
        time.sleep(self.seconds)
        return self.data.read(row)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_batches_have_the_same_bytes_for_any_number_of_threads(folder: Path, threads: int) -> None:
    data = FolderData(folder)
    with Feed(data, 24, threads=threads) as feed:
        for number, rows in enumerate(BATCHES):
            fed = feed.take(rows, BATCHES[number + 1 :])
            assert torch.equal(fed.images, read_resized(data, rows, 24).permute(0, 2, 3, 1))
            assert not fed.unreadable.any()


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_normalise_what_they_read_and_leave_unreadable_images_black(
    folder: Path, tmp_path: Path, threads: int
) -> None:
    copied = Path(copytree(folder, tmp_path / "copied"))
    sorted(copied.glob("*/*"))[1].write_bytes(b"no image")
    data = FolderData(copied)
    normalise = Normalise((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), 24)
    with (
        Feed(data, 24, threads=threads, skip=True) as plain,
        Feed(data, 24, threads=threads, skip=True, normalise=normalise) as feed,
    ):
        for rows in BATCHES:
            fed, expected = feed.take(rows), plain.take(rows)
            assert fed.images.dtype == torch.float32
            assert torch.equal(fed.images, normalise.on_device(expected.images))
            np.testing.assert_array_equal(fed.unreadable, expected.unreadable)


@pytest.mark.parametrize("size", [32, 20])
def test_arrays_are_fed_without_decoding(small_arrays: ArrayData, size: int) -> None:
    with Feed(small_arrays, size, threads=4) as feed:
        for rows in (range(3), range(3, 6)):
            expected = read_resized(small_arrays, rows, size).permute(0, 2, 3, 1)
            assert torch.equal(feed.take(rows).images, expected)


@pytest.fixture
def small_arrays() -> ArrayData:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 32, 32, 3), np.uint8)
    return ArrayData(images, np.arange(6) % 2, ["a", "b"])


def test_next_batches_are_read_while_the_caller_is_busy_and_no_more_of_them(folder: Path) -> None:
    data = Counted(FolderData(folder))
    with Feed(data, 24, threads=2) as feed:
        feed.take(BATCHES[0], BATCHES[1:])
        until = time.monotonic() + 10
        while len(set(data.rows)) < 15 and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.05)
        assert set(data.rows) == set(range(15))  # two batches ahead, though there are four
        seen = len(data.rows)
        feed.take(BATCHES[1])
        assert len(data.rows) == seen


def test_batches_that_nobody_wants_any_more_are_not_kept(folder: Path) -> None:
    data = FolderData(folder)
    with Feed(data, 24, threads=2) as feed:
        feed.take(BATCHES[0], BATCHES[1:])
        fed = feed.take(BATCHES[4])
        assert torch.equal(fed.images, read_resized(data, BATCHES[4], 24).permute(0, 2, 3, 1))
        assert not feed._readings


def test_unreadable_image_of_a_later_batch_is_named_at_once(folder: Path) -> None:
    first_taken, tries = threading.Event(), []

    class Broken(Counted):
        def read(self, row: int) -> NDArray[np.uint8]:
            if row == 12:
                first_taken.wait(10)  # or the first batch would be the one to raise it
                tries.append(row)
                raise ImageReadError("cannot read image dog/12.jpg: cut")
            return super().read(row)

    def wait_for_try(number: int) -> None:
        until = time.monotonic() + 10
        while len(tries) < number and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.05)

    data = Broken(FolderData(folder))
    with Feed(data, 24, threads=4) as feed:
        feed.take(BATCHES[0], BATCHES[1:])
        first_taken.set()
        wait_for_try(1)
        with pytest.raises(ImageReadError, match=r"dog/12\.jpg"):
            feed.take(BATCHES[1], BATCHES[2:])
        # Another block's error is not this one's, and a retry reads again.
        assert not feed.take(BATCHES[1], (), BATCHES[2:]).unreadable.any()
        wait_for_try(2)
        data.read = Counted.read.__get__(data)  # type: ignore[method-assign]  # it is there again
        with pytest.raises(ImageReadError, match=r"dog/12\.jpg"):
            feed.take(BATCHES[2])
        assert not feed.take(BATCHES[2]).unreadable.any()


def test_skipped_images_are_black_and_marked(folder: Path, tmp_path: Path) -> None:
    for name in ("a/0", "a/1", "b/2", "b/3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.jpg").write_bytes((folder / "class0/00.jpg").read_bytes())
    (tmp_path / "a" / "0.jpg").write_bytes(b"no image")
    with Feed(FolderData(tmp_path), 24, threads=2, skip=True) as feed:
        fed = feed.take(range(4))
    assert fed.unreadable.tolist() == [True, False, False, False]
    assert not fed.images[0].any()
    assert fed.images[1].any()


def test_whatever_a_data_set_raises_names_the_sample() -> None:
    class Faulty:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
            if index == 2 and threading.current_thread() is not threading.main_thread():
                raise KeyError("inside")
            return np.zeros((80, 80, 3), np.uint8), index % 2

    data = MapStyleData(Faulty())
    with (
        Feed(data, 24, threads=2, skip=True) as feed,
        pytest.raises(ImageReadError, match=re.escape(data.describe(2)) + ".*KeyError: 'inside'"),
    ):
        feed.take(range(4))


def test_stop_ends_a_wait_for_slow_images(folder: Path) -> None:
    def go_on() -> None:
        if time.monotonic() > begun + 0.2:
            raise Stopped("stopped")

    data = Counted(FolderData(folder), seconds=0.3)
    begun = time.monotonic()
    with Feed(data, 24, threads=1) as feed, pytest.raises(Stopped):
        feed.take(BATCHES[0], BATCHES[1:], go_on=go_on)
    assert len(data.rows) < 10  # four images a task, and nothing behind it is begun


def test_a_feed_that_another_thread_closes_ends_the_wait(folder: Path) -> None:
    data = Counted(FolderData(folder), seconds=0.2)
    ends: list[type[BaseException]] = []

    def take() -> None:
        with pytest.raises(CancelledError) as caught:
            feed.take(range(20))
        ends.append(caught.type)

    feed = Feed(data, 24, threads=1)
    taking = threading.Thread(target=take)
    taking.start()
    while len(data.rows) < 3:  # the first one is read by the taker, to cut tasks by its size
        time.sleep(0.01)
    feed.close()
    taking.join(timeout=20)
    assert ends == [CancelledError]


def test_copies_to_a_device_are_made_in_one_other_thread_and_in_order(folder: Path) -> None:
    threads = set()
    copied: list[torch.Tensor] = []

    def copy(images: torch.Tensor) -> torch.Tensor:
        threads.add(threading.get_ident())
        copied.append(images.clone())
        return copied[-1]

    data = FolderData(folder)
    with Feed(data, 24, threads=3, copy=copy) as feed:
        for number, rows in enumerate(BATCHES):
            fed = feed.take(rows, BATCHES[number + 1 :])
            assert fed.images.data_ptr() == copied[number].data_ptr()
            assert torch.equal(fed.images, read_resized(data, rows, 24).permute(0, 2, 3, 1))
    assert len(threads) == 1
    assert threads != {threading.get_ident()}


def test_copy_that_fails_is_an_error_of_its_batch(folder: Path) -> None:
    def copy(images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("CUDA out of memory")

    with (
        Feed(FolderData(folder), 24, threads=2, copy=copy) as feed,
        pytest.raises(RuntimeError, match="CUDA out of memory"),
    ):
        feed.take(BATCHES[0])


@pytest.mark.parametrize("fault", ["image", "network", "stop"])
def test_job_that_ends_early_leaves_no_thread(fault: str, folder: Path, tmp_path: Path) -> None:
    class Broken(Counted):
        def read(self, row: int) -> NDArray[np.uint8]:
            if row == 17 and fault == "image":
                raise ImageReadError("cannot read image dog/17.jpg: cut")
            return super().read(row)

    data = Broken(FolderData(folder))
    built = build_network("resnet8", num_classes=2)
    options = RefreshOptions(size=16, batch_size=4, block_rows=8, chunk_rows=8, decode_threads=3)
    source, network = DataSource(name="photographs"), NetworkSource(name="resnet8", num_classes=2)
    plan = plan_refresh(source, network, tmp_path / "c", options, opened=data, built=built)
    if fault == "network":
        with torch.no_grad():
            built.module.get_parameter("linear.bias")[0] = torch.nan
        built = replace(built, weights_digest=plan.generation.provenance.weights_digest)
    with pytest.raises(ScaeError, match=r"dog/17\.jpg|from .*jpg\)|run the same command again"):
        execute(plan, opened=data, built=built, stop=lambda: fault == "stop")
