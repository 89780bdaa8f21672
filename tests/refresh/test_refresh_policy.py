from __future__ import annotations

import re

import pytest

from pipeline.errors import RecipeError
from pipeline.refresh.policy import RefreshPolicy


def test_paper_schedule_refreshes_every_fourth_epoch_once_lambda_counts() -> None:
    policy = RefreshPolicy(num_epochs=200, interval=4, lam=lambda epoch: 2.0 * epoch / 200)
    # lambda(12) = 0.12 is the first multiple of 4 at 0.1 or more; after 195 follow 4 epochs more.
    assert policy.epochs() == tuple(range(11, 196, 4))


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
    with pytest.raises(RecipeError, match="got 0 and 4"):
        RefreshPolicy(num_epochs=0, interval=4, lam=lambda _: 1.0)
