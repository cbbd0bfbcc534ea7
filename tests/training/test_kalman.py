"""The extended Kalman filter: its algebra, what it observes, and that it trains."""

import dataclasses
import functools
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import lrpot
from lrpot.checkpoint import FILE
from lrpot.config import from_mapping
from lrpot.data import make_batches
from lrpot.potential import trainable
from lrpot.training import (
    Kalman,
    Stage,
    Weights,
    charge_stage,
    default_stages,
    energy_stage,
    fit,
    joint_stage,
    squared_errors,
)
from lrpot.training import kalman as module
from lrpot.training.kalman import KalmanFilter, coupled, kalman_update, schedule
from lrpot.training.observations import observe

SHORT = {"optimiser": "kalman", "epochs": 4, "batch_size": 6}


# The algebra, against numpy.


@pytest.fixture(scope="module")
def linear():
    """40 observations y = H w + noise of 5 parameters."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(40, 5))
    return rows, rows @ random.normal(size=5) + 0.1 * random.normal(size=40)


@pytest.mark.parametrize("streams", [1, 4, 40])
def test_for_a_linear_model_the_filter_is_regularised_least_squares(linear, streams):
    """However the observations are dealt out: w = argmin Σ ξ²/R + |w − w₀|²/P₀."""
    rows, targets = linear
    noise, variance, first = 0.01, 3.0, np.linspace(-1, 1, 5)
    covariance, found = (variance * jnp.eye(5),), jnp.asarray(first)
    update = jax.jit(kalman_update)
    for chosen in np.arange(40).reshape(-1, streams):
        errors = jnp.asarray(targets[chosen]) - rows[chosen] @ found
        (step,), covariance = update(
            covariance, [jnp.asarray(rows[chosen])], errors, jnp.asarray(noise)
        )
        found += step
    information = rows.T @ rows / noise + np.eye(5) / variance
    expected = np.linalg.solve(information, rows.T @ targets / noise + first / variance)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    np.testing.assert_allclose(covariance[0], np.linalg.inv(information), rtol=1e-8, atol=1e-12)


def test_a_fading_memory_weighs_old_observations_by_a_power_of_its_forgetting(linear):
    rows, targets = linear
    forgetting, noise = 0.8, 0.01
    covariance, found = (jnp.eye(5),), jnp.zeros(5)
    update = jax.jit(functools.partial(kalman_update, forgetting=forgetting))
    for row, target in zip(jnp.asarray(rows)[:, None, :], targets, strict=True):
        (step,), covariance = update(covariance, [row], target - row @ found, jnp.asarray(noise))
        found += step
    powers = forgetting ** np.arange(40, 0, -1)
    information = (rows.T * powers) @ rows / noise + forgetting**40 * np.eye(5)
    expected = np.linalg.solve(information, (rows.T * powers) @ targets / noise)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(covariance[0], np.linalg.inv(information), rtol=1e-8, atol=1e-12)


def test_an_update_of_several_groups_is_what_its_definition_says():
    """With explicit inverses: one innovation for all groups, a gain for each."""
    random = np.random.default_rng(1)
    rows = [random.normal(size=(3, size)) for size in (4, 2)]
    roots = [random.normal(size=(size, size)) for size in (4, 2)]
    before = [root @ root.T + np.eye(len(root)) for root in roots]
    errors, noise, process_noise, forgetting = random.normal(size=3), 0.3, 0.05, 0.9
    steps, after = kalman_update(
        tuple(map(jnp.asarray, before)),
        list(map(jnp.asarray, rows)),
        jnp.asarray(errors),
        jnp.asarray(noise),
        process_noise=process_noise,
        forgetting=forgetting,
    )
    spread = [p @ h.T for p, h in zip(before, rows, strict=True)]
    innovation = sum(h @ x for h, x in zip(rows, spread, strict=True)) + noise * np.eye(3)
    for p, x, step, new in zip(before, spread, steps, after, strict=True):
        gain = x @ np.linalg.inv(innovation)
        np.testing.assert_allclose(step, gain @ errors, rtol=1e-10)
        expected = (p - gain @ x.T) / forgetting + process_noise * np.eye(len(p))
        np.testing.assert_allclose(new, expected, rtol=1e-10, atol=1e-12)


def test_observations_that_are_missing_change_nothing():
    covariance, row = (2.0 * jnp.eye(3),), jnp.array([[1.0, -1.0, 0.5]])
    alone = kalman_update(covariance, [row], jnp.array([0.7]), jnp.asarray(0.1))
    padded = jnp.concatenate([jnp.zeros((2, 3)), row])
    errors = jnp.array([0.0, 0.0, 0.7])
    more = kalman_update(covariance, [padded], errors, jnp.asarray(0.1))
    for one, other in zip(jax.tree.leaves(alone), jax.tree.leaves(more), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize("forgetting", [1.0, 0.99])
def test_the_covariance_stays_symmetric_and_positive_definite(forgetting):
    """Ill-conditioned, nearly noiseless and repeated observations, a thousand updates long."""
    random = np.random.default_rng(2)
    scales = 10.0 ** np.linspace(-3, 1, 12)
    update = jax.jit(kalman_update)
    covariance = (jnp.eye(12),)
    for _ in range(1000):
        rows = random.normal(size=(5, 12)) * scales
        rows[4] = rows[3]
        _, covariance = update(
            covariance,
            [jnp.asarray(rows)],
            jnp.zeros(5),
            jnp.asarray(1e-6),
            forgetting=jnp.asarray(forgetting),
        )
    matrix = np.asarray(covariance[0])
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-9, atol=1e-14 * np.abs(matrix).max())
    assert np.linalg.eigvalsh(matrix).min() > 0


def test_noise_falls_by_a_decade_per_epoch_and_forgetting_ends():
    settings = Kalman(
        noise=100.0,
        noise_floor=1.0,
        process_noise=1e-2,
        process_noise_floor=1e-6,
        forgetting=0.95,
        forgetting_rate=0.9,
    )
    measured, forgetting = jnp.asarray(7.0), 0.95
    compiled = jax.jit(lambda update: schedule(settings, update, measured, 10))
    for update in range(61):
        noise, process_noise, found = compiled(jnp.asarray(update))
        np.testing.assert_allclose(found, forgetting, rtol=1e-12)
        forgetting = 0.9 * forgetting + 1 - 0.9
        epochs = update / 10
        np.testing.assert_allclose(noise, max(100.0 * 10**-epochs, 1.0), rtol=1e-12)
        np.testing.assert_allclose(process_noise, max(1e-2 * 10**-epochs, 1e-6), rtol=1e-12)


def test_measured_noise_grows_with_the_passes_over_the_data():
    for update, passes in ((0, 1.0), (5, 1.5), (10, 2.0), (30, 4.0)):
        noise, *_ = schedule(Kalman(), jnp.asarray(update), jnp.asarray(7.0), 10)
        np.testing.assert_allclose(noise, 7.0 * passes, rtol=1e-12)


# What is observed.


def learnt(potential):
    return eqx.partition(potential, trainable(potential))


def observed(potential, batch, weights, key=0, **settings):
    """Observations by a compiled function, as training makes them."""
    parameters, rest = learnt(potential)
    key = jax.random.key(key)
    return compiled_observe()(parameters, rest, batch, weights, key=key, **settings)


@functools.cache
def compiled_observe():
    """Once for all tests of one shape; not before the fixture that speeds compilation up."""
    return eqx.filter_jit(observe)


@pytest.fixture(scope="module")
def mixed(tiny, molecules):
    """A 4G potential, and molecules of two and three atoms some of which lack labels."""
    potential = tiny.potential("hdnnp_4g", key=3)
    bare = [dataclasses.replace(molecules[0], charges=None)]
    bare.append(dataclasses.replace(molecules[3], forces=None, energy=None))
    ((batch, _),) = make_batches([*bare, molecules[1], molecules[2]], potential)
    return potential, batch


@pytest.fixture(scope="module")
def crystal(tiny, molecules):
    """A 2G potential, and two small crystals with a stress."""
    potential = tiny.potential("hdnnp_2g", key=4)
    random, structures = np.random.default_rng(5), []
    for seed in range(2):
        one = tiny.structure(3, cell=np.diag([4.0, 4.2, 4.4]), seed=seed)
        stress = random.normal(size=(3, 3))
        labels = dict(energy=np.array(1.5), forces=random.normal(size=(3, 3)))
        structures.append(dataclasses.replace(one, **labels, stress=stress + stress.T))
    ((batch, _),) = make_batches(structures, potential)
    return potential, batch


CASES = {
    "mixed": {"energy": 2.0, "forces": 0.5, "charges": 3.0, "dipole": 0.7, "quadrupole": 0.4},
    "crystal": {"energy": 2.0, "forces": 0.5, "stress": 4.0},
}


@pytest.mark.parametrize("case", CASES)
def test_the_squares_of_all_observations_sum_to_the_loss(request, case):
    potential, batch = request.getfixturevalue(case)
    weights = CASES[case]
    found, means = observed(potential, batch, weights)
    errors = eqx.filter_jit(squared_errors)(potential, batch, weights)
    total = sum(weights[label] * error.sum() for label, error in errors.items())
    np.testing.assert_allclose(jnp.sum(found.errors**2), total, rtol=1e-10)
    for label, error in errors.items():
        expected = error.sum() / batch.known[label].sum()
        np.testing.assert_allclose(means[label], expected, rtol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_rows_are_the_derivatives_of_the_predictions(request, case):
    """One by one, by central differences along a random change of all parameters."""
    potential, batch = request.getfixturevalue(case)
    parameters, rest = learnt(potential)
    flat, unravel = jax.flatten_util.ravel_pytree(parameters)
    change = np.random.default_rng(6).normal(size=flat.size)
    step = 1e-5
    there, back = (
        observed(eqx.combine(unravel(flat + sign * step * change), rest), batch, CASES[case])[0]
        for sign in (1, -1)
    )
    numerical = -(there.errors - back.errors) / (2 * step)
    found, _ = observed(potential, batch, CASES[case])
    np.testing.assert_allclose(found.rows @ change, numerical, rtol=1e-6, atol=1e-7)


def test_padding_and_missing_labels_are_not_observed(mixed):
    found, _ = observed(*mixed, CASES["mixed"])
    n_atoms = [int(count) for count in (mixed[1].systems.numbers > 0).sum(axis=1)]
    known = {label: np.asarray(values) for label, values in mixed[1].known.items()}
    expected = known["energy"].sum() + 3 * known["dipole"].sum() + 6 * known["quadrupole"].sum()
    expected += 3 * known["forces"] @ n_atoms + known["charges"] @ n_atoms
    assert float(found.present.sum()) == expected
    absent = np.asarray(found.present) == 0
    assert absent.any()
    assert not np.asarray(found.errors)[absent].any()
    assert not np.asarray(found.rows)[absent].any()


def test_a_share_of_the_forces_stands_for_all_of_them(mixed):
    """A third of the nine components: other ones for another key, at three times the weight."""
    weights = {"forces": 1.0}
    everything, _ = observed(*mixed, weights)
    some, _ = observed(*mixed, weights, share=1 / 3)
    other, _ = observed(*mixed, weights, key=1, share=1 / 3)
    assert len(everything.errors) == 9 * mixed[1].size
    assert len(some.errors) == 3 * mixed[1].size
    assert not np.allclose(some.errors, other.errors)
    three = np.asarray((mixed[1].systems.numbers > 0).sum(axis=1) == 3)
    for row in np.flatnonzero(three & (np.asarray(mixed[1].known["forces"]) > 0)):
        full = np.asarray(everything.errors).reshape(-1, 9)[row] * np.sqrt(3)
        for error in np.asarray(some.errors).reshape(-1, 3)[row]:
            assert np.isclose(full, error, rtol=1e-10).sum() == 1


def test_large_force_errors_are_looked_at_first(mixed):
    everything, means = observed(*mixed, {"forces": 1.0})
    share, threshold = 1 / 3, 1.0
    some, seen = observed(*mixed, {"forces": 1.0}, share=share, threshold=threshold)
    np.testing.assert_allclose(seen["forces"], means["forces"], rtol=1e-10)
    checked = 0
    for full, chosen in zip(
        np.abs(everything.errors).reshape(-1, 9), np.abs(some.errors).reshape(-1, 3), strict=True
    ):
        if np.all(full > 0):  # three atoms, with forces
            above = np.sum(full > threshold * np.sqrt(np.mean(full**2)))
            taken = np.sum(chosen / np.sqrt(3) > threshold * np.sqrt(np.mean(full**2)))
            assert taken == min(above, 3)
            checked += above > 0
    assert checked


# Which parameters share a covariance.


@pytest.mark.parametrize(("coupling", "count"), [("global", 1), ("element", 2), ("layer", 10)])
def test_groups_are_all_parameters_elements_or_layers(tiny, coupling, count):
    """Two elements; two networks of two layers each, and the hardness."""
    parameters, _ = learnt(tiny.potential("hdnnp_4g"))
    groups = coupled(parameters, coupling)
    assert len(groups) == count
    size = sum(leaf.size for leaf in jax.tree.leaves(parameters))
    np.testing.assert_array_equal(np.sort(np.concatenate(groups)), np.arange(size))
    if coupling == "element":
        rows = jax.tree.map(
            lambda leaf: leaf * 0 + jnp.arange(2).reshape(2, *[1] * (leaf.ndim - 1)), parameters
        )
        flat = np.asarray(jax.flatten_util.ravel_pytree(rows)[0])
        assert [set(flat[group]) for group in groups] == [{0.0}, {1.0}]


def test_less_is_coupled_where_parameters_are_many(tiny, monkeypatch):
    parameters, _ = learnt(tiny.potential("hdnnp_2g"))
    groups = {name: coupled(parameters, name) for name in ("global", "element", "layer")}
    for name, expected in groups.items():
        monkeypatch.setattr(module, "COUPLED_AT_MOST", max(map(len, expected)))
        assert len(coupled(parameters, "auto")) == len(expected), name
    monkeypatch.setattr(module, "COUPLED_AT_MOST", 1)
    assert len(coupled(parameters, "auto")) == len(groups["layer"])
    taken = 8 * sum(len(group) ** 2 for group in groups["layer"])
    monkeypatch.setattr(module, "COVARIANCE_AT_MOST", taken - 1)
    with pytest.raises(lrpot.InputError, match=r"coupling `layer`.*take smaller networks"):
        coupled(parameters, "auto")
    with pytest.raises(lrpot.InputError, match="coupling `element`"):
        coupled(parameters, "element")


def test_single_precision_is_refused(tiny):
    parameters, _ = learnt(tiny.potential("hdnnp_2g"))
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), parameters)
    filter_ = KalmanFilter(Kalman(), {"energy": 1.0}, updates_per_epoch=1, seed=0)
    with pytest.raises(lrpot.InputError, match=r"double precision.*jax_enable_x64"):
        filter_.start(single)


# Training.


def quietly(potential, structures, validation=(), **settings):
    return fit(potential, structures, validation, progress=False, **settings)


def same(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(*pair) for pair in pairs)


STAGES = (charge_stage(**SHORT), energy_stage(**SHORT))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, tiny, molecules):
    """A training of both stages, and its folder."""
    folder = tmp_path_factory.mktemp("unbroken")
    settings = dict(stages=STAGES, folder=folder, checkpoint_seconds=0.0)
    return folder, quietly(tiny.potential("hdnnp_4g"), molecules, **settings)


def test_four_epochs_bring_the_errors_of_both_stages_far_down(unbroken):
    history = unbroken[1].history
    assert [row["epoch"] for row in history] == [1, 2, 3, 4] * 2
    for stage, labels in (("charges", {"charges"}), ("energies", {"energy", "forces"})):
        rows = [row["train"] for row in history if row["stage"] == stage]
        assert set(rows[0]) == labels
        assert all(rows[-1][label] < 0.25 * rows[0][label] for label in labels)


def test_a_broken_training_ends_with_the_same_parameters_and_covariance(
    unbroken, tmp_path, tiny, molecules
):
    """Interrupted in the middle of each stage; bit for bit, the last checkpoint included."""
    folder, expected = unbroken
    trainer = sys.modules["lrpot.training.fit"].Trainer
    original, done = trainer.epoch, []

    def interrupted(self, epoch):
        done.append(epoch)
        if len(done) in (3, 7):
            raise KeyboardInterrupt
        return original(self, epoch)

    def go_on():
        settings = dict(stages=STAGES, folder=tmp_path, checkpoint_seconds=0.0)
        return quietly(tiny.potential("hdnnp_4g"), molecules, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "epoch", interrupted)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                go_on()
        found = go_on()
    assert done == [0, 1, 2, 2, 3, 0, 1, 1, 2, 3]
    assert same(
        eqx.filter(found.potential, eqx.is_array), eqx.filter(expected.potential, eqx.is_array)
    )
    stored, wanted = (safetensors.numpy.load_file(path / FILE) for path in (tmp_path, folder))
    assert stored.keys() == wanted.keys()
    assert all(stored[name].tobytes() == wanted[name].tobytes() for name in stored)
    sizes = {array.shape for array in stored.values() if array.ndim == 2}
    parameters, _ = learnt(expected.potential.terms["short_range"].networks)
    size = sum(leaf.size for leaf in jax.tree.leaves(parameters))
    assert (size, size) in sizes  # the covariance is there


def test_nothing_is_compiled_after_the_first_epoch(tiny, molecules, monkeypatch):
    """Two buckets, and a validation set."""
    larger = [
        dataclasses.replace(tiny.structure(5, 0, seed=seed), energy=np.array(-3.0))
        for seed in (0, 1)
    ]
    potential = tiny.potential("hdnnp_2g")
    compiled, epochs = [], []
    trainer = sys.modules["lrpot.training.fit"].Trainer
    original = trainer.epoch

    def listen(name, *_, **__):
        if name == "/jax/core/compile/backend_compile_duration":
            compiled.append(len(epochs))

    def epoch(self, number):
        epochs.append(number)
        return original(self, number)

    monkeypatch.setattr(trainer, "epoch", epoch)
    jax.monitoring.register_event_duration_secs_listener(listen)  # JAX 0.8 cannot forget one
    stage = energy_stage(**{**SHORT, "batch_size": 2})
    quietly(potential, [*molecules[:8], *larger], molecules[8:], stages=(stage,))
    assert len(epochs) == SHORT["epochs"]
    assert compiled
    assert max(compiled) == 1


@pytest.mark.parametrize("coupling", ["element", "layer"])
def test_decoupled_filters_train_too(tiny, molecules, coupling):
    stage = energy_stage(**{**SHORT, "epochs": 10}, kalman=Kalman(coupling=coupling))
    rows = quietly(tiny.potential("hdnnp_2g"), molecules, stages=(stage,)).history
    first, last = rows[0]["train"], rows[-1]["train"]
    assert all(last[label] < 0.5 * first[label] for label in first)


@pytest.mark.parametrize(
    "settings",
    [
        {"noise": 1.0, "noise_floor": 1e-4, "process_noise": 1e-3, "process_noise_floor": 1e-6},
        pytest.param({"forgetting": 0.95}, marks=pytest.mark.slow),
    ],
    ids=["standard", "fading memory"],
)
def test_the_published_schedules_train_everything_at_once(tiny, molecules, settings):
    stage = joint_stage(**SHORT, kalman=Kalman(**settings))
    rows = quietly(tiny.potential("hdnnp_4g"), molecules, stages=(stage,)).history
    first, last = rows[0]["train"], rows[-1]["train"]
    assert set(first) == {"energy", "forces", "charges"}
    assert all(last[label] < 0.5 * first[label] for label in first)


def test_a_structure_that_spoils_the_errors_is_named(tiny, molecules):
    absurd = dataclasses.replace(molecules[5], energy=np.array(1e200), name="the absurd one")
    structures = [*molecules[:5], absurd, *molecules[6:]]
    message = r"epoch 1 of stage `energies`.*not finite for the absurd one: look"
    with pytest.raises(FloatingPointError, match=message):
        quietly(
            tiny.potential("hdnnp_2g"),
            structures,
            stages=STAGES[1:],
            atomic_energies={"H": 0.0, "O": 0.0},
        )


# Settings.


def test_each_optimiser_has_its_own_defaults():
    filtered, descended = energy_stage(optimiser="kalman"), energy_stage()
    assert (filtered.epochs, filtered.averaging, filtered.learning_rate) == (30, 0.0, None)
    assert filtered.kalman == Kalman()
    assert (descended.epochs, descended.averaging, descended.kalman) == (1000, 0.99, None)


def test_the_usual_stages_come_with_either_optimiser(tiny, molecules):
    for recipe in lrpot.MODELS:
        potential = tiny.potential(recipe)
        plain = default_stages(potential, molecules)
        filtered = default_stages(potential, molecules, optimiser="kalman")
        assert [one.name for one in plain] == [one.name for one in filtered]
        assert [one.weights for one in plain] == [one.weights for one in filtered]
        assert all(one.kalman == Kalman() for one in filtered)


def test_a_table_of_a_configuration_is_read():
    table = {"optimiser": "kalman", "kalman": {"forces": 0.1, "noise": 1, "coupling": "element"}}
    stage = from_mapping(Stage, table)
    assert stage.kalman == Kalman(forces=0.1, noise=1.0, coupling="element")
    assert from_mapping(Stage, {**table, "epochs": 7}).epochs == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimiser": "kalmann"}, r"Unknown optimiser `kalmann`\. Did you mean `kalman`\?"),
        ({"optimiser": "kalman", "learning_rate": 1e-3}, "`learning_rate` is not a setting of"),
        ({"kalman": Kalman()}, "`kalman` is not a setting of the optimiser `adam`"),
        ({"optimiser": "kalman", "epochs": 0}, "`epochs` must be at least 1"),
    ],
    ids=["name", "of adam", "of kalman", "epochs"],
)
def test_settings_of_the_other_optimiser_are_refused(settings, message):
    with pytest.raises(lrpot.InputError, match=message):
        Stage(weights=Weights(energy=1.0), **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variance": 0.0}, "`variance` must be above 0, got 0.0"),
        ({"noise": 0.0}, "`noise` must be above 0, got 0.0"),
        ({"noise_floor": -1.0}, "`noise_floor` must be above 0, got -1.0"),
        ({"process_noise": -1.0}, "`process_noise` must be at least 0, got -1.0"),
        ({"threshold": -1.0}, "`threshold` must be at least 0, got -1.0"),
        ({"forgetting": 0.0}, "`forgetting` must be above 0 and at most 1, got 0.0"),
        ({"forces": 1.1}, "`forces` must be above 0 and at most 1, got 1.1"),
        ({"coupling": "elements"}, r"Unknown coupling `elements`\. Did you mean `element`\?"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_of_the_filter_are_checked(settings, message):
    with pytest.raises(lrpot.InputError, match=message):
        Kalman(**settings)
