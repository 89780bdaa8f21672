"""Which precision a forward pass has, and whether a device computes bfloat16 by itself."""

from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.errors import NetworkError

__all__ = ["PRECISIONS", "PrecisionChoice", "choose_precision", "native_bf16"]

PRECISIONS = ("auto", "fp32", "bf16")
"""What a user may ask for."""

_BF16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")
"""Names in /proc/cpuinfo of instructions that multiply bfloat16 (x86 with AMX, x86, Arm)."""

_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class PrecisionChoice:
    """A concrete precision with the reason for it."""

    name: str
    """'fp32' or 'bf16'."""
    reason: str
    """For people, such as 'auto: the CPU has avx512_bf16'."""


def choose_precision(asked: str, device_type: str) -> PrecisionChoice:
    """Return the precision that was asked for; 'auto' takes bfloat16 where the device has it.

    Args:
        asked: 'auto', 'fp32' or 'bf16'.
        device_type: 'cpu' or 'cuda', of this machine.

    Raises:
        NetworkError: If `asked` is another word.
    """
    if asked not in PRECISIONS:
        raise NetworkError(f"precision must be one of {', '.join(PRECISIONS)}, got {asked!r}")
    if asked != "auto":
        return PrecisionChoice(asked, "as asked")
    found = native_bf16(device_type)
    device = "GPU" if device_type == "cuda" else "CPU"
    if found:
        return PrecisionChoice("bf16", f"auto: the {device} has {found}")
    return PrecisionChoice("fp32", f"auto: the {device} has no bfloat16 instructions")


def native_bf16(device_type: str) -> str | None:
    """Name a device type's bfloat16 instructions; None where it has none that are known."""
    if device_type == "cuda":
        has = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if has else None
    flags = set(_CPUINFO.read_text().split()) if _CPUINFO.is_file() else set()
    return next((flag for flag in _BF16_FLAGS if flag in flags), None)
