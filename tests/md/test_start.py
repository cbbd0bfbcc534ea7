"""What a structure says of its motion is used, or refused, or told."""

import re

import ase
import ase.io
import ase.units
import numpy as np
import pytest
from ase.build import molecule
from ase.constraints import FixAtoms, FixCartesian, FixInternals
from ase.md.verlet import VelocityVerlet

import lrpot
from lrpot import md
from lrpot.cli.common import structure_of
from lrpot.md.start import parse_masses
from lrpot.units import BOLTZMANN, FEMTOSECOND


@pytest.fixture
def water():
    """A molecule that turns, in Å/fs, without motion of its centre of mass."""
    atoms = molecule("H2O")
    atoms.center()
    relative = atoms.positions - atoms.get_center_of_mass()
    atoms.set_velocities(0.02 * np.cross([0.3, 0.1, 1.0], relative) / FEMTOSECOND)
    return atoms


def test_velocities_and_masses_of_a_structure_move_it_as_in_ase(local, ion, simulate):
    """Heavy hydrogen, velocities of the file, and a centre of mass that moves."""
    atoms = ase.Atoms(np.asarray(ion.numbers), np.asarray(ion.positions))
    atoms.set_masses([15.999, 2.014, 2.014, 17.999])
    atoms.set_velocities(0.03 * np.random.default_rng(0).normal(size=(4, 3)) / ase.units.fs)
    start = md.start_from(atoms)
    found = simulate(
        local,
        start.system,
        masses=start.masses,
        velocities=start.velocities,
        steps=20,
        record_every=10,
    )
    moving = atoms.copy()
    moving.calc = lrpot.Calculator(local)
    with VelocityVerlet(moving, timestep=0.5 * FEMTOSECOND) as verlet:
        verlet.run(20)
    np.testing.assert_allclose(found.positions[-1], moving.positions, atol=1e-8)
    relative = atoms.get_velocities() - atoms.get_momenta().sum(axis=0) / atoms.get_masses().sum()
    kinetic = 0.5 * float(atoms.get_masses() @ (relative**2).sum(axis=1))
    np.testing.assert_allclose(found.log["temperature_K"][0], 2 * kinetic / (9 * BOLTZMANN), 1e-6)


def test_a_structure_that_says_nothing_has_no_words(water):
    del water.arrays["momenta"]
    start = md.start_from(water)
    assert (start.fixed, start.masses, start.velocities, start.words) == (None, None, None, ())


def test_what_a_structure_says_is_told_with_its_temperature(water):
    water.set_constraint([FixAtoms([0]), FixCartesian([1], mask=(False, True, False))])
    kept = water.get_velocities()
    water.set_masses([15.999, 2.014, 1.008])
    water.arrays["momenta"] = water.get_masses()[:, None] * kept
    start = md.start_from(water, masses={"H": 3.016})
    np.testing.assert_array_equal(start.masses, [15.999, 3.016, 3.016])
    assert start.fixed is not None
    expected = np.where(start.fixed, 0.0, kept) * FEMTOSECOND
    np.testing.assert_allclose(start.velocities, expected, rtol=1e-12, atol=1e-15)
    squares = np.where(start.fixed, 0.0, kept) ** 2
    kinetic = 0.5 * np.sum(np.array([15.999, 3.016, 3.016])[:, None] * squares)
    assert start.words == (
        "1 of 3 atoms are fixed and 1 of 3 atoms are fixed in some directions, as the structure "
        "says.",
        "Masses are those of the structure, except for H.",
        "Velocities of fixed atoms are set to zero.",
        f"Velocities are those of the structure, {2 * kinetic / (5 * BOLTZMANN):.0f} K; "
        "`--new-velocities` draws others at `--temperature`.",
    )


def test_what_is_not_used_of_a_structure_is_told(water):
    water.set_constraint(FixInternals(bonds=[[0.97, [0, 1]]]))
    start = md.start_from(water, ignore_constraints=True, new_velocities=True)
    assert (start.fixed, start.velocities) == (None, None)
    assert start.words == (
        "Constraints of the structure are ignored: FixInternals.",
        "The velocities of the structure are not used.",
    )
    water.set_constraint()
    water.arrays["momenta"][:] = 0.0
    water.arrays["velo"] = np.ones((3, 3))
    start = md.start_from(water)
    assert start.velocities is None
    assert "column `velo` is not used: velocities are read from `momenta`" in start.words[0]
    assert start.words[1] == "The velocities of the structure are all zero: new ones are drawn."


def test_the_centre_of_mass_is_brought_to_rest_where_a_thermostat_would_heat_it(
    local, water, simulate
):
    still = water.get_velocities()
    water.arrays["momenta"] += water.get_masses()[:, None] * [0.1, 0.2, -0.3]
    start = md.start_from(water, at_rest=True)
    np.testing.assert_allclose(start.velocities, still * FEMTOSECOND, atol=1e-12)
    assert start.words[0] == "The velocity of the centre of mass is subtracted."
    moving = md.start_from(water)
    with pytest.raises(lrpot.InputError, match=r"moves with 0.0368 Å/fs, and the thermostat of"):
        simulate(local, moving.system, velocities=moving.velocities, ensemble="nvt")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"masses": np.array([1.0, 1.0, 0.0, 1.0])}, "`masses` must be 4 positive numbers"),
        ({"masses": np.array([1.0, np.inf, 1.0, 1.0])}, "`masses` must be 4 positive numbers"),
        ({"masses": np.ones(1)}, "`masses` must be 4 positive numbers"),
        ({"velocities": np.zeros((3, 3))}, r"must have shape \(4, 3\), in Å/fs, got \(3, 3\)"),
        (
            {"velocities": np.diag([0.0, 0, np.nan, 0])[:, :3]},
            r"velocity of atom 2 is not finite: \[0.0, 0.0, nan\]",
        ),
        (
            {"velocities": np.ones((4, 3)), "fixed": np.eye(4, dtype=bool)[0]},
            "Fixed atoms must have velocity zero",
        ),
    ],
    ids=["no mass", "infinite mass", "one mass", "shape", "nan", "fixed"],
)
def test_motions_that_make_no_sense_are_refused(local, ion, simulate, settings, message):
    neutral = lrpot.System(ion.positions, ion.numbers)
    with pytest.raises(lrpot.InputError, match=message):
        simulate(local, neutral, **settings)


@pytest.mark.parametrize(
    ("masses", "message"),
    [
        ({"Hx": 1.0}, "'Hx' is not an element. Did you mean `H`? Known: `H`, `O`."),
        ({"C": 12.0}, "A mass is given for C, and the structure has none: it is H2O."),
        ({"H": -1.0}, "The mass of H must be positive, got -1.0 amu."),
        ({"H": np.nan}, "The mass of H must be positive, got nan amu."),
    ],
    ids=str,
)
def test_masses_of_elements_that_make_no_sense_are_refused(water, masses, message):
    with pytest.raises(lrpot.InputError, match=re.escape(message)):
        md.start_from(water, masses=masses)


def test_masses_are_written_as_element_and_number():
    assert parse_masses(["H=2.014", " O = 18 "]) == {"H": 2.014, "O": 18.0}
    for text in ("H", "H=", "2.014", "H=heavy"):
        with pytest.raises(lrpot.InputError, match=r"such as H=2.014; got"):
            parse_masses([text])
    with pytest.raises(lrpot.InputError, match=r"mass of H is given twice: 2\.0 and"):
        parse_masses(["H=2", "H=3"])


def test_momenta_of_a_wrong_shape_are_refused(water):
    water.arrays["momenta"] = np.ones(3)
    with pytest.raises(lrpot.InputError, match=r"`momenta` must have shape \(3, 3\), got \(3,\)"):
        md.start_from(water)


def test_initial_charges_give_the_total_charge_and_that_is_told(water):
    water.set_initial_charges([-0.2, 0.6, 0.6])
    start = md.start_from(water)
    assert float(start.system.total_charge) == 1.0
    assert start.words[-1] == (
        "Initial charges of the structure are not used, but for the total charge where nothing "
        "else gives it: it is +1 e."
    )


def test_velocities_in_a_wrong_unit_are_too_hot_to_start_with(local, water, simulate):
    """Å/ps for Å/fs."""
    start = md.start_from(water)
    with pytest.raises(lrpot.InputError, match=r"velocities of the start make .* takes Å/fs"):
        simulate(local, start.system, velocities=1000 * start.velocities)


POSCAR = """two layers
1.0
4.0 0.0 0.0
0.0 4.5 0.0
0.0 0.0 9.0
O H
1 2
Selective dynamics
Cartesian
0.0 0.0 0.0 F F F
1.0 0.0 0.2 T T F
0.0 1.0 1.0 T T T

0.0 0.0 0.0
0.01 0.0 0.0
0.0 0.0 -0.02
"""

MOVE_MASK = """3
Lattice="4 0 0 0 4.5 0 0 0 9" Properties=species:S:1:pos:R:3:move_mask:L:3:momenta:R:3 charge=-1
O 0.0 0.0 0.0 F F F 0.0 0.0 0.0
H 1.0 0.0 0.2 T T F {0} 0.0 0.0
H 0.0 1.0 1.0 T T T 0.0 0.0 {1}
"""


@pytest.mark.parametrize("name", ["POSCAR", "start.xyz"])
def test_selective_dynamics_and_move_masks_fix_and_velocities_of_files_are_read(name, tmp_path):
    """Velocities of a POSCAR are in Å/fs; momenta of extended XYZ in √(amu eV)."""
    momenta = 1.008 * np.array([0.01, -0.02]) / FEMTOSECOND
    (tmp_path / name).write_text(POSCAR if name == "POSCAR" else MOVE_MASK.format(*momenta))
    start = md.start_from(structure_of(tmp_path / name))
    expected = [[True] * 3, [False, False, True], [False] * 3]
    np.testing.assert_array_equal(start.fixed, expected)
    velocities = [[0, 0, 0], [0.01, 0, 0], [0, 0, -0.02]]
    np.testing.assert_allclose(start.velocities, velocities, atol=1e-8)
    assert float(start.system.total_charge) == (0 if name == "POSCAR" else -1)
