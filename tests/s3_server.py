"""An S3 server on loopback, and a proxy before it that can make trouble."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRETS = ("key-id-of-tests", "secret-of-tests")


@contextmanager
def run_s3_server() -> Iterator[tuple[str, int]]:
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


@contextmanager
def run_proxy(upstream: tuple[str, int]) -> Iterator[Proxy]:
    """Put a proxy before the S3 server."""
    with Proxy(upstream) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
