"""Where the training of equilibrated charges begins: hardness, widths and electronegativities.

With electronegativities that are linear in a few components of the features, charges are linear in
all but the hardness and the widths of the elements. Least squares gives the linear coefficients for
any hardness, and a search the hardness with which they leave least (variable projection,
[golub:73]). Training moves the hardness slowly, and from a wrong one it does not come far: charges
on an insulator, say, do not screen those of a metal on it.
"""

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Array, Float, Int

from lrpot.charges import Equilibration
from lrpot.charges.constraints import Constraints, constraints_of
from lrpot.charges.local import coulomb_matrix
from lrpot.data import Batch
from lrpot.descriptors.scaling import element_index
from lrpot.environment import environment_from_shifts
from lrpot.potential import Potential

ATOMS_AT_MOST = 10_000
"""Of the structures that are looked at, drawn by chance."""

COMPONENTS = 40
"""Principal components of the features of an element that electronegativities depend on."""

ERROR = 1e-3
"""Charges are not asked to be better than this, in e, at the price of large coefficients: one
component is expected to move a charge by up to 1 e."""

SOFTEST, HARDEST = 0.05, 2000.0
"""Bounds of the hardness, in eV/e²."""

WIDER = np.e
"""Bound of the factor by which widths change."""

SMALLEST = 0.1
"""Least size of the changes of an electronegativity with the surroundings, in eV/e."""

STEPS = 40
"""Of the search."""


class _Sample(eqx.Module):
    """Structures of one size, all arrays with an axis for them.

    Attributes:
        batch: As they are.
        row: Of each atom, that of its element.
        design: Electronegativities are this times the coefficients.
        constraints: Sums of the charges.
        coulomb: The matrix of the charge model as it is.
    """

    batch: Batch
    row: Int[Array, "structures atoms"]
    design: Float[Array, "structures atoms coefficients"]
    constraints: Constraints
    coulomb: Float[Array, "structures atoms atoms"]


def with_first_charges(potential: Potential, batches: Sequence[Batch]) -> Potential:
    """A potential whose charges are about right before any training.

    Nothing happens to charge models of another kind, to those whose hardness was given or that
    do not factorise their matrix, and where no structure has charges.

    Args:
        potential: With scaled features.
        batches: The training data.
    """
    model = potential.charge_model
    if not isinstance(model, Equilibration) or model.scale is not None or model.solver != "dense":
        return potential
    before: Equilibration = model
    chosen = _chosen(batches)
    if not chosen:
        return potential
    samples, means = _samples(potential, chosen)
    # A width changes all sums over waves of a crystal: there it is left to training.
    is_open = all(sample.batch.systems.cell is None for sample in samples)
    has_widths = model.radii is not None and "radii" not in model.frozen and is_open
    start = np.log(np.asarray(model.hardness_root) ** 2)
    bounds = [(np.log(SOFTEST), np.log(HARDEST))] * len(start)
    if has_widths:
        start = np.concatenate([start, np.zeros(len(start))])
        bounds += [(-np.log(WIDER), np.log(WIDER))] * len(bounds)
    cost = eqx.filter_jit(eqx.filter_value_and_grad(_cost, has_aux=True))

    def cost_and_slope(logarithms: np.ndarray) -> tuple[float, np.ndarray]:
        (value, _), slope = cost(jnp.asarray(logarithms), before, samples)
        return float(value), np.asarray(slope)

    found = scipy.optimize.minimize(
        cost_and_slope,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": STEPS},
    )
    (value, coefficients), _ = cost(jnp.asarray(found.x), model, samples)
    if not np.isfinite(value):
        return potential
    hardness, radii = _unpacked(jnp.asarray(found.x), model)
    model = dataclasses.replace(model, hardness_root=jnp.sqrt(hardness), radii=radii)
    return dataclasses.replace(
        potential, charge_model=_started(model, np.asarray(coefficients), means)
    )


def _chosen(batches: Sequence[Batch]) -> list[Batch]:
    """Structures with charges, as many as are looked at."""
    places = [
        (number, row)
        for number, batch in enumerate(batches)
        for row in np.flatnonzero(np.asarray(batch.known["charges"]) > 0)
    ]
    order = np.random.default_rng(0).permutation(len(places))
    rows: dict[int, list[int]] = {}
    atoms = 0
    for number, row in (places[one] for one in order):
        atoms += int(np.sum(np.asarray(batches[number].systems.numbers[row]) > 0))
        if atoms > ATOMS_AT_MOST and rows:
            break
        rows.setdefault(number, []).append(int(row))
    return [batches[number][jnp.asarray(found)] for number, found in sorted(rows.items())]


def _samples(
    potential: Potential, chosen: Sequence[Batch]
) -> tuple[list[_Sample], Float[np.ndarray, " elements"]]:
    """What least squares need, and the mean output of the networks for each element."""
    model = potential.charge_model
    assert isinstance(model, Equilibration)
    found = [_looked_at(potential, batch) for batch in chosen]
    rows = np.concatenate([np.asarray(row).ravel() for row, *_ in found])
    real = np.concatenate([np.asarray(batch.systems.numbers).ravel() > 0 for batch in chosen])
    features = np.concatenate(
        [np.asarray(one).reshape(len(one) * one.shape[1], -1) for _, one, *_ in found]
    )
    outputs = np.concatenate([np.asarray(one).ravel() for _, _, one, _ in found])
    elements = range(len(potential.elements))
    of_element = [real & (rows == element) for element in elements]
    means = np.array([outputs[mask].mean() if mask.any() else 0.0 for mask in of_element])
    components = [_components(features[mask]) for mask in of_element]
    samples = []
    for batch, (row, values, _, coulomb) in zip(chosen, found, strict=True):
        values, row = np.asarray(values), np.asarray(row)
        parts = []
        for element, (mean, directions) in enumerate(components):
            mask = (row == element) & (np.asarray(batch.systems.numbers) > 0)
            along = (values - mean) @ directions
            parts.append(mask[..., None] * np.concatenate([np.ones((*row.shape, 1)), along], -1))
        design = jnp.asarray(np.concatenate(parts, axis=-1))
        constraints = jax.vmap(constraints_of)(batch.systems)
        samples.append(_Sample(batch, jnp.asarray(row), design, constraints, coulomb))
    return samples, means


def _components(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the features, and directions along which they vary with unit variance."""
    if not len(features):
        return np.zeros(features.shape[1]), np.zeros((features.shape[1], COMPONENTS))
    mean = features.mean(axis=0)
    _, spread, directions = np.linalg.svd(features - mean, full_matrices=False)
    spread = spread[:COMPONENTS] / np.sqrt(len(features))
    varies = spread > 1e-3 * max(spread.max(initial=0.0), 1e-12)
    scaled = np.zeros((features.shape[1], COMPONENTS))
    count = int(varies.sum())
    scaled[:, :count] = directions[:count].T / spread[:count]
    return mean, scaled


@eqx.filter_jit
def _looked_at(potential: Potential, batch: Batch):
    """Elements, features, electronegativities and the Coulomb matrix of all structures."""
    model = potential.charge_model
    assert isinstance(model, Equilibration)

    def one(single: Batch):
        system = single.systems
        environment = environment_from_shifts(system, single.neighbors)
        features = potential.descriptor(environment)
        row = element_index(system.numbers, potential.elements)
        outputs = model.networks(features, system.numbers)[:, 0]
        return row, features, outputs, coulomb_matrix(model, system, environment)

    return jax.lax.map(one, batch)


def _unpacked(
    logarithms: Float[Array, " searched"], model: Equilibration
) -> tuple[Float[Array, " elements"], Float[Array, " elements"] | None]:
    """Hardness, and widths if they are searched too."""
    count = len(model.hardness_root)
    hardness = jnp.exp(logarithms[:count])
    if len(logarithms) == count or model.radii is None:
        return hardness, model.radii
    return hardness, model.radii * jnp.exp(logarithms[count:])


def _cost(
    logarithms: Float[Array, " searched"], model: Equilibration, samples: Sequence[_Sample]
) -> tuple[Float[Array, ""], Float[Array, "elements coefficients"]]:
    """Logarithm of what the best electronegativities leave, and their coefficients, in eV/e."""
    hardness, radii = _unpacked(logarithms, model)
    searched = dataclasses.replace(model, radii=radii)

    def one(sample: _Sample):
        system, coulomb = sample.batch.systems, sample.coulomb
        if radii is not model.radii:
            environment = environment_from_shifts(system, sample.batch.neighbors)
            coulomb = coulomb_matrix(searched, system, environment)
        both = system.real[:, None] & system.real[None, :]
        matrix = jnp.where(both, coulomb + jnp.diag(hardness[sample.row]), 0.0)
        return _linear_charges(matrix, sample)

    found = [jax.vmap(one)(sample) for sample in samples]
    responses = jnp.concatenate([one.reshape(-1, one.shape[-1]) for one, _ in found])
    wanted = jnp.concatenate([one.ravel() for _, one in found])
    n_atoms = sum(sample.constraints.real.sum() for sample in samples)
    # An electronegativity of its hardness is what moves the charge of an atom by about 1 e.
    unit = jnp.repeat(hardness + 10.0, responses.shape[1] // len(hardness))
    responses = responses * unit[None, :]
    normal = responses.T @ responses / n_atoms + ERROR**2 * jnp.eye(len(unit))
    solved = jax.scipy.linalg.solve(normal, responses.T @ wanted / n_atoms, assume_a="pos")
    left = jnp.sum((responses @ solved - wanted) ** 2) / n_atoms + ERROR**2 * solved @ solved
    return jnp.log(left), (unit * solved).reshape(len(hardness), -1)


def _linear_charges(
    matrix: Float[Array, "atoms atoms"], sample: _Sample
) -> tuple[Float[Array, "atoms coefficients"], Float[Array, " atoms"]]:
    """Derivative of the charges by the coefficients, and the charges that are left for them."""
    constraints, system = sample.constraints, sample.batch.systems
    lift = jnp.trace(matrix) / jnp.maximum(constraints.real.sum(), 1)
    lifted = constraints.project_matrix(matrix) + lift * constraints.complement()
    spread = constraints.spread()
    rest = matrix @ spread
    if system.external is not None:
        rest += system.external
    drives = jnp.concatenate([sample.design, rest[:, None]], axis=1)
    project = jax.vmap(constraints.project, in_axes=1, out_axes=1)
    factor = jax.scipy.linalg.cho_factor(lifted, lower=True)
    moved = -project(jax.scipy.linalg.cho_solve(factor, project(drives)))
    return moved[:, :-1], constraints.real * (
        sample.batch.labels["charges"] - spread - moved[:, -1]
    )


def _started(
    model: Equilibration,
    coefficients: Float[np.ndarray, "elements coefficients"],
    means: Float[np.ndarray, " elements"],
) -> Equilibration:
    """With networks whose outputs have the mean and the size that were found for each element."""
    sizes = np.maximum(np.linalg.norm(coefficients[:, 1:], axis=1), SMALLEST)
    # A constant added to all electronegativities changes nothing.
    middle = coefficients[:, 0] - coefficients[:, 0].mean()
    last = model.networks.biases[-1]
    bias = last.at[:, 0].add(jnp.asarray(middle / sizes - means))
    model = eqx.tree_at(lambda one: one.networks.biases, model, (*model.networks.biases[:-1], bias))
    return dataclasses.replace(model, scale=jnp.asarray(sizes))
