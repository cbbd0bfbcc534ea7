"""Slabs in jax-md: the energies and forces of `predict`, whatever crosses the box."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_md import quantity, space

import lrpot
from lrpot import md
from lrpot.descriptors import default_acsf
from lrpot.interop.jax_md import charges_for_jax_md, to_jax_md
from lrpot.interop.jax_md_memory import forces_for_jax_md

ELEMENTS = ("H", "O")
PBC = (True, True, False)
WIDE = np.array([[7.4, 0.0, 0.0], [0.8, 7.6, 0.0], [0.5, 0.3, 9.0]])
POSITIONS = np.array(
    [[0.0, 0, 0], [0.9, 0.2, 0.1], [-0.2, 2.9, 1.1], [2.0, 2.1, 1.9], [1.1, 0.9, 3.4]]
)
NUMBERS = np.array([8, 1, 1, 8, 1])


@functools.cache
def build(recipe):
    descriptor = default_acsf(ELEMENTS, cutoff=3.0, spacing=1.1, shells=1, zetas=(1.0,))
    settings = {} if recipe == "hdnnp_2g" else {"accuracy": 1e-4}
    potential = lrpot.MODELS[recipe](
        ELEMENTS, descriptor=descriptor, hidden=(4,), key=jax.random.key(2), **settings
    )
    scale = lambda p: p.terms["short_range"].scale  # noqa: E731
    return eqx.tree_at(scale, potential, 5 * scale(potential))


def slab(cell, total_charge=0.0):
    return lrpot.System(POSITIONS, NUMBERS, cell=cell, pbc=PBC, total_charge=total_charge)


@pytest.mark.parametrize(
    ("recipe", "size"),
    [
        ("hdnnp_2g", "wide"),
        ("hdnnp_2g", "narrow"),
        ("hdnnp_4g", "narrow"),
        pytest.param("hdnnp_4g", "wide", marks=pytest.mark.slow),
    ],
)
def test_energy_forces_and_charges_are_those_of_predict(recipe, size):
    """With one image of a neighbour and with several, and with atoms outside of the box.

    In the low box of the second case an atom would see the slab's image across its top.
    """
    cell = WIDE if size == "wide" else WIDE * np.array([[0.5], [0.6], [0.45]])
    charge = None if recipe == "hdnnp_2g" else 1.0
    potential, system = build(recipe), slab(cell, charge or 0.0)
    expected = lrpot.predict(potential, system)
    box = jnp.asarray(cell.T)
    displacement, _ = space.periodic_general(box, wrapped=False)
    settings = dict(total_charge=charge, pbc=PBC)
    neighbor_fn, energy_fn = to_jax_md(potential, displacement, box, NUMBERS, **settings)
    R = jnp.asarray(POSITIONS @ np.linalg.inv(cell)) + jnp.array([[3.0, -2.0, 7.77]])
    R = R.at[1].add(jnp.array([1.0, -4.0, 0.0]))
    neighbors = neighbor_fn.allocate(R)
    forces = jax.jit(quantity.force(energy_fn))(R, neighbor=neighbors)
    # The sum of a slab depends on the period that the box gives it within the accuracy.
    tolerance = 1e-9 if charge is None else 1e-4
    assert float(jnp.abs(expected.forces).max()) > 0.1
    assert float(energy_fn(R, neighbors)) == pytest.approx(float(expected.energy), abs=tolerance)
    np.testing.assert_allclose(forces, expected.forces, rtol=0, atol=tolerance)
    if charge is not None:
        charges = charges_for_jax_md(potential, displacement, box, NUMBERS, **settings)
        found = charges(R, neighbor=neighbors)
        np.testing.assert_allclose(found.charges, expected.charges, rtol=0, atol=tolerance)
        force_fn = jax.jit(
            forces_for_jax_md(potential, displacement, box, NUMBERS, **settings),
        )
        np.testing.assert_allclose(force_fn(R, neighbor=neighbors)[0], forces, atol=1e-10)
        apart = R.at[0, 2].add(-2.0)
        assert not charges(apart, neighbor=neighbor_fn.allocate(apart)).converged


@pytest.mark.slow
def test_dynamics_of_a_slab_conserve_the_energy(tmp_path):
    """With a cell that has no height of its own; the slab keeps its place and its charge."""
    potential, system = build("hdnnp_4g"), slab(np.diag([7.4, 7.6, 0.0]), 1.0)
    found = md.run(
        potential, system, steps=100, record_every=10, folder=tmp_path, key=jax.random.key(1)
    )
    assert found.system.pbc == PBC
    assert found.system.cell[2, 2] >= np.ptp(POSITIONS[:, 2]) + md.SPACE
    exchanged = np.ptp(found.log["potential_energy_eV"])
    assert exchanged > 0.1
    assert np.ptp(found.log["conserved_eV"]) < 0.01 * exchanged
    np.testing.assert_allclose(found.positions[0, :, 2], POSITIONS[:, 2], atol=1e-12)
    np.testing.assert_allclose(found.charges.sum(axis=1), 1.0, atol=1e-10)
    last = lrpot.read_structures(tmp_path / "trajectory.xyz")[-1].system
    assert last.pbc == PBC
    assert float(lrpot.predict(potential, last, forces=False).energy) == pytest.approx(
        float(found.log["potential_energy_eV"][-1]), abs=1e-4
    )
