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
import scipy.linalg
import scipy.optimize
from jaxtyping import Array, Float, Int

from lrpot.charges import Equilibration
from lrpot.charges.constraints import constraints_of
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

SOFTEST, HARDEST = 1.0, 2000.0
"""Bounds of the hardness, in eV/e²."""

WIDER = np.e
"""Bound of the factor by which widths change."""

SMALLEST = 0.1
"""Least size of the changes of an electronegativity with the surroundings, in eV/e."""

STEPS = 40
"""Of the search."""


@dataclasses.dataclass(frozen=True)
class _Sample:
    """Structures of one size, all arrays with an axis for them.

    Attributes:
        batch: As they are.
        row: Of each atom, that of its element.
        design: Electronegativities are this times the coefficients; 0 for padding atoms.
        real: 1 for atoms, 0 for padding atoms.
        projector: P of each structure, which takes away what changes a sum of charges.
        spread: Charges that share the sums evenly.
        external: Energy of a unit charge at each atom, in eV/e.
        coulomb: The matrix of the charge model as it is, in eV/e².
        charges: The reference, in e.
    """

    batch: Batch
    row: Int[np.ndarray, "structures atoms"]
    design: Float[np.ndarray, "structures atoms coefficients"]
    real: Float[np.ndarray, "structures atoms"]
    projector: Float[np.ndarray, "structures atoms atoms"]
    spread: Float[np.ndarray, "structures atoms"]
    external: Float[np.ndarray, "structures atoms"]
    coulomb: Float[np.ndarray, "structures atoms atoms"]
    charges: Float[np.ndarray, "structures atoms"]


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

    def cost_and_slope(logarithms: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope, _ = _cost(logarithms, before, samples)
        return value, slope

    found = scipy.optimize.minimize(
        cost_and_slope,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": STEPS},
    )
    value, _, coefficients = _cost(found.x, model, samples)
    if not np.isfinite(value):
        return potential
    hardness, radii = _unpacked(found.x, model)
    model = dataclasses.replace(model, hardness_root=jnp.sqrt(hardness), radii=radii)
    return dataclasses.replace(potential, charge_model=_started(model, coefficients, means))


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
        [np.asarray(one, float).reshape(-1, one.shape[-1]) for _, one, *_ in found]
    )
    outputs = np.concatenate([np.asarray(one).ravel() for _, _, one, _ in found])
    elements = range(len(potential.elements))
    of_element = [real & (rows == element) for element in elements]
    means = np.array([outputs[mask].mean() if mask.any() else 0.0 for mask in of_element])
    components = [_components(features[mask]) for mask in of_element]
    samples = []
    for batch, (row, values, _, coulomb) in zip(chosen, found, strict=True):
        values, row = np.asarray(values, float), np.asarray(row)
        parts = []
        for element, (mean, directions) in enumerate(components):
            mask = (row == element) & (np.asarray(batch.systems.numbers) > 0)
            along = (values - mean) @ directions
            parts.append(mask[..., None] * np.concatenate([np.ones((*row.shape, 1)), along], -1))
        constraints = jax.vmap(constraints_of)(batch.systems)
        spread = np.asarray(jax.vmap(lambda one: one.spread())(constraints), float)
        kept = np.asarray(jax.vmap(lambda one: one.complement())(constraints), float)
        external = batch.systems.external
        samples.append(
            _Sample(
                batch=batch,
                row=row,
                design=np.concatenate(parts, axis=-1),
                real=np.asarray(constraints.real, float),
                projector=np.eye(row.shape[1]) - kept,
                spread=spread,
                external=np.zeros(row.shape) if external is None else np.asarray(external, float),
                coulomb=np.asarray(coulomb, float),
                charges=np.asarray(batch.labels["charges"], float),
            )
        )
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
        features = model.inputs(potential.descriptor(environment), system, environment)
        row = element_index(system.numbers, potential.elements)
        outputs = model.networks(features, system.numbers)[:, 0]
        return row, features, outputs, coulomb_matrix(model, system, environment)

    return jax.lax.map(one, batch)


@eqx.filter_jit
def _matrices(model: Equilibration, radii: Float[Array, " elements"], batch: Batch):
    """Coulomb matrices of all structures for other widths."""
    searched = dataclasses.replace(model, radii=radii)

    def one(single: Batch):
        environment = environment_from_shifts(single.systems, single.neighbors)
        return coulomb_matrix(searched, single.systems, environment)

    return jax.lax.map(one, batch)


@eqx.filter_jit
def _slope_by_widths(model: Equilibration, radii: Array, batch: Batch, left: Array, right: Array):
    """Derivative of the sum over structures of left·A·right by the widths."""

    def total(radii: Array) -> Array:
        return jnp.einsum("si,sij,sj->", left, _matrices(model, radii, batch), right)

    return jax.grad(total)(radii)


def _unpacked(
    logarithms: Float[np.ndarray, " searched"], model: Equilibration
) -> tuple[Float[np.ndarray, " elements"], Float[Array, " elements"] | None]:
    """Hardness, and widths if they are searched too."""
    count = len(model.hardness_root)
    hardness = np.exp(logarithms[:count])
    if len(logarithms) == count or model.radii is None:
        return hardness, model.radii
    return hardness, model.radii * jnp.exp(jnp.asarray(logarithms[count:]))


def _cost(
    logarithms: Float[np.ndarray, " searched"], model: Equilibration, samples: Sequence[_Sample]
) -> tuple[float, Float[np.ndarray, " searched"], Float[np.ndarray, "elements coefficients"]]:
    """Logarithm of what the best electronegativities leave, its slope, and their coefficients.

    With R = P (PMP)⁻¹ P the charges are q = q₀ − R (M q₀ + u + χ), where q₀ shares the sums
    evenly. Their change with the matrix at given χ is −R dM q; coefficients, which are best,
    contribute to the slope by their unit alone.

    In numpy: factorisations of many matrices at once can block each other in XLA on processors.
    """
    hardness, radii = _unpacked(logarithms, model)
    count, n_elements = samples[0].design.shape[-1], len(hardness)
    # An electronegativity of its hardness is what moves the charge of an atom by about 1 e.
    unit = np.repeat(hardness + 10.0, count // n_elements)
    responses, wanted, inverses = [], [], []
    for sample in samples:
        coulomb = sample.coulomb
        if radii is not None and radii is not model.radii:
            coulomb = np.asarray(_matrices(model, radii, sample.batch), float)
        own = sample.real * hardness[sample.row]
        both = sample.real[:, :, None] * sample.real[:, None, :]
        matrix = both * coulomb + np.eye(own.shape[1]) * own[:, :, None]
        inverse = _inverse_within(matrix, sample.projector)
        if inverse is None:
            return np.inf, np.zeros(len(logarithms)), np.zeros((n_elements, count // n_elements))
        rest = np.einsum("sij,sj->si", matrix, sample.spread) + sample.external
        responses.append(-inverse @ sample.design * unit)
        wanted.append(
            sample.real * (sample.charges - sample.spread) + np.einsum("sij,sj->si", inverse, rest)
        )
        inverses.append(inverse)
    n_atoms = sum(sample.real.sum() for sample in samples)
    flat = [one.reshape(-1, count) for one in responses]
    normal = sum(one.T @ one for one in flat) / n_atoms + ERROR**2 * np.eye(count)
    target = sum(one.T @ other.ravel() for one, other in zip(flat, wanted, strict=True)) / n_atoms
    solved = scipy.linalg.solve(normal, target, assume_a="pos")
    left, slope = ERROR**2 * solved @ solved, np.zeros(len(logarithms))
    for sample, response, goal, inverse in zip(samples, responses, wanted, inverses, strict=True):
        missing = goal - response @ solved
        left += (missing**2).sum() / n_atoms
        pull = np.einsum("sij,sj->si", inverse, missing)
        charges = sample.real * sample.charges - missing
        drive = sample.design @ (unit * solved) / (hardness + 10.0)[sample.row]
        moved = 2 / n_atoms * pull * (charges + drive) * sample.real
        np.add.at(slope, sample.row, hardness[sample.row] * moved)
        if radii is not model.radii and radii is not None:
            found = _slope_by_widths(model, radii, sample.batch, *map(jnp.asarray, (pull, charges)))
            slope[n_elements:] += 2 / n_atoms * np.asarray(radii * found)
    return float(np.log(left)), slope / left, (unit * solved).reshape(n_elements, -1)


def _inverse_within(matrices: np.ndarray, projectors: np.ndarray) -> np.ndarray | None:
    """P (PMP)⁻¹ P of each matrix; `None` if one is not positive definite there."""
    lift = np.trace(matrices, axis1=1, axis2=2)[:, None, None] / matrices.shape[1]
    outside = np.eye(matrices.shape[1]) - projectors
    lifted = projectors @ matrices @ projectors + lift * outside
    try:
        np.linalg.cholesky(lifted)
    except np.linalg.LinAlgError:
        return None
    return projectors @ np.linalg.inv(lifted) @ projectors


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
