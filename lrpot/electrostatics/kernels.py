"""Potential between two charges as a function of their squared distance."""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_SERIES = ((0.25, 11), (0.25, 11), (1.0, 19))
"""By order, the last for all higher ones: below this argument a Boys function is a series of so
many terms. There it agrees to rounding with the recursion, which loses digits with every order."""


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def boys(order: int, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Boys function F_n(z) = ∫₀¹ t^(2n) exp(-z t²) dt for z ≥ 0.

    F_0(z) = ½ √(π/z) erf(√z), and the derivative of F_n is -F_(n+1): all derivatives of the
    kernels follow from one exponential and one error function, smooth at z = 0.
    """
    limit, terms = _SERIES[min(order, len(_SERIES) - 1)]
    near = z < limit
    z_near, z_far = jnp.where(near, z, 0.0), jnp.where(near, limit, z)
    series = jnp.zeros_like(z)
    for n in reversed(range(terms)):
        series = (-1) ** n / (math.factorial(n) * (2 * (n + order) + 1)) + z_near * series
    far = jnp.sqrt(z_far)
    value = 0.5 * math.sqrt(math.pi) * jax.scipy.special.erf(far) / far
    if order:
        decayed = jnp.exp(-z_far)
        for n in range(order):
            value = ((2 * n + 1) * value - decayed) / (2 * z_far)
    return jnp.where(near, series, value)


@boys.defjvp
def _boys_jvp(order: int, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return boys(order, *primals), -boys(order + 1, *primals) * tangents[0]


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
    inverse = 1 / gamma_squared
    return jnp.sqrt((2 / math.pi) * inverse) * boys(0, 0.5 * r_squared * inverse)


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


@jax.custom_jvp
def complementary_kernel(
    r_squared: Float[Array, "*shape"], gamma_squared: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """erfc(r/√2γ)/r: what a point charge has that a Gaussian one has not.

    For pairs apart, and faster than the kernels above: at r = 0 it is infinite, and close to it
    derivatives lose digits.

    Args:
        r_squared: Squared distance, in Å²; positive.
        gamma_squared: Squared width, in Å²; positive.

    Returns:
        In 1/Å.
    """
    inverse = jax.lax.rsqrt(r_squared)
    argument = r_squared * inverse * jax.lax.rsqrt(2 * gamma_squared)
    return jax.scipy.special.erfc(argument) * inverse


@complementary_kernel.defjvp
def _complementary_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    r_squared, gamma_squared = primals
    value = complementary_kernel(r_squared, gamma_squared)
    inverse = jax.lax.rsqrt(gamma_squared)
    gauss = math.sqrt(2 / math.pi) * inverse * jnp.exp(-0.5 * r_squared * inverse**2)
    along_r = -0.5 * (value + gauss) / r_squared
    along_gamma = 0.5 * inverse**2 * gauss
    return value, along_r * tangents[0] + along_gamma * tangents[1]


def self_potential(widths: Float[Array, " atoms"]) -> Float[Array, " atoms"]:
    """Potential of a unit Gaussian at its own centre averaged over itself, 1/(√π σ), in 1/Å."""
    return 1 / (math.sqrt(math.pi) * widths)
