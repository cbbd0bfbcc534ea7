"""Dynamics of a committee: its mean moves the atoms, its disagreement is recorded and can stop."""

import csv
import dataclasses

import jax
import numpy as np
import pytest

import lrpot
from lrpot import md

FACTORS = {"energy": 2.0, "forces": 3.0, "charges": 5.0}


def committee_of(tiny_potential, recipe, **settings):
    """Three members that differ, and factors."""
    members = [
        tiny_potential(recipe, key=jax.random.key(number), **settings) for number in range(3)
    ]
    if recipe == "hdnnp_4g":
        members = [one.with_solver(solver="iterative", tolerance=1e-9) for one in members]
    factors = {name: jax.numpy.asarray(value) for name, value in FACTORS.items()}
    return lrpot.Committee(members, factors)


@pytest.fixture(scope="module")
def charged_committee(tiny_potential):
    return committee_of(tiny_potential, "hdnnp_4g", accuracy=1e-4)


@pytest.fixture(scope="module")
def local_committee(tiny_potential):
    return committee_of(tiny_potential, "hdnnp_2g")


@pytest.fixture(scope="module", params=["charges that remember", "a box that changes"])
def recorded(request, charged_committee, local_committee, ion, crystal, simulate, tmp_path_factory):
    """Committee, trajectory and its folder."""
    folder = tmp_path_factory.mktemp("committee")
    settings = {"steps": 12, "record_every": 4, "temperature": 100.0, "folder": folder}
    if request.param == "charges that remember":
        return charged_committee, simulate(charged_committee, ion, **settings), folder
    settings["ensemble"] = "npt"
    return local_committee, simulate(local_committee, crystal, **settings), folder


def test_frames_are_what_predict_says_of_them(recorded):
    committee, trajectory, folder = recorded
    for number, positions in enumerate(trajectory.positions):
        cell = None if trajectory.cells is None else trajectory.cells[number]
        system = dataclasses.replace(trajectory.system, positions=positions, cell=cell)
        found = lrpot.predict(committee, system)
        log = {name: column[number] for name, column in trajectory.log.items()}
        np.testing.assert_allclose(log["potential_energy_eV"], found.energy, atol=1e-6)
        doubts = found.uncertainty
        np.testing.assert_allclose(log["energy_uncertainty_eV"], doubts.energy, rtol=1e-5)
        np.testing.assert_allclose(log["forces_uncertainty_eV_A"], doubts.forces.max(), rtol=1e-5)
        if found.charges is not None:
            np.testing.assert_allclose(trajectory.charges[number], found.charges, atol=1e-6)
            largest = doubts.charges.max()
            np.testing.assert_allclose(log["charges_uncertainty_e"], largest, rtol=1e-4)
    with (folder / "log.csv").open(newline="") as file:
        assert tuple(next(csv.reader(file))) == tuple(trajectory.log)


def test_the_mean_conserves_its_energy(recorded):
    log = recorded[1].log
    conserved, kinetic = log["conserved_eV"], log["kinetic_energy_eV"]
    assert np.ptp(conserved) < 0.03 * np.ptp(kinetic)


def test_many_iterations_stop_a_run(charged_committee, ion, simulate):
    settings = {"steps": 12, "record_every": 4, "temperature": 100.0}
    with pytest.raises(lrpot.InputError, match=r"Step 4 took \d iterations .* the limit is 0"):
        simulate(charged_committee, ion, limits=md.Limits(iterations=0), **settings)


def test_doubts_stop_a_run(local_committee, local, ion, simulate, tmp_path):
    settings = {"steps": 12, "record_every": 3}
    simulate(local_committee, ion, limits=md.Limits(uncertainty=1e6), **settings)
    with pytest.raises(lrpot.InputError, match=r"may be wrong by .* the limit is 1e-09"):
        simulate(
            local_committee, ion, limits=md.Limits(uncertainty=1e-9), folder=tmp_path, **settings
        )
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 2
    with pytest.raises(lrpot.InputError, match="needs a committee, and this is one potential"):
        simulate(local, ion, limits=md.Limits(uncertainty=1.0), **settings)


def test_halves_make_the_whole(local_committee, ion, simulate, tmp_path):
    settings = {"record_every": 2, "restart_every": 1, "folder": tmp_path}
    whole = simulate(local_committee, ion, steps=8, **{**settings, "folder": None})
    simulate(local_committee, ion, steps=4, **settings)
    second = simulate(local_committee, ion, steps=8, **settings)
    np.testing.assert_array_equal(second.positions[-1], whole.positions[-1])
