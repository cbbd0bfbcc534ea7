"""Angular functions of the symmetry functions."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from lrpot.cutoffs import check_cutoff
from lrpot.descriptors.shells import bump
from lrpot.errors import InputError

SMALLEST_BASE = 1e-12
"""A power that is no integer has an infinite slope at 1 + λ cos θ = 0; the function is 0 there."""


class CosinePowers(eqx.Module):
    """Functions 2^(1-ζ) (1 + λ cos θ)^ζ, 0 where the base is not positive [behler:07].

    Attributes:
        powers: Pairs (λ, ζ).
    """

    powers: tuple[tuple[float, float], ...] = eqx.field(static=True)

    def __check_init__(self):
        if not self.powers:
            raise InputError("Angular functions need at least one pair (λ, ζ).")

    @property
    def labels(self) -> tuple[str, ...]:
        """A readable name of every function."""
        return tuple(f"lambda={sign:g} zeta={zeta:g}" for sign, zeta in self.powers)

    @property
    def polynomial(self) -> bool:
        """Whether all are polynomials that the moment route knows: λ = ±1 and integer ζ ≥ 1."""
        return all(abs(sign) == 1 and zeta == round(zeta) >= 1 for sign, zeta in self.powers)

    @property
    def degree(self) -> int:
        """The highest power, where they are polynomials."""
        return round(max(zeta for _, zeta in self.powers))

    def __call__(self, cosines: Float[Array, "*shape"]) -> list[Float[Array, "*shape"]]:
        """Every function at each cosine."""
        return [_power(cosines, sign, zeta) for sign, zeta in self.powers]


class Windows(eqx.Module):
    """Bumps on intervals of the angle, 0 for atoms in a straight line [bircher:21].

    Attributes:
        intervals: Pairs (low, high), in degrees; may reach beyond 0 and 180.
        function: Shape, a name of `lrpot.cutoffs.CUTOFF_FUNCTIONS`.
    """

    intervals: tuple[tuple[float, float], ...] = eqx.field(static=True)
    function: str = eqx.field(static=True)

    polynomial = False

    def __check_init__(self):
        check_cutoff(self.function, 1.0)
        if any(low >= high for low, high in self.intervals):
            raise InputError(f"Intervals need low < high, got {self.intervals!r}.")

    @property
    def labels(self) -> tuple[str, ...]:
        """A readable name of every function."""
        return tuple(f"{self.function} {low:g}..{high:g} deg" for low, high in self.intervals)

    def __call__(self, cosines: Float[Array, "*shape"]) -> list[Float[Array, "*shape"]]:
        """Every function at each cosine."""
        bent = jnp.abs(cosines) < 1
        degrees = jnp.degrees(jnp.arccos(jnp.where(bent, cosines, 0.0)))
        return [
            jnp.where(bent, bump(degrees, *ends, self.function), 0.0) for ends in self.intervals
        ]


AngularFunctions = CosinePowers | Windows


def _power(cosines: Array, sign: float, zeta: float) -> Array:
    base = 0.5 * (1 + sign * cosines)
    if zeta == round(zeta) >= 1 and abs(sign) <= 1:
        return 2 * base ** round(zeta)
    positive = base > SMALLEST_BASE
    return jnp.where(positive, 2 * jnp.where(positive, base, 1.0) ** zeta, 0.0)
