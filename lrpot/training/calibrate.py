"""Statistics of the training data that a potential carries: offsets, scalings, energy scale."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from lrpot.charges import LocalCharges
from lrpot.data import Batch, Structure
from lrpot.descriptors import ACSF, scaling_from_data
from lrpot.descriptors.scaling import MODES
from lrpot.elements import SYMBOLS
from lrpot.environment import environment_from_shifts
from lrpot.errors import InputError, InputWarning, suggestion
from lrpot.potential import Potential
from lrpot.terms import Messages, Offsets, ShortRange
from lrpot.training.first_charges import with_first_charges

LEAST_CHARGE_SPREAD = 0.01
"""Least spread of the charges of an element that the charge input is scaled by, in e. Predicted
charges are wrong by some 0.001 to 0.01 e, and charges of an element vary by 0.01 to 0.3 e in most
reference data: a smaller spread, as formal and force-field charges have it, says nothing."""


def energy_offsets(structures: Sequence[Structure], elements: tuple[int, ...]) -> np.ndarray:
    """Energy of each element by least squares on compositions, in eV.

    Where compositions do not determine them, the solution of least norm about the mean energy
    per atom is taken, so that no element gets an absurd share.
    """
    labelled = [one for one in structures if one.energy is not None]
    if not labelled:
        raise InputError(
            "No structure has an energy, so there is nothing to find energy offsets from."
        )
    counts = np.array(
        [[np.sum(one.system.numbers == number) for number in elements] for one in labelled], float
    )
    energies = np.array([one.energy for one in labelled], float)
    mean = energies.sum() / counts.sum()
    rest = np.linalg.lstsq(counts, energies - mean * counts.sum(axis=1), rcond=1e-8)[0]
    return mean + rest


def given_offsets(energies: Mapping[str, float], elements: tuple[int, ...]) -> np.ndarray:
    """Energies of free atoms by symbol, in eV, in the order of `elements`."""
    for symbol in energies:
        if symbol not in SYMBOLS:
            raise InputError(f"Unknown element `{symbol}` among the atomic energies.")
    missing = [SYMBOLS[number] for number in elements if SYMBOLS[number] not in energies]
    if missing:
        raise InputError(
            f"The atomic energies lack {', '.join(missing)}; they hold {sorted(energies)}."
        )
    unused = sorted(set(energies) - {SYMBOLS[number] for number in elements})
    if unused:
        warnings.warn(
            f"The atomic energies name {', '.join(unused)}, which this potential does not have: "
            "not used.",
            InputWarning,
            stacklevel=3,
        )
    return np.array([float(energies[SYMBOLS[number]]) for number in elements])


def calibrate(
    potential: Potential,
    structures: Sequence[Structure],
    batches: Sequence[Batch],
    *,
    atomic_energies: Mapping[str, float] | None = None,
    scaling: str = "sigma",
) -> Potential:
    """Set everything of a potential that is a statistic of the training data.

    That is the scaling of the features, the energy offsets of the elements, the energy that an
    output of 1 of the short-range networks stands for, for local charges the mean charge of each
    element as first bias, and for equilibrated ones their first hardness.

    Args:
        potential: With any earlier statistics, which are replaced.
        structures: The training data.
        batches: The same, stacked.
        atomic_energies: Offsets by symbol, in eV; least squares when not given.
        scaling: One of `lrpot.descriptors.scaling.MODES`.
    """
    if scaling not in MODES:
        raise InputError(f"Unknown scaling `{scaling}`. {suggestion(scaling, MODES)}")
    elements, descriptor = potential.elements, own_descriptor(potential)
    features = [
        np.asarray(_raw_features(descriptor, batch)).reshape(-1, descriptor.n_features)
        for batch in batches
    ]
    numbers = [np.asarray(batch.systems.numbers).ravel() for batch in batches]
    statistics = scaling_from_data(
        np.concatenate(features), np.concatenate(numbers), elements, mode=scaling
    )
    potential = eqx.tree_at(lambda one: one.descriptor.scaling, potential, statistics)

    if any(one.energy is not None for one in structures) or atomic_energies is not None:
        offsets = (
            energy_offsets(structures, elements)
            if atomic_energies is None
            else given_offsets(atomic_energies, elements)
        )
        potential = _with_energies(potential, structures, offsets)
    return with_first_charges(_with_mean_charges(potential, structures), batches)


def offsets_of(potential: Potential) -> np.ndarray:
    """Energy offsets of the elements, in eV; zeros for a potential without."""
    term = potential.terms.get("offsets")
    if not isinstance(term, Offsets):
        return np.zeros(len(potential.elements))
    return np.asarray(term.energies, float)


def with_offsets(potential: Potential, energies: np.ndarray) -> Potential:
    """The same potential with other energy offsets, in eV, if it has such a term."""
    term = potential.terms.get("offsets")
    if not isinstance(term, Offsets):
        return potential
    stored = jnp.asarray(energies, dtype=term.energies.dtype)
    return eqx.tree_at(lambda one: one.terms["offsets"].energies, potential, stored)


def relative(
    batch: Batch, structures: Sequence[Structure], elements: tuple[int, ...], offsets: np.ndarray
) -> Batch:
    """The batch with energies relative to offsets, subtracted in double precision.

    Total energies of 10⁶ eV, as all-electron programs have them, leave single precision with a
    resolution of 0.06 eV, and what is to be learnt with few digits even in double precision.

    Args:
        batch: Of structures.
        structures: The same, in the order of the batch.
        elements: Atomic numbers that the offsets belong to.
        offsets: In eV.
    """
    energies = np.zeros(len(structures))
    for row, one in enumerate(structures):
        if one.energy is not None:
            counts = np.sum(np.equal.outer(elements, np.asarray(one.system.numbers)), axis=1)
            energies[row] = float(one.energy) - counts @ offsets
    stored = jnp.asarray(energies, dtype=batch.labels["energy"].dtype)
    return dataclasses.replace(batch, labels={**batch.labels, "energy": stored})


def is_calibrated(potential: Potential) -> bool:
    """Whether the features of a potential have been scaled by data."""
    return bool(jnp.isfinite(potential.descriptor.scaling.minimum).all())


def own_descriptor(potential: Potential) -> ACSF:
    """The symmetry functions of a potential, which must not have been linearised."""
    if isinstance(potential.descriptor, ACSF):
        return potential.descriptor
    raise InputError("This potential is linearised at one structure and cannot be trained.")


def scale_charge_input(
    potential: Potential, batches: Sequence[Batch], charges: Sequence[jax.Array]
) -> Potential:
    """Scale what the terms see of charges by the charges that they will see.

    Charges that vary by less than `LEAST_CHARGE_SPREAD` are scaled as if they varied by that much.

    Args:
        potential: With a charge model.
        batches: The training data.
        charges: Charges of each batch, [structures, atoms], in e.
    """
    for name, term in potential.terms.items():
        if not isinstance(term, ShortRange | Messages) or term.charge_scaling is None:
            continue
        numbers = np.concatenate([np.asarray(batch.systems.numbers).ravel() for batch in batches])
        seen = [_charges_seen(term, *one) for one in zip(batches, charges, strict=True)]
        values = np.concatenate([np.asarray(one).reshape(-1, one.shape[-1]) for one in seen])
        scaling = scaling_from_data(values, numbers, potential.elements, least=LEAST_CHARGE_SPREAD)
        where = lambda one, name=name: one.terms[name].charge_scaling  # noqa: E731
        potential = eqx.tree_at(where, potential, scaling)
    return potential


def _with_energies(
    potential: Potential, structures: Sequence[Structure], offsets: np.ndarray
) -> Potential:
    terms = dict(potential.terms)
    if isinstance(terms.get("offsets"), Offsets):
        terms["offsets"] = dataclasses.replace(terms["offsets"], energies=jnp.asarray(offsets))
    forces = [one.forces.ravel() for one in structures if one.forces is not None]
    # Forces tell the size of an atom's energy: they act over distances of about 1 Å.
    scale = float(np.std(np.concatenate(forces))) if forces else 1.0
    for name, term in terms.items():
        if isinstance(term, ShortRange | Messages):
            terms[name] = dataclasses.replace(term, scale=jnp.asarray(max(scale, 1e-3)))
    return eqx.tree_at(lambda one: one.terms, potential, terms)


def _with_mean_charges(potential: Potential, structures: Sequence[Structure]) -> Potential:
    labelled = [one for one in structures if one.charges is not None]
    if not labelled or not isinstance(potential.charge_model, LocalCharges):
        return potential
    numbers = np.concatenate([one.system.numbers for one in labelled])
    charges = np.concatenate([one.charges for one in labelled if one.charges is not None])
    samples = [charges[numbers == number] for number in potential.elements]
    means = [one.mean() if len(one) else 0.0 for one in samples]
    last = lambda one: one.charge_model.networks.biases[-1]  # noqa: E731
    return eqx.tree_at(last, potential, last(potential).at[:, 0].set(jnp.asarray(means)))


@eqx.filter_jit
def _charges_seen(term: ShortRange | Messages, batch: Batch, charges: jax.Array) -> jax.Array:
    return jax.vmap(
        lambda system, neighbors, charges: term.seen(
            charges, environment_from_shifts(system, neighbors)
        )
    )(batch.systems, batch.neighbors, charges)


@eqx.filter_jit
def _raw_features(descriptor: ACSF, batch: Batch):
    return jax.vmap(
        lambda system, neighbors: descriptor.raw(environment_from_shifts(system, neighbors))
    )(batch.systems, batch.neighbors)
