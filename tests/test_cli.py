"""The command line: what it prints, what it leaves, and errors without a traceback."""

import csv
import json
import os
import platform
import subprocess
import sys
from importlib import metadata

import ase.io
import jax
import numpy as np
import pytest

import lrpot
from lrpot import cli
from lrpot.data import read_structures
from lrpot.descriptors import default_acsf
from lrpot.training import evaluate_structures

FRAME = """3
Properties=species:S:1:pos:R:3:forces:R:3:charge:R:1 energy={energy} total_charge={charge}
O 0.0 0.0 {shift}  0.1 0.2 0.3  {oxygen}
H 0.96 0.0 0.0  -0.1 0.1 -0.3  0.4
H -0.24 0.93 0.0  0.0 -0.3 0.0  0.4
"""

CONFIG = """
recipe = "hdnnp_2g"
folder = "run"

[data]
train = "data.xyz"
validation_fraction = 0.25
test = "data.xyz"

[descriptor]
cutoff = 3.0
spacing = 1.1
shells = 1
zetas = [1.0]

[[stages]]
train = ["terms"]
epochs = 2
batch_size = 3
"""


def tiny(recipe):
    descriptor = default_acsf(("H", "O"), cutoff=3.0, spacing=1.1, shells=1, zetas=(1.0,))
    return lrpot.MODELS[recipe](
        ("H", "O"), descriptor=descriptor, hidden=(4,), key=jax.random.key(0)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two models, a data file and a configuration."""
    folder = tmp_path_factory.mktemp("cli [1]")  # brackets mean something to rich
    lrpot.save(folder / "2g.lrpot", tiny("hdnnp_2g"))
    lrpot.save(folder / "4g.lrpot", tiny("hdnnp_4g"))
    frames = [
        FRAME.format(energy=-2 - charge, charge=charge, shift=0.03 * number, oxygen=charge - 0.8)
        for number, charge in enumerate([0, 1] * 4)
    ]
    (folder / "data.xyz").write_text("".join(frames))
    (folder / "train.toml").write_text(CONFIG)
    return folder


@pytest.fixture
def run(monkeypatch, capsys, folder):
    """A function that runs a command in the folder: exit status, output and error output."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["lrpot", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        output = capsys.readouterr()
        return end.value.code or 0, output.out, output.err

    return command


def test_help_names_every_command(run):
    status, output, _ = run("--help")
    assert status == 0
    for name in ("quickstart", "check", "train", "evaluate", "md", "relax", "ipi", "info"):
        assert name in output
        assert run(name, "--help")[0] == 0


def test_info_says_what_a_model_is(run):
    status, output, _ = run("info", "4g.lrpot")
    assert status == 0
    lines = dict(line.split("  ", 1) for line in output.splitlines())
    assert lines["recipe"] == "hdnnp_4g"
    assert lines["elements"] == "H, O"
    assert lines["cutoff"] == "3 Å"
    assert lines["hardness"] == "H 10 eV/e², O 10 eV/e²"
    assert lines["short_range"] == "networks 11-4-1, silu, the last input being the charge"
    parameters = 2 * (10 * 4 + 4 + 4 + 1) + 2 * (11 * 4 + 4 + 4 + 1) + 2
    assert lines["parameters"] == str(parameters)


def test_info_says_which_versions_compute_and_that_they_compute_right(run):
    status, output, _ = run("info", "--versions")
    assert status == 0
    lines = dict(line.split("  ", 1) for line in output.splitlines())
    assert lines["jax"] == metadata.version("jax")
    assert lines["Python"] == platform.python_version()
    assert lines["compiled code"] == "computes known values right"


def test_info_of_nothing_says_what_to_give(run):
    status, _, error = run("info")
    assert status == 1
    assert "Give a model file, or `--versions`" in error


def test_check_prints_and_writes_what_is_odd(run, folder):
    """The forces of these molecules spin them, and move atoms without a change in energy."""
    status, output, _ = run("check", "data.xyz", "--show", "3", "--json", "out/report.json")
    assert status == 0
    assert "8 structures" in output
    assert "0 e: 4, 1 e: 4" in output
    written = json.loads((folder / "out" / "report.json").read_text())
    assert {one["kind"]: len(one["cases"]) for one in written["findings"]} == {
        "few structures": 1,
        "labels without spread": 1,
        "energies and forces": 1,
        "torques": 8,
    }
    assert "6 pairs of neighbouring structures" in written["remarks"][0]
    assert "8 torques" in output
    assert "… and 5 more" in output
    assert "data.xyz, structure" in output


def test_check_writes_files_without_what_cannot_be_used(run, folder):
    bad = FRAME.format(energy="nan", charge=0, shift=0, oxygen=-0.8)
    (folder / "bad.xyz").write_text((folder / "data.xyz").read_text() + bad)
    status, output, _ = run("check", "bad.xyz", "--skip", "good.xyz", "--fix", "fixed.xyz")
    assert status == 0
    assert "Left out structure 8: `energy` is not finite." in output
    assert "Wrote 8 of 9 structures to fixed.xyz." in output
    for name in ("good.xyz", "fixed.xyz"):
        assert (folder / name).read_text() == (folder / "data.xyz").read_text()


def test_what_of_a_file_is_used_is_printed_and_written(run, folder):
    """A column of another name is told, named on the command line, or left out on purpose."""
    (folder / "force.xyz").write_text(
        (folder / "data.xyz").read_text().replace("forces:", "force:")
    )
    status, output, _ = run("check", "force.xyz", "--json", "out/force.json")
    assert status == 0
    assert (
        "force.xyz, 8 structures: energy from key `energy`, charges from column `charge`" in output
    )
    assert "Not used: column `force` (nearest known: `forces`)." in output
    assert "`--key forces=force` on the command line" in output
    report = json.loads((folder / "out" / "force.json").read_text())
    assert [(one["name"], one["nearest"], one["missed"]) for one in report["usage"]["lost"]] == [
        ("force", "forces", 8)
    ]
    assert "labels under other names" in [one["kind"] for one in report["findings"]]
    status, output, _ = run("check", "force.xyz", "--key", "forces=force")
    assert "forces from column `force`" in output
    assert "Not used" not in output
    status, output, _ = run("evaluate", "2g.lrpot", "force.xyz", "--ignore", "force")
    assert status == 0
    assert "Not used: column `force`" in output
    assert "--key" not in output


def test_evaluate_prints_and_writes_the_errors(run, folder):
    arguments = ("evaluate", "4g.lrpot", "data.xyz", "--json", "out/errors.json", "--plots", "out")
    status, output, _ = run(*arguments)
    assert status == 0
    expected = evaluate_structures(
        lrpot.load(folder / "4g.lrpot"), read_structures(folder / "data.xyz")
    )
    written = json.loads((folder / "out" / "errors.json").read_text())
    assert written == json.loads(json.dumps(expected.as_dict()))
    (row,) = [line for line in output.splitlines() if "Charges (me)" in line]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    charges = [expected.total["charges"], *(expected.by_element[s]["charges"] for s in "HO")]
    assert cells[1:4] == [f"{1e3 * one.rmse:.1f} ({1e3 * one.mae:.1f})" for one in charges]
    assert "charge +1" in output
    assert (folder / "out" / "parity.png").stat().st_size > 10_000


def test_md_writes_trajectory_and_log(run, folder):
    options = ("--steps", "6", "--record-every", "2", "--folder", "md", "--temperature", "100")
    status, output, _ = run("md", "4g.lrpot", "data.xyz", "--charge", "1", *options)
    assert status == 0
    assert "6 steps, mean temperature" in output
    assert "Frames and log are in md/." in output
    frames = ase.io.read(folder / "md" / "trajectory.xyz", ":")
    assert len(frames) == 4
    np.testing.assert_allclose(frames[-1].calc.results["charges"].sum(), 1.0, atol=1e-6)
    with (folder / "md" / "log.csv").open(newline="") as file:
        times = [float(row["time_fs"]) for row in csv.DictReader(file)]
    assert times == [0, 1, 2, 3]
    status, output, _ = run("md", "4g.lrpot", "data.xyz", "--charge", "1", *options)
    assert status == 0
    assert output.splitlines() == [
        "Going on from step 6 of 6, as stored in md.",
        "All 6 steps had been done before. Ask for more `--steps` to go on.",
    ]


def test_md_takes_a_table_and_flags_overrule_it(run, folder):
    """Paths are relative to the file, which need not be where the command runs."""
    (folder / "runs").mkdir()
    (folder / "runs" / "md.toml").write_text(
        """model = "../4g.lrpot"
structure = "../data.xyz"
folder = "warm"
formats = ["netcdf"]
ensemble = "langevin"
steps = 8
record_every = 2
charge = 1
"""
    )
    status, output, _ = run("md", "--config", "runs/md.toml", "--steps", "4")
    assert status == 0, output
    assert output.splitlines()[-1].startswith("4 steps, mean temperature")
    found = sorted(path.name for path in (folder / "runs" / "warm").iterdir())
    assert found == ["checkpoint.safetensors", "log.csv", "trajectory.nc"]
    (folder / "runs" / "wrong.toml").write_text("stepps = 8")
    status, _, errors = run("md", "4g.lrpot", "data.xyz", "--config", "runs/wrong.toml")
    assert status == 1
    assert "Unknown key `stepps` in runs/wrong.toml. Did you mean `steps`?" in errors


def test_md_of_a_committee(run, folder):
    members = [lrpot.load(folder / "4g.lrpot")] * 2
    lrpot.save(folder / "both.lrpot", lrpot.Committee(members))
    options = ("--charge", "1", "--steps", "2", "--folder", "both")
    status, _, _ = run("md", "both.lrpot", "data.xyz", *options)
    assert status == 0
    with (folder / "both" / "log.csv").open(newline="") as file:
        doubts = [float(row["energy_uncertainty_eV"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(doubts, 0.0, atol=1e-12)
    status, _, errors = run("md", "both.lrpot", "data.xyz", "--devices", "2", *options)
    assert status == 1
    assert "both.lrpot is a committee, and this runs one potential" in errors


def test_relax_writes_the_minimum(run, folder):
    options = ("--tolerance", "0.05", "--charge", "1")
    status, output, _ = run("relax", "4g.lrpot", "data.xyz", "relaxed.xyz", *options)
    assert status == 0
    assert "the minimum is in relaxed.xyz" in output
    (found,) = read_structures(folder / "relaxed.xyz")
    assert float(found.system.total_charge) == 1
    forces = lrpot.predict(lrpot.load(folder / "4g.lrpot"), found.system).forces
    assert np.linalg.norm(forces, axis=1).max() < 0.0501


def test_train_leaves_a_model_and_prints_test_errors(run, folder):
    status, output, _ = run("train", "train.toml")
    assert status == 0
    assert "Energy (meV/atom)" in output
    assert lrpot.load(folder / "run" / "model.lrpot").recipe == "hdnnp_2g"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("info", "nowhere.lrpot"), "There is no model file nowhere.lrpot."),
        (("info", "data.xyz"), "data.xyz is not a model file of lrpot, or it is damaged"),
        (("evaluate", "2g.lrpot", "nowhere.xyz"), "There is no data file nowhere.xyz."),
        (("evaluate", "2g.lrpot", "bare.xyz"), "There is nothing to compare"),
        (
            ("evaluate", "2g.lrpot", "copper.xyz"),
            "structure 0: Element 29 (Cu, atom 0) is not one of",
        ),
        (("md", "2g.lrpot", "data.xyz", "--charge", "1"), "2g.lrpot is a potential of recipe"),
        (("md", "2g.lrpot", "nowhere.xyz"), "There is no data file nowhere.xyz."),
        (("md", "2g.lrpot", "data.xyz", "--steps", "0"), "`steps` and `restart_every` must be"),
        (("ipi", "2g.lrpot", "data.xyz", "--port", "1"), "Cannot reach i-PI at localhost:1"),
        (("check", "data.xyz", "--key", "force=f"), "Unknown label `force` in `--key`. Did you"),
        (("check", "data.xyz", "--key", "forces"), "`--key` takes LABEL=NAME"),
        (("check", "data.xyz", "--format", "xzy"), "Unknown format `xzy`. Did you mean `xyz`?"),
        (("train", "nowhere.toml"), "Cannot read the configuration nowhere.toml"),
        (("train", "wrong.toml"), "Unknown key `zeta` in [descriptor] of the configuration. Did"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_input_ends_with_a_message(run, folder, arguments, message):
    bare = "3\n\nO 0 0 0\nH 1 0 0\nH 0 1 0\n"
    (folder / "bare.xyz").write_text(bare)
    (folder / "copper.xyz").write_text("1\nenergy=0\nCu 0 0 0\n")
    (folder / "wrong.toml").write_text(CONFIG.replace("zetas", "zeta"))
    status, output, errors = run(*arguments)
    assert status == 1
    assert all(" structures: " in line for line in output.splitlines())  # the report on the data
    assert errors.startswith("Error: ")
    assert message in errors


def test_a_process_of_its_own_ends_with_status_1_and_no_traceback(folder):
    """As a user runs it, without the checks of types that tests have."""
    command = [sys.executable, "-c", "from lrpot.cli import main; main()"]
    arguments = ["md", "2g.lrpot", "data.xyz", "--ensemble", "langevn"]
    found = subprocess.run(
        command + arguments, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert found.returncode == 1
    assert "Unknown ensemble `langevn`. Did you mean `langevin`?" in found.stderr
    assert "Traceback" not in found.stderr + found.stdout


def test_single_precision_is_an_option(folder):
    code = (
        "import sys, jax, lrpot.cli as cli\n"
        "sys.argv[1:] = ['--float32', 'info', '4g.lrpot']\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    print(jax.config.jax_enable_x64)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env=dict(os.environ, COLUMNS="200"),
        check=True,
    )
    assert found.stdout.splitlines()[0] == "recipe  hdnnp_4g"
    assert found.stdout.splitlines()[-1] == "False"
