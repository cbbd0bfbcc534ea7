"""LAMMPS with our forces: energy, forces and virial of the whole charge-equilibrated system."""

import ase
import jax
import numpy as np
import pytest

import lrpot
from lrpot.descriptors import default_acsf
from lrpot.interop.lammps import attach

BAR = 1.6021765e6
"""One eV/Å³ in bar, as LAMMPS has it (`nktv2p`)."""

CELL = np.array([[4.2, 0, 0], [0.7, 4.0, 0], [-0.4, 0.6, 4.4]])
NUMBERS = [8, 1, 8, 1]
POSITIONS = np.array([[0.1, 0.2, 0.1], [1.0, 0.3, 0.1], [2.1, 2.3, 1.9], [0.5, 1.1, 0.3]])


@pytest.fixture(scope="module")
def potential():
    descriptor = default_acsf(("H", "O"), cutoff=3.0, spacing=1.1, shells=1, zetas=(1.0,))
    return lrpot.hdnnp_4g(
        ("H", "O"), descriptor=descriptor, hidden=(4,), accuracy=1e-4, key=jax.random.key(2)
    )


def prepare(lammps, cell, *, units="metal"):
    """The atoms in a box, types O and H."""
    lines = ["clear", f"units {units}", "atom_style atomic", "atom_modify map array"]
    if cell is None:
        lines += ["boundary s s s", "region box block -9 9 -9 9 -9 9"]
    else:
        a, b, c = cell
        edges = f"0 {a[0]} 0 {b[1]} 0 {c[2]} {b[0]} {c[0]} {c[1]}"
        lines += ["boundary p p p", f"region box prism {edges}"]
    lines += ["create_box 2 box", "mass 1 15.999", "mass 2 1.008", "pair_style none"]
    lines += ["comm_modify cutoff 3.0", "neighbor 0.3 bin", "timestep 0.0005"]
    lammps.commands_list(lines)
    types = [1 if number == 8 else 2 for number in NUMBERS]
    lammps.create_atoms(4, [1, 2, 3, 4], types, POSITIONS.ravel())


def gathered(lammps, name):
    return np.array(lammps.gather_atoms(name, 1, 3)).reshape(-1, 3)


def compare(lammps, coupling, potential, pbc):
    """Where LAMMPS is now: its energy, forces and pressure are ours."""
    cell = None
    if pbc:
        low, high, xy, yz, xz, *_ = lammps.extract_box()
        x, y, z = np.subtract(high, low)
        cell = [[x, 0, 0], [xy, y, 0], [xz, yz, z]]
    atoms = ase.Atoms(NUMBERS, gathered(lammps, "x"), cell=cell, pbc=pbc)
    expected = lrpot.predict(potential, lrpot.from_ase(atoms, total_charge=1.0))
    np.testing.assert_allclose(lammps.get_thermo("pe"), expected.energy, rtol=0, atol=1e-8)
    np.testing.assert_allclose(gathered(lammps, "f"), expected.forces, rtol=0, atol=1e-8)
    np.testing.assert_allclose(coupling.results["charges"], expected.charges, rtol=0, atol=1e-8)
    assert np.abs(expected.forces).max() > 0.1
    return expected


def test_a_charged_molecule_in_open_space(lammps, potential):
    prepare(lammps, None)
    coupling = attach(lammps, potential, elements=["O", "H"], total_charge=1.0)
    lammps.commands_list(["velocity all create 300 1 mom yes rot no", "fix nve all nve"])
    coupling.run(0)
    compare(lammps, coupling, potential, False)
    energies = []
    for _ in range(5):
        coupling.run(10)
        energies.append(lammps.get_thermo("etotal"))
    compare(lammps, coupling, potential, False)
    assert np.ptp(energies) < 2e-3
    assert np.abs(gathered(lammps, "x") - POSITIONS).max() > 0.02


def test_a_charged_triclinic_crystal_and_its_pressure(lammps, potential):
    """The virial too, while the box changes and atoms cross its faces."""
    prepare(lammps, CELL)
    coupling = attach(lammps, potential, elements=["O", "H"], total_charge=1.0)
    barostat = "fix npt all npt temp 300 300 0.05 iso 0 0 0.1"
    lammps.commands_list(["velocity all create 900 1 mom yes rot no", barostat])
    for steps in (0, 20, 20):
        coupling.run(steps)
        expected = compare(lammps, coupling, potential, True)
        # `press` holds the kinetic part as well, which depends on the ensemble: leave it out.
        lammps.command("compute virial all pressure NULL virial")
        lammps.command("run 0 post no")
        xx, yy, zz, xy, xz, yz = lammps.extract_compute("virial", 0, 1)[:6]
        found = -np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) / BAR
        lammps.command("uncompute virial")
        np.testing.assert_allclose(found, expected.stress, rtol=0, atol=1e-8)
    low, high, *_ = lammps.extract_box()
    assert abs(high[0] - low[0] - CELL[0, 0]) > 1e-4


def test_what_goes_wrong_in_a_step_is_told(lammps, potential):
    prepare(lammps, None)
    coupling = attach(lammps, potential, elements=["O", "H"], total_charge=1.0)
    lammps.command("set atom 2 x 0.1 y 0.2 z 0.1")
    with pytest.raises(lrpot.InputError, match="Atoms 0 and 1 lie on top of each other"):
        coupling.run(0)


@pytest.mark.parametrize(
    ("units", "elements", "message"),
    [
        ("metal", ["O"], "one symbol for each of the 2 atom types"),
        ("metal", ["O", "Hx"], "one symbol for each of the 2 atom types"),
        ("real", ["O", "H"], "LAMMPS uses `units real`; say `units metal`"),
    ],
)
def test_what_does_not_fit_is_refused(lammps, potential, units, elements, message):
    prepare(lammps, None, units=units)
    with pytest.raises(lrpot.InputError, match=message):
        attach(lammps, potential, elements=elements)
