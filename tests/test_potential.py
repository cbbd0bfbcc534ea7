import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot import InputError, Potential, System
from lrpot.descriptors import default_acsf
from lrpot.environment import environment_from_shifts
from lrpot.potential import check_elements, count_parameters, trainable
from lrpot.terms import Coulomb, SiteEnergy

WATER = System([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1])


def build(name, **settings):
    return lrpot.MODELS[name](
        ("H", "O"), cutoff=4.0, hidden=(4,), key=jax.random.key(0), **settings
    )


@pytest.fixture(scope="module", params=lrpot.MODELS)
def potential(request):
    return build(request.param)


def learnt_paths(potential):
    paths = jax.tree_util.tree_leaves_with_path(trainable(potential))
    return {jax.tree_util.keystr(path, simple=True, separator=".") for path, yes in paths if yes}


def networks(prefix, layers=2):
    return {f"{prefix}.{kind}.{n}" for kind in ("weights", "biases") for n in range(layers)}


LEARNT = {
    "hdnnp_2g": networks("terms.short_range.networks"),
    "hdnnp_3g": networks("terms.short_range.networks") | networks("charge_model.networks"),
    "hdnnp_4g": networks("terms.short_range.networks")
    | networks("charge_model.networks")
    | {"charge_model.hardness_root"},
    "cent": networks("charge_model.networks")
    | {"charge_model.hardness_root", "terms.offsets.energies"},
}


@pytest.mark.parametrize("name", LEARNT)
def test_networks_and_hardness_are_learnt_and_the_offsets_of_cent(name):
    assert learnt_paths(build(name)) == LEARNT[name]


def test_statistics_and_radii_are_never_learnt_and_offsets_by_cent_alone(potential):
    leaves = jax.tree_util.tree_leaves_with_path(trainable(potential))
    names = {jax.tree_util.keystr(path) for path, yes in leaves if not yes}
    assert any("offset" in name for name in names)
    for path in learnt_paths(potential):
        last = path.split(".")[-1]
        assert last not in ("offset", "factor", "minimum", "maximum", "radii", "scale")
        assert last != "energies" or potential.recipe == "cent"


def test_a_module_decides_itself_what_training_leaves_alone():
    potential = build("cent")
    frozen = ("radii", "hardness_root")
    model = lrpot.charges.Equilibration(
        potential.charge_model.networks,
        potential.charge_model.hardness_root,
        potential.charge_model.radii,
        potential.charge_model.coulomb,
        frozen,
    )
    potential = eqx.tree_at(lambda p: p.charge_model, potential, model)
    learnt = networks("charge_model.networks") | {"terms.offsets.energies"}
    assert learnt_paths(potential) == learnt


def test_parameters_are_counted_without_statistics():
    features = default_acsf(("H", "O"), cutoff=4.0).n_features
    network = 2 * ((features + 1) * 4 + 5)  # two elements, one hidden layer of four
    assert count_parameters(build("hdnnp_2g")) == network
    assert count_parameters(build("hdnnp_3g")) == 2 * network
    assert count_parameters(build("hdnnp_4g")) == 2 * network + 2 * 4 + 2
    assert count_parameters(build("cent")) == network + 2 + 2


def test_the_cutoff_is_the_largest_of_all_parts():
    assert build("hdnnp_2g").cutoff == 4.0
    assert build("hdnnp_3g", screening=(1.0, 5.5)).cutoff == 5.5
    assert build("hdnnp_3g", screening=(1.0, 2.5)).cutoff == 4.0
    longer = eqx.tree_at(
        lambda p: p.charge_model.coulomb, build("cent"), lrpot.electrostatics.CoulombSum(7.0)
    )
    assert longer.cutoff == 7.0


def test_only_potentials_with_charges_ask_for_waves(potential):
    periodic = System(WATER.positions, WATER.numbers, cell=6.0 * jnp.eye(3))
    if potential.charge_model is None:
        assert potential.neighbors(periodic).reciprocal is None
    else:
        assert len(potential.neighbors(periodic).reciprocal.waves) > 10
    assert potential.neighbors(WATER).reciprocal is None


def test_a_skin_widens_the_list(potential):
    far = System([[0, 0, 0], [potential.cutoff + 0.5, 0, 0]], [1, 1])
    assert potential.neighbors(far).index.shape == (2, 0)
    assert potential.neighbors(far, skin=1.0).index.tolist() == [[1], [0]]
    assert potential.neighbors(far, capacity=3).index.shape == (2, 3)


def test_an_unknown_element_is_refused_by_name_and_place(potential):
    salt = System([[0, 0, 0], [1, 0, 0], [0, 0, 2.4]], [1, 0, 79])
    with pytest.raises(InputError, match=r"Element 79 \(Au, atom 2\).*: H \(1\), O \(8\)"):
        potential.neighbors(salt)
    with pytest.raises(InputError, match=r"Element 200 \(\?, atom 0\)"):
        check_elements((1, 8), np.array([200]))
    check_elements((1, 8), np.array([0, 1, 8, 0]))


@pytest.mark.parametrize("term", [Coulomb(), SiteEnergy()], ids=["Coulomb", "SiteEnergy"])
def test_a_term_that_needs_charges_needs_a_charge_model(term):
    potential = build("hdnnp_2g")
    with pytest.raises(InputError, match="The term `extra` needs charges, but there is no charge"):
        Potential(
            potential.elements, potential.descriptor, None, {**potential.terms, "extra": term}
        )


def test_a_site_energy_of_local_charges_is_refused():
    potential = build("hdnnp_3g")
    terms = {**potential.terms, "site": SiteEnergy()}
    potential = Potential(potential.elements, potential.descriptor, potential.charge_model, terms)
    with pytest.raises(InputError, match="A site energy needs equilibrated charges"):
        jax.eval_shape(lrpot.evaluate, potential, WATER, potential.neighbors(WATER))


def test_the_energy_is_the_sum_of_the_terms(potential):
    @jax.jit
    def whole_and_parts(system, neighbors):
        environment = environment_from_shifts(system, neighbors)
        energies, charges = potential(system, environment)
        features = potential.descriptor(environment)
        terms = potential.terms.values()
        return energies, [term(system, environment, features, charges) for term in terms]

    whole, parts = whole_and_parts(WATER, potential.neighbors(WATER))
    assert len(parts) >= 2
    np.testing.assert_allclose(whole, sum(parts), rtol=1e-13)
