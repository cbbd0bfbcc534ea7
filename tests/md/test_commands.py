"""`lrpot md` and `lrpot relax`: they honour what the start says, and say what they do."""

import csv
import sys

import ase
import ase.io
import numpy as np
import pytest
from ase.constraints import FixAtoms

import lrpot
from lrpot import cli
from lrpot.units import FEMTOSECOND

MASSES = np.array([15.999, 2.014, 2.014, 15.999])
VELOCITIES = np.array([[0.0, 0, 0], [0.01, -0.02, 0.0], [0.0, 0.015, 0.02], [0.002, 0.0, -0.004]])
MD = ("md", "2g.lrpot", "start.xyz", "--record-every", "2")


@pytest.fixture(scope="module")
def folder(local, ion, tmp_path_factory):
    """A model and a structure with a fixed atom, heavy hydrogen and velocities."""
    folder = tmp_path_factory.mktemp("commands")
    lrpot.save(folder / "2g.lrpot", local)
    atoms = ase.Atoms(np.asarray(ion.numbers), np.asarray(ion.positions), masses=MASSES)
    atoms.set_velocities(VELOCITIES / FEMTOSECOND)
    atoms.set_constraint(FixAtoms([0]))
    ase.io.write(folder / "start.xyz", atoms)
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


def column(folder, name):
    with (folder / "log.csv").open(newline="") as file:
        return np.array([float(row[name]) for row in csv.DictReader(file)])


def test_md_starts_with_what_the_structure_says_and_its_frames_say_it_again(run, folder):
    """Eight steps, or four and four more from the last frame of those, are the same."""
    status, output, _ = run(*MD, "--steps", "8", "--folder", "whole")
    assert status == 0, output
    said = output.splitlines()
    assert said[0] == "1 of 4 atoms are fixed, as the structure says."
    assert said[1] == "Masses are those of the structure."
    assert said[2].startswith("Velocities are those of the structure, ")
    frames = ase.io.read(folder / "whole" / "trajectory.xyz", ":")
    for frame in frames:
        assert list(frame.constraints[0].index) == [0]
        np.testing.assert_allclose(frame.get_masses(), MASSES)
        np.testing.assert_array_equal(frame.positions[0], frames[0].positions[0])
    first = frames[0].get_velocities() * FEMTOSECOND
    np.testing.assert_allclose(first, VELOCITIES, atol=1e-8)
    assert np.abs(frames[-1].positions - frames[0].positions).max() > 0.03
    assert run(*MD, "--steps", "4", "--folder", "half")[0] == 0
    half = ("md", "2g.lrpot", "half/trajectory.xyz", "--record-every", "2")
    assert run(*half, "--steps", "4", "--folder", "other_half")[0] == 0
    last = ase.io.read(folder / "other_half" / "trajectory.xyz")
    np.testing.assert_allclose(last.positions, frames[-1].positions, atol=1e-7)
    np.testing.assert_allclose(last.get_momenta(), frames[-1].get_momenta(), atol=1e-6)


def test_md_says_how_far_it_is_and_where_it_goes_on_and_averages_all(run, folder):
    """A line for every tenth of the steps, also those that nobody waited for."""
    options = ("--ensemble", "langevin", "--folder", "warm", "--restart-every", "1")
    assert run(*MD, "--steps", "20", *options)[0] == 0
    status, output, _ = run(*MD, "--steps", "40", *options)
    assert status == 0
    lines = output.splitlines()
    assert lines[3] == "Going on from step 20 of 40, as stored in warm."
    steps = [line for line in lines if line.startswith("step ")]
    assert [line.split()[1] for line in steps] == ["24", "28", "32", "36", "40"]
    assert steps[0].startswith("step 24 of 40, 12 fs: ")
    temperature = column(folder / "warm", "temperature_K")
    energy = column(folder / "warm", "potential_energy_eV")
    assert len(temperature) == 21
    assert f" {temperature[-1]:.0f} K, potential energy {energy[-1]:.5f} eV, " in steps[-1]
    assert steps[-1].endswith(" ns/day")
    end = f"40 steps, mean temperature {temperature.mean():.0f} K. Frames and log are in warm/."
    assert lines[-1] == end  # friction and noise conserve nothing: there is no drift


def test_md_takes_masses_and_new_velocities_and_frees_atoms(run, folder):
    options = ("--mass", "H=3.016", "--new-velocities", "--ignore-constraints", "--folder", "free")
    status, output, _ = run(*MD, *options, "--steps", "2", "--temperature", "500")
    assert status == 0, output
    assert output.splitlines()[:3] == [
        "Constraints of the structure are ignored: FixAtoms.",
        "Masses are those of the structure, except for H.",
        "The velocities of the structure are not used.",
    ]
    frame = ase.io.read(folder / "free" / "trajectory.xyz", 0)
    np.testing.assert_allclose(frame.get_masses(), [15.999, 3.016, 3.016, 15.999])
    assert frame.constraints == []
    assert np.abs(frame.get_velocities()[0]).max() > 1e-3
    status, _, errors = run(*MD, "--mass", "D=2.014")
    assert status == 1
    assert errors == "Error: 'D' is not an element. Known: `H`, `O`.\n"


def test_a_temperature_that_would_change_nothing_is_refused(run, folder):
    """Under nve only new velocities need one; a thermostat needs one whatever the velocities."""
    status, output, error = run(*MD, "--steps", "2", "--temperature", "250", "--folder", "cold")
    assert status == 1, output
    assert "--temperature 250 would change nothing" in error
    assert "--new-velocities" in error
    assert not (folder / "cold").exists()
    options = ("--ensemble", "langevin", "--folder", "bath")
    assert run(*MD, "--steps", "2", "--temperature", "250", *options)[0] == 0


def test_a_charge_of_another_name_or_a_field_of_the_start_is_refused(run, folder):
    atoms = ase.io.read(folder / "start.xyz")
    for name, value, words in (
        ("net_charge", 1, "looks like a total charge"),
        ("electric_field", np.array([0.0, 0.0, 0.1]), "looks like the `field` of a system"),
    ):
        atoms.info = {name: value}
        ase.io.write(folder / "odd.xyz", atoms)
        for command in (("md", "2g.lrpot", "odd.xyz"), ("relax", "2g.lrpot", "odd.xyz", "r.xyz")):
            status, _, error = run(*command)
            assert status == 1
            assert words in error


def test_relax_keeps_fixed_atoms_and_says_so_in_its_file(run, folder):
    options = ("--tolerance", "0.05")
    status, output, _ = run("relax", "2g.lrpot", "start.xyz", "out.xyz", *options)
    assert status == 0, output
    assert output.splitlines()[0] == "1 of 4 atoms are fixed, as the structure says."
    before, after = ase.io.read(folder / "start.xyz"), ase.io.read(folder / "out.xyz")
    np.testing.assert_array_equal(after.positions[0], before.positions[0])
    assert np.abs(after.positions - before.positions).max() > 0.01
    assert list(after.constraints[0].index) == [0]
    np.testing.assert_allclose(after.get_masses(), MASSES)
    status, output, _ = run(
        "relax", "2g.lrpot", "start.xyz", "free.xyz", *options, "--ignore-constraints"
    )
    assert status == 0, output
    free = ase.io.read(folder / "free.xyz")
    assert np.abs(free.positions[0] - before.positions[0]).max() > 1e-3


def test_relax_has_steps_as_md_has_and_still_knows_the_old_name(run):
    few = ("relax", "2g.lrpot", "start.xyz", "few.xyz", "--tolerance", "1e-8")
    status, _, errors = run(*few, "--steps", "1")
    assert (status, "No minimum after 1 steps" in errors) == (1, True)
    status, output, errors = run(*few, "--max-steps", "2")
    assert (status, "No minimum after 2 steps" in errors) == (1, True)
    assert "`--max-steps` is now called `--steps`" in output
    assert run(*few, "--steps", "0")[2].startswith("Error: `tolerance` and `max_steps` must be")


def test_a_netcdf_trajectory_is_no_start_because_ase_does_not_read_its_units(run, folder):
    (folder / "trajectory.nc").write_bytes(b"CDF")
    for arguments in (("md",), ("relax", "out.xyz")):
        command = (arguments[0], "2g.lrpot", "trajectory.nc", *arguments[1:])
        status, _, errors = run(*command)
        assert status == 1
        assert "neither the unit of its velocities nor its total charge" in errors


def test_ipi_says_what_of_the_structure_it_leaves_to_ipi(run):
    status, output, errors = run("ipi", "2g.lrpot", "start.xyz", "--port", "1")
    assert status == 1
    assert "Cannot reach i-PI" in errors
    assert [line.split(":")[0] for line in output.splitlines()] == [
        "i-PI moves the atoms and knows nothing of the constraints of the structure (FixAtoms)",
        "Masses are those of i-PI's input; those of the structure are not used.",
        "Velocities are those of i-PI's input; those of the structure are not used.",
    ]
