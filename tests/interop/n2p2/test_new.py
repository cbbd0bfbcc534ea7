"""Untrained potentials of the form that an `input.nn` describes."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot.data import Structure
from lrpot.environment import environment_from_shifts
from lrpot.interop import n2p2
from lrpot.interop.n2p2.convert import convert
from lrpot.training import charge_stage, energy_stage
from lrpot.training.config import DataSettings, TrainSettings, build

# The potentials here are made short-ranged to be small.
pytestmark = pytest.mark.filterwarnings("ignore:.*the largest cutoff:lrpot.errors.InputWarning")

KEY = jax.random.key(0)

POSITIONS = np.array(
    [[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0], [0.3, 0.2, 1.9], [1.1, 0.4, 2.3]]
)


@pytest.fixture
def sample(samples):
    """Functions of its own for each element, two hidden layers of tanh."""
    shape = {"hidden": (4, 3), "letters": "ttl", "chi_hidden": (4, 3), "chi_letters": "ttl"}
    return dataclasses.replace(samples["4g"], screening=(1.5, 4.0, "p2"), **shape)


@pytest.fixture
def structures(sample):
    numbers = [{"H": 1, "O": 8}[name] for name in ("O", "H", "H", "O", "H")]
    random, found = np.random.default_rng(0), []
    for charge in (0.0, -1.0, 0.0, -1.0):
        positions = POSITIONS + 0.05 * random.normal(size=POSITIONS.shape)
        charges = random.normal(size=5)
        found.append(
            Structure(
                lrpot.System(positions, numbers, total_charge=charge),
                energy=np.asarray(random.normal()),
                forces=random.normal(size=(5, 3)),
                charges=charges - charges.mean() + charge / 5,
            )
        )
    return found


def test_all_but_what_is_learnt_is_that_of_the_file(sample, structures, tmp_path):
    """A potential read with its weights and statistics has the same functions and physics."""
    trained = n2p2.read_potential(sample.write(tmp_path))
    (tmp_path / "other.nn").write_text((tmp_path / "input.nn").read_text())
    new = n2p2.new_potential(tmp_path / "other.nn", key=KEY)
    system = structures[0].system
    environment = environment_from_shifts(system, trained.neighbors(system))
    raw = np.asarray(new.descriptor.raw(environment))
    np.testing.assert_allclose(raw, trained.descriptor.raw(environment), rtol=1e-12)
    assert np.abs(raw).max() > 0.01
    np.testing.assert_allclose(new.charge_model.radii, trained.charge_model.radii)
    assert new.charge_model.coulomb.constant == trained.charge_model.coulomb.constant
    assert new.terms["coulomb"].screening == trained.terms["coulomb"].screening
    networks = new.terms["short_range"].networks
    assert networks.activations == ("tanh", "tanh", "linear")
    assert [one.shape[-1] for one in networks.biases] == [4, 3, 1]


@pytest.mark.parametrize("nnp_type", [2, 4])
def test_it_is_trained_and_goes_back(sample, structures, tmp_path, nnp_type):
    new = n2p2.new_potential(sample.write(tmp_path) / "input.nn", nnp_type=nnp_type, key=KEY)
    common = {"optimiser": "kalman", "epochs": 2, "batch_size": 2}
    stages = [charge_stage(**common), energy_stage(**common)][0 if nnp_type == 4 else 1 :]
    trained = lrpot.fit(new, structures, stages=stages, progress=False).potential
    assert jnp.isfinite(trained.descriptor.scaling.factor).all()
    n2p2.write_potential(trained, tmp_path / "written")
    back = n2p2.read_potential(tmp_path / "written")
    system = structures[1].system
    found, same = lrpot.predict(trained, system), lrpot.predict(back, system)
    np.testing.assert_allclose(same.forces, found.forces, atol=1e-7)
    if nnp_type == 4:
        np.testing.assert_allclose(same.charges, found.charges, atol=1e-9)


def test_converted_it_is_what_a_configuration_starts_from(sample, structures, tmp_path):
    path = sample.write(tmp_path) / "input.nn"
    said = convert(path, tmp_path / "new.lrpot", seed=3)
    assert said.startswith("Made an untrained potential")
    settings = TrainSettings(DataSettings("data.xyz"), start="new.lrpot")
    built = build(settings, structures, tmp_path)
    assert bool(eqx.tree_equal(built, n2p2.new_potential(path, key=jax.random.key(3))))
    common = {"optimiser": "kalman", "epochs": 1}
    stages = [charge_stage(**common), energy_stage(**common)]
    trained = lrpot.fit(built, structures, stages=stages, progress=False).potential
    assert trained.charge_model.scale is not None  # found from the data, as for any new one


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"letters": "tpl"}, "one activation for all hidden layers"),
        ({"letters": "tts"}, "a linear output"),
        ({"hidden": {"H": (4, 3), "O": (5, 3)}}, "networks of one shape for all elements"),
        ({"chi_hidden": (5, 3)}, "the networks of electronegativities differ in shape"),
        ({"kind": 10}, "input.nn is of type 10; potentials of types 2 and 4 can be made"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_forms_that_there_are_not(sample, tmp_path, changed, message):
    folder = dataclasses.replace(sample, **changed).write(tmp_path)
    with pytest.raises(lrpot.InputError, match=message):
        n2p2.new_potential(folder / "input.nn", key=KEY)
