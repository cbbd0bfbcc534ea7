"""Active learning: molecular dynamics finds what a committee does not know, xTB labels it.

Needs tblite (`pip install lrpot[xtb]`); takes two minutes. A committee starts from a few slightly
distorted geometries of the Zundel cation H5O2⁺. It drives dynamics at 600 K until it gets
uncertain. Of the frames that it is uncertain of, those unlike each other and all before are
labelled.
"""

import ase
import jax
import numpy as np
from ase import units
from ase.md.langevin import Langevin
from ase.optimize import BFGS
from tblite.ase import TBLite

import lrpot
from lrpot.data import Structure
from lrpot.descriptors import default_acsf
from lrpot.training import energy_stage, evaluate_structures, farthest, uncertainties

jax.config.update("jax_enable_x64", True)

ELEMENTS = ("H", "O")
UNCERTAIN = 0.4
"""Expected error of a force component on the least certain atom that stops the dynamics, eV/Å."""


def label(atoms: ase.Atoms, name: str) -> Structure:
    """The reference: energy and forces by GFN2-xTB."""
    atoms = atoms.copy()
    atoms.calc = TBLite(method="GFN2-xTB", charge=1.0, verbosity=0)
    system = lrpot.System(atoms.positions, atoms.numbers, total_charge=1.0)
    return Structure(system, np.array(atoms.get_potential_energy()), atoms.get_forces(), name=name)


def relaxed() -> ase.Atoms:
    """The cation where xTB has its minimum."""
    atoms = ase.Atoms(
        "OOH5",
        [
            [0.0, 0.0, -1.2],
            [0.0, 0.0, 1.2],
            [0.0, 0.1, 0.0],
            [0.8, 0.3, -1.6],
            [-0.8, 0.3, -1.6],
            [0.3, 0.8, 1.6],
            [0.3, -0.8, 1.6],
        ],
    )
    atoms.calc = TBLite(method="GFN2-xTB", charge=1.0, verbosity=0)
    BFGS(atoms, logfile=None).run(fmax=0.02, steps=200)
    atoms.calc = None
    return atoms


def dynamics(calculator, steps: int, seed: int) -> list[ase.Atoms]:
    """Frames of Langevin dynamics at 600 K, up to the first that the calculator is uncertain of."""
    random = np.random.default_rng(seed)
    atoms, frames = ZUNDEL.copy(), []
    atoms.calc = calculator
    thermostat = dict(temperature_K=600, friction=0.02 / units.fs, fixcm=False, rng=random)
    run = Langevin(atoms, 0.5 * units.fs, **thermostat)
    for _ in range(steps // 5):
        run.run(5)
        frames.append(atoms.copy())
        spread = calculator.results.get("forces_uncertainty")
        if spread is not None and spread.max() > UNCERTAIN:
            break
    return frames


def train(structures: list[Structure]) -> lrpot.Committee:
    """Four members, each with a sample of the data and first weights of its own."""
    descriptor = default_acsf(ELEMENTS, cutoff=5.0, shells=1, zetas=(1.0, 4.0))
    committee = lrpot.Committee(
        lrpot.hdnnp_2g(ELEMENTS, descriptor=descriptor, hidden=(8,), key=key)
        for key in jax.random.split(jax.random.key(0), 4)
    )
    stages = (energy_stage(optimiser="kalman", epochs=30, batch_size=5),)
    held_out, rest = structures[::5], [one for n, one in enumerate(structures) if n % 5]
    return lrpot.fit(
        committee, rest, held_out, stages=stages, bootstrap=True, progress=False
    ).potential


ZUNDEL = relaxed()
random = np.random.default_rng(0)
structures = []
for number in range(30):
    atoms = ZUNDEL.copy()
    atoms.positions += 0.05 * random.normal(size=(7, 3))
    structures.append(label(atoms, f"start {number}"))
reference = TBLite(method="GFN2-xTB", charge=1.0, verbosity=0)
test = [label(atoms, "test") for atoms in dynamics(reference, 600, seed=100)[20::2]]

errors, lengths = [], []
for generation in range(3):
    committee = train(structures)
    errors.append(evaluate_structures(committee, test).total["forces"].rmse)
    calculator = lrpot.Calculator(committee)
    runs = [dynamics(calculator, 200, seed) for seed in range(generation * 5, generation * 5 + 5)]
    lengths.append(np.mean([5 * len(frames) for frames in runs]))
    print(
        f"{len(structures)} structures: forces off by {errors[-1]:.2f} eV/Å on xTB dynamics; "
        f"own dynamics certain for {lengths[-1]:.0f} of 200 steps"
    )
    pool = [label(atoms, "candidate") for frames in runs for atoms in frames[-10:]]
    doubtful = np.argsort(uncertainties(committee, pool))[-30:]
    candidates = [pool[number] for number in doubtful]
    structures += [candidates[n] for n in farthest(committee, candidates, 20, known=structures)]

# What the committee asked for taught it more than what it began with.
assert errors[-1] < 0.6 * errors[0]
assert lengths[-1] > lengths[0]
