from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import obstore.exceptions
import obstore.store
import pytest

from cache_store import object_backend
from cache_store.backend import open_backend
from cache_store.errors import StoreError
from cache_store.object_backend import PROBES, ObjectBackend
from cache_store.retries import RetryOptions, attempts, classify

QUICK = RetryOptions(max_tries=4, first_delay_seconds=0, max_delay_seconds=0)


class Flaky:
    """An object store in memory that does before and after a put what `script` says, in turn."""

    def __init__(self) -> None:
        self.objects = obstore.store.MemoryStore()
        self.script: list[str] = []
        self.puts: list[str] = []
        self.unconditional = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.objects, name)

    def put(self, key: str, data: bytes, **options: Any) -> None:  # noqa: ANN401
        self.puts.append(key)
        if self.unconditional:
            options["mode"] = "overwrite"
        act = "" if key.startswith(PROBES) or not self.script else self.script.pop(0)
        if act == "rival first":
            self.objects.put(key, b"rival")
        if act == "conflict":
            raise obstore.exceptions.AlreadyExistsError("409 Conflict")
        if act != "lost":
            self.objects.put(key, data, **options)
        if act:
            raise ConnectionResetError("the answer is lost")


@pytest.fixture
def flaky() -> Flaky:
    return Flaky()


@pytest.fixture
def flaky_backend(flaky: Flaky) -> ObjectBackend:
    store = cast("obstore.store.ObjectStore", flaky)
    return ObjectBackend("s3://bucket/flaky", retry=QUICK, store=store)


@pytest.mark.parametrize(
    ("script", "won", "stored"),
    [
        pytest.param([], True, b"mine", id="nothing-happens"),
        pytest.param(["landed"], True, b"mine", id="answer-lost"),
        pytest.param(["lost"], True, b"mine", id="request-lost"),
        pytest.param(["lost", "landed", "lost"], True, b"mine", id="several-lost"),
        pytest.param(["conflict"], True, b"mine", id="conflict-under-way"),
        pytest.param(["landed", "lost", "lost", "lost"], True, b"mine", id="no-answer-at-all"),
        pytest.param(["lost", "rival first"], False, b"rival", id="rival-between-tries"),
    ],
)
def test_lost_answers_never_lose_nor_win_a_claim(
    flaky: Flaky, flaky_backend: ObjectBackend, script: list[str], stored: bytes, *, won: bool
) -> None:
    flaky.script = list(script)
    assert flaky_backend.create("claim", b"mine") == won
    assert flaky_backend.read("claim") == stored


def test_create_that_never_lands_says_that_it_still_may(
    flaky: Flaky, flaky_backend: ObjectBackend
) -> None:
    flaky.script = ["lost"] * 4
    with pytest.raises(StoreError, match=r"can't write .*/claim: the connection broke; it may"):
        flaky_backend.create("claim", b"mine")


def test_equal_bytes_without_an_error_are_somebody_elses(flaky_backend: ObjectBackend) -> None:
    assert flaky_backend.create("claim", b"mine")
    assert not flaky_backend.create("claim", b"mine")


def test_attempts_are_bounded_by_count_and_by_time() -> None:
    now = [0.0]
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    options = RetryOptions(max_tries=30, max_seconds=1e9)
    assert list(attempts(options, sleep=sleep, clock=lambda: now[0])) == list(range(30))
    assert all(pause <= min(0.1 * 2**i, 5) for i, pause in enumerate(pauses))
    assert len(set(pauses)) == 29
    now[0] = 0.0
    options = RetryOptions(max_tries=10**6, max_seconds=20)
    assert 5 < len(list(attempts(options, sleep=sleep, clock=lambda: now[0]))) < 100
    assert now[0] <= 20


def test_store_without_conditional_put_is_refused_for_writing_only(
    flaky: Flaky, flaky_backend: ObjectBackend
) -> None:
    flaky.unconditional = True
    flaky.objects.put("there", b"bytes")
    with pytest.raises(StoreError, match="ignores conditional puts"):
        flaky_backend.create("claim", b"mine")
    assert flaky_backend.read("there") == b"bytes"
    assert [meta["path"] for meta in flaky.objects.list().collect()] == ["there"]


def test_conditional_put_is_probed_once_and_the_probe_removed(
    flaky: Flaky, flaky_backend: ObjectBackend
) -> None:
    for number in range(3):
        flaky_backend.create(f"claim/{number}", b"mine")
    assert sum(key.startswith(PROBES) for key in flaky.puts) == 2
    assert flaky_backend.leftovers() == []


def test_probe_of_a_dead_process_is_a_leftover_and_not_listed(
    flaky: Flaky, flaky_backend: ObjectBackend
) -> None:
    flaky.objects.put(f"{PROBES}/dead", b"?")
    assert flaky_backend.list("") == []
    assert [info.key for info in flaky_backend.leftovers()] == [f"{PROBES}/dead"]


def test_trouble_while_rewriting_and_deleting_passes(
    flaky: Flaky, flaky_backend: ObjectBackend
) -> None:
    flaky.script = ["landed", "lost"]
    flaky_backend.write("key", b"new")
    assert flaky_backend.read("key") == b"new"


def test_forked_process_is_refused_where_it_would_hang(
    flaky_backend: ObjectBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_backend, "_runtime_process", 1)
    for request in (
        flaky_backend.read,
        flaky_backend.list,
        lambda key: flaky_backend.create(key, b""),
    ):
        with pytest.raises(StoreError, match="'spawn' or 'forkserver'"):
            request("key")


def test_missing_obstore_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(StoreError, match=r"needs obstore: pip install 'scae\[s3\]'"):
        open_backend("s3://bucket/cache")


def test_folders_are_opened_without_loading_obstore() -> None:
    code = (
        "import sys; from cache_store.backend import open_backend; open_backend('cache'); "
        "import cache_store.object_backend; print('obstore' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("url", ["s3://id:secret@bucket/cache", "az://box/cache?sig=secret"])
def test_url_with_credentials_is_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(StoreError, match="credentials and options belong into") as caught:
        open_backend(url)
    assert "secret" not in str(caught.value)


def test_url_made_a_path_is_refused() -> None:
    with pytest.raises(StoreError, match="s3:/bucket/cache is a URL made a Path"):
        open_backend(Path("s3://bucket/cache"))


def test_words_of_the_store_are_told_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_SAS_KEY", "sv=secret")
    error = ValueError("bad sv=secret in https://host/box?sig=secret and\nmore: sv=secret")
    assert classify(error).reason == "bad *** in https://host/box and"


def test_azure_without_an_account_names_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(
        StoreError, match=r"can't open az://container/cache.* check AZURE_STORAGE_ACCOUNT_NAME"
    ):
        open_backend("az://container/cache")


@pytest.mark.parametrize(
    ("tries", "message"),
    [("0", "must be >= 1, got 0"), ("many", "must be numbers: .*'many'")],
)
def test_wrong_retry_options_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tries: str, message: str
) -> None:
    monkeypatch.setenv("SCAE_STORE_TRIES", tries)
    with pytest.raises(StoreError, match=f"SCAE_STORE_TRIES.* {message}"):
        open_backend("s3://bucket/cache")
