"""Small molecules, labelled by a potential that is to be found again."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

import lrpot
from lrpot.data import Structure, make_batches
from lrpot.descriptors import default_acsf
from lrpot.training import predict_batch

ELEMENTS = ("H", "O")
ATOMS = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0], [0.2, 0.3, 2.5], [1.1, 2.2, 1.4]])
NUMBERS = np.array([8, 1, 1, 8, 1])
HARDNESS = {"H": 13.0, "O": 8.0}


def build(recipe, key=0, **settings):
    """A tiny potential of any recipe."""
    descriptor = default_acsf(ELEMENTS, cutoff=3.0, spacing=1.1, shells=1, zetas=(1.0,))
    settings = {"hidden": (4,), "descriptor": descriptor, **settings}
    return lrpot.MODELS[recipe](ELEMENTS, key=jax.random.key(key), **settings)


def unlabelled(n_atoms, total_charge=0.0, cell=None, seed=0):
    moved = ATOMS[:n_atoms] + 0.06 * np.random.default_rng(seed).normal(size=(n_atoms, 3))
    system = lrpot.System(moved, NUMBERS[:n_atoms], cell=cell, total_charge=total_charge)
    return Structure(system, name=f"{n_atoms} atoms, seed {seed}")


def labelled(potential, structures):
    """The structures of one size bucket with what a potential says about them."""
    ((batch, chosen),) = make_batches(structures, potential)
    found = jax.jit(predict_batch)(potential, batch)
    rows = np.argsort(chosen)
    result = []
    for structure, row in zip(structures, rows, strict=True):
        n_atoms = structure.system.n_atoms
        labels = dict(
            energy=np.asarray(found.energy[row]),
            forces=np.asarray(found.forces[row])[:n_atoms],
            charges=np.asarray(found.charges[row])[:n_atoms],
            dipole=np.asarray(found.dipole[row]),
            quadrupole=np.asarray(found.quadrupole[row]),
        )
        result.append(dataclasses.replace(structure, **labels))
    return result


@functools.cache
def _molecules():
    """Of two sizes and three total charges, every geometry in two charge states."""
    shapes = [(3, charge) for charge in (-1, 1)] + [(2, charge) for charge in (0, 1)]
    structures = [unlabelled(*shape, seed=seed) for seed in range(6) for shape in shapes]
    return tuple(labelled(build("hdnnp_4g", key=9, hardness=HARDNESS), structures))


@pytest.fixture(scope="session")
def tiny():
    """Functions and settings to make small things with."""

    class Tiny:
        potential = staticmethod(build)
        structure = staticmethod(unlabelled)
        label = staticmethod(labelled)
        elements = ELEMENTS
        numbers = (1, 8)
        hardness = HARDNESS

    return Tiny


@pytest.fixture(scope="session")
def molecules():
    return list(_molecules())
