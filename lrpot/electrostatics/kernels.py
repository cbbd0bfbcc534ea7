"""Potential between two charges as a function of their squared distance."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

SERIES_BELOW = 0.25
"""Below this r²/2γ² the error function is summed as a series; both agree there to rounding."""

_SERIES = [(-1) ** n / (math.factorial(n) * (2 * n + 1)) for n in range(13)]


def gaussian_kernel(
    r_squared: Float[Array, "*shape"], gamma_squared: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """erf(r/√2γ)/r: potential of a Gaussian charge, or energy of two with γ² = σ₁² + σ₂².

    Smooth with all its derivatives at r = 0, where it is √(2/π)/γ.

    Args:
        r_squared: Squared distance, in Å².
        gamma_squared: Squared width, in Å²; positive.

    Returns:
        In 1/Å.
    """
    z = r_squared / (2 * gamma_squared)
    near = z < SERIES_BELOW
    z_near = jnp.where(near, z, 0.0)
    series = jnp.zeros_like(z)
    for coefficient in reversed(_SERIES):
        series = coefficient + z_near * series
    series = series * jnp.sqrt(2 / (math.pi * gamma_squared))
    r = jnp.sqrt(jnp.where(near, 1.0, r_squared))
    return jnp.where(near, series, jax.scipy.special.erf(r / jnp.sqrt(2 * gamma_squared)) / r)


def coulomb_kernel(
    r_squared: Float[Array, "*shape"], gamma_squared: Float[Array, "*shape"] | None
) -> Float[Array, "*shape"]:
    """The Gaussian kernel, or 1/r between point charges (`gamma_squared` is None).

    The point kernel is 0 at r = 0: an atom does not act on itself.
    """
    if gamma_squared is not None:
        return gaussian_kernel(r_squared, gamma_squared)
    apart = r_squared > 0
    return jnp.where(apart, 1 / jnp.sqrt(jnp.where(apart, r_squared, 1.0)), 0.0)


def self_potential(widths: Float[Array, " atoms"]) -> Float[Array, " atoms"]:
    """Potential of a unit Gaussian at its own centre averaged over itself, 1/(√π σ), in 1/Å."""
    return 1 / (math.sqrt(math.pi) * widths)
