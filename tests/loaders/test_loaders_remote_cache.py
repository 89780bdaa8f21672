"""Worker processes that read their maps from an object store."""

from __future__ import annotations

import runpy
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from loaders.image_data import ArrayData
    from tests.s3_server import Proxy

# A process of its own: a forkserver that other tests have started knows their environment only.
EPOCHS = """
import hashlib, multiprocessing, sys
import numpy as np
from loaders.build import build_loader
from loaders.image_data import ArrayData
from loaders.policy import ScaePolicy
from loaders.transforms import CropFlip, StandardTransform

def main(images, cache, num_workers):
    arrays = np.load(images)
    data = ArrayData(arrays["images"], arrays["labels"], ["a", "b", "c", "d"], name="toy")
    counts = tuple(data.class_counts.tolist())
    policy = ScaePolicy(num_epochs=3, class_counts=counts, p_min=1.0, p_max=1.0)
    standard = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    transform = StandardTransform(geometry=CropFlip(16), mean=standard[0], std=standard[1])
    loader = build_loader(data, transform, cache=cache, policy=policy, batch_size=8,
        num_workers=int(num_workers), generation=1)
    seen = hashlib.sha256()
    for epoch, generation in enumerate((1, 2)):
        loader.set_epoch(epoch, generation)
        for batch in loader:
            seen.update(batch.images.numpy().tobytes() + batch.boxes.numpy().tobytes())
    return seen.hexdigest()

if __name__ == "__main__":
    multiprocessing.set_forkserver_preload(["loaders.build"])  # else each worker imports torch
    print(main(*sys.argv[1:]))
"""


def test_forkserver_workers_read_a_cache_in_a_bucket(
    tmp_path: Path,
    proxy: Proxy,
    s3_url: str,
    toy_images: Callable[..., ArrayData],
    publish_maps: Callable[..., object],
) -> None:
    data = toy_images()
    np.savez(tmp_path / "toy.npz", images=data.images, labels=data.labels)
    maps = np.random.default_rng(0).integers(0, 256, (2, len(data), 4, 4), np.uint8)
    for cache in (tmp_path / "c", s3_url):
        for epoch in range(2):
            publish_maps(data, cache, maps[epoch], epoch)
    script = tmp_path / "epochs.py"
    script.write_text(EPOCHS)

    local = runpy.run_path(str(script))["main"](tmp_path / "toy.npz", tmp_path / "c", 0)
    for file in tmp_path.glob("scae-*/*.maps"):  # made from the local cache
        file.unlink()
    before = len(proxy.requests)
    command = [sys.executable, "-P", str(script), str(tmp_path / "toy.npz"), s3_url, "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == local
    assert sum("GET" in request for request in proxy.requests[before:]) > 20
