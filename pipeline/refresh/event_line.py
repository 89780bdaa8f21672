"""One event of a job as one line of JSON, for programs that follow along."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def event_line(event: str, fields: Mapping[str, Any]) -> str:
    """Return an event with the time in UTC as a line of JSON, its end included.

    Args:
        event: What happened, in one word.
        fields: JSON values; numbers that are not finite, which JSON has no word for, become null.
    """
    moment = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": moment, "event": event, **_finite(fields)}, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:  # noqa: ANN401  # walks nested JSON values
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
