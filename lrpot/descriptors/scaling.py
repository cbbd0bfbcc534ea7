"""Scaling of features by statistics of the training data."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lrpot.errors import InputError, suggestion

CONSTANT_RANGE = 1e-12
"""A feature that varies less than this in the training data is dropped, not divided by it."""

SMALLEST_SPREAD = 1e-3
"""Relative to the most varying feature of an element. A feature that varies less is not blown up to
the size of the others: a factor of 1e6 would let a slightly new environment swamp the networks."""

LEAST_SPREAD = 1e-3
"""Spread of the most varying feature of an element, about what moving its neighbours by 0.001 Å
changes. Features of an element that varies less, as in data of equal structures, are divided by it
and not by the noise of rounding."""

ROUNDING = 1000 * 2.2e-16
"""A feature outside of the training range by no more than this is inside, as in n2p2."""

MODES = ("scale_center", "scale", "center", "sigma", "none")


class Scaling(eqx.Module):
    """Features → (features − offset)·factor, by element of the central atom.

    Attributes:
        elements: Atomic numbers of the centres.
        offset, factor: The affine map.
        minimum, maximum: Range of the raw features in the training data; outside of it the
            potential extrapolates.
    """

    elements: tuple[int, ...] = eqx.field(static=True)
    offset: Float[Array, "elements features"]
    factor: Float[Array, "elements features"]
    minimum: Float[Array, "elements features"]
    maximum: Float[Array, "elements features"]

    frozen: ClassVar[tuple[str, ...]] = ("offset", "factor", "minimum", "maximum")

    def __call__(
        self, features: Float[Array, "atoms features"], numbers: Int[Array, " atoms"]
    ) -> Float[Array, "atoms features"]:
        row = element_index(numbers, self.elements)
        return (features - self.offset[row]) * self.factor[row]

    def outside(
        self, features: Float[Array, "atoms features"], numbers: Int[Array, " atoms"]
    ) -> Float[Array, "atoms features"]:
        """How far raw features are outside of the training range: above it, or (negative) below.

        Zero within the range, within rounding of it, and for padding atoms.
        """
        row = element_index(numbers, self.elements)
        above = jnp.maximum(features - self.maximum[row], 0.0)
        below = jnp.minimum(features - self.minimum[row], 0.0)
        beyond = above + below
        counts = (jnp.abs(beyond) > ROUNDING) & (numbers > 0)[:, None]
        return jnp.where(counts, beyond, 0.0)

    def outside_relative(
        self, features: Float[Array, "atoms features"], numbers: Int[Array, " atoms"]
    ) -> Float[Array, "atoms features"]:
        """How far raw features are outside of their range, either side, in widths of that range.

        Features that did not vary in the training data are not used, and count as inside.
        """
        width = (self.maximum - self.minimum)[element_index(numbers, self.elements)]
        used = width > CONSTANT_RANGE
        beyond = jnp.abs(self.outside(features, numbers))
        return jnp.where(used, beyond / jnp.where(used, width, 1.0), 0.0)


def identity_scaling(elements: tuple[int, ...], n_features: int) -> Scaling:
    """A scaling that changes nothing, to be replaced by `scaling_from_data`."""
    shape = (len(elements), n_features)
    return Scaling(
        elements,
        jnp.zeros(shape),
        jnp.ones(shape),
        jnp.full(shape, -jnp.inf),
        jnp.full(shape, jnp.inf),
    )


def scaling_from_data(
    features: np.ndarray,
    numbers: np.ndarray,
    elements: tuple[int, ...],
    *,
    mode: str = "sigma",
    least: float = 0.0,
) -> Scaling:
    """Statistics of raw features over a data set.

    No feature is divided by less than 1/n² of the largest spread of its element, where n is the
    number of samples (that few cannot tell a small spread), nor by less than `SMALLEST_SPREAD` of
    it.

    Args:
        features: [samples, features], unscaled.
        numbers: Atomic number of the centre of each sample; 0 is left out.
        elements: Atomic numbers of the potential.
        mode: `scale_center` (G−⟨G⟩)/(max−min), the choice of published 4G potentials; `scale`
            (G−min)/(max−min); `center` G−⟨G⟩; `sigma` (G−⟨G⟩)/std; `none`.
        least: Spread below which no feature is taken to vary, in its own unit.

    Raises:
        InputError: If an element does not occur in the data, or the mode is unknown.
    """
    if mode not in MODES:
        raise InputError(f"Unknown scaling `{mode}`. {suggestion(mode, MODES)}")
    rows = []
    for number in elements:
        samples = features[numbers == number].astype(float)
        if len(samples) == 0:
            raise InputError(
                f"Element {number} is one of the potential's elements {elements} but does "
                "not occur in the training data. Leave it out of the potential, or add structures "
                "with it."
            )
        low, high, mean = samples.min(0), samples.max(0), samples.mean(0)
        spread = {"sigma": samples.std(0), "center": np.ones_like(low), "none": np.ones_like(low)}
        spread = spread.get(mode, high - low)
        offset = {"scale": low, "none": np.zeros_like(low)}.get(mode, mean)
        relative = max(SMALLEST_SPREAD, 1 / len(samples) ** 2) * spread.max()
        absolute = max(least, LEAST_SPREAD if spread.max() < LEAST_SPREAD else 0.0)
        spread = np.maximum(spread, max(relative, absolute))
        constant = (high - low < CONSTANT_RANGE) & (mode != "none")
        factor = np.where(constant, 0.0, 1 / np.where(constant, 1.0, spread))
        rows.append((offset, factor, low, high))
    return Scaling(elements, *(jnp.asarray(np.stack(column)) for column in zip(*rows, strict=True)))


def element_index(numbers: Int[Array, "*shape"], elements: tuple[int, ...]) -> Int[Array, "*shape"]:
    """Position of each atomic number in `elements`; 0 for padding atoms."""
    table = np.zeros(max(elements) + 1, dtype=np.int32)
    table[list(elements)] = np.arange(len(elements))
    return jnp.asarray(table)[numbers]
