"""Training on data that are extreme, or wrong in one place."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrpot.checkpoint import FILE
from lrpot.training import energy_stage, fit

ELECTRONS = {1: -0.5e6, 8: -2e6}
"""Energies such as those of heavy atoms with all their electrons, in eV."""

SHORT = {"epochs": 3, "batch_size": 4, "averaging": 0.0}


def quietly(potential, structures, **settings):
    return fit(potential, structures, progress=False, **settings)


@pytest.fixture
def poisoned(monkeypatch):
    """A loss with the right value everywhere, and an infinite slope where the energy is this."""
    for name in ("adam", "trainer"):
        module = sys.modules[f"lrpot.training.{name}"]

        def loss(potential, batch, *arguments, original=module.loss, **settings):
            total, means = original(potential, batch, *arguments, **settings)
            distance = jnp.abs(batch.labels["energy"] - 0.125).min()
            weight = potential.terms["short_range"].networks.weights[0]
            root = jnp.sqrt(jnp.sum(weight**2) * distance)
            return total + root - jax.lax.stop_gradient(root), means

        monkeypatch.setattr(module, "loss", loss)
    return np.array(0.125)


def test_a_structure_whose_gradient_is_not_finite_is_named_and_spoils_nothing(
    tiny, molecules, poisoned, tmp_path
):
    potential = tiny.potential("hdnnp_2g")
    none = {"H": 0.0, "O": 0.0}
    settings = dict(stages=(energy_stage(**SHORT),), atomic_energies=none, folder=tmp_path)
    sane = [one for one in molecules if one.system.n_atoms == 3]
    odd = dataclasses.replace(sane[5], energy=poisoned, name="the odd one")
    message = r"before an update.* epoch 1 of stage `energies`.*gradient is not finite for the odd"
    with pytest.raises(FloatingPointError, match=message + r" one: look at geometry"):
        quietly(potential, [*sane[:5], odd, *sane[6:]], **settings)
    assert not (tmp_path / FILE).exists()


def test_after_a_failed_update_there_is_no_other(tiny, molecules, poisoned):
    """What is left is the state before it, with which its structures can be looked at."""
    sane = [one for one in molecules if one.system.n_atoms == 3]
    odd = dataclasses.replace(sane[5], energy=poisoned)
    structures = [*sane[:5], odd, *sane[6:]]
    trainer, found = sys.modules["lrpot.training.fit"].Trainer, []
    original = trainer.spoilt

    def spoilt(self, number, rows):
        found.append((self.state, rows))
        return original(self, number, rows)

    none = {"H": 0.0, "O": 0.0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "spoilt", spoilt)
        with pytest.raises(FloatingPointError, match="gradient is not finite"):
            quietly(
                tiny.potential("hdnnp_2g"),
                structures,
                stages=(energy_stage(**SHORT),),
                atomic_energies=none,
            )
    ((state, rows),) = found
    assert len(rows) == SHORT["batch_size"]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def ordinary_and_heavy(molecules):
    """Structures with ordinary energies, and the same with the energies of all electrons."""
    heavy = []
    for one in molecules:
        electrons = sum(ELECTRONS[int(number)] for number in one.system.numbers)
        heavy.append(dataclasses.replace(one, energy=np.array(one.energy + electrons)))
    return molecules, heavy


def test_energies_of_all_electrons_train_like_any_others(tiny, molecules):
    histories = [
        quietly(tiny.potential("hdnnp_2g"), structures, stages=(energy_stage(**SHORT),)).history
        for structures in ordinary_and_heavy(molecules)
    ]
    for one, other in zip(*histories, strict=True):
        for label, value in one["train"].items():
            np.testing.assert_allclose(other["train"][label], value, rtol=1e-6)


def in_single_precision(tree):
    return jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if leaf.dtype == jnp.float64 else leaf, tree
    )


def test_energies_of_all_electrons_can_be_trained_on_in_single_precision(tiny, molecules):
    """Their resolution is 0.1 eV, and the errors in the first epoch are smaller than that."""
    _, heavy = ordinary_and_heavy(molecules)
    settings = dict(stages=(energy_stage(**SHORT),))
    potential = tiny.potential("hdnnp_2g")
    double = quietly(potential, heavy, **settings).history
    assert np.spacing(np.float32(abs(heavy[0].energy))) > 0.1
    with jax.enable_x64(False):
        narrow = [dataclasses.replace(one, system=in_single_precision(one.system)) for one in heavy]
        single = quietly(in_single_precision(potential), narrow, **settings)
        assert jax.tree.leaves(single.potential.terms)[0].dtype == jnp.float32
    for one, other in zip(double, single.history, strict=True):
        for label, value in one["train"].items():
            np.testing.assert_allclose(other["train"][label], value, rtol=0.05)
    assert double[0]["train"]["energy"] < 0.1
