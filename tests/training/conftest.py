"""Small molecules, labelled by a potential that is to be found again."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

import lrpot
from lrpot.data import Structure
from lrpot.descriptors import default_acsf
from lrpot.training.metrics import predict_structures

ELEMENTS = ("H", "O")
ATOMS = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0], [0.2, 0.3, 2.5], [1.1, 2.2, 1.4]])
NUMBERS = np.array([8, 1, 1, 8, 1])
HARDNESS = {"H": 13.0, "O": 8.0}


@pytest.fixture(scope="session", autouse=True)
def kept_compilations(tmp_path_factory):
    """Every training compiles anew; what has been compiled before is read from disk."""
    names = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in names}
    for settings in (names, before):
        for name, value in settings.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        if settings is names:
            yield names["jax_compilation_cache_dir"]


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
    """The structures with everything that the potential says about them."""
    found = []
    for structure, prediction in zip(
        structures, predict_structures(potential, structures), strict=True
    ):
        labels = ("energy", "forces", "stress", "charges", "dipole")
        values = {label: getattr(prediction, label) for label in labels}
        values = {label: np.asarray(one) for label, one in values.items() if one is not None}
        found.append(dataclasses.replace(structure, **values))
    return found


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
