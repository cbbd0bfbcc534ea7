"""Angular sums that need every pair of neighbours: narrow functions, and any other power ζ."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lrpot.descriptors.angles import AngularFunctions
from lrpot.descriptors.shells import RadialFunctions

PAIRS_AT_ONCE = 200_000
"""Pairs of neighbours that are held in memory at a time; more are worked through in chunks."""


def pair_sums(
    radial: Float[Array, "atoms neighbors shells"],
    vectors: Float[Array, "atoms neighbors 3"],
    channels: Float[Array, "atoms neighbors channels"],
    *,
    angles: AngularFunctions,
    third_side: RadialFunctions | None = None,
) -> Float[Array, "atoms pairs shells angles"]:
    """Angular sums over unordered pairs j<k of neighbours, one pair after the other.

    The same sums as `lrpot.descriptors.moments.moment_sums`, for any angular function.

    Args:
        radial: Radial functions at the neighbours.
        vectors: Vectors to the neighbours, in Å.
        channels: Weight of each neighbour in each channel.
        angles: The angular functions.
        third_side: Radial functions of r_jk, a factor of each pair in narrow functions; `None`
            for wide ones.
    """
    first, second = np.triu_indices(radial.shape[1], k=1)
    one, other = np.triu_indices(channels.shape[-1])

    def one_atom(arrays: tuple[Array, Array, Array]) -> Array:
        radial, vectors, channels = arrays
        units = vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)
        both = radial[first] * radial[second]
        if third_side is not None:
            both = both * third_side(_distances(vectors[first], vectors[second]))
        angular = angles(jnp.sum(units[first] * units[second], axis=-1))
        straight = channels[first][:, one] * channels[second][:, other]
        swapped = channels[first][:, other] * channels[second][:, one]
        weights = straight + jnp.asarray(one != other, radial.dtype)[None, :] * swapped
        return jnp.einsum("pc,ps,pz->csz", weights, both, angular, optimize="optimal")

    arrays = (radial, vectors, channels)
    chunk = max(1, PAIRS_AT_ONCE // max(len(first), 1))
    if chunk >= len(radial):
        return jax.vmap(one_atom)(arrays)
    return jax.lax.map(jax.checkpoint(one_atom), arrays, batch_size=chunk)


def _distances(first: Array, second: Array) -> Array:
    squares = jnp.sum((first - second) ** 2, axis=-1)
    apart = squares > 0  # two empty slots coincide; their radial functions are 0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squares, 1.0)), 0.0)
