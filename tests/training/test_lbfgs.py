"""L-BFGS: the loss of all data at once, and that it trains."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

import lrpot
from lrpot.committee import Committee
from lrpot.data import make_batches
from lrpot.training import (
    Stage,
    Weights,
    calibrate,
    charge_stage,
    default_stages,
    energy_stage,
    fit,
)
from lrpot.training.trainer import Trainer

WEIGHTS = Weights(energy=100.0, forces=1.0, charges=100.0)


def stage(**settings):
    return Stage(weights=WEIGHTS, optimiser="lbfgs", **settings)


def trained(potential, structures, **settings):
    return fit(potential, structures, stages=(stage(**settings),), progress=False)


def losses(history):
    """Of each epoch, from errors by label."""
    return [
        sum(getattr(WEIGHTS, label) * error**2 for label, error in row["train"].items())
        for row in history
    ]


@pytest.fixture(scope="module")
def found(tiny, molecules):
    return trained(tiny.potential("hdnnp_4g"), molecules, epochs=12, batch_size=24)


def test_the_loss_falls_with_every_update(found):
    values = losses(found.history)
    assert all(after < before for before, after in itertools.pairwise(values))
    assert values[-1] < 0.1 * values[0]


@pytest.mark.slow
def test_how_many_structures_are_in_memory_at_once_does_not_matter(tiny, molecules, found):
    """24 structures, the last of 5 chunks with one of them only."""
    fewer = trained(tiny.potential("hdnnp_4g"), molecules, epochs=2, batch_size=5)
    np.testing.assert_allclose(losses(fewer.history), losses(found.history)[:2], rtol=1e-6)


def test_it_minimises_what_is_measured(tiny, molecules):
    """The value that its search ended with is the loss over all structures, weights included."""
    molecules[0] = dataclasses.replace(molecules[0], weight=3.0, charges=None)
    potential = tiny.potential("hdnnp_4g")
    batches = [batch for batch, _ in make_batches(molecules, potential)]
    potential = calibrate(potential, molecules, batches)
    trainer = Trainer(stage(epochs=2, batch_size=7), 0, potential, batches, batches)
    trainer.epoch(0)
    _, loss = trainer.validate()
    (value,) = (
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(trainer.state.optimiser)
        if jax.tree_util.keystr(path).endswith(".value")
    )
    np.testing.assert_allclose(value, loss, rtol=1e-10)


def test_members_of_a_committee_are_trained_as_if_alone(tiny, molecules):
    members = [tiny.potential("hdnnp_2g", key) for key in (0, 1)]
    stages = (energy_stage(optimiser="lbfgs", epochs=2, batch_size=24),)
    together = fit(Committee(members), molecules, stages=stages, progress=False).potential
    alone = fit(members[1], molecules, stages=stages, progress=False).potential
    for one, other in zip(
        jax.tree.leaves(together.members[1]), jax.tree.leaves(alone), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


def test_the_usual_stages_can_be_trained_with_it(tiny, molecules):
    stages = default_stages(tiny.potential("hdnnp_4g"), molecules, optimiser="lbfgs")
    assert [one.name for one in stages] == ["charges", "energies"]
    assert all(one.epochs == 300 and one.learning_rate is None for one in stages)
    with pytest.raises(lrpot.InputError, match="`learning_rate` is not a setting"):
        charge_stage(optimiser="lbfgs", learning_rate=1e-3)
