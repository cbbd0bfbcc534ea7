"""Settings of potentials and trainings: one schema for TOML files and Python."""

import jax
import numpy as np
import pytest

import lrpot
from lrpot.config import Limits, from_mapping
from lrpot.data import Structure
from lrpot.descriptors import default_acsf
from lrpot.errors import InputWarning
from lrpot.training import Stage, Weights
from lrpot.training.config import TrainSettings, build
from lrpot.training.kalman import Kalman

WATER = [
    Structure(
        lrpot.System(np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]), np.array([8, 1, 1]))
    )
]
NAN, INF = float("nan"), float("inf")


def untrained(recipe="hdnnp_4g", **tables):
    """The potential of a configuration."""
    settings = {"data": {"train": "data.xyz"}, "recipe": recipe, **tables}
    return build(from_mapping(TrainSettings, settings, where="train.toml"), WATER)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            dict(potential=dict(hidden=15)),
            r"\[potential\].*: hidden must be tuple\[int, ...\], got 15",
        ),
        (dict(potential=dict(hidden=[])), r"`hidden` names no layer.*activation=\"linear\""),
        (dict(potential=dict(hidden=[0])), r"hidden must be at least 1 and at most 4096, got 0"),
        (dict(potential=dict(hidden=[10**9])), r"hidden must be at least 1 and at most 4096"),
        (dict(potential=dict(hidden=[True])), r"hidden must be int, got True"),
        (dict(potential=dict(activation="sillu")), r"Unknown activation `sillu`.*`silu`"),
        (dict(potential=dict(cutoff="6.0")), r"\[potential\].*: cutoff must be float, got '6.0'"),
        (dict(descriptor=dict(cutoff="6.0")), r"\[descriptor\].*: cutoff must be float, got '6.0'"),
        (
            dict(descriptor=dict(cutoff=INF)),
            r"cutoff must be at least 0.1 and at most 100, got inf",
        ),
        (
            dict(descriptor=dict(cutoff=NAN)),
            r"cutoff must be at least 0.1 and at most 100, got nan",
        ),
        (dict(descriptor=dict(cutoff=-6)), r"cutoff must be at least 0.1 and at most 100, got -6"),
        (dict(descriptor=dict(cutoff=0)), r"cutoff must be at least 0.1 and at most 100, got 0"),
        (
            dict(descriptor=dict(cutoff=1e6)),
            r"cutoff must be at least 0.1 and at most 100, got 1000000",
        ),
        (
            dict(descriptor=dict(cutoff=90.0, spacing=0.002)),
            r"would have \d+ symmetry functions.*larger `spacing`",
        ),
        (dict(descriptor=dict(spacing=5e-324)), r"spacing must be at least 0.001, got 5e-324"),
        (dict(descriptor=dict(angular_cutoff=5e-324)), r"angular_cutoff must be at least 0.1"),
        (dict(descriptor=dict(zetas=2)), r"zetas must be tuple\[float, ...\], got 2"),
        (dict(descriptor=dict(zetas=[NAN])), r"zetas must be above 0 and at most 1000, got nan"),
        (dict(descriptor=dict(zetas=[])), r"at least one pair \(λ, ζ\)"),
        (dict(descriptor=dict(weighted="false")), r"weighted must be bool, got 'false'"),
        (dict(descriptor=dict(function="tanh")), r"Unknown cutoff function `tanh`.*Did you mean"),
        (
            dict(potential=dict(cutoff=6), descriptor=dict(cutoff=4)),
            r"`cutoff` is 6 Å, but that of the descriptor is 4 Å. Leave one of them out",
        ),
        (dict(potential=dict(widths="covalant")), r"Did you mean `covalent`\?"),
        (dict(potential=dict(widths=dict(H=0.3))), r"`widths` lacks O"),
        (
            dict(potential=dict(widths=dict(H=0.3, O=0.6, Xx=1))),
            r"`widths` names `Xx`, which is not",
        ),
        (dict(potential=dict(widths=dict(H=0.3, O=NAN))), r"widths\.O must be finite, got nan"),
        (dict(potential=dict(hardness=dict(H=0.0, O=9.0))), r"`hardness` must be positive"),
        (dict(potential=dict(hardness="hard")), r"hardness must be float, got 'hard'"),
        (dict(potential=dict(screening=[5.0, 3.0])), r"Screening needs 0 <= inner < outer"),
        (dict(potential=dict(screening=[5.0])), r"screening must be tuple\[float, float\]"),
        (dict(potential=dict(accuracy=-1)), r"accuracy must be at least 1e-14 and at most 0.1"),
        (dict(potential=dict(message_layers=-1)), r"message_layers must be at least 0"),
        (dict(potential=dict(charge_shells=1.5)), r"charge_shells must be int, got 1.5"),
        (dict(potential=dict(learn_widths="yes")), r"learn_widths must be bool, got 'yes'"),
        (dict(elements=["H", "Ox"]), r"'Ox' is not an element"),
        (dict(elements=["H", "H", "O"]), r"each only once"),
        (dict(seed=2**70), r"seed must be at least 0 and at most 4294967295, got 1180"),
        (dict(seed=-1), r"seed must be at least 0"),
        (dict(members=1000000), r"members must be at least 1 and at most 100, got 1000000"),
        (dict(members=0), r"members must be at least 1 and at most 100, got 0"),
        (dict(devices=-1), r"devices must be at least 0 and at most 65536, got -1"),
        (
            dict(data=dict(train="x", validation_fraction=NAN)),
            r"validation_fraction must be at least 0",
        ),
        (dict(data=dict(train="x", validation_fraction="half")), r"must be float, got 'half'"),
        (
            dict(data=dict(train="x", validation="y", validation_fraction=0.2)),
            r"`validation` names a file, and `validation_fraction`.*Leave one",
        ),
        (dict(data=dict(train="a\0b")), r"must not contain the character 0"),
        (dict(stages=[dict(epochs=0)]), r"epochs must be at least 1 and at most 2147483647, got 0"),
        (dict(stages=[dict(epochs=10**400)]), r"epochs must be at least 1 and at most 2147483647"),
        (dict(data=dict(train="x", charge_tolerance=NAN)), r"charge_tolerance must be at least 0"),
        (dict(stages=[dict(batch_size=-1)]), r"batch_size must be at least 1 and .*, got -1"),
        (dict(stages=[dict(learning_rate=0)]), r"learning_rate must be above 0, got 0"),
        (dict(stages=[dict(learning_rate=NAN)]), r"learning_rate must be above 0, got nan"),
        (dict(stages=[dict(weights=dict(energy=-1))]), r"energy must be at least 0, got -1"),
        (dict(stages=[dict(weights=dict(energy=INF))]), r"energy must be at least 0, got inf"),
        (dict(stages=[dict(weights=dict(energy=0))]), r"Weights must not all be zero"),
        (dict(stages=[dict(train=[])]), r"trains no part.*Known: `charge_model`, `terms`"),
        (dict(stages=[dict(averaging=1.0)]), r"averaging must be at least 0 and below 1, got 1"),
        (dict(stages=[dict(clip=0.0)]), r"clip must be above 0, got 0"),
        (dict(atomic_energies=dict(H=NAN)), r"atomic_energies\.H must be finite, got nan"),
        (dict(start="old.lrpot", scaling="scale"), r"leave out `scaling`"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tables, message):
    with pytest.raises(lrpot.InputError, match=message):
        untrained(**tables)


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        ("hdnnp_2g", dict(hidden=15), r"`hidden` must be tuple\[int, ...\], got 15"),
        ("hdnnp_3g", dict(cutoff="6.0"), r"`cutoff` must be float, got '6.0'"),
        ("hdnnp_4g", dict(cutoff=INF), r"`cutoff` must be at least 0.1 and at most 100, got inf"),
        ("cent", dict(hidden=()), r"`hidden` names no layer"),
        ("hdnnp_4g", dict(accuracy=NAN), r"`accuracy` must be at least 1e-14"),
    ],
)
def test_recipes_in_python_are_checked_alike(recipe, settings, message):
    with pytest.raises(lrpot.InputError, match=message):
        lrpot.MODELS[recipe](("H", "O"), **settings, key=jax.random.key(0))


def test_a_cutoff_beside_a_descriptor_must_be_its_own():
    descriptor = default_acsf(("H",), cutoff=3.0, spacing=1.1, shells=1, zetas=(1.0,))
    key = jax.random.key(0)
    with pytest.raises(lrpot.InputError, match=r"`cutoff` is 6 Å, but .* descriptor is 3 Å"):
        lrpot.hdnnp_2g(("H",), cutoff=6.0, descriptor=descriptor, key=key)
    assert lrpot.hdnnp_2g(("H",), cutoff=3.0, descriptor=descriptor, key=key).cutoff == 3.0
    assert lrpot.hdnnp_2g(("H",), descriptor=descriptor, key=key).cutoff == 3.0
    assert lrpot.hdnnp_2g(("H",), key=key).cutoff == 6.0


def test_numbers_of_numpy_and_lists_are_taken_in_python():
    potential = lrpot.hdnnp_2g(
        ("H",), cutoff=np.float64(4.0), hidden=[np.int64(3)], key=jax.random.key(0)
    )
    assert potential.cutoff == 4.0
    assert [one.shape for one in potential.terms["short_range"].networks.biases] == [(1, 3), (1, 1)]


def test_a_tolerance_may_be_infinite():
    settings = {"data": {"train": "data.xyz", "charge_tolerance": INF}}
    assert from_mapping(TrainSettings, settings).data.charge_tolerance == INF


def test_an_element_that_the_potential_does_not_have_is_told():
    with pytest.warns(InputWarning, match=r"`widths` names N, which this potential does not have"):
        lrpot.hdnnp_4g(("H",), widths={"H": 0.3, "N": 0.7}, key=jax.random.key(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stage(epochs=0), r"`epochs` must be at least 1 and at most 2147483647, got 0"),
        (lambda: Stage(patience=-1), r"`patience` must be at least 0 and .*, got -1"),
        (lambda: Weights(forces=NAN), r"`forces` must be at least 0, got nan"),
        (lambda: Kalman(noise=0.0), r"`noise` must be above 0, got 0"),
        (lambda: Kalman(forces=1.5), r"`forces` must be above 0 and at most 1, got 1.5"),
    ],
)
def test_stages_in_python_are_checked_alike(make, message):
    with pytest.raises(lrpot.InputError, match=message):
        make()


def test_limits_are_short_where_signatures_show_them():
    assert repr(Limits(least=0.1, most=100)) == "Limits(at least 0.1 and at most 100)"
