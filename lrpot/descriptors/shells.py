"""Radial functions of the symmetry functions, and how neighbours are told apart."""

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lrpot.cutoffs import check_cutoff, cutoff_function
from lrpot.elements import SYMBOLS
from lrpot.environment import Environment
from lrpot.errors import InputError


class Channels(eqx.Module):
    """How neighbours are told apart.

    Attributes:
        elements: Atomic numbers that get one channel each. Empty for a single channel in which
            every neighbour is weighted by its atomic number (wACSF [gastegger:18]).
    """

    elements: tuple[int, ...] = eqx.field(static=True)

    @property
    def names(self) -> tuple[str, ...]:
        """One name per channel."""
        return tuple(SYMBOLS[number] for number in self.elements) or ("Z",)

    @property
    def pairs(self) -> tuple[str, ...]:
        """Names of the unordered pairs of channels."""
        return tuple(f"{a}-{b}" for i, a in enumerate(self.names) for b in self.names[i:])

    def weights(self, environment: Environment) -> Float[Array, "atoms channels neighbors"]:
        """Weight of every neighbour in every channel."""
        numbers, dtype = environment.neighbors[:, None, :], environment.dtype
        if not self.elements:
            return numbers.astype(dtype)
        return (numbers == jnp.asarray(self.elements)[None, :, None]).astype(dtype)

    def pair_weights(
        self, first: Int[Array, "*shape sites"], second: Int[Array, "*shape sites"], dtype: Any
    ) -> Float[Array, "*shape pairs sites"]:
        """Weight of pairs of neighbours, by their atomic numbers, in every pair of channels."""
        first, second = first[..., None, :], second[..., None, :]
        if not self.elements:
            return (first * second).astype(dtype)
        one, other = np.array(self.elements)[np.stack(np.triu_indices(len(self.elements)))]
        shape = (1,) * (first.ndim - 2) + (-1, 1)
        one, other = (jnp.asarray(numbers.reshape(shape), first.dtype) for numbers in (one, other))
        straight, swapped = (first == one) & (second == other), (first == other) & (second == one)
        return (straight | swapped).astype(dtype)


class Shells(eqx.Module):
    """Gaussian radial functions exp(-η (r - r_s)²) f_c(r) [behler:07].

    Attributes:
        shells: Pairs (η in 1/Å², r_s in Å).
        cutoff: In Å.
        function: A name of `lrpot.cutoffs.CUTOFF_FUNCTIONS`.
        inner: Fraction of the cutoff up to which the cutoff function is 1.
    """

    shells: tuple[tuple[float, float], ...] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)
    function: str = eqx.field(static=True, default="cos")
    inner: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        check_cutoff(self.function, self.cutoff, self.inner)
        if not self.shells or any(eta < 0 for eta, _ in self.shells):
            raise InputError(
                "Symmetry functions need at least one pair (η, r_s) with η ≥ 0, got "
                f"{self.shells!r}."
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """A readable name of every function."""
        return tuple(f"eta={eta:g} r_s={shift:g}" for eta, shift in self.shells)

    def __call__(
        self, distances: Float[Array, "*shape sites"]
    ) -> Float[Array, "*shape shells sites"]:
        """Value of every function at each distance."""
        return jnp.stack(self.products([distances], [self.cut(distances)]), axis=-2)

    def cut(self, distances: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The cutoff function at each distance."""
        return cutoff_function(
            distances, cutoff=self.cutoff, function=self.function, inner=self.inner
        )

    def products(
        self, sides: Sequence[Float[Array, "*shape"]], cuts: Sequence[Float[Array, "*shape"]]
    ) -> list[Float[Array, "*shape"]]:
        """For every function the product of its values at some distances.

        Args:
            sides: The distances, in Å.
            cuts: The cutoff function at these distances, from `cut`.
        """
        inside = math.prod(cuts)
        return [
            inside * jnp.exp(-eta * sum((side - shift) ** 2 for side in sides))
            for eta, shift in self.shells
        ]


class Bumps(eqx.Module):
    """Radial functions of compact support, which need no cutoff function [bircher:21].

    A bump is 1 in the middle of its interval and falls to 0 at both ends by the shape of a
    cutoff function; an interval may begin below zero.

    Attributes:
        intervals: Pairs (low, high), in Å.
        function: Shape, a name of `lrpot.cutoffs.CUTOFF_FUNCTIONS`.
        steep: Whether the distance x from the middle, in units of half the interval, is
            replaced by x (2 - x), for a narrower bump.
    """

    intervals: tuple[tuple[float, float], ...] = eqx.field(static=True)
    function: str = eqx.field(static=True)
    steep: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        check_cutoff(self.function, self.cutoff)
        if any(low >= high for low, high in self.intervals):
            raise InputError(f"Intervals need low < high, got {self.intervals!r}.")

    @property
    def cutoff(self) -> float:
        """Where the last of them ends, in Å."""
        return max(high for _, high in self.intervals)

    @property
    def labels(self) -> tuple[str, ...]:
        """A readable name of every function."""
        shape = f"{self.function}{' steep' if self.steep else ''}"
        return tuple(f"{shape} {low:g}..{high:g}" for low, high in self.intervals)

    def __call__(
        self, distances: Float[Array, "*shape sites"]
    ) -> Float[Array, "*shape shells sites"]:
        """Value of every function at each distance."""
        return jnp.stack(self.products([distances], []), axis=-2)

    def cut(self, distances: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Bumps end by themselves and have no cutoff function."""
        return jnp.ones_like(distances)

    def products(
        self, sides: Sequence[Float[Array, "*shape"]], cuts: Sequence[Float[Array, "*shape"]]
    ) -> list[Float[Array, "*shape"]]:
        """For every function the product of its values at some distances, as for `Shells`."""
        del cuts
        return [
            jnp.asarray(
                math.prod(bump(side, *ends, self.function, steep=self.steep) for side in sides)
            )
            for ends in self.intervals
        ]


def bump(
    values: Float[Array, "*shape"], low: float, high: float, function: str, *, steep: bool = False
) -> Float[Array, "*shape"]:
    """A function that is 1 in the middle of an interval and 0 outside of it."""
    x = jnp.abs(values - 0.5 * (low + high)) / (0.5 * (high - low))
    if steep:
        # Beyond the end x (2 - x) would fall again.
        x = jnp.where(x < 1, x * (2 - x), 1.0)
    return cutoff_function(x, cutoff=1.0, function=function)


RadialFunctions = Shells | Bumps
