"""Turn Grad-CAM maps into the bytes that a cache stores.

Shape suffixes: B maps, h and w feature map rows and columns.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["quantise"]


def quantise(maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Scale each map by its own maximum and round it, half to even, to 0..255.

    A map that has no positive value or any NaN or infinity is flat: all zeros, which a loader
    reads as "erase anywhere" (Eq. 4 of a constant map is uniform). Negative values become 0.

    Args:
        maps: (B, h, w) float32, Grad-CAM maps as `grad_cam` returns them.

    Returns:
        (B, h, w) uint8; 255 is each map's own maximum.

    Raises:
        ValueError: If `maps` is not (B, h, w) float32 with at least one cell a map.
    """
    if maps.ndim != 3 or maps.dtype != np.float32 or not maps.shape[1] * maps.shape[2]:
        raise ValueError(f"maps must be (B, h, w) float32, got {maps.shape} {maps.dtype}")
    usable_B11 = np.isfinite(maps).all(axis=(1, 2), keepdims=True)
    maps_Bhw = np.where(usable_B11, maps, np.float32(0)).astype(np.float64)
    maxima_B11 = maps_Bhw.max(axis=(1, 2), keepdims=True)
    divisors_B11 = np.where(maxima_B11 > 0, maxima_B11, 1.0)
    # 255 * a is exact in float64 and the quotient of two float32 is never closer to a half than
    # float64 resolves, so this rounds as exact arithmetic would, on every machine.
    levels_Bhw = np.rint(maps_Bhw * 255.0 / divisors_B11)
    return np.clip(levels_Bhw, 0, 255).astype(np.uint8)
