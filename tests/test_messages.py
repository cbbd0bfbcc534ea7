"""Messages: how far they carry, that they tell of charges, that chunks change nothing, files."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot import messages as module
from lrpot.descriptors import default_acsf
from lrpot.environment import environment_from_shifts

FEW = default_acsf(("C", "H"), cutoff=4.0, shells=1, zetas=(1.0,))


def potential(recipe="hdnnp_2g", *, layers=1, **settings):
    common = dict(descriptor=FEW, hidden=(4,), message_layers=layers, message_channels=3)
    return lrpot.MODELS[recipe](("C", "H"), **common, **settings, key=jax.random.key(1))


def energies_of_messages(model, system):
    silent = {name: term for name, term in model.terms.items() if name != "messages"}
    without = dataclasses.replace(model, terms=silent)
    found, other = (lrpot.predict(one, system, forces=False) for one in (model, without))
    return found.energies - other.energies


def row(last):
    """Carbons in a row, each within the cutoff of the next one alone."""
    return lrpot.System([[0, 0, 0], [2.1, 0.3, 0], [4.2, 0, 0.4], [6.3, *last]], [6, 6, 6, 6])


@pytest.mark.parametrize(("layers", "reached"), [(1, False), (2, True)])
def test_each_layer_carries_a_cutoff_further(layers, reached):
    model = potential(layers=layers)
    here, there = (energies_of_messages(model, row(last)) for last in ((0, 0), (0.5, 0.2)))
    changes = np.abs(here - there)
    assert changes[0] > 1e-8 if reached else changes[0] < 1e-13
    assert changes[1] > 1e-8


@pytest.mark.parametrize(("layers", "reached"), [(1, False), (2, True)])
def test_electronegativities_know_as_much(layers, reached):
    """The last carbon moves; symmetry functions alone show it to none but its neighbour."""
    model = potential("hdnnp_4g", layers=0, charge_message_layers=layers)

    def electronegativities(system):
        environment = environment_from_shifts(system, model.neighbors(system))
        return model(system, environment)[1].electronegativity

    here, there = (electronegativities(row(last)) for last in ((0, 0), (0.5, 0.2)))
    changes = np.abs(here - there)
    assert changes[0] > 1e-8 if reached else changes[0] < 1e-13
    assert changes[1] > 1e-8


def test_the_charges_of_neighbors_are_felt():
    """One charge changes; its atom and the next, but none beyond the reach of two messages."""
    model, system = potential("hdnnp_4g"), row((0, 0))
    environment = environment_from_shifts(system, model.neighbors(system))
    features = model.descriptor(environment)
    _, charges = model(system, environment)

    def energies(change):
        moved = eqx.tree_at(lambda one: one.charges, charges, charges.charges + change)
        return model.terms["messages"](system, environment, features, moved)

    changes = np.abs(energies(jnp.array([0.2, 0.0, 0.0, 0.0])) - energies(jnp.zeros(4)))
    assert (changes[:2] > 1e-4).all()
    assert changes[3] == 0


def test_the_other_weights_are_as_without_messages():
    with_them, without = potential("hdnnp_4g"), potential("hdnnp_4g", layers=0)
    del with_them.terms["messages"]
    assert eqx.tree_equal(with_them, without)


def test_chunks_of_atoms_change_nothing(monkeypatch):
    """Also where neighbours lie in another chunk, in forces and their slopes by weights."""
    rng = np.random.default_rng(0)
    system = lrpot.System(rng.uniform(0, 5, (11, 3)), [6] * 4 + [1] * 7)
    model = potential(layers=2)
    neighbors = model.neighbors(system)

    def all_of_it():
        @eqx.filter_jit
        def forces(model):
            return lrpot.evaluate(model, system, neighbors, stress=False).forces

        slope = eqx.filter_grad(lambda model: jnp.sum(forces(model) ** 2))
        return [forces(model), *jax.tree.leaves(eqx.filter_jit(slope)(model).terms["messages"])]

    whole = all_of_it()
    monkeypatch.setattr(module, "ON_ACCELERATORS", 40)
    for found, expected in zip(all_of_it(), whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("recipe", ["hdnnp_2g", "hdnnp_4g"])
def test_an_atom_alone_has_an_energy(recipe):
    found = lrpot.predict(potential(recipe), lrpot.System([[0.0, 0.0, 0.0]], [6]))
    assert np.isfinite(found.energy)
    assert not found.forces.any()


@pytest.mark.parametrize("settings", [("hdnnp_3g", {}), ("hdnnp_4g", {"charge_message_layers": 1})])
def test_a_file_brings_them_back(tmp_path, settings):
    recipe, more = settings
    model, system = potential(recipe, **more), row((0, 0))
    lrpot.save(tmp_path / "model.lrpot", model)
    again = lrpot.load(tmp_path / "model.lrpot")
    assert lrpot.predict(again, system).energy == lrpot.predict(model, system).energy


@pytest.mark.parametrize(
    "wrong", [{"message_layers": -1}, {"message_channels": 0}, {"charge_message_layers": -1}]
)
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(lrpot.InputError, match=f"`{next(iter(wrong))}` must be at least"):
        lrpot.hdnnp_4g(("C",), key=jax.random.key(0), **{"message_layers": 1, **wrong})
