from __future__ import annotations

import re

import pytest

from pipeline.errors import RecipeError
from pipeline.refresh.policy import RefreshPolicy


def test_paper_schedule_refreshes_every_fourth_epoch_once_lambda_counts() -> None:
    policy = RefreshPolicy(num_epochs=200, interval=4, lam=lambda epoch: 2.0 * epoch / 200)
    # lambda(12) = 0.12 is the first multiple of 4 at 0.1 or more; after 195 follow 4 epochs more.
    assert policy.epochs() == (
        11, 15, 19, 23, 27, 31, 35, 39, 43, 47, 51, 55, 59, 63, 67, 71, 75, 79, 83, 87, 91, 95, 99,
        103, 107, 111, 115, 119, 123, 127, 131, 135, 139, 143, 147, 151, 155, 159, 163, 167, 171,
        175, 179, 183, 187, 191, 195,
    )  # fmt: skip


def test_late_maps_are_wanted_only_for_epochs_that_come_and_count() -> None:
    policy = RefreshPolicy(num_epochs=200, interval=4, lam=lambda epoch: 2.0 * epoch / 200, lag=5)
    # After 7 they are for 13, where lambda is 0.13; after 195 they would be for 201.
    assert policy.epochs() == (
        7, 11, 15, 19, 23, 27, 31, 35, 39, 43, 47, 51, 55, 59, 63, 67, 71, 75, 79, 83, 87, 91, 95,
        99, 103, 107, 111, 115, 119, 123, 127, 131, 135, 139, 143, 147, 151, 155, 159, 163, 167,
        171, 175, 179, 183, 187, 191,
    )  # fmt: skip
    assert [policy.adopted_at(epoch) for epoch in (7, 191)] == [13, 197]
    assert policy.after(195).reason == (
        "training is over before epoch 201, which the maps would be for"
    )


@pytest.mark.parametrize(
    ("epoch", "reason"),
    [
        pytest.param(0, "not a multiple of 4 epochs", id="between"),
        pytest.param(3, r"\|lambda\| = 0.040 is below 0.1", id="too-weak"),
        pytest.param(199, "training is over", id="last"),
    ],
)
def test_skipped_refreshes_say_why(epoch: int, reason: str) -> None:
    policy = RefreshPolicy(num_epochs=200, interval=4, lam=lambda t: 2.0 * t / 200)
    decision = policy.after(epoch)
    assert not decision.wanted
    assert re.fullmatch(reason, decision.reason)


def test_protective_strength_counts_as_strength() -> None:
    assert RefreshPolicy(num_epochs=8, interval=2, lam=lambda _: -2.0).epochs() == (1, 3, 5)


def test_interval_zero_never_refreshes() -> None:
    assert RefreshPolicy(num_epochs=8, interval=0, lam=lambda _: 2.0).epochs() == ()


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(RecipeError, match="got 0, 4 and 0"):
        RefreshPolicy(num_epochs=0, interval=4, lam=lambda _: 1.0)
