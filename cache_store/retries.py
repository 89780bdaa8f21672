"""When to ask an object store again, and what its errors mean.

A request fails in one of two ways: the store refuses it, which asking again will not change, or the
store or the way to it is in trouble, which passes. Only the second kind is retried.
"""

import os
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Self

from cache_store.errors import StoreError

_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z]{1,64})</Code>")
_KIND = re.compile(r"kind: (Timeout|Connect|Interrupted)")
_QUERY = re.compile(r"\?\S*")
_SECRET_NAME = re.compile(r"KEY|SECRET|TOKEN|SAS|CREDENTIAL|PASSWORD")
_TRANSIENT_CODES = ("SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout")
_TROUBLE = {
    "Timeout": "the store did not answer in time",
    "Connect": "no connection to the store",
    "Interrupted": "the connection broke",
}


class Outcome(Enum):
    """What a failed request says about the object and about asking again."""

    TRANSIENT = "trouble that passes; the request may have been carried out all the same"
    EXISTS = "there is such an object already, or another writer is at it"
    MISSING = "there is no such object"
    DENIED = "the credentials don't allow it"
    UNSUPPORTED = "the store can't do this at all"
    OTHER = "anything else; asking again does not help"


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed request, told without the store's own words, which can hold credentials."""

    outcome: Outcome
    """What it means."""
    reason: str
    """For messages: HTTP status and the store's code, or what happened to the connection."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryOptions:
    """How long to go on asking.

    The defaults outlive 30 % of failing requests in refreshes of millions of requests (0.3 ** 20 is
    3.5e-11) and give up on a store that is down after about half a minute.
    """

    max_tries: int = 20
    """Requests in all, the first included; environment variable SCAE_STORE_TRIES."""
    max_seconds: float = 180.0
    """No new request once this much time has gone; environment variable SCAE_STORE_SECONDS."""
    first_delay_seconds: float = 0.1
    """Upper bound of the first pause; doubled each time."""
    max_delay_seconds: float = 5.0
    """Upper bound of any pause."""

    def __post_init__(self) -> None:
        if self.max_tries < 1:
            raise StoreError(f"max_tries (SCAE_STORE_TRIES) must be >= 1, got {self.max_tries}")
        for name in ("max_seconds", "first_delay_seconds", "max_delay_seconds"):
            if not getattr(self, name) >= 0:
                said = " (SCAE_STORE_SECONDS)" if name == "max_seconds" else ""
                raise StoreError(f"{name}{said} must be >= 0 seconds, got {getattr(self, name)}")

    @classmethod
    def from_environment(cls) -> Self:
        """Return the defaults with SCAE_STORE_TRIES and SCAE_STORE_SECONDS in their place.

        Raises:
            StoreError: If one of them is not a number or too small.
        """
        try:
            return cls(
                max_tries=int(os.environ.get("SCAE_STORE_TRIES", cls().max_tries)),
                max_seconds=float(os.environ.get("SCAE_STORE_SECONDS", cls().max_seconds)),
            )
        except ValueError as error:
            raise StoreError(
                f"SCAE_STORE_TRIES and SCAE_STORE_SECONDS must be numbers: {error}"
            ) from error


def attempts(
    options: RetryOptions,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[int]:
    """Yield 0, 1, ... once a try, pausing in between; ends when the bounds are reached.

    A pause is drawn evenly from 0 to a bound that doubles: many workers that were turned away at
    one moment come back at different ones.
    """
    start = clock()
    for number in range(options.max_tries):
        if number:
            # An exponent of 60 is past any bound and still a finite float.
            bound = options.first_delay_seconds * 2.0 ** min(number - 1, 60)
            delay = random.uniform(0, min(bound, options.max_delay_seconds))
            if clock() + delay - start > options.max_seconds:
                return
            sleep(delay)
        yield number


def classify(error: Exception) -> Failure:
    """Tell what an error of obstore means.

    obstore has types for some of the outcomes only and uses others for two (a conflict of two
    writers under way is an AlreadyExistsError as well), so the HTTP status decides where there is
    one. Nothing of a response's body but its error code is kept: S3 puts access key ids and signed
    strings into it.
    """
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    if status is None:
        return _without_status(error, text)
    reason = f"HTTP {status[1]}" + (f" {code[1]}" if code else "")
    return Failure(_status_outcome(int(status[1]), code[1] if code else ""), reason)


def _status_outcome(status: int, code: str) -> Outcome:
    if code == "NoSuchBucket":
        return Outcome.OTHER
    by_status = {
        401: Outcome.DENIED,
        403: Outcome.DENIED,
        404: Outcome.MISSING,
        405: Outcome.UNSUPPORTED,
        408: Outcome.TRANSIENT,
        409: Outcome.EXISTS,
        412: Outcome.EXISTS,
        429: Outcome.TRANSIENT,
        501: Outcome.UNSUPPORTED,
    }
    if code in _TRANSIENT_CODES:
        return Outcome.TRANSIENT
    return by_status.get(status, Outcome.TRANSIENT if status >= 500 else Outcome.OTHER)


def _without_status(error: Exception, text: str) -> Failure:
    by_type = {
        "AlreadyExistsError": Outcome.EXISTS,
        "FileNotFoundError": Outcome.MISSING,
        "NotFoundError": Outcome.MISSING,
        "NotSupportedError": Outcome.UNSUPPORTED,
        "NotImplementedError": Outcome.UNSUPPORTED,
        "PermissionDeniedError": Outcome.DENIED,
        "UnauthenticatedError": Outcome.DENIED,
    }
    name = type(error).__name__
    if name in by_type:
        return Failure(by_type[name], by_type[name].value)
    if "BadScheme" in text:
        return Failure(
            Outcome.OTHER, "the endpoint is http://, set AWS_ALLOW_HTTP=true to allow it"
        )
    if "redirect without LOCATION" in text:
        return Failure(Outcome.OTHER, "the bucket is in another region, set AWS_REGION")
    if "/latest/api/token" in text or "169.254.169.254" in text:
        return Failure(Outcome.TRANSIENT, "no credentials in the environment")
    if "HTTP error" in text or isinstance(error, TimeoutError | ConnectionError):
        kind = _KIND.search(text)
        return Failure(Outcome.TRANSIENT, _TROUBLE[kind[1] if kind else "Interrupted"])
    return Failure(Outcome.OTHER, _without_secrets(text))


def _without_secrets(text: str) -> str:
    line = _QUERY.sub("", text.strip().split("\n", 1)[0])
    for name, value in os.environ.items():
        if len(value) >= 4 and _SECRET_NAME.search(name.upper()):
            line = line.replace(value, "***")
    return line[:200]
