"""What an atom sees of the charges around it, by its own definition in plain numpy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

import lrpot
from lrpot.charges import ChargeSurroundings, Equilibration
from lrpot.charges.local import element_widths
from lrpot.descriptors import Shells
from lrpot.electrostatics import CoulombSum
from lrpot.environment import environment_from_shifts
from lrpot.neighbors import neighbor_list
from lrpot.networks import element_networks
from lrpot.potential import trainable
from lrpot.units import KE

POSITIONS = np.array([[0.0, 0.0, 0.0], [1.1, 0.2, 0.0], [-0.4, 1.3, 0.5], [0.3, 0.1, 9.0]])
CHARGES = np.array([-0.5, 0.3, 0.4, -0.2])
SHELLS = ((1.2, 0.9), (0.4, 1.6))
CUTOFF = 4.0


def test_features_are_charge_and_polarity_of_shells():
    system = lrpot.System(POSITIONS, [8, 1, 1, 8])
    environment = environment_from_shifts(system, neighbor_list(system, CUTOFF))
    surroundings = ChargeSurroundings(Shells(SHELLS, CUTOFF, "cos"))
    found = surroundings(jnp.asarray(CHARGES), environment)
    assert found.shape == (4, surroundings.n_features)

    for atom, features in enumerate(found):
        others = [other for other in range(4) if other != atom]
        arms = POSITIONS[others] - POSITIONS[atom]
        distances = np.linalg.norm(arms, axis=1)
        for shell, (eta, shift) in enumerate(SHELLS):
            weights = CHARGES[others] * np.exp(-eta * (distances - shift) ** 2)
            weights *= np.where(distances < CUTOFF, 0.5 + 0.5 * np.cos(np.pi * distances / 4), 0)
            np.testing.assert_allclose(features[shell], weights.sum(), atol=1e-14)
            polarity = np.sum((weights / distances) @ arms * ((weights / distances) @ arms))
            np.testing.assert_allclose(features[2 + shell], polarity, atol=1e-14)


def test_the_hardness_of_an_atom_follows_its_surroundings_when_networks_say_so():
    """χ = -2 and y = ½ for both atoms of H2, so that the charges follow from one line."""
    system = lrpot.System(np.array([[0.0, 0, 0], [1.5, 0, 0]]), [1, 1], total_charge=1.0)
    environment = environment_from_shifts(system, neighbor_list(system, CUTOFF))
    networks = element_networks((1,), 1, (), n_outputs=2, key=jax.random.key(0))
    networks = dataclasses.replace(
        networks,
        weights=(jnp.array([[[1.0, 0.0]]]),),
        biases=(jnp.array([[0.0, 0.5]]),),
    )
    model = Equilibration(networks, jnp.array([2.0]), jnp.array([0.4]), CoulombSum(CUTOFF, 1e-10))
    chi = np.array([0.7, -0.4])
    found = model(jnp.asarray(chi)[:, None], system, environment)
    hardness = 4.0 * np.exp(np.tanh(0.5))
    np.testing.assert_allclose(found.hardness, hardness)
    alone = hardness + KE / (np.sqrt(np.pi) * 0.4)
    between = KE * float(jax.scipy.special.erf(1.5 / 0.8)) / 1.5
    difference = -(chi[0] - chi[1]) / (alone - between)
    np.testing.assert_allclose(found.charges, [0.5 + difference / 2, 0.5 - difference / 2])


def test_widths_are_learnt_when_asked_for_and_stay_positive():
    potential = lrpot.hdnnp_4g(("H", "O"), hidden=(3,), learn_widths=True, key=jax.random.key(0))
    assert trainable(potential).charge_model.radii
    fixed = lrpot.hdnnp_4g(("H", "O"), hidden=(3,), key=jax.random.key(0))
    assert not trainable(fixed).charge_model.radii
    system = lrpot.System(POSITIONS, [8, 1, 1, 8])
    widths = element_widths(jnp.array([-0.3, 0.6]), system, (1, 8))
    np.testing.assert_array_equal(widths, [0.6, 0.3, 0.3, 0.6])
