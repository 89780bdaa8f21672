"""`scae refresh`: dry runs, parts, logs, and what it says when blocks fail."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from cli.main import main
from cli.refresh_progress import EventLog, describe, duration
from pipeline.refresh import attempts, estimate
from pipeline.refresh.progress import RefreshProgress

if TYPE_CHECKING:
    from pathlib import Path


def _words(folder: Path, *words: object) -> list[str]:
    cache = folder.parent / "maps.zarr"
    given = [
        "refresh", "--data", folder, "--cache", cache, "--network", "resnet8",
        "--weights", "random", "--size", 16, "--batch-size", 3, "--block-rows", 6, *words,
    ]  # fmt: skip
    return [str(word) for word in given]


def _refresh(folder: Path, *words: object) -> Result:
    return CliRunner().invoke(main, _words(folder, *words))


def _events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_dry_run_tells_blocks_bytes_and_time_and_writes_nothing(folder: Path) -> None:
    result = _refresh(folder, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    fields = json.loads(result.stdout)
    assert (fields["images"], fields["blocks"], fields["missing_blocks"]) == (18, 3, 3)
    assert fields["bytes"] == 18 * 4 * 4
    assert fields["seconds"] * fields["images_per_second"] == pytest.approx(18, rel=0.05)
    assert not (folder.parent / "maps.zarr").exists()
    text = _refresh(folder, "--dry-run").stdout
    assert "to do     3 of 3 blocks, 18 images" in text
    assert "images/s in this process, by one timed batch" in text


def test_dry_run_counts_what_an_unfinished_run_has_left(folder: Path) -> None:
    assert _refresh(folder, "--part", "1/3").exit_code == 0
    fields = json.loads(_refresh(folder, "--dry-run", "--json").stdout)
    assert (fields["missing_blocks"], fields["missing_images"]) == (2, 12)
    fields = json.loads(_refresh(folder, "--dry-run", "--part", "1/3", "--json").stdout)
    assert fields["missing_blocks"] == 0


def test_dry_run_refuses_a_cache_of_other_data(folder: Path) -> None:
    assert _refresh(folder).exit_code == 0
    (folder / "bee" / "5.jpg").unlink()
    result = _refresh(folder, "--dry-run")
    assert result.exit_code == 1
    assert "18 samples" in result.stderr


def test_dry_run_warns_of_long_blocks_and_names_the_option(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "_time_batch", lambda _runner, _block: 600.0)
    result = _refresh(folder, "--dry-run", "--block-rows", 1024, "--batch-size", 18)
    assert result.exit_code == 0
    assert "warning: a block takes about 10 min" in result.stderr
    assert "--block-rows 16 makes them shorter" in result.stderr


@pytest.mark.parametrize(
    ("rows", "seconds", "better"),
    [(1024, 60.0, None), (1024, 61.0, 768), (1024, 600.0, 64), (256, 3600.0, 16), (16, 99.0, None)],
)
def test_proposed_block_sizes_last_a_minute_at_most(
    rows: int, seconds: float, better: int | None
) -> None:
    assert estimate._better(rows, seconds) == better


def test_parts_publish_nothing_and_finalize_names_what_is_missing(folder: Path) -> None:
    first = _refresh(folder, "--part", "1/2", "--json")
    assert json.loads(first.stdout)["blocks"] == 2
    missing = _refresh(folder, "--finalize", "--parts", 2)
    assert missing.exit_code == 1
    assert "missing, part 2/2 (blocks 1): run it again, then --finalize" in missing.stderr
    assert "part 2/2 of generation 1 is done: 1 block, " in _refresh(folder, "--part", "2/2").stdout
    done = _refresh(folder, "--finalize")
    assert done.exit_code == 0, done.output
    assert "generation 1 of 18 maps" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--part", "3/2"], "part must be K/N with 1 <= K <= N, got 3/2"),
        (["--part", "x"], "part must be K/N such as 3/20, got 'x'"),
        (["--part", "1/2", "--finalize"], "only one of --part and --finalize"),
        (["--dry-run", "--finalize"], "only one of --dry-run and --finalize"),
        (["--parts", "2"], "--parts has no effect without --finalize"),
        (["--memory-limit", "1GiB"], "--memory-limit has no effect without --workers"),
        (["--workers", "2", "--tls-key", "KEY"], "--tls-key has no effect without --scheduler"),
    ],
)
def test_options_that_do_not_fit_are_usage_errors(
    folder: Path, words: list[str], message: str
) -> None:
    key = folder.parent / "key.pem"
    key.touch()
    result = _refresh(folder, *(str(key) if word == "KEY" else word for word in words))
    assert result.exit_code == 2, result.output
    assert message in result.stderr


def test_block_rows_that_do_not_fit_name_the_rule(folder: Path) -> None:
    result = _refresh(folder, "--block-rows", 300)
    assert result.exit_code == 1
    assert "block_rows must be a multiple of chunk_rows 256, got 300" in result.stderr


def test_log_has_a_line_of_json_for_each_event(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    result = _refresh(folder, "--log-json", log, "--json")
    assert result.exit_code == 0, result.output
    events = _events(log)
    assert [event["event"] for event in events] == ["start", "progress", "progress", "published"]
    assert all(event["time"].endswith("+00:00") for event in events)
    assert events[2]["images"] == events[2]["images_total"] == 18
    assert (events[2]["blocks"], events[2]["workers"]) == (3, 1)
    assert events[3]["digest"] == json.loads(result.stdout)["digest"]


def test_failed_blocks_are_in_the_log_and_the_exit_code_is_1(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "PAUSE_SECONDS", 0.005)
    (folder / "bee" / "2.jpg").write_bytes(b"junk")
    log = tmp_path / "log.jsonl"
    result = _refresh(folder, "--log-json", log)
    assert result.exit_code == 1
    assert "1 of 3 blocks failed, nothing is published: block 1 (tried 3 times)" in result.stderr
    *_, failed, ended = _events(log)
    assert (failed["event"], failed["block"], failed["attempts"]) == ("block_failed", 1, 3)
    assert "bee/2.jpg" in failed["message"]
    assert ended["event"] == "failed"
    (folder / "bee" / "2.jpg").unlink()


def test_a_stop_while_planning_exits_with_75(folder: Path) -> None:
    module = folder.parent / "stopping.py"
    module.write_text(
        "import os, signal\n"
        "def build(num_classes):\n"
        f"    os.kill(os.getpid(), {int(signal.SIGTERM)})\n"
    )
    words = _words(folder)
    words[words.index("resnet8")] = f"{module}:build"
    done = subprocess.run(
        [sys.executable, "-P", "-c", "from cli.main import main; main()", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 75, done.stderr
    assert "stopped by SIGTERM before anything was computed" in done.stderr
    assert not (folder.parent / "maps.zarr").exists()


def test_progress_in_one_line() -> None:
    state = RefreshProgress(
        rows_done=12_288, rows_found=2_048, rows_total=50_000, blocks_done=12, blocks_total=49,
        blocks_failed=1, workers=4, seconds=32.0,
    )  # fmt: skip
    assert describe(state) == (
        "12,288 of 50,000 images, 12 of 49 blocks (1 failed), 320 images/s, 2 min left, 4 workers"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.4, "4 s"), (89, "89 s"), (90, "2 min"), (5_300, "88 min"), (12_000, "3 h 20 min")],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_log_thins_progress_but_keeps_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 1.0, 4.9, 5.1, 6.0, 6.1])
    monkeypatch.setattr("cli.refresh_progress.time.monotonic", lambda: next(clock))
    with (tmp_path / "log").open("w") as file:
        log = EventLog(file)
        for blocks in (0, 1, 1, 1, 3, 3):
            log.progress(
                RefreshProgress(
                    rows_done=blocks, rows_found=0, rows_total=3, blocks_done=blocks,
                    blocks_total=3, blocks_failed=0, workers=1, seconds=1.0,
                )
            )  # fmt: skip
    assert [event["blocks"] for event in _events(tmp_path / "log")] == [0, 1, 3]
