"""Whether a device computes bfloat16 by itself, so that it is worth using."""

from pathlib import Path

import torch

BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Names in /proc/cpuinfo of instructions that multiply bfloat16 (x86, x86 with AMX, Arm)."""


def native_bf16(device_type: str) -> bool:
    """Tell whether a device type has bfloat16 instructions; False where that can't be found out."""
    if device_type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and not BF16_FLAGS.isdisjoint(cpuinfo.read_text().split())
