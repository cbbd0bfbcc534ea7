"""Tiny potentials and systems for simulations."""

import equinox as eqx
import jax
import numpy as np
import pytest

import lrpot
from lrpot import md
from lrpot.descriptors import default_acsf

ELEMENTS = ("H", "O")


def build(recipe, **settings):
    """A tiny potential with forces of a usual size."""
    descriptor = default_acsf(ELEMENTS, cutoff=3.0, spacing=1.1, shells=1, zetas=(1.0,))
    settings = {"descriptor": descriptor, "hidden": (4,), "key": jax.random.key(2), **settings}
    potential = lrpot.MODELS[recipe](ELEMENTS, **settings)
    scale = lambda p: p.terms["short_range"].scale  # noqa: E731
    return eqx.tree_at(scale, potential, 5 * scale(potential))


@pytest.fixture(scope="session")
def charged():
    return build("hdnnp_4g", accuracy=1e-4)


@pytest.fixture(scope="session")
def local():
    return build("hdnnp_2g")


@pytest.fixture(scope="session")
def bound():
    """A charged one whose minima are molecules."""
    return build("hdnnp_4g", accuracy=1e-4, key=jax.random.key(0))


@pytest.fixture(scope="session")
def solid():
    """A local one whose crystals are stable."""
    return build("hdnnp_2g", key=jax.random.key(0))


@pytest.fixture(scope="session")
def ion():
    """Four atoms in open space that carry a charge."""
    positions = [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0], [0.1, 0.3, 2.4]]
    return lrpot.System(positions, [8, 1, 1, 8], total_charge=1.0)


@pytest.fixture(scope="session")
def crystal():
    """Four atoms in a triclinic cell that carry a charge."""
    cell = np.array([[4.1, 0.3, -0.2], [0.6, 4.2, 0.4], [-0.5, 0.2, 4.5]])
    positions = np.array([[-0.1, 0.2, 0.0], [0.9, 0.3, 0.1], [2.1, 2.3, 1.9], [0.2, 1.1, 5.3]])
    return lrpot.System(positions, [8, 1, 8, 1], cell=cell, total_charge=1.0)


@pytest.fixture(scope="session")
def simulate():
    """`lrpot.md.run` with 200 steps and a seed."""

    def run(potential, system, *, seed=0, **settings):
        settings = {"steps": 200, "record_every": 5, **settings}
        return md.run(potential, system, key=jax.random.key(seed), **settings)

    return run


@pytest.fixture(scope="module")
def compiled_quickly():
    """No optimisation: what is compiled runs for milliseconds."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
