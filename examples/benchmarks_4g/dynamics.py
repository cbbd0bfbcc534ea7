"""More structures of sodium chloride, by dynamics with GFN1-xTB.

python examples/benchmarks_4g/dynamics.py

Writes `data/nacl_more.xyz.xz`, which is there already. Needs `pip install tblite`. The hole of
Na8Cl8⁺ settles on a pair of chlorines within half a picosecond; many short runs show how.
"""

import itertools
import lzma

import ase
import ase.io
import numpy as np
from ase import units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary, ZeroRotation
from ase.optimize import BFGS
from references import reference
from sets import HERE

EDGE = 2.75
"""Between neighbours in the block that clusters are cut from, in Å."""

STEP, STRIDE = 4.0, 6
"""Of the dynamics, in fs, and steps from one structure to the next."""


def cluster(isomer: int) -> ase.Atoms:
    """Na9Cl8⁺: a block of 3×3×2 ions less a chlorine of the face that has more of them."""
    places = np.array(list(itertools.product(range(3), range(3), range(2))))
    symbols = np.where(places.sum(axis=1) % 2 == 0, "Na", "Cl")
    atoms = ase.Atoms(list(symbols), EDGE * places)
    across = atoms.positions[:, :2] - atoms.positions[:, :2].mean(axis=0)
    of_face = np.flatnonzero((symbols == "Cl") & (places[:, 2] == 1))
    # The one at a corner, or in the middle.
    order = of_face[np.argsort(-np.linalg.norm(across[of_face], axis=1), kind="stable")]
    del atoms[[order[0], order[-1]][isomer]]
    return relaxed(atoms)


def without_sodium(atoms: ase.Atoms) -> ase.Atoms:
    """Na8Cl8⁺: less the neutral atom that is furthest from the middle."""
    sodium = np.flatnonzero(atoms.numbers == 11)
    away = np.linalg.norm(atoms.positions[sodium] - atoms.positions.mean(axis=0), axis=1)
    less = ase.Atoms(atoms.get_chemical_symbols(), atoms.positions)
    del less[sodium[away.argmax()]]
    return relaxed(less)


def relaxed(atoms: ase.Atoms) -> ase.Atoms:
    """The same atoms at rest, or nearly so: a symmetric start stays symmetric."""
    atoms.calc = reference(1)
    BFGS(atoms, logfile=None, maxstep=0.1).run(fmax=0.02, steps=200)
    return atoms


def run(
    start: ase.Atoms, temperature: float, seed: int, *, before: int, count: int
) -> list[ase.Atoms]:
    """Labelled structures of one run of Langevin dynamics.

    Args:
        start: Atoms at rest.
        temperature: In K.
        seed: Of velocities and noise.
        before: Steps before the first structure is looked for.
        count: How many structures.
    """
    rng = np.random.default_rng(seed)
    atoms = start.copy()
    atoms.calc = reference(1)
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=rng)
    Stationary(atoms)
    ZeroRotation(atoms)
    dynamics = Langevin(
        atoms,
        STEP * units.fs,
        temperature_K=temperature,
        friction=0.01 / units.fs,
        rng=rng,
        fixcm=False,
    )
    dynamics.run(before)
    found = []
    for frame in range(count):
        dynamics.run(STRIDE)
        # What is written has five digits, and labels belong to what is written.
        atoms.positions = atoms.positions.round(5)
        one = ase.Atoms(atoms.get_chemical_symbols(), atoms.positions)
        one.calc = SinglePointCalculator(
            one,
            energy=round(atoms.get_potential_energy(), 6),
            forces=atoms.get_forces().round(5),
            charges=atoms.get_charges().round(5),
            dipole=atoms.get_dipole_moment().round(5),
        )
        one.info = dict(
            method="GFN1-xTB", total_charge=1, system=f"Na{(start.numbers == 11).sum()}Cl8+"
        )
        one.info |= dict(temperature=temperature, seed=seed, frame=frame)
        found.append(one)
    return found


def main() -> None:
    """Write the file."""
    found, seeds = [], itertools.count(90_000)
    for isomer in (0, 1):
        whole = cluster(isomer)
        hole = without_sodium(whole)
        for temperature in (300, 500):
            for _ in range(30):
                found += run(hole, temperature, next(seeds), before=25, count=20)
            for _ in range(4):
                found += run(whole, temperature, next(seeds), before=60, count=40)
    with lzma.open(HERE / "data" / "nacl_more.xyz.xz", "wt") as file:
        ase.io.write(file, found, format="extxyz")


if __name__ == "__main__":
    main()
