"""Going on in the middle of an epoch: the remaining bytes are those that would have come."""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
import torch

from cache_store.errors import CacheNotFoundError
from cache_store.store import SaliencyStore
from loaders.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from loaders.batches import Batch
    from loaders.scae_loader import ScaeLoader

    MakeLoader = Callable[..., ScaeLoader]

Sample = tuple[int, int, bytes]


def _samples(batches: Iterable[Batch]) -> list[list[Sample]]:
    """Each batch's samples as bytes, in an order that does not tell which rank had them."""
    return [
        sorted(
            (
                int(batch.indices[row]),
                int(batch.events[row]),
                batch.images[row].numpy().tobytes()
                + batch.labels[row].numpy().tobytes()
                + batch.boxes[row].numpy().tobytes(),
            )
            for row in range(len(batch.indices))
        )
        for batch in batches
    ]


def _together(loaders: Sequence[ScaeLoader]) -> list[list[Sample]]:
    """The global batches of all ranks."""
    ranks = [_samples(loader) for loader in loaders]
    return [sorted(chain.from_iterable(parts)) for parts in zip(*ranks, strict=True)]


def _states(loader: ScaeLoader) -> list[dict[str, Any]]:
    """The state before each step, and at the end, as JSON gives it back."""
    states = [loader.state_dict()]
    states += [loader.state_dict() for _ in loader]
    return [json.loads(json.dumps(state)) for state in states]


def _ranks(make_loader: MakeLoader, world: int, **options: object) -> list[ScaeLoader]:
    return [
        make_loader(batch_size=8 // world, rank=rank, world_size=world, **options)
        for rank in range(world)
    ]


@pytest.mark.parametrize("sampler", ["shuffle", "class_balanced", "repeated"])
def test_every_step_restores_to_the_remaining_bytes(make_loader: MakeLoader, sampler: str) -> None:
    """With another number of ranks too, and twice from one state."""
    whole = make_loader(sampler=sampler)
    whole.set_epoch(1, 2)
    expected = _samples(whole)
    assert len(expected) == 6
    whole.set_epoch(1, 2)
    for step, state in enumerate(_states(whole)):
        for world in (1, 2, 4):
            resumed = _ranks(make_loader, world, sampler=sampler)
            for _ in range(2 if world == 1 else 1):
                for loader in resumed:
                    loader.load_state_dict(state)
                assert _together(resumed) == expected[step:]


def test_restoring_twice_in_one_epoch_with_other_workers_changes_nothing(
    make_loader: MakeLoader,
) -> None:
    loader = make_loader()
    loader.set_epoch(0, 1)
    expected = _samples(loader)
    seen: list[list[Sample]] = []
    state = None
    for workers, steps in ((2, 2), (0, 3), (1, 9)):
        loader = make_loader(num_workers=workers, prefetch_factor=4, start_method="fork")
        if state is not None:
            loader.load_state_dict(state)
        batches = iter(loader)
        for _ in range(min(steps, 6 - len(seen))):
            seen += _samples([next(batches)])
        state = loader.state_dict()
    assert seen == expected
    assert state is not None
    assert state["position"] == 46


def test_a_state_says_what_was_delivered_and_not_what_was_prefetched(
    make_loader: MakeLoader,
) -> None:
    loader = make_loader(num_workers=2, prefetch_factor=4, start_method="fork")
    batches = iter(loader)
    assert loader.state_dict()["position"] == 0
    next(batches)
    assert loader.state_dict()["position"] == 8
    list(batches)
    assert loader.state_dict()["position"] == 46


def test_a_loop_over_epochs_goes_on_as_if_never_stopped(make_loader: MakeLoader) -> None:
    """The documented loop: set_epoch of the loaded epoch keeps its place and its maps."""
    undisturbed = make_loader()
    expected = []
    for epoch in range(3):
        undisturbed.set_epoch(epoch, 1 + epoch // 2)
        expected += _samples(undisturbed)
    first = make_loader()
    first.set_epoch(1, 1)
    batches = iter(first)
    next(batches)
    second = make_loader(generation=None)  # generation 2 is the newest
    second.load_state_dict(first.state_dict())
    seen = []
    for epoch in range(second.epoch, 3):
        assert second.set_epoch(epoch) == 1 + epoch // 2
        seen += _samples(second)
    assert seen == expected[7:]


def test_an_epoch_left_early_begins_anew_without_a_state(make_loader: MakeLoader) -> None:
    loader = make_loader(num_workers=1, start_method="fork")
    loader.set_epoch(0, 1)
    expected = _samples(loader)
    next(iter(loader))
    assert _samples(loader) == expected
    loader.set_epoch(0, 1)
    assert _samples(loader) == expected


def test_a_finished_epoch_resumes_to_nothing_left(make_loader: MakeLoader) -> None:
    loader = make_loader()
    list(loader)
    other = make_loader()
    other.load_state_dict(loader.state_dict())
    assert _samples(other) == []
    assert len(_samples(other)) == 6


def test_a_state_survives_torch_save_as_data_only(make_loader: MakeLoader, tmp_path: Path) -> None:
    loader = make_loader()
    next(iter(loader))
    torch.save(loader.state_dict(), tmp_path / "state")
    assert torch.load(tmp_path / "state", weights_only=True) == loader.state_dict()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"seed": 4}, "seed of the loader's state must be 4, got 3", id="seed"),
        pytest.param({"batch_size": 4}, "global_batch .* must be 4, got 8", id="batch"),
        pytest.param({"drop_last": True}, "drop_last .* must be True, got False", id="drop-last"),
        pytest.param(
            {"sampler": "square_root"}, "must be 'by class, power 0.5', got 'shuffle'", id="order"
        ),
    ],
)
def test_a_state_of_another_loader_is_refused_with_both_values(
    make_loader: MakeLoader, options: dict[str, object], message: str
) -> None:
    state = make_loader().state_dict()
    with pytest.raises(StateError, match=message):
        make_loader(**options).load_state_dict(state)


def test_a_state_of_another_version_or_data_is_refused(make_loader: MakeLoader) -> None:
    loader = make_loader()
    with pytest.raises(StateError, match="version of the loader's state must be 1, got 9"):
        loader.load_state_dict({**loader.state_dict(), "version": 9})
    with pytest.raises(StateError, match=r"fingerprint .* got 'ffff'"):
        loader.load_state_dict({**loader.state_dict(), "fingerprint": "ffff"})
    with pytest.raises(StateError, match="seed of the loader's state must be 3, got None"):
        loader.load_state_dict({"version": 1})


def test_an_epoch_goes_on_by_its_own_maps_only(make_loader: MakeLoader) -> None:
    loader = make_loader()
    state = {**loader.state_dict(), "position": 16}
    with pytest.raises(StateError, match="generation 1 of the cache must be 000000000000, got"):
        loader.load_state_dict({**state, "generation_digest": "0" * 64})
    with pytest.raises(CacheNotFoundError, match="9"):
        loader.load_state_dict({**state, "generation": 9})
    loader.load_state_dict(state)
    with pytest.raises(StateError, match=re.escape("begun with generation 1 and must go on")):
        loader.set_epoch(0, 2)


def test_a_refused_state_leaves_the_loader_as_it_was(make_loader: MakeLoader) -> None:
    loader = make_loader()
    before = loader.state_dict()
    with pytest.raises(StateError, match="got 3"):
        loader.load_state_dict({**before, "position": 3, "generation": 2})
    with pytest.raises(StateError, match="this is another cache"):
        loader.load_state_dict({**before, "position": 8, "generation_digest": "00"})
    assert loader.state_dict() == before
    assert len(_samples(loader)) == 6


def test_the_leased_generation_is_that_of_the_state(
    make_loader: MakeLoader, tmp_path: Path
) -> None:
    state = make_loader().state_dict()
    loader = make_loader(generation=2)
    loader.load_state_dict(state)
    store = SaliencyStore.open(tmp_path / "loader-cache", "r+")
    assert 1 in store.gc(keep=1, grace_seconds=0, dry_run=True).held
