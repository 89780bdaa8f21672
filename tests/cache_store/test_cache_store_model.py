"""Random histories in which the store must agree with its model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.cache_store.store_model import LocalMachine, MemoryMachine, StoreMachine

if TYPE_CHECKING:
    from tests.conftest import TortureLog

NUM_CHUNKS = 20
"""Parts of the long run, each with its own seed."""
RUNS_A_CHUNK = 26
STEPS = 35
MACHINES: dict[str, type[StoreMachine]] = {"memory": MemoryMachine, "local": LocalMachine}


@pytest.mark.parametrize("name", MACHINES)
def test_random_histories_agree_with_the_model(name: str) -> None:
    run_state_machine_as_test(
        MACHINES[name],
        settings=settings(
            max_examples=15, stateful_step_count=20, derandomize=True, deadline=None, database=None
        ),
    )


@pytest.mark.torture
def test_hundreds_of_long_histories_agree_with_the_model(
    open_torture_log: Callable[[str], TortureLog],
) -> None:
    cases = [f"{name} {number}" for number in range(NUM_CHUNKS // 2) for name in MACHINES]
    for case in open_torture_log("model").todo(cases):
        name, number = case.split()
        machine = seed(int(number))(MACHINES[name])
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=RUNS_A_CHUNK,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
