"""Structures shared by several devices: the training is that on one of them."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import lrpot
from lrpot.data import make_batches
from lrpot.training.devices import Devices, find_devices, join

SHARED = """
import sys
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np
import lrpot
from lrpot.data import Structure
from lrpot.descriptors import default_acsf
from lrpot.training import Kalman, fit, joint_stage

rng = np.random.default_rng(0)
structures = []
for number in range(27):
    positions = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    charges = rng.normal(size=3)
    structures.append(
        Structure(
            lrpot.System(
                positions + 0.05 * rng.normal(size=(3, 3)),
                [8, 1, 1],
                total_charge=charges.sum(),
            ),
            energy=np.array(rng.normal()),
            forces=rng.normal(size=(3, 3)),
            charges=charges if number % 3 else None,
        )
    )
descriptor = default_acsf(("H", "O"), cutoff=3.0, spacing=1.5, shells=1, zetas=(1.0,))
assert jax.device_count() == 8
for optimiser in sys.argv[1:]:
    found = []
    for devices in (1, None):
        stage = joint_stage(epochs=5, batch_size=5, averaging=0.5, optimiser=optimiser)
        potential = lrpot.hdnnp_4g(
            ("H", "O"), hidden=(3,), descriptor=descriptor, key=jax.random.key(1)
        )
        found.append(
            fit(
                potential,
                structures[:20],
                structures[20:],
                stages=(stage,),
                devices=devices,
                progress=False,
            )
        )
    for one, other in zip(*(jax.tree.leaves(each.potential) for each in found), strict=True):
        np.testing.assert_allclose(np.asarray(other), np.asarray(one), rtol=0, atol=1e-10)
        assert len(other.devices()) == 1
    for one, other in zip(*(each.history for each in found), strict=True):
        for kind in ("train", "validation"):
            for label, value in one[kind].items():
                np.testing.assert_allclose(other[kind][label], value, rtol=1e-9)
    first, last = (found[0].history[row]["train"]["charges"] for row in (0, -1))
    assert abs(last / first - 1) > 1e-3  # something has been learnt
"""


@pytest.mark.parametrize(
    "optimiser",
    ["kalman", *(pytest.param(one, marks=pytest.mark.slow) for one in ("adam", "lbfgs"))],
)
def test_eight_devices_train_as_one_does(optimiser):
    """20 updates of 5 structures, which leave three of the devices without any."""
    environment = os.environ | {
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, "-c", SHARED, optimiser]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_rows_are_filled_up_with_structures_that_teach_nothing(tiny, molecules):
    ((batch, _),) = make_batches(molecules[:3], tiny.potential("hdnnp_2g"))
    filled = batch.take(jax.numpy.array([2, 1, -1]))
    for label, known in filled.known.items():
        np.testing.assert_array_equal(known, [*batch.known[label][np.array([2, 1])], 0.0])
    np.testing.assert_array_equal(filled.labels["energy"][:2], batch.labels["energy"][2:0:-1])
    np.testing.assert_array_equal(Devices().filled(np.arange(3)), [0, 1, 2])


@pytest.mark.parametrize("count", [0, 1000])
def test_devices_that_are_not_there_are_an_error(count):
    with pytest.raises(lrpot.InputError, match=rf"between 1 and .*got {count}\."):
        find_devices(count)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, 2, 0), "goes with the address of the first"),
        (("auto", None, 1), "goes with the address of the first"),
        (("localhost:1", 2, None), "which of them this is, counted from 0; got 2 and None"),
        (("localhost:1", 2, 2), "got 2 and 2"),
    ],
)
def test_processes_that_do_not_fit_together_are_an_error(arguments, message):
    with pytest.raises(lrpot.InputError, match=message):
        join(*arguments)
