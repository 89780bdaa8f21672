"""One finding of `scae doctor`."""

from dataclasses import asdict, dataclass
from typing import Literal

Status = Literal["ok", "warning", "problem"]
OK: Status = "ok"
WARNING: Status = "warning"
PROBLEM: Status = "problem"


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, how it is, and what to do about it."""

    name: str
    """What was looked at."""
    status: Status
    """ok; warning: slower, or a part is missing; problem: jobs will fail."""
    found: str
    """What is there."""
    cure: str = ""
    """What to do; empty where nothing needs to be."""

    def as_dict(self) -> dict[str, str]:
        """Return the fields on one line each."""
        return asdict(self)

    @classmethod
    def of_error(cls, name: str, error: Exception, cure: str = "") -> "Check":
        """Return a problem in an exception's words, on one line."""
        text = " ".join(str(error).split())
        return cls(name, PROBLEM, text or type(error).__name__, cure)


def size_text(num_bytes: float) -> str:
    """Return bytes for people: 512.0 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} TiB"
