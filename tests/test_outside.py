"""Faults of the outside world, at the command line: one line and a status, never a traceback."""

import os
import sys
from pathlib import Path

import jax
import pytest

import lrpot
from lrpot import cli
from lrpot.cli.common import console
from lrpot.descriptors import default_acsf

pytestmark = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="needs a disk that is always full"
)

FRAME = """3
Properties=species:S:1:pos:R:3:forces:R:3 energy={energy}
O 0.0 0.0 {shift}  0.1 0.2 0.3
H 0.96 0.0 0.0  -0.1 0.1 -0.3
H -0.24 0.93 0.0  0.0 -0.3 0.0
"""

CONFIG = """
recipe = "hdnnp_2g"
folder = "{folder}"
data = {{train = "data.xyz"}}
descriptor = {{cutoff = 3.0, spacing = 1.1, shells = 1, zetas = [1.0]}}
potential = {{hidden = [3]}}
stages = [{{train = ["terms"], epochs = 2, batch_size = 4}}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outside")
    descriptor = default_acsf(("H", "O"), cutoff=3.0, spacing=1.1, shells=1, zetas=(1.0,))
    potential = lrpot.hdnnp_2g(
        ("H", "O"), descriptor=descriptor, hidden=(3,), key=jax.random.key(0)
    )
    lrpot.save(folder / "2g.lrpot", potential)
    frames = [FRAME.format(energy=-2 - 0.01 * n, shift=0.03 * n) for n in range(8)]
    (folder / "data.xyz").write_text("".join(frames))
    (folder / "a_file").write_text("")
    return folder


@pytest.fixture
def run(monkeypatch, capsys, folder):
    """A function that runs a command in the folder: exit status, output and error output."""
    monkeypatch.chdir(folder)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["lrpot", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        output = capsys.readouterr()
        return end.value.code or 0, output.out, output.err

    return command


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("check data.xyz --json /dev/full", "Cannot write /dev/full: No space left on device"),
        ("check data.xyz --json a_file/x.json", "Cannot write a_file/x.json: "),
        ("evaluate 2g.lrpot data.xyz --json /dev/full", "Cannot write /dev/full: No space left"),
        ("evaluate 2g.lrpot data.xyz --plots a_file", "Cannot write a_file/parity.png: "),
        ("convert data.xyz a_file/input.data", "Cannot write a_file/input.data: "),
        ("relax 2g.lrpot data.xyz a_file/x.xyz --tolerance 1e9", "Cannot write a_file/x.xyz: "),
        ("md 2g.lrpot data.xyz --steps 1 --folder a_file", "a_file"),
        ("info nowhere.lrpot", "no model file nowhere.lrpot"),
        ("check nowhere.xyz", "no data file nowhere.xyz"),
    ],
)
def test_what_cannot_be_written_or_read_is_one_line_and_a_status(run, arguments, words):
    status, _, errors = run(*arguments.split())
    assert status == 1
    assert words in errors
    assert "Traceback" not in errors
    assert len(errors.strip().splitlines()) == 1


def test_train_tries_its_folder_before_the_first_epoch(run, folder, monkeypatch):
    (folder / "train.toml").write_text(CONFIG.format(folder="a_file"))
    trainer = sys.modules["lrpot.training.fit"].Trainer
    monkeypatch.setattr(trainer, "epoch", lambda *_: pytest.fail("the first epoch was begun"))
    status, _, errors = run("train", "train.toml")
    assert status == 1
    assert "a_file is a file, not a folder" in errors
    (folder / "train.toml").write_text(CONFIG.format(folder="small_disk"))
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(sys.modules["lrpot.files"].shutil, "disk_usage", lambda _: usage)
    status, _, errors = run("train", "train.toml")
    assert status == 1
    assert "There is no room in small_disk: " in errors


def test_train_says_what_it_does_and_what_it_kept_and_that_it_resumes(run, folder):
    (folder / "train.toml").write_text(CONFIG.format(folder="run"))
    status, output, errors = run("train", "train.toml")
    assert (status, errors) == (0, "")
    assert "Training hdnnp_2g (H, O) on 7 structures with energy, forces; 1 are held out" in output
    assert "Stage joint: 2 epochs of adam train terms on energy, forces." in output
    assert "joint: epoch 1 of 2, validation energy " in output
    assert "Stage joint: kept epoch " in output
    assert "of 2, the best on the validation data: validation energy " in output
    _, output, _ = run("train", "train.toml")
    assert "This training has ended before: its outcome is taken from run." in output


def test_a_full_output_is_told_on_the_error_output(run, monkeypatch):
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        status, _, errors = run("info", "2g.lrpot")
    assert status == 1
    assert "No space left on device" in errors
    assert "Traceback" not in errors


def test_nobody_listening_any_more_ends_a_command_quietly(run, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(console, "quiet", False)  # rich falls silent when a pipe breaks
    with os.fdopen(writing, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        status, _, errors = run("info", "2g.lrpot")
    assert status == 1
    assert errors == ""


def test_an_interrupt_ends_a_command_with_status_130(run, folder, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    (folder / "train.toml").write_text(CONFIG.format(folder="interrupted"))
    monkeypatch.setattr(sys.modules["lrpot.training.config"], "fit", interrupted)
    status, output, errors = run("train", "train.toml")
    assert status == 130
    assert "The same command goes on from the last checkpoint." in output
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No such file or directory", "data.xyz"), "data.xyz: No such file"),
        (MemoryError("Unable to allocate 3 TiB"), "not enough memory. Unable to allocate 3 TiB"),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 3 TiB"), "not enough memory"),
    ],
)
def test_a_file_that_vanishes_and_too_little_memory_are_one_line(run, monkeypatch, error, words):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(sys.modules["lrpot.describe"], "describe", fails)
    status, _, errors = run("info", "2g.lrpot")
    assert status == 1
    assert words in errors


def test_an_error_of_ours_keeps_its_traceback(run, monkeypatch):
    def fails(*_, **__):
        raise jax.errors.JaxRuntimeError("INTERNAL: a bug")

    monkeypatch.setattr(sys.modules["lrpot.describe"], "describe", fails)
    with pytest.raises(jax.errors.JaxRuntimeError, match="a bug"):
        monkeypatch.setattr(sys, "argv", ["lrpot", "info", "2g.lrpot"]) or cli.main()
