"""A run whose trainer is played by the test."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from cache_store.store import SaliencyStore
from pipeline.refresh.job import execute
from pipeline.refresh.plan import RefreshOptions, plan_refresh
from pipeline.refresh.policy import RefreshPolicy
from pipeline.refresh.sources import DataSource, NetworkSource
from pipeline.refresh.watch import watch
from pipeline.refresh.watch_followed import Followed
from pipeline.refresh.watch_options import WatchOptions
from pipeline.refresh.whole_file import write_whole
from pipeline.saliency.networks import build_network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from loaders.image_data import ArrayData


@dataclass
class WatchedRun:
    """Checkpoints of 8 epochs, of which 1, 3 and 5 are wanted; epoch e has weights of seed e."""

    root: Path
    data: ArrayData
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.root / "checkpoints"

    @property
    def cache(self) -> str:
        return str(self.root / "maps.zarr")

    def checkpoint(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:04d}.pt"

    def save(self, *epochs: int) -> None:
        """Write checkpoints as the trainer does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for epoch in epochs:
            state = build_network("resnet8", num_classes=4, seed=epoch).module.state_dict()
            buffer = io.BytesIO()
            torch.save({"model": state, "epoch": epoch}, buffer)
            write_whole(self.checkpoint(epoch), buffer.getvalue(), fsync=False)

    def followed(self) -> Followed:
        return Followed(
            data=DataSource(name="toy"),
            opened=self.data,
            network=NetworkSource(name="resnet8", num_classes=4),
            options=RefreshOptions(
                size=16, batch_size=8, block_rows=8, chunk_rows=4, channels_last=False, fsync=False
            ),
            policy=RefreshPolicy(num_epochs=8, interval=2, lam=lambda _epoch: 2.0),
        )

    def log(self, event: str, text: str, **fields: Any) -> None:  # noqa: ANN401
        self.events.append((event, {"text": text, **fields}))

    def texts(self, event: str) -> list[str]:
        return [fields["text"] for name, fields in self.events if name == event]

    def watch(
        self,
        follow: Callable[[], Followed | None] | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        """Watch until the run is done."""
        given = {
            "run": self.root,
            "checkpoints": self.folder,
            "cache": self.cache,
            "state": self.root / "watch",
            "log": self.log,
            "poll_seconds": 0.01,
            "retry_seconds": 0.01,
            "until_done": True,
            **options,
        }
        watch(follow or self.followed, WatchOptions(**given))

    def digest(self, epoch: int, cache: Path) -> str:
        """Return the digest of an epoch's maps, made without a watcher."""
        followed = self.followed()
        network = replace(followed.network, weights=str(self.kept(epoch)))
        options = replace(followed.options, epoch=epoch)
        plan = plan_refresh(followed.data, network, cache, options, opened=self.data)
        return execute(plan, opened=self.data).generation.digest

    def published(self) -> dict[int | None, str]:
        """Return epoch -> digest of what is in the cache."""
        store = SaliencyStore.open(self.cache)
        found = [store.generation(number) for number in store.generations()]
        assert len({one.provenance.epoch for one in found}) == len(found), "an epoch was made twice"
        return {one.provenance.epoch: one.digest for one in found}

    def heartbeat(self) -> dict[str, Any]:
        beat: dict[str, Any] = json.loads((self.root / "watch" / "heartbeat.json").read_text())
        return beat

    def idle(self) -> bool:
        """Tell whether the watcher waits for something to do."""
        try:
            return self.heartbeat()["state"] == "waiting"
        except FileNotFoundError:
            return True

    def kept(self, epoch: int) -> Path:
        path = self.root / f"kept-{epoch}.pt"
        torch.save(build_network("resnet8", num_classes=4, seed=epoch).module.state_dict(), path)
        return path


@pytest.fixture
def run(tmp_path: Path, toy_images: Callable[..., ArrayData]) -> WatchedRun:
    """Return a run over 40 images without any checkpoint."""
    return WatchedRun(tmp_path / "run", toy_images())
