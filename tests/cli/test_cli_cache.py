"""`scae cache`: what each command prints, and how it ends."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from cache_store.store import SaliencyStore
from cli.cache import COMMANDS
from cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cache_store.generation import Generation
    from cache_store.writer import GenerationPlan

SHARD = "generations/000001/saliency/c/0/0/0"


def _scae(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def _assert_refused(result: Result, *parts: str, code: int = 1) -> None:
    assert result.exit_code == code, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, result.stderr
    for part in parts:
        assert part in errors[0]


@pytest.fixture
def cache(
    tmp_path: Path, make_store: Callable[..., SaliencyStore], publish: Callable[..., Generation]
) -> Path:
    """Two generations of formula maps."""
    store = make_store(tmp_path / "maps.zarr")
    publish(store)
    publish(store, weights="1", salt=1)
    return tmp_path / "maps.zarr"


@pytest.fixture
def refreshed(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data`, 12 JPEGs of 2 classes, and `maps.zarr`, their real maps."""
    base = tmp_path_factory.getbasetemp() / "cli-cache-refreshed"
    if not base.exists():
        rng = np.random.default_rng(1)
        for label in ("ant", "bee"):
            (base / "data" / label).mkdir(parents=True)
            for index in range(6):
                pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
                Image.fromarray(pixels).save(base / "data" / label / f"{index}.jpg", quality=95)
        result = _scae(
            "refresh", "--data", base / "data", "--cache", base / "maps.zarr",
            "--network", "resnet8", "--weights", "random", "--size", 16,
        )  # fmt: skip
        assert result.exit_code == 0, result.output
    return shutil.copytree(base, tmp_path / "refreshed")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_cache_command_has_help_with_an_example(command: str) -> None:
    result = _scae("cache", command, "--help")
    assert result.exit_code == 0
    assert f"\n    scae cache {command} " in result.output


@pytest.mark.parametrize("command", ["info", "ls", "verify", "repair", "gc --keep 1"])
def test_place_without_a_cache_is_named(tmp_path: Path, command: str) -> None:
    _assert_refused(_scae("cache", *command.split(), tmp_path / "none"), "no cache at", "none")


def test_ls_prints_a_line_a_generation_and_how_far_unfinished_ones_are(
    cache: Path, make_plan: Callable[..., GenerationPlan], write_block: Callable[..., None]
) -> None:
    writer = SaliencyStore.open(cache, "r+").begin(make_plan(weights="2"))
    write_block(writer, 0)
    lines = _scae("cache", "ls", cache).stdout.splitlines()
    digest = SaliencyStore.open(cache).generation(2).digest
    assert len(lines) == 4
    assert lines[2].startswith("2 ")
    assert lines[2].endswith(digest[:12])
    assert "unfinished, 33% done" in lines[3]
    rows = json.loads(_scae("cache", "ls", cache, "--json").stdout)
    assert [row["state"] for row in rows] == ["published", "published", "unfinished"]
    assert rows[2]["done"] == pytest.approx(1 / 3)
    assert rows[1]["digest"] == digest
    own = [path for path in (cache / "generations/000002").rglob("*") if path.is_file()]
    assert rows[1]["bytes"] == sum(path.stat().st_size for path in own)


def test_ls_lists_a_damaged_generation_beside_the_others(cache: Path) -> None:
    (cache / "_scae/manifests/000001.json").write_bytes(b"{}")
    rows = json.loads(_scae("cache", "ls", cache, "--json").stdout)
    assert [row["state"] for row in rows] == ["damaged", "published"]


def test_ls_of_a_cache_without_generations_names_the_cure(
    tmp_path: Path, make_store: Callable[..., SaliencyStore]
) -> None:
    make_store(tmp_path / "c")
    assert "run 'scae refresh'" in _scae("cache", "ls", tmp_path / "c").stdout


def test_verify_of_a_whole_cache_ends_well(cache: Path) -> None:
    result = _scae("cache", "verify", cache, "--threads", 2)
    assert result.exit_code == 0
    num_files = sum(path.is_file() for path in cache.rglob("*"))
    assert f"{num_files} objects checked: all are as they were written" in result.stdout


def test_verify_names_damage_and_foreign_files_and_ends_in_1(cache: Path) -> None:
    (cache / SHARD).unlink()
    (cache / "notes.txt").write_text("?")
    result = _scae("cache", "verify", cache)
    assert result.exit_code == 1
    assert f"damaged       object {SHARD} of {cache} is missing" in result.stdout
    assert "foreign       notes.txt" in result.stdout
    assert "1 damaged, 1 foreign" in result.stdout
    assert "scae cache repair" in result.stdout
    fields = json.loads(_scae("cache", "verify", cache, "--json").stdout)
    assert (list(fields["damaged"]), fields["foreign"]) == ([SHARD], ["notes.txt"])
    assert not fields["ok"]
    assert _scae("cache", "verify", cache, "--generation", 2).exit_code == 0


def test_verify_with_leftovers_only_ends_in_0(cache: Path) -> None:
    (cache / "samples/x.partial").write_bytes(b"half")
    result = _scae("cache", "verify", cache)
    assert result.exit_code == 0
    assert "leftover      samples/x.partial" in result.stdout
    assert "scae cache gc" in result.stdout


def test_repair_puts_a_lost_shard_back(refreshed: Path) -> None:
    cache = refreshed / "maps.zarr"
    before = (cache / SHARD).read_bytes()
    (cache / SHARD).unlink()
    without = _scae("cache", "repair", cache)
    assert without.exit_code == 1
    assert "--data and --weights" in without.stdout
    result = _scae("cache", "repair", cache, "--data", refreshed / "data", "--json")
    assert result.exit_code == 0, result.output
    fields = json.loads(result.stdout)
    assert (fields["ok"], fields["repaired"]) == (True, [SHARD])
    assert (cache / SHARD).read_bytes() == before
    assert _scae("cache", "repair", cache).stdout == "nothing is damaged\n"


def test_repair_refuses_other_data_and_other_weights(refreshed: Path) -> None:
    cache, data = refreshed / "maps.zarr", refreshed / "data"
    (cache / SHARD).unlink()
    words = ("cache", "repair", cache, "--data", data)
    _assert_refused(_scae(*words, "--seed", 1), "made from weights with digest")
    _assert_refused(_scae(*words, "--network", "resnet14"), "made from weights with digest")
    (data / "bee/0.jpg").unlink()
    _assert_refused(_scae(*words), "made from data with digest")
    assert not (cache / SHARD).exists()


def test_gc_removes_what_it_announced(cache: Path) -> None:
    words = ("cache", "gc", cache, "--keep", 1, "--grace", 0)
    announced = _scae(*words, "--dry-run", "--json")
    assert announced.exit_code == 0, announced.output
    assert SaliencyStore.open(cache).generations() == (1, 2)
    result = _scae(*words)
    assert "generation 2 stays: latest" in result.stdout
    assert "removed generation 1" in result.stdout
    assert json.loads(announced.stdout)["generations"] == [1]
    assert SaliencyStore.open(cache).generations() == (2,)
    verified = _scae("cache", "verify", cache)
    assert verified.exit_code == 0, verified.stdout


def test_gc_of_resident_files_tells_of_them(cache: Path) -> None:
    path = SaliencyStore.open(cache).generation(1).resident().path
    words = ("cache", "gc", cache, "--keep", 1, "--grace", 0, "--resident")
    result = _scae(*words)
    assert result.exit_code == 0, result.output
    assert "removed 1 resident file, " in result.stdout
    fields = json.loads(_scae(*words, "--json").stdout)["resident"]
    assert set(fields) == {"removed", "held", "freed_bytes"}
    assert str(path) in result.stdout


def test_gc_needs_to_know_how_many_to_keep(cache: Path) -> None:
    assert _scae("cache", "gc", cache).exit_code == 2
    assert _scae("cache", "gc", cache, "--keep", 0).exit_code == 2


def test_export_writes_the_newest_generation_or_the_one_named(cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    result = _scae("cache", "export", cache, out)
    assert result.exit_code == 0
    assert "wrote generation 2, 20 maps" in result.stdout
    _assert_refused(_scae("cache", "export", cache, out), "is there already", "--force")
    assert _scae("cache", "export", cache, out, "--generation", 1, "--force").exit_code == 0
    with np.load(out) as found:
        maps = np.asarray(SaliencyStore.open(cache).generation(1).saliency[:])
        np.testing.assert_array_equal(found["maps"], maps)
    _assert_refused(_scae("cache", "export", cache, out, "--generation", 9), "published are: 1, 2")


def test_diff_compares_generations_of_one_or_two_caches(cache: Path) -> None:
    same = json.loads(_scae("cache", "diff", f"{cache}@2", cache, "--json").stdout)
    assert (same["num_equal"], same["peaks_moved"]) == (20, 0)
    result = _scae("cache", "diff", f"{cache}@1", f"{cache}@2", "--lambda", "-2", "--worst", 3)
    assert result.exit_code == 0, result.output
    assert "20 in both" in result.stdout
    assert "at lambda -2, 32x32 pixels" in result.stdout
    assert result.stdout.count("  rows ") == 3
    _assert_refused(_scae("cache", "diff", f"{cache}@7", cache), "no generation 7")


def test_diff_names_samples_when_the_data_is_given(refreshed: Path) -> None:
    cache = refreshed / "maps.zarr"
    result = _scae("cache", "diff", cache, cache, "--data", refreshed / "data", "--worst", 1)
    assert result.exit_code == 0, result.output
    assert ".jpg" in result.stdout.splitlines()[-1]
