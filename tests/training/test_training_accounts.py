"""Where time goes, against hand-computed sums."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.training.accounts import overhead, overhead_lines, shares


def _row(**changes: float) -> dict[str, Any]:
    """An epoch of 100 s of training, of it 3 s waiting, of these 1 s for the method's code."""
    row: dict[str, Any] = {
        "refresh": "yes" if "seconds_refresh" in changes else "no: not yet",
        "stage": 1,
        "seconds_train": 100.0,
        "seconds_wait": 3.0,
        "seconds_method": 1.0,
        "seconds_refresh": 0.0,
        "seconds_evaluate": 20.0,
    }
    return row | changes


def test_shares_are_of_the_whole_epoch() -> None:
    assert shares(_row(seconds_refresh=30.0)) == pytest.approx(
        {"share_wait": 3 / 150, "share_method": 1 / 150, "share_refresh": 30 / 150}
    )
    assert shares(dict.fromkeys(_row(), 0.0))["share_wait"] == 0.0


def test_overhead_is_code_and_a_part_of_a_refresh_over_plain_steps() -> None:
    rows = [_row(), _row(seconds_refresh=33.0), _row(), _row(seconds_refresh=36.3)]
    found = overhead(rows, 4, inline=True)
    assert found is not None
    assert found.loader == pytest.approx(1 / 99)  # one second of each hundred is not plain
    assert found.refresh == pytest.approx(34.65 / 99)
    assert found.as_dict()["total"] == pytest.approx((4 + 33 + 36.3) / (4 * 99))
    for interval in (1, 4, 10):
        assert found.with_interval(interval) == pytest.approx((1 + 34.65 / interval) / 99)
    assert list(found.as_dict()["by_interval"]) == ["4", "1", "10"]


def test_maps_that_others_make_cost_what_training_stood_still_for_them() -> None:
    rows = [_row(seconds_refresh=0.2), _row(), _row(seconds_refresh=1.0), _row()]
    found = overhead(rows, 2, inline=False)
    assert found is not None
    assert found.refresh is None
    assert found.maps == pytest.approx(1.2 / (4 * 99))
    lines = overhead_lines({"method": "scae", **found.as_dict()})
    assert lines == ["overhead   scae's code 1.01% of the plain steps, maps 0.3%, together 1.3%"]


def test_time_for_looking_whether_maps_have_moved_is_no_refresh() -> None:
    rows = [_row(seconds_refresh=33.0), _row() | {"seconds_refresh": 2.0}]
    found = overhead(rows, 1, inline=True)
    assert found is not None
    assert found.refresh == pytest.approx(33 / 99)
    assert found.maps == pytest.approx(35 / (2 * 99))


def test_code_that_the_loop_did_not_wait_for_is_no_part_of_its_steps() -> None:
    found = overhead([_row(seconds_wait=0.25)], 4, inline=True)
    assert found is not None
    assert found.loader == pytest.approx(1 / 99.75)


def test_harvest_is_no_part_of_the_plain_steps_and_told_by_itself() -> None:
    rows = [_row(seconds_harvest=1.0), _row(seconds_harvest=1.0) | {"seconds_refresh": 0.5}]
    found = overhead(rows, 0, inline=False)
    assert found is not None
    assert found.harvest == pytest.approx(1 / 98)
    assert found.as_dict()["total"] == pytest.approx((1 + 1 + 0.25) / 98)
    assert overhead_lines({"method": "scae", **found.as_dict()}) == [
        "overhead   scae's code 1.02% of the plain steps, harvest 1.02%, maps 0.3%, together 2.3%"
    ]


def test_second_stages_do_not_count() -> None:
    rows = [_row(seconds_refresh=40.0), _row(stage=2, seconds_method=50.0, seconds_train=1.0)]
    assert overhead(rows, 1, inline=True) == overhead(rows[:1], 1, inline=True)


def test_without_a_refresh_there_is_the_code_alone() -> None:
    found = overhead([_row()], 0, inline=True)
    assert found is not None
    measured = {"method": "cutmix", **found.as_dict()}
    assert measured["refresh"] is None
    assert measured["by_interval"] == {}
    assert overhead_lines(measured) == ["overhead   cutmix's code 1.01% of the plain steps"]
    assert overhead([], 4, inline=True) is None


def test_overhead_is_told_beside_the_papers() -> None:
    found = overhead([_row(seconds_refresh=33.0), _row(), _row(), _row()], 4, inline=True)
    assert found is not None
    lines = overhead_lines({"method": "scae", **found.as_dict()})
    assert lines == [
        "overhead   scae's code 1.01% of the plain steps, maps 8.3%, together 9.3%",
        "           a refresh takes 33.3% of a plain epoch: 9.3% with R = 4, 34.3% with R = 1, "
        "4.3% with R = 10 (the paper: about 8 %)",
    ]


def test_epochs_of_a_version_that_measured_less_have_shares_and_no_overhead() -> None:
    old = {"stage": 1, "seconds_train": 6.0, "seconds_refresh": 2.0, "seconds_evaluate": 2.0}
    found = shares(old)
    assert found["share_refresh"] == pytest.approx(0.2)
    assert found["share_method"] == found["share_wait"] == 0
    new = {**old, "seconds_method": 1.0, "seconds_wait": 0.5, "refresh": "no"}
    assert overhead([old, new], 4, inline=True) is None
    assert overhead([new], 4, inline=True) is not None
