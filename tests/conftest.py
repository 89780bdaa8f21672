"""Fixtures that several rooms share."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from cache_store.provenance import Provenance
from cache_store.store import SaliencyStore
from cache_store.writer import GenerationPlan
from loaders import index_folder, listing
from loaders.image_data import ArrayData
from tests.cli.errors.elsewhere import SITES_OF
from tests.cli.errors.sites import recorded, sites_at
from tests.doc_blocks import ReaderFolder
from tests.loaders.index_trees import SETTLED_SECONDS
from tests.reader_files import write_files
from tests.s3_server import SECRETS, Proxy, run_proxy, run_s3_server
from tests.slurm import FakeSlurm
from tests.warm_scae import commands_in

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from numpy.typing import NDArray

    from cache_store.generation import Generation
    from cache_store.writer import GenerationWriter

ROOT = Path(__file__).parent.parent
FINGERPRINT = "f" * 64


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Hold tests to the errors that `tests/cli/errors/elsewhere.toml` says they provoke."""
    if item.nodeid not in SITES_OF:
        return (yield)
    with recorded() as lines:
        result = yield
    missed = SITES_OF[item.nodeid] - sites_at(lines)
    assert not missed, f"{item.nodeid} came by none of {missed}: see tests/cli/errors"
    return result


@pytest.fixture(autouse=True)
def resident_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep resident maps of tests out of the user's own folder."""
    monkeypatch.setenv("SCAE_RESIDENT_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session", autouse=True)
def index_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep index files of tests out of the user's own folder, and out of `tmp_path`'s data.

    For the whole session: fixtures of a module open data before a test's own would begin.
    """
    folder = tmp_path_factory.getbasetemp() / "indexes"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCAE_INDEX_DIR", str(folder))
        yield folder


@pytest.fixture
def indexes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for index files, of which none has been written yet."""
    place = tmp_path / "indexes"
    monkeypatch.setenv("SCAE_INDEX_DIR", str(place))
    monkeypatch.setattr(listing, "SETTLED_NS", int(SETTLED_SECONDS * 1e9))
    monkeypatch.setattr(index_folder, "_WARNED", set())
    return place


@pytest.fixture
def make_plan() -> Callable[..., GenerationPlan]:
    """Build a plan for `num_samples` maps of 3x4 in blocks of 8 rows."""

    def make(num_samples: int = 20, *, weights: str = "0", size: int = 32) -> GenerationPlan:
        provenance = Provenance(
            data="toy",
            fingerprint=FINGERPRINT,
            network="resnet8",
            weights="random",
            weights_digest=weights * 64,
            target_layer="layer3",
            size=size,
            mean=(0.5,),
            std=(0.25,),
            batch_size=4,
            channels_last=False,
            precision="fp32",
            device_type="cpu",
            code_version="0",
        )
        return GenerationPlan(
            provenance=provenance,
            num_samples=num_samples,
            map_shape=(3, 4),
            block_rows=8,
            chunk_rows=4,
        )

    return make


@pytest.fixture
def make_store() -> Callable[..., SaliencyStore]:
    """Create a cache for samples with ids 100, 101, ..."""

    def make(url: str | Path, num_samples: int = 20) -> SaliencyStore:
        ids = np.arange(num_samples, dtype=np.uint64) + np.uint64(100)
        return SaliencyStore.create(
            url,
            sample_ids=ids,
            content_ids=ids * np.uint64(3),
            labels=np.arange(num_samples) % 4,
            fingerprint=FINGERPRINT,
            data="toy",
        )

    return make


@pytest.fixture
def formula_maps() -> Callable[..., NDArray[np.uint8]]:
    """Maps that any test can compute again: row i is a function of i and `salt`."""

    def maps(start: int, stop: int, salt: int = 0) -> NDArray[np.uint8]:
        cells = np.arange(12, dtype=np.int64).reshape(1, 3, 4)
        rows = np.arange(start, stop, dtype=np.int64).reshape(-1, 1, 1)
        return ((rows * 37 + cells * 11 + salt * 5) % 256).astype(np.uint8)

    return maps


@pytest.fixture
def write_block(
    formula_maps: Callable[..., NDArray[np.uint8]],
) -> Callable[..., None]:
    """Write one block of formula maps."""

    def write(writer: GenerationWriter, block: int, salt: int = 0) -> None:
        start, stop = writer.block_range(block)
        maps = formula_maps(start, stop, salt)
        writer.write_block(block, maps, maps[:, 0, 0] / 256, ())

    return write


@pytest.fixture
def publish(
    make_plan: Callable[..., GenerationPlan], write_block: Callable[..., None]
) -> Callable[..., Generation]:
    """Write and publish a whole generation of formula maps."""

    def run(store: SaliencyStore, weights: str = "0", salt: int = 0) -> Generation:
        writer = store.begin(make_plan(store.num_samples, weights=weights))
        for block in writer.pending():
            write_block(writer, block, salt)
        return store.publish(writer)

    return run


@pytest.fixture
def toy_images() -> Callable[..., ArrayData]:
    """Random 16x16 images of 4 classes, or their subset in another order."""

    def make(num: int = 40, rows: list[int] | None = None) -> ArrayData:
        rng = np.random.default_rng(7)
        images = rng.integers(0, 256, (num, 16, 16, 3), np.uint8)
        data = ArrayData(images, np.arange(num) % 4, ["a", "b", "c", "d"], name="toy")
        return data if rows is None else data.subset(rows)

    return make


class TortureLog:
    """Cases of a long run that have passed, one a line, so that a rerun does only the rest.

    Args:
        part: Name of the run.
        room: Folder of the code and of the tests that the run is about: a change there begins anew.
    """

    def __init__(self, part: str, room: str = "cache_store") -> None:
        digest = hashlib.sha256()
        tests = ROOT / "tests" / Path(room).name
        for path in sorted([*(ROOT / room).glob("*.py"), *tests.glob("*.py")]):
            digest.update(path.read_bytes())
        folder = ROOT / ".torture"
        folder.mkdir(exist_ok=True)
        self._part = part
        self._passed = folder / f"{part}-{digest.hexdigest()[:12]}.passed"
        self._result = folder / f"{part}.result"

    def todo(self, cases: Sequence[str]) -> Iterator[str]:
        """Yield each case that has not passed with this code; asking for the next one passes it."""
        done = set(self._passed.read_text().split("\n")) if self._passed.exists() else set()
        with self._passed.open("a") as file:
            for case in cases:
                if case not in done:
                    yield case
                    file.write(f"{case}\n")
                    file.flush()
        now = datetime.now(UTC).isoformat(timespec="minutes")
        self._result.write_text(f"{now} {self._part}: all {len(cases)} cases passed\n")


@pytest.fixture
def open_torture_log() -> Callable[..., TortureLog]:
    """Open the log of one part of the long runs."""
    return TortureLog


@pytest.fixture(scope="session")
def s3_address() -> Iterator[tuple[str, int]]:
    """Run an S3 server on loopback, with one empty bucket."""
    with run_s3_server() as address:
        yield address


@pytest.fixture
def proxy(s3_address: tuple[str, int]) -> Iterator[Proxy]:
    """Put a proxy before the S3 server."""
    with run_proxy(s3_address) as server:
        yield server


@pytest.fixture
def s3_url(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name a fresh prefix of the bucket, behind the proxy, by the usual environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", SECRETS[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS[1])
    return f"s3://bucket/{uuid.uuid4().hex}"


@pytest.fixture
def slurm(tmp_path: Path) -> FakeSlurm:
    """A folder of commands that stand in for SLURM's."""
    return FakeSlurm(tmp_path / "slurm")


@pytest.fixture
def jpeg_folder(tmp_path: Path) -> Callable[..., Path]:
    """Make `num` JPEGs a class, of different sizes."""

    def make(name: str = "photos", num: int = 10) -> Path:
        rng = np.random.default_rng(3)
        for label in ("cat", "dog", "emu"):
            folder = tmp_path / name / label
            folder.mkdir(parents=True)
            for index in range(num):
                pixels = rng.integers(0, 256, (20 + index % 3, 24, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{index:02d}.jpg")
        return tmp_path / name

    return make


@pytest.fixture(scope="session")
def warm_commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for PATH whose `scae` and `python` need not import anything anew."""
    with commands_in(tmp_path_factory.mktemp("commands")) as folder:
        yield folder


@pytest.fixture
def reader(tmp_path: Path, warm_commands: Path) -> ReaderFolder:
    """A folder like a fresh clone, of a reader with images, a network and its weights."""
    folder, home = tmp_path / "clone", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    write_files(folder, home)
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(warm_commands)
    return ReaderFolder(folder, home, (warm_commands,))
