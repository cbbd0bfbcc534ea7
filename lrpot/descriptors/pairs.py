"""Angular sums that need every pair of neighbours: narrow functions, and any other power ζ."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lrpot.descriptors.cutoffs import cutoff_function

SMALLEST_BASE = 1e-12
"""A power that is no integer has an infinite slope at 1 + λ cos θ = 0; the base stops here."""


def pair_sums(
    radial: Float[Array, "atoms neighbors shells"],
    vectors: Float[Array, "atoms neighbors 3"],
    units: Float[Array, "atoms neighbors 3"],
    channels: Float[Array, "atoms neighbors channels"],
    *,
    angles: tuple[tuple[float, float], ...],
    shells: tuple[tuple[float, float], ...],
    narrow: dict | None = None,
) -> Float[Array, "atoms pairs shells angles"]:
    """Angular sums over unordered pairs j<k of neighbours, one pair after the other.

    The same sums as `lrpot.descriptors.moments.moment_sums`, for any (λ, ζ); with `narrow`,
    each pair also carries exp(-η (r_jk - r_s)²) f_c(r_jk).

    Args:
        radial: Radial functions exp(-η (r - r_s)²) f_c(r).
        vectors: Vectors to the neighbours, in Å.
        units: The same, normalised.
        channels: Weight of each neighbour in each channel.
        angles: Pairs (λ, ζ).
        shells: Pairs (η, r_s) of the radial functions.
        narrow: Settings of the cutoff function of r_jk; `None` leaves its factor out.
    """
    first, second = np.triu_indices(radial.shape[1], k=1)
    both = radial[:, first] * radial[:, second]
    if narrow is not None:
        squares = jnp.sum((vectors[:, first] - vectors[:, second]) ** 2, axis=-1)
        apart = squares > 0  # two empty slots coincide; their radial functions are 0
        between = jnp.where(apart, jnp.sqrt(jnp.where(apart, squares, 1.0)), 0.0)
        gaussians = [jnp.exp(-eta * (between - shift) ** 2) for eta, shift in shells]
        shut = cutoff_function(between, **narrow)
        both = both * jnp.stack(gaussians, axis=-1) * shut[:, :, None]
    cosine = jnp.sum(units[:, first] * units[:, second], axis=-1)
    angular = jnp.stack([_power(cosine, *angle) for angle in angles], axis=-1)
    one, other = np.triu_indices(channels.shape[-1])
    swapped = channels[:, first][:, :, other] * channels[:, second][:, :, one]
    straight = channels[:, first][:, :, one] * channels[:, second][:, :, other]
    weights = straight + jnp.asarray(one != other, swapped.dtype)[None, None, :] * swapped
    return jnp.einsum("apc,aps,apz->acsz", weights, both, angular, optimize="optimal")


def _power(cosine: Array, sign: float, zeta: float) -> Array:
    base = 0.5 * (1 + sign * cosine)
    if zeta == round(zeta) and zeta >= 1:
        return 2 * base ** round(zeta)
    return 2 * jnp.maximum(base, SMALLEST_BASE) ** zeta
