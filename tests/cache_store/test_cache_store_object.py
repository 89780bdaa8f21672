from __future__ import annotations

import random
import socket
import subprocess
import sys
import traceback
from typing import TYPE_CHECKING, Any

import numpy as np
import obstore.store
import pytest
import zarr

from cache_store.backend import open_backend
from cache_store.errors import StoreError
from cache_store.object_backend import ObjectBackend
from cache_store.retries import Outcome, classify
from cache_store.store import SaliencyStore
from cache_store.zarr_view import ZarrView
from tests.s3_server import SECRETS, Proxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cache_store.generation import Generation
    from cache_store.writer import GenerationPlan


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (400, Outcome.OTHER),
        (401, Outcome.DENIED),
        (403, Outcome.DENIED),
        (404, Outcome.MISSING),
        (409, Outcome.EXISTS),
        (412, Outcome.EXISTS),
        (429, Outcome.TRANSIENT),
        (500, Outcome.TRANSIENT),
        (501, Outcome.UNSUPPORTED),
        (503, Outcome.TRANSIENT),
    ],
)
def test_each_http_status_has_its_outcome_and_leaks_nothing(
    proxy: Proxy, s3_url: str, status: int, outcome: Outcome
) -> None:
    proxy.fault = lambda _request: str(status)
    with pytest.raises(Exception, match=str(status)) as caught:
        obstore.store.from_url(s3_url, retry_config={"max_retries": 0}).get("key")
    failure = classify(caught.value)
    assert (failure.outcome, failure.reason) == (outcome, f"HTTP {status} Trouble")


def test_time_out_and_closed_connection_are_tried_again(
    proxy: Proxy, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_TIMEOUT", "300ms")
    backend = open_backend(s3_url)
    backend.write("key", b"bytes")
    script = ["landed, closed", "stall"]
    proxy.fault = lambda _request: script.pop(0) if script else ""
    assert backend.read("key") == b"bytes"
    assert len([request for request in proxy.requests if request.startswith("GET")]) == 3


def test_storm_of_errors_changes_nothing_in_a_refresh(
    proxy: Proxy,
    s3_url: str,
    make_store: Callable[..., SaliencyStore],
    publish: Callable[..., Generation],
    formula_maps: Callable[..., NDArray[np.uint8]],
) -> None:
    undisturbed = publish(make_store("memory://undisturbed"))
    rng = random.Random(0)

    def fault(_request: str) -> str:
        return rng.choice(["503", "landed, 503"]) if rng.random() < 0.3 else ""

    proxy.fault = fault
    generation = publish(make_store(s3_url))
    latest = SaliencyStore.open(s3_url).latest()
    np.testing.assert_array_equal(latest.resident().maps, formula_maps(0, 20))
    assert latest.verify().ok
    assert generation.digest == latest.digest == undisturbed.digest
    assert sum("503" in request for request in proxy.requests) > 30


def test_zarr_reads_a_generation_in_a_bucket(
    s3_url: str,
    make_store: Callable[..., SaliencyStore],
    publish: Callable[..., Generation],
    formula_maps: Callable[..., NDArray[np.uint8]],
) -> None:
    generation = publish(make_store(s3_url))
    group = zarr.open_group(ZarrView(open_backend(s3_url), generation.manifest.objects), mode="r")
    maps = group[f"generations/{generation.number:06d}/saliency"]
    np.testing.assert_array_equal(np.asarray(maps), formula_maps(0, 20))


def test_credentials_to_read_are_enough_until_something_is_written(
    proxy: Proxy,
    s3_url: str,
    make_store: Callable[..., SaliencyStore],
    make_plan: Callable[..., GenerationPlan],
    publish: Callable[..., Generation],
) -> None:
    publish(make_store(s3_url))
    proxy.fault = lambda request: "403" if request.startswith(("PUT", "DELETE")) else ""
    store = SaliencyStore.open(s3_url, "r+")
    assert store.latest().number == 1
    before = len(proxy.requests)
    with pytest.raises(
        StoreError, match=r"HTTP 403 Trouble: .* they do for reading only"
    ) as caught:
        store.begin(make_plan(weights="1"))
    assert sum(" 403" in request for request in proxy.requests[before:]) == 1
    told = "".join(traceback.format_exception(caught.value))
    assert "\n" not in str(caught.value)
    assert not any(secret in told for secret in SECRETS)


def test_missing_bucket_and_dead_endpoint_are_told_soon(
    proxy: Proxy, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreError, match="HTTP 404 NoSuchBucket: check the URL"):
        SaliencyStore.open(s3_url.replace("bucket", "no-bucket"))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(StoreError, match="no connection to the store: check AWS_"):
            SaliencyStore.open(s3_url)


@pytest.mark.parametrize(
    ("url", "kind", "named"),
    [
        ("s3://box/a/b", "S3Store", {"bucket": "box", "disable_bulk_delete": "true"}),
        ("s3a://box/a/b", "S3Store", {"bucket": "box", "disable_bulk_delete": "true"}),
        ("gs://box/a/b", "GCSStore", {"bucket": "box"}),
        ("az://box/a/b", "AzureStore", {"container_name": "box"}),
        ("abfs://box/a/b", "AzureStore", {"container_name": "box"}),
        (
            "abfss://box@account.dfs.core.windows.net/a/b",
            "AzureStore",
            {"container_name": "box", "account_name": "account"},
        ),
    ],
)
def test_url_names_kind_bucket_and_prefix_and_leaves_retries_to_us(
    monkeypatch: pytest.MonkeyPatch, url: str, kind: str, named: dict[str, str]
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    backend = open_backend(url)
    assert isinstance(backend, ObjectBackend)
    store: Any = backend._store
    assert type(store).__name__ == kind
    assert (dict(store.config), store.prefix) == (named, "a/b")
    assert store.retry_config is not None
    assert store.retry_config["max_retries"] == 0


CLAIMS = """
import random, sys, time
from cache_store.backend import open_backend
url, name = sys.argv[1:]
backend = open_backend(url)
backend.create("ready/" + name, b"")
while len(backend.list("ready")) < 2:
    time.sleep(0.005)
numbers = list(range(100))
random.Random(name).shuffle(numbers)
print(sum(backend.create(f"claims/{number}", name.encode()) for number in numbers))
"""


def test_of_two_processes_exactly_one_creates_each_key(proxy: Proxy, s3_url: str) -> None:
    rng = random.Random(1)

    def fault(request: str) -> str:
        return "landed, 503" if "/claims/" in request and rng.random() < 0.1 else ""

    proxy.fault = fault
    processes = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", CLAIMS, s3_url, name], stdout=subprocess.PIPE, text=True
        )
        for name in ("one", "two")
    ]
    wins = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert sum(wins) == 100
    assert min(wins) > 0
