"""Minima: no forces and no stress there, and no compilation on the way."""

import ase
import equinox as eqx
import numpy as np
import pytest
from ase.mep import NEB
from ase.optimize import FIRE
from ase.vibrations import Vibrations

import lrpot
from lrpot import md
from lrpot.interop import ase as adapter

TOLERANCE = 1e-4
"""Largest force that a minimum has left, in eV/Å."""


@pytest.fixture(scope="module", autouse=True)
def compilations():
    """Shapes that the calculator has been compiled for."""
    shapes = []

    def traced(potential, system, neighbors, **settings):
        shapes.append(neighbors.index.shape)
        return lrpot.evaluate(potential, system, neighbors, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapter, "_compiled", eqx.filter_jit(traced))
        yield shapes


@pytest.fixture(scope="module")
def relaxed(bound, ion):
    return md.minimise(bound, ion, tolerance=TOLERANCE)


def test_a_minimum_is_a_structure_without_forces_below_the_start(bound, ion, relaxed):
    before, after = (lrpot.predict(bound, system) for system in (ion, relaxed))
    assert float(after.energy) < float(before.energy) - 0.1
    assert np.linalg.norm(after.forces, axis=1).max() < TOLERANCE
    np.testing.assert_allclose(after.charges.sum(), 1.0, atol=1e-10)


def test_atoms_that_move_are_not_compiled_for_again(bound, ion, compilations):
    """Not in forty steps of relaxation and more, through new lists with other neighbours."""
    known = len(compilations)
    atoms = ase.Atoms(np.asarray(ion.numbers), np.asarray(ion.positions))
    atoms.calc = lrpot.Calculator(bound, total_charge=1.0)
    for seed in range(20):
        atoms.rattle(0.1, seed=seed)
        atoms.get_forces()
    md.minimise(bound, ion, tolerance=1e-3)
    assert len(set(compilations[known:])) == len(compilations[known:]) <= 1


def test_vibrations_of_a_minimum_are_real(bound, relaxed, tmp_path):
    """Twelve modes by finite differences of forces, as for phonons: none leads downhill."""
    atoms = ase.Atoms(np.asarray(relaxed.numbers), np.asarray(relaxed.positions))
    atoms.calc = lrpot.Calculator(bound, total_charge=1.0)
    vibrations = Vibrations(atoms, name=str(tmp_path / "modes"), delta=0.003)
    vibrations.run()
    squares = np.real(vibrations.get_frequencies() ** 2)
    assert squares.max() > 1e4  # in 1/cm²
    # A force F that is left at a distance r turns the molecule: ω² ~ F/(m r), and 1 eV/Å² and
    # 1 amu make (521.5 /cm)². Its hydrogens are at 1 Å, and there are a few of such terms.
    assert squares.min() > -3 * TOLERANCE * 521.5**2


def test_a_band_between_two_minima_has_one_calculator_for_each_image(bound, relaxed):
    """The two hydrogens swap; relaxing the band lowers its highest image, or leaves it."""
    ends = [ase.Atoms(np.asarray(relaxed.numbers), np.asarray(relaxed.positions)) for _ in "ab"]
    ends[1].positions[[1, 2]] = ends[1].positions[[2, 1]]
    images = [ends[0], *(ends[0].copy() for _ in range(3)), ends[1]]
    for image in images:
        image.calc = lrpot.Calculator(bound, total_charge=1.0)
    band = NEB(images, k=1.0, method="improvedtangent")
    band.interpolate()
    # Around each other: on straight lines they would meet half way.
    line = ends[0].positions[2] - ends[0].positions[1]
    aside = np.cross(line, np.roll(line, 1))
    aside *= 0.5 / np.linalg.norm(aside)
    for number, image in enumerate(images):
        arc = np.sin(np.pi * number / 4) * aside
        image.positions[1] += arc
        image.positions[2] -= arc
    energies = [image.get_potential_energy() for image in images]
    np.testing.assert_allclose(energies[0], energies[-1], rtol=1e-10)
    with FIRE(band, logfile=None) as optimiser:
        assert optimiser.run(fmax=0.03, steps=100)
    climbed = [image.get_potential_energy() for image in images]
    assert energies[0] < max(climbed) <= max(energies) + 1e-9


@pytest.mark.slow
def test_a_cell_is_relaxed_to_the_pressure_on_it(solid, crystal):
    pressure = 0.02
    found = md.minimise(solid, crystal, cell=True, pressure=pressure, tolerance=1e-3)
    stress = lrpot.predict(solid, found).stress
    np.testing.assert_allclose(stress, -pressure * np.eye(3), atol=5e-4)


def test_what_cannot_be_relaxed_is_told(local, ion):
    with pytest.raises(lrpot.InputError, match="There is no cell to relax"):
        md.minimise(local, ion, cell=True)
    with pytest.raises(lrpot.InputError, match=r"No minimum after 1 steps.*`--steps`"):
        md.minimise(local, ion, tolerance=1e-8, max_steps=1)
