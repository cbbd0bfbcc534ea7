"""Tiny potentials and systems for simulations."""

import jax
import numpy as np
import pytest

import lrpot
from lrpot import md


@pytest.fixture(scope="session")
def bound(tiny_potential):
    """A charged one whose minima are molecules."""
    return tiny_potential("hdnnp_4g", accuracy=1e-4, key=jax.random.key(0))


@pytest.fixture(scope="session")
def solid(tiny_potential):
    """A local one whose crystals are stable."""
    return tiny_potential("hdnnp_2g", key=jax.random.key(0))


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
