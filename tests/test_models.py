"""What sets the recipes apart, and what they refuse."""

import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import lrpot
from lrpot import InputError, System
from lrpot.descriptors import default_acsf
from lrpot.environment import environment_from_shifts
from lrpot.units import KE

evaluate = jax.jit(lrpot.evaluate, static_argnames=("forces", "stress"))

ELEMENTS = ("H", "O")
CUTOFF = 3.5
MOLECULE = System(
    [[0.0, 0, 0], [0.96, 0.05, 0.1], [-0.24, 0.93, 0], [1.1, 1.3, 2.1], [1.6, 2.2, 1.9]],
    [8, 1, 1, 8, 1],
)
CRYSTAL = System(
    MOLECULE.positions, MOLECULE.numbers, cell=[[3.4, 0, 0], [0.6, 3.9, 0], [0.1, -0.5, 4.2]]
)


def with_charge(system, total_charge):
    return eqx.tree_at(lambda s: s.total_charge, system, jnp.asarray(total_charge, dtype=float))


def build(name, **settings):
    settings = dict(cutoff=CUTOFF, hidden=(4,), key=jax.random.key(5)) | settings
    return lrpot.MODELS[name](ELEMENTS, **settings)


@jax.jit
def parts(potential, system, neighbors):
    """Energy of each term, and the charges."""
    environment = environment_from_shifts(system, neighbors)
    features = potential.descriptor(environment)
    charges = potential(system, environment)[1]
    terms = potential.terms.items()
    return {
        name: term(system, environment, features, charges).sum() for name, term in terms
    }, charges


def charges_of(potential, system):
    return parts_of(potential, system)[1].charges


def parts_of(potential, system):
    return parts(potential, system, potential.neighbors(system))


@pytest.fixture(scope="module")
def models():
    return {name: build(name) for name in lrpot.MODELS}


def distances_of(system):
    r = np.asarray(system.positions)
    return np.linalg.norm(r[:, None] - r[None], axis=-1)


def gaussian_matrix(system, widths):
    """Energy of unit Gaussian charges in open space, by hand; 2/√π·½ on the diagonal."""
    gamma = np.sqrt(widths[:, None] ** 2 + widths[None] ** 2)
    r = distances_of(system) + np.eye(len(widths))
    matrix = scipy.special.erf(r / gamma / np.sqrt(2)) / r
    np.fill_diagonal(matrix, 1 / (np.sqrt(np.pi) * widths))
    return KE * matrix


def test_every_recipe_knows_its_name(models):
    for name, potential in models.items():
        assert potential.recipe == name
        assert potential.elements == (1, 8)
    assert {"hdnnp_2g", "hdnnp_3g", "hdnnp_4g", "cent"} <= set(models)


def test_2g_has_no_charges_and_does_not_react_to_the_total_charge(models):
    energies = []
    for total_charge in (-1.0, 0.0, 1.0):
        system = with_charge(MOLECULE, total_charge)
        found = evaluate(
            models["hdnnp_2g"], system, models["hdnnp_2g"].neighbors(system), forces=False
        )
        assert found.charges is None
        energies.append(float(found.energy))
    assert energies[0] == energies[1] == energies[2]


def test_3g_reacts_to_the_total_charge_through_the_coulomb_energy_only(models):
    neutral, _ = parts_of(models["hdnnp_3g"], MOLECULE)
    ion, _ = parts_of(models["hdnnp_3g"], with_charge(MOLECULE, 1.0))
    assert ion["short_range"] == neutral["short_range"]
    assert abs(ion["coulomb"] - neutral["coulomb"]) > 1e-3


def test_short_range_networks_of_4g_see_the_charge(models):
    neutral, _ = parts_of(models["hdnnp_4g"], MOLECULE)
    ion, _ = parts_of(models["hdnnp_4g"], with_charge(MOLECULE, 1.0))
    assert abs(ion["short_range"] - neutral["short_range"]) > 1e-3


def test_3g_has_point_charges_and_4g_gaussian_ones_by_default(models):
    assert models["hdnnp_3g"].charge_model.radii is None
    np.testing.assert_allclose(models["hdnnp_4g"].charge_model.radii, [0.31, 0.66])
    assert build("hdnnp_3g", widths="covalent").charge_model.radii.shape == (2,)


def test_screened_coulomb_energy_of_3g_is_the_sum_by_hand(models):
    energies, charges = parts_of(models["hdnnp_3g"], with_charge(MOLECULE, 1.0))
    r = distances_of(MOLECULE) + np.diag(np.full(5, np.inf))
    inner, outer = 0.3 * CUTOFF, CUTOFF
    x = np.clip((r - inner) / (outer - inner), 0, 1)
    screen = 0.5 * (1 - np.cos(np.pi * x))
    q = np.asarray(charges.charges)
    expected = 0.5 * KE * np.sum(q[:, None] * q[None] * screen / r)
    assert (screen < 0.99).sum() > 10
    np.testing.assert_allclose(energies["coulomb"], expected, rtol=1e-12)


def test_4g_adds_the_coulomb_energy_without_self_and_site_terms(models):
    potential = models["hdnnp_4g"]
    assert "site" not in potential.terms
    assert potential.terms["coulomb"].screening is not None
    bare = eqx.tree_at(
        lambda p: p.terms["coulomb"].screening, potential, None, is_leaf=lambda x: x is None
    )
    energies, charges = parts_of(bare, with_charge(MOLECULE, -1.0))
    matrix = gaussian_matrix(MOLECULE, np.asarray(charges.widths))
    np.fill_diagonal(matrix, 0.0)
    q = np.asarray(charges.charges)
    np.testing.assert_allclose(energies["coulomb"], 0.5 * q @ matrix @ q, rtol=1e-12)


def test_cent_adds_them_and_does_not_screen(models):
    potential = models["cent"]
    assert "short_range" not in potential.terms
    assert potential.terms["coulomb"].screening is None
    energies, charges = parts_of(potential, with_charge(MOLECULE, -1.0))
    q, chi = np.asarray(charges.charges), np.asarray(charges.electronegativity)
    matrix = gaussian_matrix(MOLECULE, np.asarray(charges.widths))
    np.testing.assert_allclose(charges.hardness, 10.0, rtol=1e-12)
    np.testing.assert_allclose(energies["coulomb"], 0.5 * q @ matrix @ q, rtol=1e-12)
    np.testing.assert_allclose(energies["site"], chi @ q + 0.5 * 10.0 * q @ q, rtol=1e-12)


def test_4g_and_cent_charges_solve_the_bordered_equations(models):
    for name in ("hdnnp_4g", "cent"):
        _, charges = parts_of(models[name], with_charge(MOLECULE, 1.0))
        chi, widths = np.asarray(charges.electronegativity), np.asarray(charges.widths)
        bordered = np.ones((6, 6))
        bordered[:5, :5] = gaussian_matrix(MOLECULE, widths) + np.diag(charges.hardness)
        bordered[5, 5] = 0
        solution = np.linalg.solve(bordered, np.append(-chi, 1.0))
        np.testing.assert_allclose(charges.charges, solution[:5], atol=1e-12)
        np.testing.assert_allclose(charges.multiplier, solution[5], rtol=1e-11)


@pytest.mark.parametrize("system", [MOLECULE, CRYSTAL], ids=["molecule", "crystal"])
def test_cent_energy_changes_with_the_total_charge_by_the_multiplier(models, system):
    potential = models["cent"]
    neighbors = potential.neighbors(system)

    @jax.jit
    @jax.value_and_grad
    def energy(total_charge):
        return lrpot.evaluate(
            potential, with_charge(system, total_charge), neighbors, forces=False, stress=False
        ).energy

    for total_charge in (-1.0, 0.0, 1.0):
        _, charges = parts_of(potential, with_charge(system, total_charge))
        slope = energy(total_charge)[1]
        np.testing.assert_allclose(slope, -charges.multiplier, rtol=1e-11)
        difference = (energy(total_charge + 1e-3)[0] - energy(total_charge - 1e-3)[0]) / 2e-3
        np.testing.assert_allclose(difference, slope, rtol=1e-8)


@pytest.mark.parametrize("system", [MOLECULE, CRYSTAL], ids=["molecule", "crystal"])
def test_cent_forces_need_no_response_of_the_charges(models, system):
    """Hellmann-Feynman: the energy is stationary, so charges may be held when atoms move."""
    potential, system = models["cent"], with_charge(system, 1.0)
    neighbors = potential.neighbors(system)
    found = evaluate(potential, system, neighbors, stress=False)
    model = potential.charge_model

    @jax.jit
    @jax.value_and_grad
    def energy(positions):
        moved = eqx.tree_at(lambda s: s.positions, system, positions)
        environment = environment_from_shifts(moved, neighbors)
        chi = model.networks(potential.descriptor(environment), system.numbers)[:, 0]
        widths = model.radii[jnp.array([1, 0, 0, 1, 0])]
        phi = model.coulomb(found.charges, widths, moved, environment)
        return found.charges @ (chi + 0.5 * 10.0 * found.charges + 0.5 * phi)

    value, gradient = energy(system.positions)
    np.testing.assert_allclose(value, found.energy, rtol=1e-11)
    scale = jnp.abs(found.forces).max()
    np.testing.assert_allclose(-gradient, found.forces, atol=1e-10 * scale)


def test_4g_charges_move_over_a_distance_and_3g_charges_do_not(models):
    """An atom far away shifts charges by its potential in 4G; in 3G it takes part of the sum."""
    distant = jnp.array([[0.0, 0.0, 30.0]])
    larger = System(jnp.concatenate([MOLECULE.positions, distant]), jnp.append(MOLECULE.numbers, 8))
    weighted = build("hdnnp_3g", neutralisation="none")
    for potential, moves in [(weighted, False), (models["hdnnp_4g"], True)]:
        before = charges_of(potential, MOLECULE)
        after = charges_of(potential, larger)[:5]
        assert (float(jnp.abs(after - before).max()) > 1e-4) == moves


def test_neutralisations_share_the_excess_differently():
    raw = charges_of(build("hdnnp_3g", neutralisation="none"), MOLECULE)
    uniform = charges_of(build("hdnnp_3g"), MOLECULE)
    np.testing.assert_allclose(uniform, raw - raw.mean(), atol=1e-13)
    weighted = build("hdnnp_3g", neutralisation="weighted")
    ions = [charges_of(weighted, with_charge(MOLECULE, q)) for q in (-1.0, 1.0)]
    shares = (ions[1] - ions[0]) / 2
    np.testing.assert_allclose(shares.sum(), 1.0, rtol=1e-12)
    assert (shares > 0).all()
    assert jnp.std(shares) > 1e-4


def test_hardness_and_widths_can_be_given_by_element():
    potential = build("hdnnp_4g", hardness={"O": 9.0, "H": 4.0}, widths={"H": 0.4, "O": 0.8})
    np.testing.assert_allclose(potential.charge_model.hardness_root, [2.0, 3.0])
    np.testing.assert_allclose(potential.charge_model.radii, [0.4, 0.8])


def test_a_key_decides_about_the_weights(models):
    one, two = build("hdnnp_4g"), build("hdnnp_4g", key=jax.random.key(6))
    for same, other, first in zip(
        *map(jax.tree.leaves, (one, two, models["hdnnp_4g"])), strict=True
    ):
        np.testing.assert_array_equal(same, first)
        assert same.shape == other.shape
    weights = [p.terms["short_range"].networks.weights[0] for p in (one, two)]
    assert jnp.abs(weights[0] - weights[1]).max() > 0.1


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("hdnnp_2g", dict(activation="tahn"), "Unknown activation `tahn`. Did you mean `tanh`"),
        ("hdnnp_2g", dict(hidden=(4, 0)), "`hidden` must be at least 1 and at most 4096, got 0"),
        ("hdnnp_2g", dict(cutoff=-1.0), "-1.0"),
        (
            "hdnnp_2g",
            dict(descriptor=default_acsf(("H", "C"), cutoff=3.5)),
            r"made for the elements \(1, 6\), the potential for \(1, 8\)",
        ),
        ("hdnnp_3g", dict(widths={"H": 0.3}), r"`widths` lacks O; it has \['H'\]"),
        ("hdnnp_3g", dict(widths={"H": 0.3, "O": 0.0}), "`widths` must be positive"),
        ("hdnnp_3g", dict(screening=(3.0, 2.0)), "0 <= inner < outer, got inner=3.0 and outer=2.0"),
        ("hdnnp_3g", dict(screening=(-1.0, 2.0)), "`screening` must be at least 0, got -1.0"),
        ("hdnnp_3g", dict(accuracy=2.0), "`accuracy` must be .* at most 0.1, got 2.0"),
        ("hdnnp_4g", dict(hardness=-1.0), "`hardness` must be positive"),
        ("hdnnp_4g", dict(hardness={"O": 5.0}), r"`hardness` lacks H; it has \['O'\]"),
        ("hdnnp_4g", dict(hardness=float("nan")), "`hardness` must be finite, got nan"),
        ("cent", dict(hardness={"O": 5.0, "H": float("inf")}), "hardness`.H must be finite"),
    ],
)
def test_wrong_settings_are_refused_with_what_was_found(name, settings, words):
    with pytest.raises(InputError, match=words):
        build(name, **settings)


MISSPELT = """
import jax, lrpot
key = jax.random.key(0)
for recipe, setting in [
    (lrpot.hdnnp_3g, dict(widths="covalnt")),
    (lrpot.hdnnp_4g, dict(widths="pont")),
    (lrpot.hdnnp_3g, dict(neutralisation="unifrom")),
]:
    try:
        recipe(("H", "O"), hidden=(4,), key=key, **setting)
    except lrpot.InputError as error:
        print(error)
try:
    lrpot.electrostatics.CoulombSum(method="mseh")
except lrpot.InputError as error:
    print(error)
"""


def test_misspelt_choices_are_refused_with_the_nearest_one():
    """In a process of its own, because types are not checked on every call outside of tests."""
    done = subprocess.run(
        [sys.executable, "-c", MISSPELT], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith(
        "`widths` must be one of 'covalent', 'point', got 'covalnt'. Did you"
    )
    assert "got 'pont'. Did you mean `point`?" in lines[1]
    assert "got 'unifrom'. Did you mean `uniform`?" in lines[2]
    assert lines[3].startswith("Unknown method `mseh`. Did you mean `mesh`?")


@pytest.mark.parametrize("name", lrpot.MODELS)
def test_an_unknown_symbol_is_refused(name):
    with pytest.raises(InputError, match="'Hx' is not an element"):
        lrpot.MODELS[name](("Hx", "O"), key=jax.random.key(0))
