"""How far features are outside of their training range, as data."""

import dataclasses

import ase
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot.descriptors import Scaling, default_acsf, identity_scaling
from lrpot.descriptors.scaling import ROUNDING
from lrpot.environment import environment_from_shifts

POSITIONS = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
WATER = lrpot.System(POSITIONS, [8, 1, 1])
SCALING = Scaling(
    (1, 8),
    offset=jnp.zeros((2, 2)),
    factor=jnp.ones((2, 2)),
    minimum=jnp.array([[0.0, -1.0], [10.0, 20.0]]),
    maximum=jnp.array([[1.0, 1.0], [30.0, 20.5]]),
)


@pytest.fixture(scope="module")
def potential():
    """Its training range is exactly the undistorted molecule."""
    descriptor = default_acsf(("H", "O"), cutoff=3.0, spacing=1.1, shells=1, zetas=(1.0,))
    bare = lrpot.hdnnp_4g(("H", "O"), hidden=(3,), descriptor=descriptor, key=jax.random.key(0))
    raw = np.asarray(raw_features(bare, WATER))
    rows = [raw[1:], raw[:1]]
    scaling = dataclasses.replace(
        descriptor.scaling,
        minimum=jnp.stack([row.min(axis=0) for row in rows]),
        maximum=jnp.stack([row.max(axis=0) for row in rows]),
    )
    return dataclasses.replace(bare, descriptor=dataclasses.replace(descriptor, scaling=scaling))


def raw_features(potential, system):
    return potential.descriptor.raw(environment_from_shifts(system, potential.neighbors(system)))


def test_what_is_above_is_positive_and_what_is_below_negative():
    features = jnp.array([[1.25, 0.0], [-0.5, -3.0], [9.0, 20.25], [31.0, 21.0]])
    found = SCALING.outside(features, jnp.array([1, 1, 8, 8]))
    np.testing.assert_array_equal(found, [[0.25, 0], [-0.5, -2], [-1, 0], [1, 0.5]])


def test_rounding_is_no_extrapolation():
    beyond = jnp.array([[1 + 0.5 * ROUNDING, -1 - 0.5 * ROUNDING], [1 + 2 * ROUNDING, 0.0]])
    found = np.asarray(SCALING.outside(beyond, jnp.array([1, 1])))
    assert (found[0] == 0).all()
    assert found[1, 0] == pytest.approx(2 * ROUNDING, rel=1e-2)


def test_padding_atoms_never_extrapolate():
    found = SCALING.outside(jnp.full((2, 2), 99.0), jnp.array([1, 0]))
    np.testing.assert_array_equal(found, [[98.0, 98.0], [0.0, 0.0]])


def test_without_statistics_nothing_is_outside():
    scaling = identity_scaling((1, 8), 2)
    found = scaling.outside(jnp.array([[1e30, -1e30]]), jnp.array([8]))
    np.testing.assert_array_equal(found, [[0.0, 0.0]])


def test_predict_gives_it_only_when_asked(potential):
    assert lrpot.predict(potential, WATER).extrapolation is None
    found = lrpot.predict(potential, WATER, extrapolation=True)
    np.testing.assert_array_equal(
        found.extrapolation, np.zeros((3, potential.descriptor.n_features))
    )


def test_predict_measures_the_distance_to_the_range(potential):
    stretched = lrpot.System(POSITIONS * [[1], [1.2], [1]], WATER.numbers)
    found = np.asarray(lrpot.predict(potential, stretched, extrapolation=True).extrapolation)
    raw = np.asarray(raw_features(potential, stretched))
    scaling = potential.descriptor.scaling
    for atom, row in ((0, 1), (1, 0), (2, 0)):
        low, high = np.asarray(scaling.minimum[row]), np.asarray(scaling.maximum[row])
        wanted = raw[atom] - np.clip(raw[atom], low, high)
        np.testing.assert_allclose(found[atom], wanted, rtol=1e-12, atol=1e-12)
    assert (found[0] != 0).any()


def test_extrapolation_changes_no_prediction(potential):
    plain = lrpot.predict(potential, WATER)
    with_it = lrpot.predict(potential, WATER, extrapolation=True)
    np.testing.assert_allclose(with_it.energy, plain.energy, rtol=1e-14)
    np.testing.assert_allclose(with_it.forces, plain.forces, rtol=1e-12, atol=1e-13)


def test_the_calculator_keeps_it_after_each_calculation(potential):
    atoms = ase.Atoms("OHH", POSITIONS)
    atoms.calc = lrpot.Calculator(potential, extrapolation=True)
    assert atoms.calc.extrapolation is None
    atoms.get_potential_energy()
    assert not atoms.calc.extrapolation.any()
    atoms.positions[1] *= 1.2
    atoms.get_potential_energy()
    stretched = lrpot.System(atoms.positions, WATER.numbers)
    wanted = lrpot.predict(potential, stretched, extrapolation=True).extrapolation
    np.testing.assert_allclose(atoms.calc.extrapolation, wanted, rtol=1e-12, atol=1e-13)
    assert atoms.calc.extrapolation.any()


def test_the_calculator_leaves_it_out_unless_asked(potential):
    atoms = ase.Atoms("OHH", POSITIONS)
    atoms.calc = lrpot.Calculator(potential)
    atoms.get_potential_energy()
    assert atoms.calc.extrapolation is None
