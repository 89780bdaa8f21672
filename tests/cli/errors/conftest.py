"""What all provocations share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from tests.cli.errors.provoke import Answer, Mistake, Place, make_shared, provoke

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Data, a cache and a run that nobody changes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield make_shared(tmp_path_factory.mktemp("shared"))
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def answer_to(
    shared: Place, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Mistake], Answer]:
    """Make a mistake once in a session, and remember what the command said."""
    known: dict[str, Answer] = {}

    def answer(mistake: Mistake) -> Answer:
        if mistake.name not in known:
            tmp = tmp_path_factory.mktemp(mistake.name) / "own"
            tmp.mkdir()
            known[mistake.name] = provoke(mistake, shared, tmp)
        return known[mistake.name]

    return answer
