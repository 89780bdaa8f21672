"""Mixing ratios: the symmetric Beta distribution from two uniform numbers."""

import numpy as np
from numpy.typing import NDArray

from loaders.randomness import Uniforms

# B ratios.


def symmetric_beta(alpha: float, num: int, rng: Uniforms) -> NDArray[np.float64]:
    """Draw from Beta(alpha, alpha).

    Exact, with two uniform numbers a row: R cos(2 pi V) with R**2 = nu (U**(-2/nu) - 1) is a
    Student t with nu degrees of freedom (Bailey, 1994), and t / sqrt(nu + t**2) of nu = 2 alpha is
    a symmetric Beta(alpha, alpha) stretched to [-1, 1]. Rejection (Joehnk) would take an unbounded
    number of draws.

    Args:
        alpha: Above 0.
        num: Number of ratios B.
        rng: Gives uniform numbers, two a row.

    Returns:
        (B,) float64 in [0, 1].
    """
    uniforms_B2 = rng.random((num, 2))
    # U in (0, 1]; U**(1 / alpha) may underflow to 0, which gives the right limit, 0 or 1.
    power_B = (1.0 - uniforms_B2[:, 0]) ** (1.0 / alpha)
    cosine_B = np.cos(2 * np.pi * uniforms_B2[:, 1])
    square_B = (1.0 - power_B) / (power_B + (1.0 - power_B) * cosine_B**2)
    ratio_B = 0.5 + 0.5 * cosine_B * np.sqrt(square_B)
    return np.clip(ratio_B, 0.0, 1.0)
