"""One system shared by several devices: energies, forces and trajectories are those of one."""

import os
import subprocess
import sys

import pytest

import lrpot

SYSTEM = """
import equinox as eqx
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np
import lrpot
from lrpot.descriptors import default_acsf

assert jax.device_count() == 4
rng = np.random.default_rng(0)
cell = np.array([[7.9, 0, 0], [0.9, 8.2, 0], [-0.6, 0.8, 8.6]])
grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
positions = (grid / 3) @ cell + 0.1 * rng.normal(size=(27, 3))
system = lrpot.System(positions, rng.permutation([8] * 9 + [1] * 18), cell=cell, total_charge=1.0)
descriptor = default_acsf(("H", "O"), cutoff=3.5, spacing=1.5, shells=1, zetas=(1.0,))
potential = lrpot.hdnnp_4g(
    ("H", "O"), hidden=(3,), descriptor=descriptor, accuracy=1e-4, key=jax.random.key(1)
).with_solver(solver="iterative", tolerance=1e-10)
"""

PREDICTION = """
neighbors = potential.neighbors(system)
predictions, memory = [], []
for devices in (1, 4):  # which the 27 atoms are no multiple of
    split = potential.on_devices(devices)
    arrays, rest = eqx.partition((split, system, neighbors), eqx.is_array)
    evaluate = jax.jit(lambda arrays: lrpot.evaluate(*eqx.combine(arrays, rest)))
    predictions.append(evaluate(arrays))
    memory.append(evaluate.lower(arrays).compile().memory_analysis().temp_size_in_bytes)
one, other = predictions
np.testing.assert_allclose(other.energy, one.energy, rtol=1e-10)
for name in ("forces", "stress", "charges"):
    expected = np.asarray(getattr(one, name))
    np.testing.assert_allclose(getattr(other, name), expected, rtol=0, atol=1e-10)
assert memory[0] > memory[1], memory
lrpot.save("split.lrpot", split)
assert eqx.tree_equal(lrpot.load("split.lrpot"), potential)
with_messages = lrpot.hdnnp_2g(("H", "O"), message_layers=1, key=jax.random.key(1))
try:
    with_messages.on_devices(4)
except lrpot.InputError as error:
    assert "messages cannot share" in str(error)
else:
    raise AssertionError("messages were split")
"""

TRAJECTORY = """
from lrpot import md

ends = []
for devices in (1, 4):
    split = potential.on_devices(devices)
    run = md.run(split, system, steps=6, record_every=3, key=jax.random.key(2))
    ends.append(run.positions[-1])
np.testing.assert_allclose(ends[1], ends[0], rtol=0, atol=1e-9)
"""


def on_four_devices(script, folder):
    environment = os.environ | {
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, "-c", SYSTEM + script]
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_atoms_shared_by_four_devices(tmp_path):
    on_four_devices(PREDICTION, tmp_path)


@pytest.mark.slow
def test_a_trajectory_shared_by_four_devices(tmp_path):
    """A minute, nearly all of it for compiling."""
    on_four_devices(TRAJECTORY, tmp_path)


def test_more_devices_than_there_are_is_an_error(charged):
    with pytest.raises(lrpot.InputError, match="`devices` must be between 1 and"):
        charged.on_devices(1000)
