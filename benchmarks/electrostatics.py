"""Energy and forces of fixed charges: lrpot against other programs at the same force error.

Rattled rock salt, point charges ±1 e, 0.04 atoms/Å³, float64. Every program has its neighbours
already and has been compiled; each runs in a process of its own. Needs `pip install .[peers]` for
the others.

python benchmarks/electrostatics.py [--sizes 64 512 …] [--programs lrpot jax-pme …]
"""

import argparse
import dataclasses
import importlib
import json
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import peers
from common import (
    in_own_process,
    installed,
    keep_to_cores,
    machine,
    measure,
    print_table,
    rock_salt,
)
from dense import Ewald, crystal_forces, find_pairs
from peers import Evaluation, Splitting

import lrpot
from lrpot.electrostatics import CoulombSum
from lrpot.environment import environment_from_shifts
from lrpot.neighbors import neighbor_list
from lrpot.units import KE

ACCURACY = 1e-5
"""Relative error of the forces: root mean square of the error over that of the forces."""

SIZES = (64, 512, 4096, 32768)


@dataclasses.dataclass(frozen=True)
class Program:
    """One program.

    Attributes:
        package: What its version is known by.
        modules: What it imports: no memory of an evaluation.
        prepare: Gives an evaluation for positions, charges and cell.
        unit: Of its energies and forces, in eV Å/e².
    """

    package: str
    modules: tuple[str, ...]
    prepare: Callable[[np.ndarray, np.ndarray, np.ndarray], Evaluation]
    unit: float = KE


def with_lrpot(positions: np.ndarray, charges: np.ndarray, cell: np.ndarray) -> Evaluation:
    """What `CoulombSum` chooses for this accuracy."""
    system = lrpot.System(positions, np.where(charges > 0, 11, 17), cell=cell)
    coulomb = CoulombSum.balanced(system, accuracy=ACCURACY)
    reciprocal = coulomb.reciprocal(system)
    neighbors = neighbor_list(system, coulomb.cutoff, reciprocal=reciprocal)

    @jax.jit
    def evaluate(moving, charges, neighbors):
        def energy(positions):
            moved = dataclasses.replace(system, positions=positions)
            environment = environment_from_shifts(moved, neighbors)
            return coulomb.operator(None, moved, environment).energy(charges)

        value, slope = jax.value_and_grad(energy)(moving)
        return value, -slope

    charges = jnp.asarray(charges)
    return lambda: evaluate(system.positions, charges, neighbors)


def tuned(prepare: Callable[..., Evaluation], splitting: Splitting) -> Callable[..., Evaluation]:
    """A program with its parameters."""
    return lambda *salt: prepare(*salt, splitting)


# The fastest parameters of each program that keep the error, by scans at 512 and 4096 atoms on a
# busy machine: cutoffs of 4 to 18 Å, orders of 4 to 6 as far as a program has them, α of 3.5 to
# 3.75 over the cutoff (the real-space part needs that much); for each of these the coarsest mesh.
# Neighbours of the chosen point were within the noise. The sum over waves of jax-pme was slower
# at 64 and 512 atoms.
PROGRAMS = {
    "lrpot": Program("lrpot", ("lrpot",), with_lrpot, unit=1.0),
    "jax-pme": Program(
        "jax-pme",
        ("jax", "jaxpme"),
        tuned(peers.jax_pme, Splitting(cutoff=10.0, alpha=0.37, spacing=0.4332, order=5)),
    ),
    "torch-pme": Program(
        "torch-pme",
        ("torch", "torchpme"),
        tuned(peers.torch_pme, Splitting(cutoff=16.0, alpha=0.2325, spacing=0.7311, order=5)),
    ),
    "nvalchemi": Program(
        "nvalchemi-toolkit-ops",
        ("torch", "nvalchemiops.torch.interactions.electrostatics"),
        tuned(peers.nvalchemi, Splitting(cutoff=10.0, alpha=0.37, spacing=0.65, order=6)),
    ),
}


def reference_forces(n_atoms: int) -> np.ndarray:
    """Forces on the atoms of the tile, in eV/Å, converged to 12 digits by plain summation."""
    positions, charges, cell, repeats = rock_salt(n_atoms)
    size = n_atoms // math.prod(repeats)
    positions, charges, cell = positions[:size], charges[:size], cell / np.array(repeats)[:, None]
    ewald = Ewald.of(1e-14, 16.0)
    pairs = find_pairs(positions, cell, ewald.cutoff)
    widths = np.zeros(size)
    return crystal_forces(charges, 0.5 * charges, positions, cell, widths, pairs, ewald)


def run(name: str, n_atoms: int, runs: int) -> dict[str, float]:
    """Measure one program in this process."""
    jax.config.update("jax_enable_x64", True)
    program = PROGRAMS[name]
    for module in program.modules:
        importlib.import_module(module)
    positions, charges, cell, repeats = rock_salt(n_atoms)
    measured = measure(
        lambda: program.prepare(positions, charges, cell),
        runs=runs,
        warm=lambda: program.prepare(*rock_salt(64)[:3])(),
    )
    forces = program.unit * np.asarray(measured.result[1])
    expected = np.tile(reference_forces(n_atoms), (math.prod(repeats), 1))
    error = np.linalg.norm(forces - expected) / np.linalg.norm(expected)
    return {
        "fastest": measured.fastest,
        "median": measured.median,
        "error": float(error),
        "megabytes": measured.megabytes,
    }


def table_rows(n_atoms: int, found: dict[str, dict | str]) -> list[list[str]]:
    """Rows of one size; ratios are of fastest times, to the fastest of the other programs."""
    times = {name: row["fastest"] for name, row in found.items() if isinstance(row, dict)}
    peer = min((time for name, time in times.items() if name != "lrpot"), default=math.nan)
    rows = []
    for name, row in found.items():
        if isinstance(row, str):
            rows.append([str(n_atoms), name, row, "", "", "", ""])
            continue
        ratio = row["fastest"] / peer
        rows.append(
            [
                str(n_atoms),
                name,
                f"{1e3 * row['fastest']:.1f}",
                f"{1e3 * row['median']:.1f}",
                "–" if math.isnan(ratio) else f"{ratio:.2f}",
                f"{row['error']:.1e}",
                f"{row['megabytes']:.0f}",
            ]
        )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="or 100000")
    parser.add_argument("--programs", nargs="+", default=list(PROGRAMS), choices=PROGRAMS)
    parser.add_argument("--repeats", type=int, default=9, help="runs, at least")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--alone", action="store_true", help="one program, in this process")
    arguments = parser.parse_args()
    if arguments.alone:
        keep_to_cores(arguments.threads)
        print(json.dumps(run(arguments.programs[0], arguments.sizes[0], arguments.repeats)))
        return
    packages = {name: PROGRAMS[name].package for name in arguments.programs}
    print(machine(*dict.fromkeys([*packages.values(), "torch", "warp-lang"])))
    print(f"Rattled rock salt, energy and forces, relative force error ≤ {ACCURACY:g}, float64\n")
    rows = []
    for n_atoms in arguments.sizes:
        found: dict[str, dict | str] = {}
        for name, package in packages.items():
            call = ("--alone", "--programs", name, "--sizes", n_atoms)
            call += ("--repeats", arguments.repeats, "--threads", arguments.threads)
            found[name] = (
                in_own_process(__file__, *call, threads=arguments.threads)
                if installed(package)
                else f"{package} is not installed"
            )
        rows += table_rows(n_atoms, found)
    header = ("atoms", "program", "fastest, ms", "median, ms", "ratio", "force error", "MB")
    print_table(header, rows)


if __name__ == "__main__":
    main()
