"""Binary trajectories, as other programs read them."""

import ase.io
import numpy as np
import pytest
from scipy.io import netcdf_file

import lrpot


@pytest.fixture(scope="module")
def written(charged, crystal, simulate, tmp_path_factory):
    """A trajectory in a box that changes, and its folder."""
    folder = tmp_path_factory.mktemp("formats")
    settings = {"steps": 12, "record_every": 4, "ensemble": "npt", "formats": ("netcdf",)}
    return simulate(charged, crystal, folder=folder, **settings), folder


def test_ase_reads_what_was_simulated(written):
    """By the NetCDF library and its own knowledge of AMBER's convention."""
    trajectory, folder = written
    assert {path.name for path in folder.iterdir()} == {
        "trajectory.nc",
        "log.csv",
        "checkpoint.safetensors",
    }
    frames = ase.io.read(folder / "trajectory.nc", ":", format="netcdftrajectory")
    assert len(frames) == 4
    assert np.ptp(trajectory.cells, axis=0).max() > 1e-6
    for number, atoms in enumerate(frames):
        assert atoms.get_chemical_symbols() == ["O", "H", "O", "H"]
        assert atoms.pbc.all()
        np.testing.assert_allclose(atoms.positions, trajectory.positions[number], atol=1e-6)
        np.testing.assert_allclose(atoms.cell, trajectory.cells[number], atol=1e-12)
        velocities = 1000 * trajectory.velocities[number]  # Å/ps
        np.testing.assert_allclose(atoms.get_velocities(), velocities, rtol=1e-5, atol=1e-5)


def test_times_charges_and_the_convention_are_there(written):
    trajectory, folder = written
    with netcdf_file(folder / "trajectory.nc", mmap=False) as file:
        assert (file.Conventions, file.ConventionVersion) == (b"AMBER", b"1.0")
        assert file.total_charge == 1.0
        assert file.variables["velocities"].units == b"angstrom/picosecond"
        charges, times = (file.variables[name][:].copy() for name in ("charges", "time"))
    np.testing.assert_allclose(charges, trajectory.charges, atol=1e-6)
    np.testing.assert_allclose(times, trajectory.log["time_fs"] / 1000)


def test_a_molecule_without_charges(local, ion, simulate, tmp_path):
    simulate(local, ion, steps=5, folder=tmp_path, formats=("xyz", "netcdf"))
    with netcdf_file(tmp_path / "trajectory.nc", mmap=False) as file:
        assert "charges" not in file.variables
        assert not file.variables["cell_lengths"][:].any()
    atoms = ase.io.read(tmp_path / "trajectory.nc", format="netcdftrajectory")
    text = ase.io.read(tmp_path / "trajectory.xyz")
    assert not atoms.pbc.any()
    np.testing.assert_allclose(atoms.positions, text.positions, atol=1e-6)


@pytest.mark.parametrize(
    ("formats", "message"),
    [(("dcd",), "Unknown format `dcd`"), (("xyz", "xyz"), "named twice")],
)
def test_formats_that_there_are_not(local, ion, simulate, tmp_path, formats, message):
    with pytest.raises(lrpot.InputError, match=message):
        simulate(local, ion, folder=tmp_path / "none", formats=formats)
    assert not (tmp_path / "none").exists()
