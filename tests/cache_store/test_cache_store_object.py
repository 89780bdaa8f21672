from __future__ import annotations

import http.client
import random
import socket
import subprocess
import sys
import threading
import time
import traceback
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import obstore.store
import pytest
import zarr

from cache_store.backend import open_backend
from cache_store.errors import StoreError
from cache_store.retries import Outcome, classify
from cache_store.store import SaliencyStore
from cache_store.zarr_view import ZarrView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from cache_store.generation import Generation
    from cache_store.writer import GenerationPlan

SECRETS = ("key-id-of-tests", "secret-of-tests")


@pytest.fixture(scope="session")
def s3_address() -> Iterator[tuple[str, int]]:
    """Run an S3 server on loopback, with one empty bucket."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(sys.executable).with_name("moto_server")
    process = subprocess.Popen(
        [program, "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    make_bucket = urllib.request.Request(f"http://127.0.0.1:{port}/bucket", b"", method="PUT")
    deadline = time.monotonic() + 30
    try:
        while True:
            try:
                urllib.request.urlopen(make_bucket, timeout=10).close()
                break
            except OSError:
                assert process.poll() is None, "moto_server ended"
                assert time.monotonic() < deadline, "moto_server did not start"
                time.sleep(0.05)
        yield "127.0.0.1", port
    finally:
        process.kill()
        process.wait()


class Proxy(ThreadingHTTPServer):
    """Passes requests on to the S3 server, or does to them what `fault` says."""

    daemon_threads = True

    def __init__(self, upstream: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), ProxyHandler)
        self.upstream = upstream
        self.requests: list[str] = []
        self.fault: Callable[[str], str] = lambda _request: ""


class ProxyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: Proxy

    def forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        request = f"{self.command} {self.path}"
        fault = self.server.fault(request)
        self.server.requests.append(f"{request} {fault}".strip())
        if fault == "stall":
            time.sleep(0.6)
            self.close_connection = True
            return
        if fault.isdigit():
            secrets = f"<Message>{' '.join(SECRETS)}</Message>".encode()
            self.answer(int(fault), [], b"<Error><Code>Trouble</Code>" + secrets + b"</Error>")
            return
        headers = dict(self.headers.items())
        connection = http.client.HTTPConnection(*self.server.upstream, timeout=20)
        connection.request(self.command, self.path, body, headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        if fault == "landed, 503":
            self.answer(503, [], b"")
        elif fault == "landed, closed":
            self.close_connection = True
        else:
            self.answer(response.status, response.getheaders(), content)

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        length = next((v for n, v in headers if n.lower() == "content-length"), str(len(body)))
        for name, text in headers:
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, text)
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_DELETE = forward  # noqa: N815  # http.server's names

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def proxy(s3_address: tuple[str, int]) -> Iterator[Proxy]:
    """Put a proxy before the S3 server."""
    with Proxy(s3_address) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def s3_url(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name a fresh prefix of the bucket, behind the proxy, by the usual environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", SECRETS[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS[1])
    return f"s3://bucket/{uuid.uuid4().hex}"


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
