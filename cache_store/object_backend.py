"""Objects in an object store (S3 and its kin, Google Cloud Storage, Azure), by conditional puts.

obstore's own retries are switched off: after an error that came although the object had landed,
they meet that object and report that somebody else was first.
"""

import builtins
import os
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from cache_store.backend import OBJECT_SCHEMES, Backend, ObjectInfo
from cache_store.errors import StoreError
from cache_store.retries import Failure, Outcome, RetryOptions, attempts, classify

if TYPE_CHECKING:
    from obstore.store import ObjectStore

PROBES = "_scae/probes"
"""Folder of small objects that live for a moment; listings pass over them."""

_HINTS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
"""Kind of store -> the environment variables that tell obstore how to reach it."""
_TRIES_WITHOUT_ANSWER = 6
"""A store that has never answered is more likely misspelt than in trouble: tell so soon."""

_T = TypeVar("_T")
_runtime_process: int | None = None
"""Process that obstore's threads run in, None before the first request."""


class ObjectBackend(Backend):
    """Objects below a prefix of a bucket.

    Args:
        url: `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.
        retry: How long to go on asking; None: the defaults and the environment.
        store: An obstore object to use in place of the one the URL names, for tests.

    Raises:
        StoreError: If obstore is missing, or the URL or the environment don't name a store.
    """

    def __init__(
        self, url: str, *, retry: RetryOptions | None = None, store: "ObjectStore | None" = None
    ) -> None:
        self.url = url.rstrip("/")
        self._kind = OBJECT_SCHEMES[url.split("://", 1)[0]]
        self._retry = retry or RetryOptions.from_environment()
        self._store = store or _open_store(self.url, self._kind)
        self._answered = False
        self._conditional = False

    def read(self, key: str) -> bytes | None:
        """Return the object's bytes, None if there is no such object."""
        return self._or_none("read", key, lambda: bytes(self._store.get(key).bytes()))

    def length(self, key: str) -> int | None:
        """Return the object's size in bytes, None if there is no such object."""
        return self._or_none("read", key, lambda: self._store.head(key)["size"])

    def write(self, key: str, data: bytes) -> None:
        """Put the object; after an error it is put again, which changes nothing.

        A request that timed out can still reach the store late and put its bytes over newer ones.
        So an object that is rewritten must stay right if an older value of it comes back; whatever
        must not is created.
        """
        self._ask("write", key, lambda: self._put(key, data, "overwrite"))

    def create(self, key: str, data: bytes) -> bool:
        """Put the object only if there is none yet (`If-None-Match: *`).

        An error does not tell whether the object has landed: the answer alone may be lost. The put
        is then tried again. If that finds an object, its bytes are compared with `data`, and equal
        bytes count as this call's own. So:

        - Of writers with different bytes exactly one gets True, whatever errors come in between.
          A claim must therefore hold something that no other writer has (plans and leases do).
        - Writers with equal bytes may both get True if errors come in between. That does no harm
          where the bytes are all that matters (shards, manifests, pointers).
        - Until the retries' end a lost answer is never reported as a lost race. When all are used
          up, the object is read once more; if it is still not there, or nobody answers, the error
          says that it may appear later. A rerun finds it either way.

        "Already exists" without an object to be seen is a conflict of two requests under way
        (S3 answers 409), or a deletion just now: tried again as well.

        Raises:
            StoreError: If the store does not enforce conditional puts, can't be written, or does
                not answer.
        """
        self._require_conditional_put()
        return self._create(key, data)

    def delete(self, key: str) -> None:
        """Remove the object; a missing one is no error."""
        self._or_none("delete", key, lambda: self._store.delete(key))

    def list(self, prefix: str) -> builtins.list[ObjectInfo]:
        """List all objects below `prefix`, sorted by key; probes are left out."""
        return [info for info in self._list(prefix) if not info.key.startswith(f"{PROBES}/")]

    def leftovers(self) -> builtins.list[ObjectInfo]:
        """List the probes that a process could not remove before it died."""
        return self._list(PROBES)

    def now(self) -> float:
        """Return the store's time, in whole seconds on S3: what it stamps on an object put now."""
        key = _probe_key()
        self.write(key, b"?")
        try:
            return self._ask(
                "read", key, lambda: self._store.head(key)["last_modified"].timestamp()
            )
        finally:
            self.delete(key)

    def _list(self, prefix: str) -> builtins.list[ObjectInfo]:
        found = self._ask("list", prefix, lambda: self._store.list(prefix or None).collect())
        infos = (
            ObjectInfo(meta["path"], meta["size"], meta["last_modified"].timestamp())
            for meta in found
        )
        return sorted(infos, key=lambda info: info.key)

    def _put(self, key: str, data: bytes, mode: str) -> None:
        # One request: parts of a multipart upload can't be put on a condition.
        self._store.put(key, data, mode=mode, use_multipart=False)  # type: ignore[arg-type]

    def _create(self, key: str, data: bytes) -> bool:
        failure = None
        in_doubt = False
        for number in attempts(self._retry):
            failure = self._try_create(key, data)
            if failure is None:
                return True
            if failure.outcome is Outcome.EXISTS:
                stored = self.read(key)
                if stored is not None:
                    return in_doubt and stored == data
            elif failure.outcome is not Outcome.TRANSIENT:
                raise self._refusal("write", key, failure)
            else:
                in_doubt = True
                if self._is_hopeless(number):
                    break
        return self._resolve(key, data, failure)

    def _try_create(self, key: str, data: bytes) -> Failure | None:
        _check_process()
        try:
            self._put(key, data, "create")
        except Exception as error:  # noqa: BLE001  # classified; obstore has no common base class
            failure = classify(error)
            self._answered |= failure.outcome is not Outcome.TRANSIENT
            return failure
        self._answered = True
        return None

    def _resolve(self, key: str, data: bytes, failure: Failure | None) -> bool:
        try:
            stored = self.read(key) if self._answered else None
        except StoreError:
            stored = None
        if stored is not None:
            return stored == data
        raise self._refusal("write", key, failure, "; it may still appear: run again later")

    def _require_conditional_put(self) -> None:
        if self._conditional:
            return
        key = _probe_key()
        enforced = self._create(key, b"first") and not self._create(key, b"second")
        self.delete(key)
        if not enforced:
            raise self._not_conditional()
        self._conditional = True

    def _not_conditional(self) -> StoreError:
        return StoreError(
            f"{self.url} can't be written: its store ignores conditional puts (If-None-Match), so "
            "two jobs could overwrite each other: use a store that enforces them, such as S3, GCS, "
            "Azure or a current MinIO"
        )

    def _or_none(self, verb: str, key: str, action: Callable[[], _T]) -> _T | None:
        try:
            return self._ask(verb, key, action)
        except _MissingObjectError:
            return None

    def _ask(self, verb: str, key: str, action: Callable[[], _T]) -> _T:
        _check_process()
        failure = None
        for number in attempts(self._retry):
            try:
                answer = action()
            except Exception as error:  # noqa: BLE001  # see _try_create
                failure = classify(error)
                if failure.outcome is not Outcome.TRANSIENT:
                    self._answered = True
                    break
                if self._is_hopeless(number):
                    break
            else:
                self._answered = True
                return answer
        # Not chained: the store's own words can hold credentials.
        raise self._refusal(verb, key, failure) from None

    def _is_hopeless(self, number: int) -> bool:
        return not self._answered and number + 1 >= _TRIES_WITHOUT_ANSWER

    def _refusal(self, verb: str, key: str, failure: Failure | None, note: str = "") -> StoreError:
        if failure is None:  # max_seconds is 0
            failure = Failure(Outcome.TRANSIENT, "no time was given to try")
        start = f"can't {verb} {self.url}/{key}: {failure.reason}"
        match failure.outcome:
            case Outcome.MISSING:
                return _MissingObjectError(f"{start}: check the URL")
            case Outcome.UNSUPPORTED if verb == "write":
                return self._not_conditional()
            case Outcome.DENIED:
                return StoreError(f"{start}: {self._permission_cure(verb)}")
            case Outcome.TRANSIENT | Outcome.EXISTS:
                cure = f"check {_HINTS[self._kind]}" if not self._answered else "run again later"
                return StoreError(f"{start}{note or f': {cure}'}")
            case _:
                return StoreError(f"{start}: check the URL and {_HINTS[self._kind]}")

    def _permission_cure(self, verb: str) -> str:
        if verb in ("read", "list"):
            return f"the credentials must allow to read and list it; check {_HINTS[self._kind]}"
        return "the credentials must allow to put and delete objects; they do for reading only"


class _MissingObjectError(StoreError):
    """Raised when the object asked for is not there; never leaves `read`, `length`, `delete`."""


def _open_store(url: str, kind: str) -> "ObjectStore":
    rest = url.split("://", 1)[1]
    user_allowed = url.startswith("abfs")  # container@account, no password
    if "?" in rest or ("@" in rest.split("/", 1)[0] and not user_allowed):
        raise StoreError(
            f"{kind}:// URL of a cache must be a bucket and a prefix only: "
            f"credentials and options belong into {_HINTS[kind]}"
        )
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError as error:
        raise StoreError(
            f"cache {url} is in an object store, which needs obstore: pip install 'scae[s3]'"
        ) from error
    # Bulk deletion reports errors of single keys in a 200 response, which obstore can't tell apart.
    config = {"disable_bulk_delete": "true"} if kind == "s3" else {}
    try:
        store: ObjectStore = from_url(url, config=config, retry_config={"max_retries": 0})  # type: ignore[call-overload]
    except (BaseError, ValueError) as error:
        reason = classify(error).reason
        raise StoreError(f"can't open {url}: {reason}: check {_HINTS[kind]}") from None
    return store


def _probe_key() -> str:
    return f"{PROBES}/{uuid.uuid4().hex}"


def _check_process() -> None:
    """Refuse what would otherwise wait for ever: a fork has none of its parent's threads."""
    global _runtime_process
    if _runtime_process is None:
        _runtime_process = os.getpid()
    if _runtime_process != os.getpid():
        raise StoreError(
            "object storage was used before this process was forked and can't be used in it: "
            "start workers by 'spawn' or 'forkserver'"
        )
