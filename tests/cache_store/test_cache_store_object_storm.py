"""Several jobs at once on a cache in a bucket, whose server turns every third request away."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cache_store.errors import CacheNotFoundError
from cache_store.store import SaliencyStore
from cache_store.verify import verify_cache

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cache_store.generation import Generation
    from tests.cache_store.conftest import Child
    from tests.s3_server import Proxy

    MakeStore = Callable[..., SaliencyStore]
    Publish = Callable[..., Generation]
    Maps = Callable[..., NDArray[np.uint8]]

SHARE = 0.3
"""Of the requests that get no good answer; half of these have landed all the same."""


def _storm(proxy: Proxy, seed: int) -> None:
    rng = random.Random(seed)
    proxy.fault = lambda _: rng.choice(["503", "landed, 503"]) if rng.random() < SHARE else ""


def _num_refused(proxy: Proxy) -> int:
    return sum(request.endswith(" 503") for request in proxy.requests)


def test_collection_and_leases_keep_their_promises_in_a_storm(
    proxy: Proxy, s3_url: str, make_store: MakeStore, publish: Publish, formula_maps: Maps
) -> None:
    store = make_store(s3_url)
    for number in range(4):
        publish(store, weights=str(number), salt=number)
    _storm(proxy, 0)
    lease = store.lease(1, owner="reader")
    lease.renew()
    report = store.gc(keep=1, grace_seconds=0.0)
    assert report.generations == (2, 3)
    assert store.generations() == (1, 4)
    for number in (1, 4):
        generation = store.generation(number)
        np.testing.assert_array_equal(generation.saliency[:], formula_maps(0, 20, number - 1))
    lease.move(4)
    assert store.gc(keep=1, grace_seconds=0.0).generations == (1,)
    with pytest.raises(CacheNotFoundError, match="no generation 1"):
        store.generation(1)
    lease.release()
    assert _num_refused(proxy) > 30
    proxy.fault = lambda _: ""
    report = store.gc(keep=1, grace_seconds=0.0)  # what a collection in a storm had to leave
    assert report.generations == ()
    assert store._backend.list("_scae/leases") == []
    assert verify_cache(s3_url).ok
    assert publish(store, weights="5").number == 5


@pytest.mark.parametrize("stormy", [False, True], ids=["calm", "storm"])
def test_two_refreshers_at_once_in_a_bucket_make_one_valid_generation(
    proxy: Proxy, s3_url: str, make_child: Callable[[], Child], formula_maps: Maps, *, stormy: bool
) -> None:
    children = make_child(), make_child()
    if stormy:
        _storm(proxy, 1)
    for salt in (1, 2):
        for child in children:
            child.start(do="refresh", url=s3_url, salt=salt)
        answers = [child.answer() for child in children]
        assert answers[0]["digest"] == answers[1]["digest"]
        assert [answer["number"] for answer in answers] == [salt, salt]
        generation = SaliencyStore.open(s3_url).latest()
        assert generation.digest == answers[0]["digest"]
        np.testing.assert_array_equal(generation.saliency[:], formula_maps(0, 20, salt))
    assert bool(_num_refused(proxy)) == stormy
    proxy.fault = lambda _: ""
    report = verify_cache(s3_url)
    assert (report.damaged, report.foreign) == ({}, ())


def test_two_publishers_of_different_plans_get_a_number_each(
    proxy: Proxy, s3_url: str, make_child: Callable[[], Child], make_store: MakeStore
) -> None:
    make_store(s3_url)
    children = make_child(), make_child()
    _storm(proxy, 2)
    for salt, child in enumerate(children):
        child.start(do="refresh", url=s3_url, salt=salt)
    answers = [child.answer() for child in children]
    assert sorted(answer["number"] for answer in answers) == [1, 2]
    proxy.fault = lambda _: ""
    store = SaliencyStore.open(s3_url)
    for salt, answer in enumerate(answers):
        generation = store.generation(answer["number"])
        assert generation.digest == answer["digest"]
        assert generation.provenance.weights_digest == f"{salt:064x}"
    assert verify_cache(s3_url).ok
