"""A training that is killed ends where the unbroken one ends, or says why it cannot go on."""

import dataclasses
import errno
import json
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot.checkpoint import (
    FILE,
    fingerprint,
    read_checkpoint,
    read_notes,
    write_checkpoint,
)
from lrpot.errors import FileError
from lrpot.training import charge_stage, energy_stage, fit

TRAINING = """
import sys
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np
import lrpot
from lrpot.data import Structure
from lrpot.descriptors import default_acsf
from lrpot.training import Weights, charge_stage, energy_stage, fit

rng = np.random.default_rng(0)
structures = []
for number in range(8):
    positions = [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]] + 0.05 * rng.normal(size=(3, 3))
    total_charge = number % 2
    charges = np.array([-0.8, 0.4, 0.4]) + total_charge / 3 + 0.02 * rng.normal(size=3)
    charges += (total_charge - charges.sum()) / 3
    structures.append(
        Structure(
            lrpot.System(positions, [8, 1, 1], total_charge=float(total_charge)),
            energy=np.array(rng.normal()),
            charges=charges,
        )
    )
descriptor = default_acsf(("H", "O"), cutoff=3.0, spacing=1.1, shells=1, zetas=(1.0,))
potential = lrpot.hdnnp_4g(
    ("H", "O"), hidden=(3,), descriptor=descriptor, key=jax.random.key(1)
)
settings = dict(epochs=100, batch_size=2, optimiser=sys.argv[3])
stages = charge_stage(**settings), energy_stage(weights=Weights(energy=1.0), **settings)
found = fit(
    potential,
    structures[:6],
    structures[6:],
    stages=stages,
    folder=sys.argv[1] if sys.argv[1] != "nowhere" else None,
    checkpoint_seconds=0.0,
    progress=False,
)
lrpot.save(sys.argv[2], found.potential)
"""


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """A function that starts the training above in a process of its own."""
    folder = tmp_path_factory.mktemp("training")
    script = folder / "train.py"
    script.write_text(TRAINING)

    def start(checkpoints, result, optimiser):
        command = [sys.executable, str(script), str(checkpoints), str(folder / result), optimiser]
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        return process, folder / result

    return start


def kill_in(process, folder, stage, epoch):
    """Wait until a checkpoint of that stage and epoch or a later one, and kill the process.

    Every look at the folder, at any moment, finds no checkpoint or a whole one.
    """
    end = time.monotonic() + 120
    while time.monotonic() < end:
        notes = read_notes(folder)
        if notes is not None and (notes["stage"], notes["epoch"]) >= (stage, epoch):
            break
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    notes = read_notes(folder)
    assert notes["stage"] == stage
    assert epoch <= notes["epoch"] < 100
    return notes


@pytest.mark.parametrize(
    "optimiser",
    ["kalman", *(pytest.param(one, marks=pytest.mark.slow) for one in ("adam", "lbfgs"))],
)
def test_a_training_killed_in_each_stage_ends_bit_for_bit_as_an_unbroken_one(
    training, tmp_path, optimiser
):
    checkpoints = tmp_path / "checkpoints"
    killed = f"killed_{optimiser}.lrpot"
    process, result = training(checkpoints, killed, optimiser)
    first = kill_in(process, checkpoints, 0, 10)
    process, _ = training(checkpoints, killed, optimiser)
    second = kill_in(process, checkpoints, 1, 10)
    assert not result.exists()
    process, _ = training(checkpoints, killed, optimiser)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()
    process, unbroken = training("nowhere", f"unbroken_{optimiser}.lrpot", optimiser)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()

    for one, other in zip(
        *(jax.tree.leaves(lrpot.load(path)) for path in (result, unbroken)), strict=True
    ):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    history = read_notes(checkpoints)["history"]
    assert [row["stage"] for row in history] == ["charges"] * 100 + ["energies"] * 100
    assert [row["epoch"] for row in history] == [*range(1, 101)] * 2
    for notes in (first, second):  # the last training went on and did not begin again
        assert history[: len(notes["history"])] == notes["history"]


def test_a_checkpoint_is_whole_whenever_its_writer_is_killed(tmp_path):
    """Each is so large that the process is most likely killed while it writes."""
    script = (
        "import sys, pathlib, numpy as np, jax.numpy as jnp\n"
        "from lrpot.checkpoint import write_checkpoint\n"
        "for number in range(10**6):\n"
        "    tree = [jnp.full(2_000_000, float(number))]\n"
        "    write_checkpoint(pathlib.Path(sys.argv[1]), tree, {'number': number})\n"
    )
    for delay in (0.0, 0.013, 0.037):
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
        begun = None
        while begun is None or time.monotonic() < begun + delay:
            assert process.poll() is None
            if begun is None and (tmp_path / FILE).exists():
                begun = time.monotonic()
        process.kill()
        process.wait()
        notes = read_notes(tmp_path)
        (found,) = read_checkpoint(tmp_path, [jnp.zeros(2_000_000, jnp.float32)])
        np.testing.assert_array_equal(found, notes["number"])
        (tmp_path / FILE).unlink()


def test_a_failed_write_leaves_the_old_checkpoint_and_nothing_else(tmp_path, monkeypatch):
    write_checkpoint(tmp_path, [jnp.arange(3.0)], {"epoch": 1})
    original = type(tmp_path).write_bytes

    def half(path, content):
        original(path, content[: len(content) // 2])
        raise OSError("No space left on device")

    monkeypatch.setattr(type(tmp_path), "write_bytes", half)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(tmp_path, [jnp.arange(3.0) + 1], {"epoch": 2})
    monkeypatch.undo()
    assert read_notes(tmp_path) == {"epoch": 1}
    np.testing.assert_array_equal(read_checkpoint(tmp_path, [jnp.zeros(3)])[0], [0, 1, 2])
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_checkpoint_gives_back_every_array_bit_for_bit(tmp_path):
    tree = {
        "numbers": jnp.array([1, 2], jnp.int32),
        "nothing": None,
        "name": "kept as it is",
        "values": (jnp.array([0.1, jnp.inf, -0.0]), jnp.array(1 / 3)),
    }
    write_checkpoint(tmp_path, tree, {"best_loss": float("inf")})
    empty = jax.tree.map(lambda leaf: leaf if isinstance(leaf, str) else 0 * leaf, tree)
    found = read_checkpoint(tmp_path, empty)
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    assert found["name"] == "kept as it is"
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(tree), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes() or one == other
    assert read_notes(tmp_path) == {"best_loss": float("inf")}


def test_a_folder_without_a_checkpoint_has_no_notes(tmp_path):
    assert read_notes(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    "content",
    [b"", b"not a checkpoint at all", None, -3],
    ids=["empty", "foreign", "truncated", "a flipped bit"],
)
def test_a_damaged_checkpoint_is_named(tmp_path, tiny, molecules, content):
    write_checkpoint(tmp_path, [jnp.arange(100.0)], {})
    path = tmp_path / FILE
    good = path.read_bytes()
    if content == -3:  # the place of a byte
        content = good[:-3] + bytes([good[-3] ^ 1]) + good[-2:]
    path.write_bytes(good[:-8] if content is None else content)
    with pytest.raises(lrpot.InputError, match=r"is not a checkpoint.*damaged.*Delete it to start"):
        fit(tiny.potential("hdnnp_2g"), molecules, folder=tmp_path, progress=False)


def test_a_checkpoint_of_other_shapes_is_refused(tmp_path):
    write_checkpoint(tmp_path, [jnp.zeros((3, 4))], {})
    for other in ([jnp.zeros((4, 3))], [jnp.zeros((3, 4), jnp.float32)], [jnp.zeros((3, 4))] * 2):
        with pytest.raises(lrpot.InputError, match="another shape or precision"):
            read_checkpoint(tmp_path, other)


STAGE = {"epochs": 2, "batch_size": 6}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny, molecules):
    """The folder of a short training that has ended, and its outcome."""
    folder = tmp_path_factory.mktemp("finished")
    stages = (energy_stage(**STAGE),)
    potential = tiny.potential("hdnnp_2g")
    return folder, fit(potential, molecules, stages=stages, folder=folder, progress=False)


def test_a_finished_training_gives_its_result_again(finished, tiny, molecules):
    folder, first = finished
    again = fit(
        tiny.potential("hdnnp_2g"),
        molecules,
        stages=(energy_stage(**STAGE),),
        folder=folder,
        progress=False,
    )
    assert again.history == json.loads(json.dumps(first.history))
    for one, other in zip(
        jax.tree.leaves(again.potential), jax.tree.leaves(first.potential), strict=True
    ):
        np.testing.assert_array_equal(one, other)


OTHERS = {
    "another seed": dict(seed=5),
    "other stages": dict(stages=(energy_stage(epochs=3, batch_size=6),)),
    "another scaling": dict(scaling="scale"),
    "other first weights": dict(key=1),
    "another activation": dict(settings={"activation": "tanh"}),
    "fewer structures": dict(count=20),
    "other energies": dict(shift=1e-9),
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_the_checkpoint_of_another_training_is_refused(finished, tiny, molecules, change):
    folder, _ = finished
    change = dict(change)
    potential = tiny.potential("hdnnp_2g", key=change.pop("key", 0), **change.pop("settings", {}))
    structures = molecules[: change.pop("count", None)]
    if shift := change.pop("shift", 0.0):
        structures = [*structures[:-1], _shifted(structures[-1], shift)]
    arguments = {"stages": (energy_stage(**STAGE),), **change}
    before = (folder / FILE).read_bytes()
    with pytest.raises(lrpot.InputError, match="holds the checkpoint of another training"):
        fit(potential, structures, folder=folder, progress=False, **arguments)
    assert (folder / FILE).read_bytes() == before


def _shifted(structure, shift):
    return dataclasses.replace(structure, energy=np.array(structure.energy + shift))


def test_fingerprints_see_settings_that_are_no_arrays(tiny):
    """Same arrays, another cutoff function: another training."""
    one, other = (
        lrpot.descriptors.default_acsf(("H",), cutoff=3.0, function=function)
        for function in ("tanh3", "cos")
    )
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one, "a") == fingerprint(one, "a") != fingerprint(one, "b")


def test_a_training_killed_between_its_stages_goes_on_with_the_second(tmp_path, tiny, molecules):
    stages = charge_stage(**STAGE), energy_stage(**STAGE)
    arguments = dict(stages=stages, progress=False, checkpoint_seconds=0.0)
    unbroken = fit(tiny.potential("hdnnp_4g"), molecules, **arguments)
    with pytest.MonkeyPatch.context() as patch:
        module = sys.modules["lrpot.training.fit"]
        patch.setattr(module, "Trainer", interrupted(module.Trainer))
        with pytest.raises(KeyboardInterrupt):
            fit(tiny.potential("hdnnp_4g"), molecules, folder=tmp_path, **arguments)
    assert (read_notes(tmp_path)["stage"], read_notes(tmp_path)["epoch"]) == (0, 2)
    found = fit(tiny.potential("hdnnp_4g"), molecules, folder=tmp_path, **arguments)
    for one, other in zip(
        jax.tree.leaves(found.potential), jax.tree.leaves(unbroken.potential), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def interrupted(trainer):
    """A trainer that is made once; the attempt to make a second one is interrupted."""
    made = []

    def make(*arguments):
        if made:
            raise KeyboardInterrupt
        made.append(trainer(*arguments))
        return made[0]

    return make


def test_a_full_disk_keeps_the_last_checkpoint_and_training_goes_on_from_it(
    tiny, molecules, tmp_path, monkeypatch, capsys
):
    stage = energy_stage(epochs=3, batch_size=8)

    def train(folder, **settings):
        return fit(
            tiny.potential("hdnnp_2g"),
            molecules[:8],
            stages=(stage,),
            folder=folder,
            checkpoint_seconds=0.0,
            **settings,
        )

    unbroken = train(None, progress=False)
    original = type(tmp_path).write_bytes

    def full_at_the_second(path, content):
        if (tmp_path / FILE).exists():
            original(path, content[:100])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        original(path, content)

    monkeypatch.setattr(type(tmp_path), "write_bytes", full_at_the_second)
    message = r"after epoch 2 of stage `energies`.*No space left on device\. Make room.* is kept"
    with pytest.raises(FileError, match=message):
        train(tmp_path)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert read_notes(tmp_path)["epoch"] == 1
    resumed = train(tmp_path)
    said = capsys.readouterr().out
    assert f"Resuming the training in {tmp_path} after epoch 1 of 3 of stage energies." in said
    assert "Stage energies: kept epoch 3 of 3, the last: training energy " in said
    for one, other in zip(
        jax.tree.leaves(unbroken.potential), jax.tree.leaves(resumed.potential), strict=True
    ):
        np.testing.assert_array_equal(one, other)
