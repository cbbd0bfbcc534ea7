"""Angular sums over all pairs of neighbours at a cost linear in the neighbours.

Summed over all pairs, a polynomial of the cosine between two neighbours is a sum of squares of
multipole moments. With Schmidt-normalised real harmonics,
Σ_m Y_lm(u) Y_lm(v) = P_l(u·v),

    2^(1-ζ) (1 + λ t)^ζ = Σ_{l ≤ ζ} λ^l c_l P_l(t),   c_l = 2 (2l+1) ζ!² / [(ζ-l)! (ζ+l+1)!],

for λ = ±1 and integer ζ, so that with M^A_lm = Σ_{j ∈ A} g_j Y_lm(u_j)

    Σ_{j ∈ A, k ∈ B} g_j g_k 2^(1-ζ) (1 + λ u_j·u_k)^ζ = Σ_l λ^l c_l Σ_m M^A_lm M^B_lm.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def harmonics(
    units: Float[Array, "*shape 3 sites"], degree: int
) -> Float[Array, "*shape harmonics sites"]:
    """Real spherical harmonics Y_lm, 0 ≤ l ≤ degree, as polynomials of a unit vector.

    Schmidt normalisation: Σ_m Y_lm(u) Y_lm(v) = P_l(u·v). Ordered by l, then m = -l … l; there
    are (degree + 1)² of them. No angles are formed, so nothing is singular at the poles.
    """
    x, y, z = units[..., 0, :], units[..., 1, :], units[..., 2, :]
    # Re and Im of (x + iy)^m.
    real, imag = [jnp.ones_like(x)], [jnp.zeros_like(x)]
    for _ in range(degree):
        real, imag = (
            [*real, x * real[-1] - y * imag[-1]],
            [*imag, x * imag[-1] + y * real[-1]],
        )
    columns: dict[tuple[int, int], Array] = {}
    for m in range(degree + 1):
        # Associated Legendre functions without their sin^m factor, by recursion in l.
        before, legendre = jnp.zeros_like(z), jnp.full_like(z, float(_double_factorial(2 * m - 1)))
        for order in range(m, degree + 1):
            if order > m:
                before, legendre = (
                    legendre,
                    ((2 * order - 1) * z * legendre - (order + m - 1) * before) / (order - m),
                )
            norm = math.sqrt(
                (2 if m else 1) * math.factorial(order - m) / math.factorial(order + m)
            )
            columns[order, m] = norm * legendre * real[m]
            if m:
                columns[order, -m] = norm * legendre * imag[m]
    ordered = [columns[order, m] for order in range(degree + 1) for m in range(-order, order + 1)]
    return jnp.stack(ordered, axis=-2)


def angular_coefficients(angles: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Table [harmonics, angles] of λ^l c_l for every (λ, ζ) of `angles`, ζ being integers."""
    degree = max(round(zeta) for _, zeta in angles)
    table = np.zeros(((degree + 1) ** 2, len(angles)))
    for column, (sign, power) in enumerate(angles):
        zeta = round(power)
        for order in range(zeta + 1):
            value = 2 * (2 * order + 1) * math.factorial(zeta) ** 2
            value /= math.factorial(zeta - order) * math.factorial(zeta + order + 1)
            table[order**2 : (order + 1) ** 2, column] = sign**order * value
    return table


def moment_sums(
    radial: Float[Array, "atoms shells neighbors"],
    units: Float[Array, "atoms 3 neighbors"],
    channels: Float[Array, "atoms channels neighbors"],
    *,
    angles: tuple[tuple[float, float], ...],
) -> Float[Array, "atoms pairs shells angles"]:
    """Angular sums over unordered pairs j<k of neighbours, for λ = ±1 and integer ζ.

    For each pair of channels A ≤ B, radial function g and angle (λ, ζ)

        Σ_{j<k} (a_j b_k + b_j a_k)/(1 + δ_AB) g_j g_k 2^(1-ζ) (1 + λ u_j·u_k)^ζ,

    a and b being the weights of the channels (1 or 0 for elements). A neighbour has a weight in
    one channel at most: between two channels, j = k is not taken out.

    Args:
        radial: Radial functions g, cutoff included.
        units: Unit vectors to the neighbours.
        channels: Weight of each neighbour in each channel.
        angles: Pairs (λ, ζ).
    """
    n_atoms, n_shells, n_neighbors = radial.shape
    n_channels = channels.shape[1]
    table = jnp.asarray(angular_coefficients(angles), dtype=radial.dtype)
    weights = channels[:, :, None, :] * radial[:, None, :, :]
    basis = harmonics(units, round(max(zeta for _, zeta in angles)))
    flat = weights.reshape(n_atoms, n_channels * n_shells, n_neighbors)
    moments = jnp.einsum("awn,ahn->awh", flat, basis)
    moments = moments.reshape(n_atoms, n_channels, n_shells, -1)
    first, second = np.triu_indices(n_channels)
    sums = (moments[:, first] * moments[:, second]) @ table
    # For one channel the sum over all (j, k) counts each pair twice, and j = k, where u·u = 1.
    same = first == second
    alone = jnp.asarray([2 * ((1 + sign) / 2) ** round(zeta) for sign, zeta in angles], sums.dtype)
    own = jnp.sum(weights**2, axis=-1)[:, first[same], :, None] * alone[None, None, None, :]
    share = jnp.asarray(np.where(same, 0.5, 1.0), sums.dtype)
    return sums.at[:, np.flatnonzero(same)].add(-own) * share[None, :, None, None]


def _double_factorial(n: int) -> int:
    return math.prod(range(n, 0, -2))
