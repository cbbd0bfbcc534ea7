"""Molecular dynamics: conservation laws, files, and what happens when it goes wrong."""

import csv

import ase.io
import jax
import numpy as np
import pytest

import lrpot
from lrpot import md
from lrpot.md import simulation
from lrpot.units import BOLTZMANN, FEMTOSECOND

ION = lrpot.System(
    [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0], [0.1, 0.3, 2.4]], [8, 1, 1, 8], total_charge=1.0
)
MASSES = np.array([15.999, 1.008, 1.008, 15.999])


evaluate = jax.jit(lrpot.evaluate, static_argnames=("forces", "stress"))


def predicted(potential, system, capacity):
    """Energy and charges; compiled once for systems of the same shape."""
    neighbors = potential.neighbors(system, capacity=capacity)
    assert not neighbors.overflow
    return evaluate(potential, system, neighbors, forces=False, stress=False)


def simulate(potential, system=ION, *, seed=0, **settings):
    settings = {"steps": 200, "record_every": 5, **settings}
    return md.run(potential, system, key=jax.random.key(seed), **settings)


@pytest.fixture(scope="module")
def recorded(charged, tmp_path_factory):
    """100 fs at constant energy, and the folder it was written to."""
    folder = tmp_path_factory.mktemp("md") / "made" / "here"
    return simulate(charged, folder=folder), folder


def test_energy_is_conserved_to_the_second_order_of_the_time_step(charged, recorded):
    """Four times as well at half the step: forces are the slope of the energy that is logged."""
    coarse, _ = recorded
    fine = simulate(charged, timestep=0.25, steps=400, record_every=10)
    np.testing.assert_allclose(fine.log["time_fs"], coarse.log["time_fs"])
    spread = [np.ptp(one.log["conserved_eV"]) for one in (coarse, fine)]
    exchanged = np.ptp(coarse.log["potential_energy_eV"])
    assert exchanged > 0.5  # energy really moves between potential and kinetic
    assert spread[0] < 0.01 * exchanged
    np.testing.assert_allclose(spread[0] / spread[1], 4.0, rtol=0.1)


def test_what_is_recorded_is_what_predict_says_of_the_frames(charged, recorded):
    trajectory, _ = recorded
    assert trajectory.positions.shape == trajectory.velocities.shape == (41, 4, 3)
    for frame in (0, 13, 40):
        system = lrpot.System(trajectory.positions[frame], ION.numbers, total_charge=1.0)
        found = predicted(charged, system, 3)
        energy = trajectory.log["potential_energy_eV"][frame]
        np.testing.assert_allclose(energy, found.energy, rtol=1e-10)
        np.testing.assert_allclose(trajectory.charges[frame], found.charges, atol=1e-10)
    np.testing.assert_array_equal(trajectory.positions[0], ION.positions)
    np.testing.assert_allclose(trajectory.charges.sum(axis=1), 1.0, atol=1e-11)


def test_velocities_masses_and_temperature_fit_together(recorded):
    trajectory, _ = recorded
    momentum = MASSES[:, None] * trajectory.velocities
    np.testing.assert_allclose(momentum.sum(axis=1), 0, atol=1e-12)  # at rest as a whole
    kinetic = 0.5 * np.sum(momentum * trajectory.velocities, axis=(1, 2)) / FEMTOSECOND**2
    np.testing.assert_allclose(trajectory.log["kinetic_energy_eV"], kinetic, rtol=1e-4)
    temperature = 2 * kinetic / (9 * BOLTZMANN)
    np.testing.assert_allclose(trajectory.log["temperature_K"], temperature, rtol=1e-4)
    total = trajectory.log["potential_energy_eV"] + trajectory.log["kinetic_energy_eV"]
    np.testing.assert_allclose(trajectory.log["conserved_eV"], total, rtol=1e-12)
    central = (trajectory.positions[2:] - trajectory.positions[:-2]) / 5.0  # 2.5 fs apart
    assert np.corrcoef(central.ravel(), trajectory.velocities[1:-1].ravel())[0, 1] > 0.95


def test_drift_is_the_slope_per_atom_and_picosecond(recorded):
    trajectory, _ = recorded
    log = dict(trajectory.log, conserved_eV=3.0 + 8e-3 * trajectory.log["time_fs"])
    steady = md.Trajectory(
        trajectory.system, trajectory.positions, trajectory.velocities, log, None
    )
    np.testing.assert_allclose(steady.drift(), 2.0, rtol=1e-10)


def test_the_trajectory_can_be_read_by_ase(recorded):
    trajectory, folder = recorded
    frames = ase.io.read(folder / "trajectory.xyz", ":")
    assert len(frames) == 41
    for frame, atoms in enumerate(frames):
        assert atoms.get_chemical_formula() == "H2O2"
        assert not atoms.pbc.any()
        assert atoms.info["total_charge"] == 1
        np.testing.assert_allclose(atoms.positions, trajectory.positions[frame], atol=1e-7)
        np.testing.assert_allclose(atoms.info["time_fs"], 2.5 * frame)
        energy = trajectory.log["potential_energy_eV"][frame]
        np.testing.assert_allclose(atoms.info["potential_energy"], energy, rtol=1e-7)
        charges = atoms.calc.results["charges"]
        np.testing.assert_allclose(charges, trajectory.charges[frame], atol=1e-7)


def test_the_log_is_a_table_with_a_head(recorded):
    trajectory, folder = recorded
    with (folder / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == (*md.LOG, *md.DIPOLE)
    for name in rows[0]:
        column = [float(row[name]) for row in rows]
        np.testing.assert_allclose(column, trajectory.log[name], rtol=1e-9, atol=1e-12)


def test_the_same_key_gives_the_same_trajectory_and_another_one_another(charged, recorded):
    again = simulate(charged)
    np.testing.assert_array_equal(again.positions, recorded[0].positions)
    other = simulate(charged, seed=1, steps=5)
    assert np.abs(other.velocities[0] - again.velocities[0]).max() > 1e-3


def test_the_dipole_in_the_log_is_that_of_the_frames(charged, recorded):
    """Also in a cell, where atoms keep their images when they leave it."""
    trajectory, _ = recorded
    dipoles = np.stack([trajectory.log[name] for name in md.DIPOLE], axis=1)
    expected = np.einsum("fa,fax->fx", trajectory.charges, trajectory.positions)
    np.testing.assert_allclose(dipoles, expected, atol=1e-12)
    last = lrpot.System(trajectory.positions[-1], ION.numbers, total_charge=1.0)
    np.testing.assert_allclose(dipoles[-1], predicted(charged, last, 3).dipole, atol=1e-9)


@pytest.fixture
def evaluations(monkeypatch):
    """How often the potential becomes part of code that is compiled."""
    traced = []
    model = simulation.JaxMdModel.__call__

    def counted(self, *args, **kwargs):
        traced.append(self)
        return model(self, *args, **kwargs)

    monkeypatch.setattr(simulation.JaxMdModel, "__call__", counted)
    return traced


@pytest.mark.parametrize("ensemble", md.ENSEMBLES)
def test_the_potential_is_compiled_once_for_start_steps_and_frames(local, evaluations, ensemble):
    """First forces, steps, energies and charges of the frames come from the same code."""
    start = lrpot.System(ION.positions + 1.0, ION.numbers, cell=7.0 * np.eye(3))
    simulate(local, start, ensemble=ensemble, steps=3, record_every=2)
    # Integrators of jax-md look at the shape of forces once before; nothing is compiled for that.
    assert len(evaluations) == (1 if ensemble == "npt" else 2)


def test_steps_that_are_no_multiple_of_the_interval_are_all_done(local):
    trajectory = simulate(local, steps=7, record_every=3)
    np.testing.assert_allclose(trajectory.log["time_fs"], [0, 1.5, 3.0, 3.5])
    assert trajectory.charges is None


CELL = np.array([[4.1, 0.3, -0.2], [0.6, 4.2, 0.4], [-0.5, 0.2, 4.5]])


@pytest.mark.parametrize(
    "repeat",
    [1, pytest.param(2, marks=pytest.mark.slow)],
    ids=["smaller than the cutoff", "larger"],
)
def test_a_crystal_is_turned_upright_and_stays_the_same(charged, repeat):
    """Frames are those of the turned crystal, with the energy and charges of the given one."""
    shifts = np.stack(np.meshgrid(*[np.arange(repeat)] * 3, indexing="ij"), -1).reshape(-1, 3)
    positions = np.array([[-0.1, 0.2, 0.0], [0.9, 0.3, 0.1], [2.1, 2.3, 1.9], [0.2, 1.1, 5.3]])
    positions = (shifts[:, None, :] @ CELL + positions[None]).reshape(-1, 3)
    numbers = np.tile([8, 1, 8, 1], len(shifts))
    start = lrpot.System(positions, numbers, cell=repeat * CELL, total_charge=1.0)
    trajectory = simulate(charged, start, steps=4, record_every=2)
    cell = np.asarray(trajectory.system.cell)
    np.testing.assert_array_equal(cell[np.triu_indices(3, 1)], 0.0)
    assert np.all(np.diag(cell) > 0)
    np.testing.assert_allclose(cell @ cell.T, repeat**2 * CELL @ CELL.T, atol=1e-12)
    apart = [one[:, None] - one[None] for one in (trajectory.positions[0], positions)]
    distances = [np.linalg.norm(one, axis=-1) for one in apart]  # of the images that were given
    np.testing.assert_allclose(*distances, atol=1e-12)
    expected = predicted(charged, start, 12)
    first = {name: values[0] for name, values in trajectory.log.items()}
    np.testing.assert_allclose(first["potential_energy_eV"], expected.energy, rtol=1e-9)
    np.testing.assert_allclose(trajectory.charges[0], expected.charges, atol=1e-9)
    later = lrpot.System(trajectory.positions[-1], numbers, cell=cell, total_charge=1.0)
    energy = trajectory.log["potential_energy_eV"][-1]
    np.testing.assert_allclose(energy, predicted(charged, later, 12).energy, rtol=1e-9)
    assert abs(energy - first["potential_energy_eV"]) > 1e-6


def test_a_thermostat_of_nose_and_hoover_conserves_its_invariant(local):
    """Energy flows to and from the bath; what is conserved counts the bath in."""
    trajectory = simulate(
        local, ensemble="nvt", temperature=600.0, damping=20.0, steps=400, record_every=10
    )
    log = trajectory.log
    total = log["potential_energy_eV"] + log["kinetic_energy_eV"]
    assert np.ptp(total) > 20 * np.ptp(log["conserved_eV"])
    assert 300 < log["temperature_K"].mean() < 1200


def test_langevin_dynamics_forget_their_start_and_keep_the_temperature(local):
    """Four atoms, 12 degrees of freedom, and a friction that renews velocities every 5 fs."""
    trajectory = simulate(
        local, ensemble="langevin", temperature=400.0, damping=5.0, steps=600, record_every=5
    )
    kinetic = trajectory.log["kinetic_energy_eV"][20:]
    np.testing.assert_allclose(kinetic.mean(), 6 * BOLTZMANN * 400.0, rtol=0.2)
    assert kinetic.std() > 0.2 * kinetic.mean()


def test_a_list_that_overflows_on_the_way_is_made_again(local):
    """Two molecules apart have room for one neighbour per atom, and collide."""
    start = lrpot.System([[0, 0, 0], [0.96, 0, 0], [0, 0, 4.4], [0.3, 1.0, 4.4]], [8, 1, 8, 1])
    trajectory = simulate(local, start, temperature=20000.0, record_every=10)
    most = []
    for positions, energy in zip(
        trajectory.positions, trajectory.log["potential_energy_eV"], strict=True
    ):
        system = lrpot.System(positions, start.numbers)
        most.append(int((local.neighbors(system).index < 4).sum(axis=1).max()))
        found = predicted(local, system, 3)
        np.testing.assert_allclose(energy, found.energy, rtol=1e-10, atol=1e-12)
    assert most[0] == 1
    assert max(most) > 1


def test_a_simulation_that_explodes_says_so_and_keeps_its_frames(local, tmp_path):
    with pytest.raises(lrpot.InputError, match=r"has exploded after \d+ steps.*Frames up to then"):
        simulate(local, timestep=2000.0, temperature=3000.0, record_every=1, folder=tmp_path)
    frames = ase.io.read(tmp_path / "trajectory.xyz", ":")
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(frames) == len(rows) >= 1
    np.testing.assert_allclose(frames[0].positions, ION.positions, atol=1e-7)
    assert all(np.isfinite(float(row["conserved_eV"])) for row in rows)


def test_heavier_atoms_move_more_slowly(local):
    usual, heavy = (
        simulate(local, masses=factor * MASSES, steps=2, record_every=1) for factor in (1, 100)
    )
    np.testing.assert_allclose(heavy.velocities[0], usual.velocities[0] / 10, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "`steps` and .* must be positive"),
        ({"record_every": 0}, "`record_every`, .* must be positive"),
        ({"timestep": -0.5}, "must be positive"),
        ({"damping": 0.0}, "must be positive"),
        ({"temperature": -1.0}, "`temperature` not negative"),
        ({"temperature": np.nan}, "all of them and `pressure` finite, got .* nan and 1.0"),
        ({"timestep": np.inf}, "`pressure` finite, got 5, inf"),
        ({"pressure": np.nan}, "`pressure` finite, .* and nan"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_that_make_no_sense_are_refused(local, settings, message):
    with pytest.raises(lrpot.InputError, match=message):
        simulate(local, **settings)


def test_overlapping_atoms_and_unknown_elements_are_refused(local):
    with pytest.raises(lrpot.InputError, match="Atoms 0 and 1 lie on top of each other"):
        simulate(local, lrpot.System([[0, 0, 0], [0.01, 0, 0]], [1, 1]))
    with pytest.raises(lrpot.InputError, match=r"Element 6 \(C, atom 1\)"):
        simulate(local, lrpot.System([[0, 0, 0], [1.1, 0, 0]], [1, 6]))
