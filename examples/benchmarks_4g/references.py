"""Minima and scans that errors of single structures do not tell about, by GFN1-xTB.

python examples/benchmarks_4g/references.py

Writes `data/minima.xyz` and `data/scans.xyz`, which are there already. Needs `pip install tblite`.
"""

import ase
import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.optimize import BFGS
from sets import HERE
from tblite.ase import TBLite

STEPS = np.linspace(-0.4, 0.4, 17)
"""How far the sodium is moved, in Å."""


def reference(charge: int) -> TBLite:
    """As the training data were computed."""
    return TBLite(
        method="GFN1-xTB",
        charge=charge,
        accuracy=0.1,
        electronic_temperature=300.0,
        verbosity=0,
    )


def minimum(atoms: ase.Atoms, charge: int) -> ase.Atoms:
    """The minimum next to a structure."""
    atoms = ase.Atoms(atoms.get_chemical_symbols(), atoms.get_positions())
    atoms.calc = reference(charge)
    BFGS(atoms, logfile=None).run(fmax=1e-3, steps=500)
    return atoms


def labelled(atoms: ase.Atoms, charge: int, **information) -> ase.Atoms:
    """A copy with the reference energy alone."""
    atoms = ase.Atoms(atoms.get_chemical_symbols(), atoms.get_positions())
    atoms.calc = reference(charge)
    energy = atoms.get_potential_energy()
    atoms.calc = SinglePointCalculator(atoms, energy=energy)
    atoms.info.update(total_charge=charge, **information)
    return atoms


def main() -> None:
    """Write both files."""
    minima, scans = [], []
    silver = ase.io.read(HERE / "data" / "ag3_train.xyz.xz", ":")
    salt = ase.io.read(HERE / "data" / "nacl_train.xyz.xz", ":")
    for charge, name in ((1, "Ag3+"), (-1, "Ag3-")):
        frames = [one for one in silver if one.info["system"] == name]
        best = min(frames, key=lambda one: one.get_potential_energy())
        minima.append(labelled(minimum(best, charge), charge, system=name, set="ag3"))
    relaxed = {}
    for name in ("Na9Cl8+", "Na8Cl8+"):
        frames = [one for one in salt if one.info["system"] == name]
        best = min(frames, key=lambda one: one.get_potential_energy())
        relaxed[name] = minimum(best, 1)
        minima.append(labelled(relaxed[name], 1, system=name, set="nacl"))

    # A sodium far from where another one is taken away, moved away from and to the middle.
    whole = relaxed["Na9Cl8+"]
    sodium = [atom.index for atom in whole if atom.symbol == "Na"]
    middle = whole.positions.mean(axis=0)
    taken = max(sodium, key=lambda atom: np.linalg.norm(whole.positions[atom] - middle))
    moved = max(sodium, key=lambda atom: whole.get_distance(atom, taken))
    outward = whole.positions[moved] - middle
    outward /= np.linalg.norm(outward)
    for step in STEPS:
        atoms = whole.copy()
        atoms.positions[moved] += step * outward
        scans.append(labelled(atoms, 1, system="Na9Cl8+", set="nacl", step=step))
        del atoms[taken]
        scans.append(labelled(atoms, 1, system="Na8Cl8+", set="nacl", step=step))
    ase.io.write(HERE / "data" / "minima.xyz", minima, format="extxyz")
    ase.io.write(HERE / "data" / "scans.xyz", scans, format="extxyz")


if __name__ == "__main__":
    main()
