"""What structures tell about the parameters: errors, and derivatives of the predictions by them."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from lrpot.data import Batch
from lrpot.potential import Potential
from lrpot.predict import deformed
from lrpot.training.devices import ONE, Devices
from lrpot.training.keep import with_kept

_SYMMETRIC = np.array(
    [(np.outer(a, b) + np.outer(b, a)) / 2 for i, a in enumerate(np.eye(3)) for b in np.eye(3)[i:]]
)
"""The six independent components of a symmetric tensor, xx xy xz yy yz zz."""

_COUNTS = np.array([1.0, 2, 2, 1, 2, 1])
"""How often each is found among the nine components of a tensor."""


class Observations(eqx.Module):
    """Numbers compared with a reference, each weighted by the root of its share in the loss.

    Attributes:
        errors: Reference minus prediction.
        rows: Derivatives of the predictions by the flat parameters.
        present: 1 where there is something to compare, 0 where errors and rows are 0 because the
            structure lacks the label or the atom is padding.
    """

    errors: Float[Array, " observations"]
    rows: Float[Array, "observations parameters"]
    present: Float[Array, " observations"]


def observe(
    parameters: Potential,
    rest: Potential,
    batch: Batch,
    weights: dict[str, float],
    *,
    share: float = 1.0,
    threshold: float = 0.0,
    key: PRNGKeyArray,
    devices: Devices = ONE,
) -> tuple[Observations, dict[str, Float[Array, ""]]]:
    """Observations of all structures of a batch, and the mean squared error of each label.

    The squares of the errors of one structure sum to its part of `lrpot.training.loss.loss`, for
    forces in the mean over all choices of components by chance. The mean squared error of forces
    is that of all components where they are looked at to choose, else that of the chosen ones.

    Args:
        parameters, rest: What is learnt of a potential, and all else.
        batch: Structures.
        weights: Weight of each label in the loss; only these are observed.
        share: Of the force components of each structure.
        threshold: Components with an error above `threshold` times the root mean square over
            their structure are taken first; 0 to choose without looking.
        key: Of the choice.
        devices: That share the structures, of which there must be a multiple of their number.
    """
    components = max(1, round(share * 3 * batch.systems.positions.shape[1]))

    def one(shared: tuple[Potential, Potential], single: Batch, key: PRNGKeyArray):
        view = _View(*shared, single, is_still=not wanted & {"forces", "stress"})
        return {
            **_of_energy(view, wanted, components=components, threshold=threshold, key=key),
            **_of_charges(view, wanted),
        }

    wanted = {label for label, weight in weights.items() if weight}
    share_of_each = devices.split(
        lambda shared, share: jax.vmap(functools.partial(one, shared))(*share)
    )
    keys = jax.random.split(key, batch.size)
    compared: dict[str, _Compared] = share_of_each((parameters, rest), (batch, keys))
    parts, means = [], {}
    for label, found in compared.items():
        known = batch.known[label]
        counts = found.counts * known[:, None]
        share_of = counts / jnp.maximum(counts.sum(axis=1, keepdims=True), 1)
        root = jnp.sqrt(weights[label] * batch.weight[:, None] * share_of)
        parts.append(
            Observations(
                errors=(root * found.errors).ravel(),
                rows=(root[:, :, None] * found.rows).reshape(root.size, -1),
                present=(counts > 0).astype(root.dtype).ravel(),
            )
        )
        squares = share_of * found.errors**2 if found.squares is None else found.squares
        means[label] = jnp.sum(squares * known[:, None]) / jnp.maximum(known.sum(), 1)
    return jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *parts), means


class _Compared(eqx.Module):
    """Errors of one label in one structure, in its own unit.

    Attributes:
        errors: Reference minus prediction.
        rows: Derivatives of the predictions by the flat parameters.
        counts: How many components of the label each stands for, 0 for padding.
        squares: Summing to the mean squared error, where that is not the one of `errors` because
            these were selected.
    """

    errors: Float[Array, " observations"]
    rows: Float[Array, "observations parameters"]
    counts: Float[Array, " observations"]
    squares: Float[Array, " components"] | None = None


class _View:
    """One structure as a function of the flat parameters."""

    def __init__(self, parameters: Potential, rest: Potential, single: Batch, *, is_still: bool):
        self.flat, self._unravel = ravel_pytree(parameters)
        self._rest, self.single, self._is_still = rest, single, is_still
        self.system, self.labels = single.systems, single.labels
        self.real = single.systems.real.astype(self.flat.dtype)
        self.no_strain = jnp.zeros((3, 3), dtype=self.flat.dtype)

    def energy(self, flat: Array, positions: Array, strain: Array) -> Array:
        energies, _ = self._deformed(flat, positions, strain)
        return energies.sum()

    def charges(self, flat: Array) -> Array:
        _, found = self._deformed(flat, self.system.positions, self.no_strain)
        assert found is not None  # see `check_stages`
        return found.charges

    def _deformed(self, flat: Array, positions: Array, strain: Array):
        potential = eqx.combine(self._unravel(flat), self._rest)
        potential = with_kept(potential, self.single, is_still=self._is_still)
        return deformed(potential, self.system, self.single.neighbors, positions, strain)


def _of_energy(
    view: _View, wanted: set[str], *, components: int, threshold: float, key: PRNGKeyArray
) -> dict[str, _Compared]:
    """Energy per atom, forces and stress."""
    if not wanted & {"energy", "forces", "stress"}:
        return {}
    positions, found = view.system.positions, {}

    def with_slopes(positions: Array, strain: Array) -> tuple[Array, Array]:
        return jax.value_and_grad(view.energy)(view.flat, positions, strain)

    # Derivatives by positions and by parameters at once: forward along few directions, backward
    # to many parameters. What all directions have in common, the solution for the charges and
    # its factorisation among it, is computed once.
    (total, slopes), along = jax.linearize(with_slopes, positions, view.no_strain)
    if "energy" in wanted:
        error, n_atoms = view.labels["energy"] - total, view.real.sum()
        found["energy"] = _Compared(error[None] / n_atoms, slopes[None] / n_atoms, jnp.ones(1))
    if "forces" in wanted:
        reference, real = view.labels["forces"].ravel(), jnp.repeat(view.real, 3)
        lots, squares = jax.random.uniform(key, real.shape), None
        if threshold:
            slope = jax.grad(view.energy, argnums=1)(view.flat, positions, view.no_strain)
            squares = real * (reference + slope.ravel()) ** 2 / real.sum()
            lots += squares * real.sum() > threshold**2 * squares.sum()
        _, chosen = jax.lax.top_k(real * (1 + lots), components)
        moves = jax.nn.one_hot(chosen, real.size, dtype=real.dtype)
        slope, rows = jax.vmap(lambda move: along(move.reshape(-1, 3), view.no_strain))(moves)
        found["forces"] = _Compared(reference[chosen] + slope, -rows, real[chosen], squares)
    if "stress" in wanted and view.system.cell is not None:
        volume, strains = jnp.abs(jnp.linalg.det(view.system.cell)), jnp.asarray(_SYMMETRIC)
        slope, rows = jax.vmap(lambda strain: along(jnp.zeros_like(positions), strain))(strains)
        reference = jnp.einsum("dab,ab->d", strains, view.labels["stress"])
        counts = jnp.asarray(_COUNTS)
        found["stress"] = _Compared(reference - slope / volume, rows / volume, counts)
    return found


def _of_charges(view: _View, wanted: set[str]) -> dict[str, _Compared]:
    """Charges and their moments."""
    if not wanted & {"charges", "dipole", "quadrupole"}:
        return {}
    charges, pull = jax.vjp(view.charges, view.flat)
    (rows,) = jax.vmap(pull)(jnp.eye(len(charges), dtype=charges.dtype))
    arms, found = view.system.positions.T, {}
    if "charges" in wanted:
        found["charges"] = _Compared(view.labels["charges"] - charges, rows, view.real)
    if "dipole" in wanted:
        error = view.labels["dipole"] - arms @ charges
        found["dipole"] = _Compared(error, arms @ rows, jnp.ones(3))
    if "quadrupole" in wanted:
        squares = jnp.einsum("xa,ya->xya", arms, arms)
        squares -= jnp.einsum("xy,a->xya", jnp.eye(3), jnp.sum(arms**2, axis=0)) / 3
        moments = jnp.einsum("dxy,xya->da", jnp.asarray(_SYMMETRIC), squares)
        reference = jnp.einsum("dxy,xy->d", jnp.asarray(_SYMMETRIC), view.labels["quadrupole"])
        error = reference - moments @ charges
        found["quadrupole"] = _Compared(error, moments @ rows, jnp.asarray(_COUNTS))
    return found
