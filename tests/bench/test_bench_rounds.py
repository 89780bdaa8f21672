"""Interleaved rounds: who runs when, and what the figures are made of."""

from functools import partial

import pytest

from pipeline.bench.rounds import Spread, interleaved, ratios
from pipeline.bench.tables import table
from pipeline.errors import BenchError


def test_every_contender_runs_once_a_round_in_a_turning_order() -> None:
    ran: list[str] = []
    names = ("a", "b", "c")
    now = iter(range(100))
    seconds = interleaved(
        {name: partial(ran.append, name) for name in names},
        3,
        warm_up=0,
        clock=lambda: next(now),
    )
    assert ran == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert seconds == {name: [1, 1, 1] for name in names}


def test_warm_up_is_run_and_not_kept() -> None:
    ran: list[int] = []
    seconds = interleaved({"a": lambda: ran.append(1)}, 4, warm_up=2)
    assert (len(ran), len(seconds["a"])) == (6, 4)


def test_too_few_rounds_are_refused() -> None:
    with pytest.raises(BenchError, match="rounds must be 3 or more for quartiles, got 2"):
        interleaved({"a": int}, 2)


def test_ratios_are_taken_within_a_round() -> None:
    # The second half of the run is ten times slower, which hits both alike.
    assert ratios([2, 4, 20, 40], [1, 2, 10, 20]) == Spread(2, 2, 2)


def test_spread_has_median_and_quartiles() -> None:
    spread = Spread.of([5, 1, 3, 2, 4])
    assert spread == Spread(3, 2, 4)
    assert spread.text(1) == "3.0 (2.0 to 4.0)"


def test_table_is_markdown_with_columns_in_line() -> None:
    assert table(("a", "bb"), [("ccc", "d")]).splitlines() == [
        "| a   | bb |",
        "| --- | -- |",
        "| ccc | d  |",
    ]
