from __future__ import annotations

import os
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.errors import RefreshError
from pipeline.refresh.policy import RefreshPolicy
from pipeline.refresh.watch_checkpoints import Checkpoint, CheckpointFolder
from pipeline.refresh.watch_choice import Settled, choose
from pipeline.refresh.watch_followed import follow_policy
from pipeline.refresh.watch_metrics import metrics_server
from pipeline.refresh.watch_options import WatchOptions
from pipeline.refresh.watch_status import WatchStatus

POLICY = RefreshPolicy(num_epochs=12, interval=3, lam=lambda _epoch: 2.0)  # wants 2, 5 and 8
DONE, SKIPPED = Settled((1, 1), published=True), Settled((1, 1), published=False)


@pytest.mark.parametrize(
    ("there", "settled", "latest", "expected"),
    [
        pytest.param([], {}, None, None, id="nothing-there"),
        pytest.param([0, 1, 3], {}, None, None, id="none-wanted"),
        pytest.param([2, 4, 5, 6], {}, None, 5, id="newest-wanted"),
        pytest.param([2, 5], {5: DONE}, 5, None, id="newest-is-done"),
        pytest.param([2, 5], {5: SKIPPED}, None, 2, id="older-one-for-a-skipped-one"),
        pytest.param([2, 5], {5: SKIPPED}, 2, None, id="not-back-to-what-is-published"),
        pytest.param([2, 5, 8], {8: SKIPPED}, 2, 5, id="older-but-newer-than-published"),
        pytest.param([2, 5], {5: SKIPPED}, 8, None, id="not-back-before-what-is-published"),
        pytest.param([2], {}, 8, 2, id="new-run-in-an-old-cache"),
        pytest.param([5], {5: Settled((9, 9), published=True)}, 5, 5, id="written-anew"),
    ],
)
def test_choice_is_the_newest_wanted_and_never_goes_back(
    there: list[int], settled: dict[int, Settled], latest: int | None, expected: int | None
) -> None:
    found = choose(
        {epoch: Checkpoint(epoch, Path("x"), (1, 1)) for epoch in there}, POLICY, settled, latest
    )
    assert (None if found is None else found.epoch) == expected


def test_policy_of_a_loop_is_the_papers_schedule() -> None:
    assert follow_policy(num_epochs=200).epochs() == tuple(range(11, 196, 4))


@pytest.mark.parametrize("pattern", ["model.pt", "a/{epoch}.pt", "{epoch}-{epoch}.pt"])
def test_pattern_without_one_epoch_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(RefreshError, match=re.escape(f"got {pattern!r}")):
        CheckpointFolder(tmp_path, tmp_path / "w", pattern)


def test_only_files_of_the_pattern_are_checkpoints(tmp_path: Path) -> None:
    names = ("m_7.ckpt", "m_0012.ckpt", "m_x.ckpt", "xm_3.ckpt", "m_9.ckpt.partial", "m_1xckpt")
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "m_5.ckpt").mkdir()
    folder = CheckpointFolder(tmp_path, tmp_path / "w", "m_{epoch}.ckpt")
    assert sorted(folder.there()) == [7, 12]


def test_pin_is_a_second_name_of_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "epoch-3.pt"
    path.write_bytes(b"weights")
    folder = CheckpointFolder(tmp_path, tmp_path / "w")
    pinned = folder.pin(folder.there()[3])
    assert pinned is not None
    assert pinned.path.samefile(path)
    assert folder.pin(folder.there()[3]) == pinned  # again, onto itself
    assert [one.name for one in (tmp_path / "w").iterdir()] == ["epoch-0003.pt"]
    folder.unpin(2)
    assert pinned.path.exists()
    folder.unpin(3)
    assert not pinned.path.exists()


def test_pin_is_a_copy_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "epoch-3.pt"
    path.write_bytes(b"weights")

    def no_link(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_link)
    folder = CheckpointFolder(tmp_path, tmp_path / "w")
    seen = folder.there()[3]
    pinned = folder.pin(seen)
    assert pinned is not None
    path.write_bytes(b"other")
    (tmp_path / "epoch-4.pt").write_bytes(b"newer")
    path.unlink()
    assert pinned.path.read_bytes() == b"weights"
    assert folder.there()[3].signature == seen.signature


def test_pin_of_a_linked_checkpoint_is_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"weights")
    (tmp_path / "epoch-3.pt").symlink_to("store")
    folder = CheckpointFolder(tmp_path, tmp_path / "w")
    pinned = folder.pin(folder.there()[3])
    assert pinned is not None
    (tmp_path / "store").unlink()
    assert pinned.path.read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"poll_seconds": 0.0}, "poll_seconds must be above 0, got 0.0"),
        ({"takeover_seconds": -1.0}, "takeover_seconds must be above 0, got -1.0"),
        ({"keep": 0}, "keep must be 1 or more, got 0"),
    ],
)
def test_impossible_watch_options_are_refused(options: dict[str, Any], message: str) -> None:
    place = Path("x")
    with pytest.raises(RefreshError, match=message):
        WatchOptions(
            run=place, checkpoints=place, cache="c", state=place, log=lambda *_, **__: None,
            **options,
        )  # fmt: skip


def _scraped(status: WatchStatus) -> dict[str, float]:
    """Return the samples of the metrics page as `name{label}`, read by Prometheus' own parser."""
    with metrics_server(status, "127.0.0.1", 0) as port:
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    return {
        sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_of_a_watcher_that_has_just_begun() -> None:
    found = _scraped(WatchStatus(run="r", cache="c", state="waiting"))
    assert found["scae_watch_state{waiting}"] == 1
    assert found["scae_watch_state{refreshing}"] == 0
    assert found["scae_watch_refreshes_total"] == 0
    assert found["scae_watch_skipped_total{damaged}"] == 0
    assert "scae_watch_generation" not in found
    assert "process_resident_memory_bytes" in found


def test_metrics_of_a_refresh_carry_its_figures() -> None:
    status = WatchStatus(run="r", cache="c", state="waiting", generation=7, epoch_published=27)
    status.skipped["damaged"] = 2
    status.failures = 3
    status.report = {
        "seconds": 12.5,
        "flat_share": 0.25,
        "mean_entropy": None,
        "skipped": ["a.jpg", "b.jpg"],
        "shares": {"decode": 0.5, "network": 0.25},
        "moved": {"rank_correlation": 0.5, "peaks_moved": 0.125, "tv_distance": 0.0625},
        "pointing_game": {"share": 0.75},
    }
    found = _scraped(status)
    expected = {
        "generation": 7, "epoch_published": 27, "failures": 3, "skipped_total{damaged}": 2,
        "refresh_seconds": 12.5, "flat_share": 0.25, "skipped_images": 2,
        "moved_rank_correlation": 0.5, "moved_peaks_moved": 0.125, "moved_tv_distance": 0.0625,
        "pointing_game": 0.75, "time_share{decode}": 0.5, "time_share{network}": 0.25,
    }  # fmt: skip
    assert {name: found[f"scae_watch_{name}"] for name in expected} == expected
    assert "scae_watch_mean_entropy" not in found


def test_port_in_use_is_named() -> None:
    status = WatchStatus(run="r", cache="c")
    with (
        metrics_server(status, "127.0.0.1", 0) as port,
        pytest.raises(RefreshError, match=f"127.0.0.1:{port}.*choose another --metrics-port"),
        metrics_server(status, "127.0.0.1", port),
    ):
        pytest.fail("two servers on one port")
