"""A recipe that trains in a second, on a folder of tiny images."""

from __future__ import annotations

import json
import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.training.recipe import Recipe


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks run faster so, and tests beside each other do not fight."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train and test folders of 3 classes told apart by colour, 16x16 PNGs, long-tailed."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(5)
    for split, counts in (("train", (24, 12, 4)), ("test", (8, 8, 8))):
        for label, count in enumerate(counts):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 120, (16, 16, 3), np.uint8)
                pixels[4:12, 4:12, label] += 120
                Image.fromarray(pixels).save(folder / f"{index:03d}.png")
    return root


@pytest.fixture
def tiny_recipe(image_folder: Path) -> Callable[..., Recipe]:
    """Four epochs with a refresh after the second."""

    def make(*overrides: str) -> Recipe:
        from pipeline.training.recipe_file import load_recipe

        return load_recipe(
            None,
            [
                f"data.name={image_folder}",
                "data.size=16",
                "train.epochs=4",
                "train.batch_size=16",
                "train.precision=fp32",
                "refresh.interval=2",
                "augment.lambda_max=8.0",
                *overrides,
            ],
        )

    return make


@pytest.fixture(scope="session")
def run_ranks() -> Iterator[Callable[..., list[int]]]:
    """Run a function of rank_server.py as each of several ranks; returns their exit codes."""
    server = Path(__file__).parent / "rank_server.py"
    with subprocess.Popen(
        [sys.executable, "-P", str(server)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        jobs, answers = process.stdin, process.stdout
        assert jobs is not None
        assert answers is not None

        def run(work: str, num: int, *arguments: object) -> list[int]:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            pickle.dump((work, num, port, arguments), jobs)
            jobs.flush()
            codes: list[int] = json.loads(answers.readline())
            return codes

        yield run
        # Not by the end of its input alone: processes that tests have forked may hold that open.
        pickle.dump(None, jobs)
        jobs.close()
