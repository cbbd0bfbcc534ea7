"""Training: what each stage learns and leaves alone, and that it finds what is to be found."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot.data import Structure, make_batches
from lrpot.potential import trainable
from lrpot.training import (
    Stage,
    Weights,
    calibrate,
    charge_stage,
    default_stages,
    energy_stage,
    evaluate_structures,
    fit,
    joint_stage,
    squared_errors,
)
from lrpot.training.fit import FACTORISE_UP_TO, _factorised
from lrpot.training.metrics import predict_structures

SHORT = {"epochs": 12, "batch_size": 6, "averaging": 0.5, "learning_rate": 0.02}


def arrays(tree, *, learnt=None):
    """All arrays of a potential or a part of it; with `learnt`, those that training may touch."""
    if learnt is not None:
        flags = trainable(tree)
        tree = eqx.filter(tree, flags, inverse=not learnt)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array))]


def same(one, other):
    return all(np.array_equal(*pair) for pair in zip(one, other, strict=True))


def quietly(potential, structures, validation=(), **settings):
    return fit(potential, structures, validation, progress=False, **settings)


@pytest.fixture(scope="module")
def fresh(tiny):
    return tiny.potential("hdnnp_4g")


@pytest.fixture(scope="module")
def first_stage(fresh, molecules):
    return quietly(fresh, molecules, stages=(charge_stage(**SHORT),))


@pytest.fixture(scope="module")
def both_stages(fresh, molecules):
    return quietly(fresh, molecules, stages=(charge_stage(**SHORT), energy_stage(**SHORT)))


def test_both_stages_bring_their_errors_down(both_stages):
    assert len(both_stages.history) == 2 * SHORT["epochs"]
    for stage, labels in (("charges", {"charges"}), ("energies", {"energy", "forces"})):
        rows = [row for row in both_stages.history if row["stage"] == stage]
        assert [row["epoch"] for row in rows] == list(range(1, SHORT["epochs"] + 1))
        assert set(rows[0]["train"]) == labels
        for label in labels:
            assert rows[-1]["train"][label] < 0.7 * rows[0]["train"][label]
        assert np.all(np.diff([row["seconds"] for row in rows]) > 0)


def test_the_charge_stage_leaves_all_energy_terms_alone(fresh, first_stage, molecules):
    batches = [batch for batch, _ in make_batches(molecules, fresh)]
    calibrated = calibrate(fresh, molecules, batches)
    assert same(arrays(first_stage.potential.terms), arrays(calibrated.terms))
    assert same(arrays(first_stage.potential.descriptor), arrays(calibrated.descriptor))
    assert not same(arrays(first_stage.potential.charge_model), arrays(fresh.charge_model))


def test_the_energy_stage_leaves_the_charges_alone(first_stage, both_stages):
    first, last = first_stage.potential, both_stages.potential
    assert same(arrays(first.charge_model), arrays(last.charge_model))
    assert not same(
        arrays(first.terms["short_range"].networks), arrays(last.terms["short_range"].networks)
    )


def test_statistics_and_widths_are_not_learnt(first_stage, both_stages, molecules):
    first, last = first_stage.potential, both_stages.potential
    assert same(arrays(first.descriptor), arrays(last.descriptor))
    assert same(arrays(first.terms["offsets"]), arrays(last.terms["offsets"]))
    assert same(arrays(first.charge_model.radii), arrays(last.charge_model.radii))
    assert same(arrays(first.terms["short_range"].scale), arrays(last.terms["short_range"].scale))
    predicted = predict_structures(last, molecules, forces=False)
    charges = np.concatenate([one.charges for one in predicted])
    numbers = np.concatenate([one.system.numbers for one in molecules])
    scaling = last.terms["short_range"].charge_scaling  # set once, between the stages
    for row, number in enumerate(last.elements):
        ours = charges[numbers == number]
        np.testing.assert_allclose(scaling.offset[row, 0], ours.mean(), rtol=1e-9)
        np.testing.assert_allclose(scaling.factor[row, 0], 1 / ours.std(), rtol=1e-9)


def test_the_same_seed_gives_the_same_parameters(fresh, first_stage, molecules):
    again = quietly(fresh, molecules, stages=(charge_stage(**SHORT),))
    assert same(arrays(again.potential), arrays(first_stage.potential))
    other = quietly(fresh, molecules, stages=(charge_stage(**SHORT),), seed=1)
    assert not same(arrays(other.potential), arrays(first_stage.potential))


def test_descriptors_kept_or_not_give_the_same_training(fresh, both_stages, molecules):
    stages = charge_stage(**SHORT), energy_stage(**SHORT)
    plain = quietly(fresh, molecules, stages=stages, keep=False)
    for row, other in zip(plain.history, both_stages.history, strict=True):
        for label, value in row["train"].items():
            np.testing.assert_allclose(value, other["train"][label], rtol=1e-8)
    for one, other in zip(arrays(plain.potential), arrays(both_stages.potential), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-8)


def test_a_second_training_goes_on_from_the_statistics_of_the_first(both_stages, molecules):
    """Other data would give other offsets and scalings, and make nonsense of the networks."""
    first = both_stages.potential
    others = [
        dataclasses.replace(one, energy=np.array(one.energy + 1e4), charges=None)
        for one in molecules[::4]
    ]
    stage = energy_stage(epochs=1, batch_size=6)
    second = quietly(first, others, stages=(stage,)).potential
    assert same(arrays(first.terms, learnt=False), arrays(second.terms, learnt=False))
    assert same(arrays(first.charge_model), arrays(second.charge_model))


DEFAULTS = {
    "hdnnp_2g": ("energies",),
    "hdnnp_3g": ("charges", "energies"),
    "hdnnp_4g": ("charges", "energies"),
    "cent": ("joint",),
}


@pytest.mark.parametrize(("recipe", "names"), DEFAULTS.items())
def test_every_recipe_has_its_usual_stages(tiny, molecules, recipe, names):
    stages = default_stages(tiny.potential(recipe), molecules)
    assert tuple(stage.name for stage in stages) == names


@pytest.mark.parametrize(
    ("switch", "optimisers", "label"),
    [
        ("message_layers", ("kalman", "adam"), "forces"),
        pytest.param(
            "charge_message_layers", ("adam", "kalman"), "charges", marks=pytest.mark.slow
        ),
    ],
)
def test_messages_are_trained_by_adam(tiny, molecules, switch, optimisers, label):
    potential = tiny.potential("hdnnp_4g", **{switch: 1}, message_channels=4)
    stages = default_stages(potential, molecules, optimiser="kalman")
    assert tuple(stage.optimiser for stage in stages) == optimisers
    bare = [dataclasses.replace(one, charges=None) for one in molecules]
    joint = default_stages(potential, bare, optimiser="kalman")[-1]
    assert (joint.name, joint.optimiser) == ("joint", "adam")
    (name,) = (stage.name for stage in stages if stage.optimiser == "adam")
    stages = [
        dataclasses.replace(one, epochs=8 if one.optimiser == "adam" else 1) for one in stages
    ]
    outcome = quietly(potential, molecules, stages=stages)
    errors = [row["train"][label] for row in outcome.history if row["stage"] == name]
    assert errors[-1] < 0.8 * errors[0]
    if "messages" in potential.terms:  # they see scaled charges
        new, old = (one.terms["messages"] for one in (outcome.potential, potential))
        assert not np.allclose(new.charge_scaling.offset, old.charge_scaling.offset)
        assert new.scale != old.scale


@pytest.mark.parametrize("recipe", ["hdnnp_3g", "hdnnp_4g", "cent"])
def test_without_reference_charges_everything_is_learnt_from_energies(tiny, molecules, recipe):
    bare = [dataclasses.replace(one, charges=None) for one in molecules]
    first, last = default_stages(tiny.potential(recipe), bare)
    assert first.train == ("charge_model",)
    assert first.weights == Weights(dipole=10.0)
    assert last.train == ("charge_model", "terms")
    assert last.weights == Weights(energy=100.0, forces=1.0, dipole=10.0)
    bare = [dataclasses.replace(one, dipole=None) for one in bare]
    (stage,) = default_stages(tiny.potential(recipe), bare)
    assert stage == dataclasses.replace(last, weights=Weights(energy=100.0, forces=1.0))


def test_labels_that_nothing_has_are_left_out_of_the_usual_stages(tiny, molecules):
    potential = tiny.potential("hdnnp_4g")
    bare = [dataclasses.replace(one, forces=None) for one in molecules]
    weights = [stage.weights for stage in default_stages(potential, bare)]
    assert weights == [Weights(charges=1.0), Weights(energy=100.0)]
    bare = [dataclasses.replace(one, energy=None) for one in bare]
    assert [stage.name for stage in default_stages(potential, bare)] == ["charges"]
    bare = [dataclasses.replace(one, charges=None, dipole=None) for one in bare]
    with pytest.raises(lrpot.InputError, match="trains on dipole, energy, forces, and no"):
        default_stages(potential, bare)


def test_latent_charges_learn_from_dipoles(tiny, molecules):
    """The usual stage where no charges are known; other labels are the same."""
    train, held_out = molecules[:16], molecules[16:]
    errors = {}
    for dipoles in (True, False):
        bare = [
            dataclasses.replace(
                one, charges=None, quadrupole=None, dipole=one.dipole if dipoles else None
            )
            for one in train
        ]
        potential = tiny.potential("hdnnp_4g")
        stages = default_stages(potential, bare)
        assert [one.weights.dipole for one in stages] == ([10.0, 10.0] if dipoles else [0.0])
        stages = [dataclasses.replace(one, **{**SHORT, "epochs": 40}) for one in stages]
        found = quietly(potential, bare, stages=stages).potential
        errors[dipoles] = evaluate_structures(found, held_out).total
    assert errors[True]["dipole"].rmse < 0.4 * errors[False]["dipole"].rmse
    assert errors[True]["charges"].rmse < 0.6 * errors[False]["charges"].rmse


def test_dipoles_tell_cent_the_sign_of_charges(tiny):
    """The energy of a neutral system is the same for electronegativities of the other sign.

    And its mean is not that of the charges: offsets are learnt too.
    """
    teacher = tiny.potential("cent", key=9, hardness=tiny.hardness)
    last = lambda one: one.charge_model.networks.biases[-1]  # noqa: E731
    teacher = eqx.tree_at(last, teacher, last(teacher) + jnp.array([[2.0], [-2.0]]))
    structures = [tiny.structure(3, seed=seed) for seed in range(20)]
    structures = tiny.label(teacher, structures)
    train = [dataclasses.replace(one, charges=None, quadrupole=None) for one in structures[:16]]
    potential = tiny.potential("cent")
    stages = [
        dataclasses.replace(one, **{**SHORT, "epochs": 150, "learning_rate": 0.1})
        for one in default_stages(potential, train)
    ]
    found = quietly(potential, train, stages=stages).potential
    errors = evaluate_structures(found, structures[16:]).total
    typical = np.sqrt(np.mean([np.asarray(one.dipole) ** 2 for one in structures]))
    assert errors["dipole"].rmse < 0.1 * typical
    assert errors["energy"].rmse < 2e-3


def test_quadrupoles_are_learnt_beside_dipoles_and_charges(tiny, molecules):
    stage = charge_stage(**SHORT, weights=Weights(charges=1.0, dipole=0.5, quadrupole=0.5))
    found = quietly(tiny.potential("hdnnp_4g"), molecules, stages=(stage,))
    rows = [row["train"] for row in found.history]
    assert all(rows[-1][label] < 0.7 * rows[0][label] for label in ("charges", "quadrupole"))


@pytest.mark.parametrize("recipe", ["hdnnp_2g", "hdnnp_3g", "cent"])
def test_the_usual_stages_train_every_recipe(tiny, molecules, recipe):
    """4G is trained above. These molecules are of two sizes and several total charges."""
    potential = tiny.potential(recipe)
    stages = [
        dataclasses.replace(one, **{**SHORT, "learning_rate": 0.05})
        for one in default_stages(potential, molecules)
    ]
    found = quietly(potential, molecules, stages=stages)
    for stage in stages:
        rows = [row["train"] for row in found.history if row["stage"] == stage.name]
        weights = dataclasses.asdict(stage.weights)
        first, last = (
            sum(weights[k] * v**2 for k, v in row.items()) for row in rows[:: len(rows) - 1]
        )
        assert last < 0.8 * first


def test_joint_training_learns_all_parts_from_all_labels_in_several_buckets(tiny, fresh, molecules):
    larger = []
    for total_charge in (0, 1, 2):
        bare = tiny.structure(5, total_charge, seed=total_charge)
        charges = np.array([-0.6, 0.4, 0.4, -0.6, 0.4]) + total_charge / 5
        labels = dict(
            energy=np.array(-3.0),
            forces=np.zeros((5, 3)),
            charges=charges,
            dipole=charges @ np.asarray(bare.system.positions),
        )
        larger.append(dataclasses.replace(bare, **labels))
    structures = [*molecules[:6], *larger]
    assert len(make_batches(structures, fresh)) == 2
    weights = Weights(energy=10.0, forces=1.0, charges=30.0, dipole=3.0)
    stage = joint_stage(weights=weights, epochs=12, batch_size=3, averaging=0.0)
    found = quietly(fresh, structures, stages=(stage,))
    assert set(found.history[0]["train"]) == {"energy", "forces", "charges", "dipole"}
    first, last = found.history[0]["train"], found.history[-1]["train"]
    assert all(last[label] < first[label] for label in ("energy", "charges", "dipole"))
    moved = arrays(found.potential, learnt=True), arrays(fresh, learnt=True)
    assert not any(np.array_equal(*pair) for pair in zip(*moved, strict=True) if pair[0].any())


def test_errors_count_only_structures_that_have_the_label(tiny, molecules):
    structures = [
        one if number % 3 == 0 else dataclasses.replace(one, charges=None)
        for number, one in enumerate(molecules)
    ]
    potential = tiny.potential("hdnnp_4g")
    stage = charge_stage(epochs=1, batch_size=1, learning_rate=1e-12)
    found = quietly(potential, structures, stages=(stage,))
    ((batch, _),) = make_batches(structures, potential)
    squared = eqx.filter_jit(lambda p, b: squared_errors(p, b, {"charges": 1.0}))
    errors = squared(found.potential, batch)["charges"]
    expected = np.sqrt(np.sum(errors) / (len(structures) / 3))
    np.testing.assert_allclose(found.history[0]["train"]["charges"], expected, rtol=1e-6)


def test_validation_picks_the_best_parameters_and_patience_ends_the_stage(tiny, molecules):
    train, held_out = molecules[:12], molecules[12:]
    wild = Stage(
        weights=Weights(energy=1.0),
        train=("terms",),
        epochs=100,
        batch_size=6,
        learning_rate=0.3,
        averaging=0.0,
        patience=4,
    )
    found = quietly(tiny.potential("hdnnp_2g"), train, held_out, stages=(wild,))
    errors = [row["validation"]["energy"] for row in found.history]
    best = int(np.argmin(errors))
    assert best + 1 + wild.patience == len(errors) < wild.epochs
    assert errors[best] < 0.99 * errors[-1]
    evaluation = evaluate_structures(found.potential, held_out)
    np.testing.assert_allclose(evaluation.total["energy"].rmse, errors[best], rtol=1e-9)


def test_averaging_weighs_old_parameters_by_its_decay(tiny, molecules):
    """One update of everything at once: the average is between the first and the new one."""
    potential = tiny.potential("hdnnp_2g")
    first = quietly(potential, molecules, stages=(energy_stage(epochs=1, batch_size=24),))
    once = {"epochs": 1, "batch_size": 24, "learning_rate": 0.1}
    new, mean = (
        quietly(first.potential, molecules, stages=(energy_stage(**once, averaging=averaging),))
        for averaging in (0.0, 0.75)
    )
    triples = zip(*(arrays(one.potential, learnt=True) for one in (first, new, mean)), strict=True)
    for old, updated, averaged in triples:
        assert not np.array_equal(old, updated)
        np.testing.assert_allclose(averaged, 0.75 * old + 0.25 * updated, rtol=0, atol=1e-14)


def test_charge_training_finds_the_hardness_behind_the_charges(tiny, molecules):
    """Charges of an equilibration with known hardness, each geometry in two charge states.

    How charges respond to the total charge fixes the hardness, whatever the networks learn.
    """
    stage = charge_stage(epochs=400, batch_size=20, learning_rate=0.05)
    potential = tiny.potential("hdnnp_4g", hardness=10.0)
    found = quietly(potential, molecules[:20], stages=(stage,)).potential
    assert found.charge_model.solver == "auto"
    assert eqx.tree_equal(found.charge_model.coulomb, potential.charge_model.coulomb)
    hardness = np.asarray(found.charge_model.hardness_root) ** 2
    expected = [tiny.hardness["H"], tiny.hardness["O"]]
    np.testing.assert_allclose(hardness, expected, rtol=0.01)
    errors = evaluate_structures(found, molecules[20:])
    assert errors.total["charges"].rmse < 0.01 * errors.reference["charges"].std()


def test_small_structures_are_trained_on_by_factorisation_unless_told_otherwise(tiny):
    potential = tiny.potential("hdnnp_4g")
    few, many = (
        Structure(lrpot.System(np.zeros((n, 3)), np.ones(n, int), cell=np.eye(3)))
        for n in (100, FACTORISE_UP_TO + 1)
    )
    model = _factorised(potential, [few]).charge_model
    assert (model.solver, model.coulomb.method) == ("dense", "ewald")
    assert eqx.tree_equal(_factorised(potential, [few, many]), potential)
    told = potential.with_solver(solver="iterative")
    assert _factorised(told, [few]).charge_model.solver == "iterative"


def test_errors_that_are_not_finite_name_the_stage(tiny, molecules):
    absurd = dataclasses.replace(molecules[0], energy=np.array(1e200))
    stage = energy_stage(epochs=3, batch_size=6, name="too far")
    with pytest.raises(FloatingPointError, match=r"epoch 1 of stage `too far`.*`lrpot check`"):
        quietly(tiny.potential("hdnnp_2g"), [absurd, *molecules[1:]], stages=(stage,))


@pytest.mark.parametrize(
    ("recipe", "stages", "message"),
    [
        ("hdnnp_2g", (charge_stage(),), "Stage `charges` trains on charges or dipoles, but .*2g"),
        ("hdnnp_2g", (energy_stage(train=("charge_model",)),), "trains the charge model only"),
        (
            "hdnnp_4g",
            (energy_stage(weights=Weights(energy=1.0, stress=1.0)),),
            "Stage `energies` trains on stress, but no structure has any.*weight of `stress` to 0",
        ),
        ("hdnnp_4g", (), "There are no stages"),
        ("hdnnp_4g", (joint_stage(), joint_stage()), "Every stage needs a name of its own"),
        (
            "hdnnp_2g",
            (energy_stage(epochs=2, patience=1),),
            "Stage `energies` is to end after 1 epochs .* validation data, but there are none",
        ),
    ],
    ids=["2G on charges", "2G charge model", "missing label", "no stage", "same names", "patience"],
)
def test_stages_that_cannot_work_are_refused(tiny, molecules, recipe, stages, message):
    with pytest.raises(lrpot.InputError, match=message):
        quietly(tiny.potential(recipe), molecules, stages=stages)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train": ("term",)}, r"Unknown part `term` in `train`\. Did you mean `terms`\?"),
        ({"train": ()}, "trains no part"),
        ({"epochs": 0}, r"`epochs` must be at least 1 and at most 2147483647, got 0"),
        ({"batch_size": 0}, r"`batch_size` must be at least 1 and .*, got 0"),
        ({"learning_rate": 0.0}, "`learning_rate`"),
        ({"averaging": 1.0}, "`averaging` must be at least 0 and below 1, got 1.0"),
        ({"clip": 0.0}, "`clip` must be above 0, got 0.0"),
        ({"patience": -1}, r"`patience` must be at least 0 and .*, got -1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_of_a_stage_are_checked(settings, message):
    with pytest.raises(lrpot.InputError, match=message):
        Stage(**settings)


@pytest.mark.parametrize("values", [{"energy": -1.0, "forces": 1.0}, {}])
def test_weights_are_positive_and_not_all_zero(values):
    with pytest.raises(lrpot.InputError, match=r"must be at least 0, got -1|must not all be zero"):
        Weights(**values)


def test_there_must_be_something_to_train_on(tiny):
    with pytest.raises(lrpot.InputError, match="no structures to train on"):
        fit(tiny.potential("hdnnp_2g"), [])


def test_the_time_of_a_training_is_without_its_compilations():
    """Five seconds for the first epoch of a stage and one for each of the others."""
    rows = [("charges", 5), ("charges", 6), ("charges", 7), ("energies", 12), ("energies", 13)]
    potential = lrpot.hdnnp_2g(("H",), hidden=(2,), key=jax.random.key(0))
    history = [{"stage": stage, "seconds": float(seconds)} for stage, seconds in rows]
    assert lrpot.training.Fit(potential, history).seconds == 3 + 2
    assert lrpot.training.Fit(potential, history[:1]).seconds == 0
