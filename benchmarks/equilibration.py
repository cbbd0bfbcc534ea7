"""Equilibrated charges and their forces: lrpot against dense linear algebra and FeNNol.

Rattled rock salt, 0.04 atoms/Å³, random electronegativities, Gaussian charges, float64; each
program in a process of its own, with neighbours given, after compilation. Forces are those of the
electrostatic energy ½ qᵀAq, charges following the atoms; those of FeNNol are of the energy that the
charges minimise, which need no adjoint equations. Needs `pip install .[peers]` for FeNNol.

python benchmarks/equilibration.py [--sizes 64 512 …] [--programs lrpot dense …]
"""

import argparse
import dataclasses
import importlib
import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import dense
import jax
import jax.numpy as jnp
import numpy as np
from common import (
    in_own_process,
    installed,
    keep_to_cores,
    machine,
    measure,
    print_table,
    rock_salt,
)
from dense import Ewald

import lrpot
from lrpot.charges import Charges, Equilibration, corrected_energies
from lrpot.electrostatics import CoulombSum
from lrpot.environment import environment_from_shifts
from lrpot.neighbors import neighbor_list
from lrpot.networks import ElementNetworks
from lrpot.units import BOHR, HARTREE, KE

ELEMENTS = (11, 17)
WIDTHS = {11: 1.66, 17: 1.02}
HARDNESS = {"equal": {11: 1.8, 17: 1.8}, "by element": {11: 0.24, 17: 1.8}}
"""Gaussian widths (covalent radii, in Å) and hardness, in eV/e²."""

ACCURACY = 1e-5
"""Relative error of the forces at given charges."""

TOLERANCE = 3e-6
"""Of the iterative solver, in eV/e: forces then have that error too; the default is 1e-5."""

SIZES = (64, 512, 4096, 32768)
LARGEST_DENSE = 4096


@dataclasses.dataclass(frozen=True)
class Problem:
    """What charges are equilibrated for.

    Attributes:
        positions, cell: In Å; without a cell, the crystal is a free cluster.
        numbers: Atomic numbers.
        electronegativity: In eV/e.
        hardness: By element, in eV/e².
    """

    positions: np.ndarray
    cell: np.ndarray | None
    numbers: np.ndarray
    electronegativity: np.ndarray
    hardness: dict[int, float]

    def of_atoms(self, values: dict[int, float]) -> np.ndarray:
        """Values of elements, by atom."""
        return np.array([values[number] for number in self.numbers.tolist()])

    @property
    def widths(self) -> np.ndarray:
        """In Å."""
        return self.of_atoms(WIDTHS)


def problem(n_atoms: int, boundary: str, hardness: str) -> Problem:
    """Irregular throughout: a charge that repeats with a tile would converge too easily."""
    positions, charges, cell, _ = rock_salt(n_atoms)
    random = np.random.default_rng(1)
    positions = positions + random.normal(0, 0.1, positions.shape)
    return Problem(
        positions,
        cell if boundary == "crystal" else None,
        np.where(charges > 0, 11, 17),
        random.normal(0, 1, n_atoms),
        HARDNESS[hardness],
    )


Result = tuple[np.ndarray, np.ndarray, int]
"""Charges in e, forces in eV/Å, iterations (0 for direct solutions)."""


def with_lrpot(
    given: Problem,
    *,
    solver: str = "iterative",
    accuracy: float = ACCURACY,
    tolerance: float = TOLERANCE,
    charges: np.ndarray | None = None,
) -> Callable[[], Result]:
    """Charges, forces and, in a crystal, stress; or those of fixed charges."""
    system = lrpot.System(given.positions, given.numbers, cell=given.cell)
    # In open space all pairs count; a dense matrix is not assembled from a mesh.
    coulomb = CoulombSum(12.0, accuracy, method="ewald")
    if system.cell is not None and solver != "dense":
        coulomb = CoulombSum.balanced(system, given.widths, accuracy=accuracy)
    model = Equilibration(
        # The one feature is the electronegativity.
        ElementNetworks(ELEMENTS, (jnp.ones((2, 1, 1)),), (jnp.zeros((2, 1)),), ("linear",)),
        jnp.sqrt(jnp.array([given.hardness[number] for number in ELEMENTS])),
        jnp.array([WIDTHS[number] for number in ELEMENTS]),
        coulomb,
        solver=solver,
        tolerance=tolerance,
    )
    range_ = coulomb.cutoff if system.cell is not None else 3.0
    neighbors = neighbor_list(system, range_, reciprocal=model.reciprocal(system))

    def of_charges(found: Charges) -> jax.Array:
        return 0.5 * found.charges * found.phi

    @jax.jit
    def evaluate(positions, features, neighbors, charges):
        def energy(positions, strain):
            moved = dataclasses.replace(system, positions=positions)
            if system.cell is not None:
                moved = moved.strained(strain)
            environment = environment_from_shifts(moved, neighbors)
            if charges is not None:
                operator = coulomb.operator(jnp.asarray(given.widths), moved, environment)
                return operator.energy(charges), (charges, 0)
            if solver == "dense":
                found = model(features, moved, environment)
                return of_charges(found).sum(), (found.charges, 0)
            # What a potential does: iterations are those for charges and adjoint.
            equations = model.problem(features, moved, environment)
            energies, found = corrected_energies(equations, of_charges)
            return energies.sum(), (found.charges, found.iterations)

        (_, found), slopes = jax.value_and_grad(energy, (0, 1), has_aux=True)(
            positions, jnp.zeros((3, 3))
        )
        return found, slopes

    features = jnp.asarray(given.electronegativity)[:, None]
    fixed = None if charges is None else jnp.asarray(charges)

    def run() -> Result:
        (found, iterations), (slope, _) = evaluate(system.positions, features, neighbors, fixed)
        return np.asarray(found), -np.asarray(slope), int(iterations)

    return run


def with_dense(given: Problem, *, accuracy: float = 2e-6, cutoff: float | None = None):
    """Cholesky factorisation in LAPACK, forces by the adjoint equations, numpy throughout.

    The cutoff balances the matrix products of the waves and the pairs, by an estimate; in small
    systems the widest charges need more.
    """
    cutoff = cutoff or max(14.0, 20.0 * (len(given.numbers) / 4096) ** 0.25)
    hardness = given.of_atoms(given.hardness)
    arguments: tuple = (given.positions, given.widths)
    matrix_of, forces_of = dense.open_matrix, dense.open_forces
    if given.cell is not None:
        ewald = Ewald.of(accuracy, cutoff)
        pairs = dense.find_pairs(given.positions, given.cell, cutoff)
        arguments = (given.positions, given.cell, given.widths, pairs, ewald)
        matrix_of, forces_of = dense.crystal_matrix, dense.crystal_forces

    def run() -> Result:
        matrix = matrix_of(*arguments)
        charges, adjoint = dense.equilibrate(matrix, given.electronegativity, hardness)
        # ½ qᵀAq at fixed charges, and ΛᵀAq for how the charges follow.
        return charges, forces_of(0.5 * charges + adjoint, charges, *arguments), 0

    return run


def with_fennol(given: Problem) -> Callable[[], Result]:
    """The module `QEQ_D4` of FeNNol with the parameters of this problem, in atomic units.

    By default it has those of D4, and electronegativities that depend on the surroundings. Its
    solver is GMRES to a relative residual of 1e-5; its own `bicg` was slower, and it advises
    against `cg`. At 512 atoms cutoffs of 16 and 20 Å were the fastest of 10 to 25 Å.
    """
    from fennol.models.physics.electrostatics import QeqD4

    n_atoms, cutoff = len(given.numbers), 20.0
    graph = {}
    inputs = {
        "species": jnp.asarray(given.numbers),
        "natoms": jnp.array([n_atoms]),
        "batch_index": jnp.zeros(n_atoms, int),
        "chi": jnp.asarray(given.electronegativity / HARTREE),
    }
    if given.cell is None:
        centers, others = np.nonzero(~np.eye(n_atoms, dtype=bool))
        moves = np.zeros(3)
    else:
        ewald = Ewald.of(1e-6, cutoff)
        waves = ewald.waves(given.cell) @ given.cell.T / (2 * math.pi)
        pairs = dense.find_pairs(given.positions, given.cell, cutoff)
        centers, others, moves = pairs.centers, pairs.others, pairs.shifts @ given.cell
        graph = {"k_points": jnp.asarray(np.concatenate([waves, -waves]))[None]}
        graph["b_ewald"] = ewald.alpha
        inputs["cells"] = jnp.asarray(given.cell)[None]
        inputs["reciprocal_cells"] = jnp.linalg.inv(inputs["cells"])
    graph["edge_src"], graph["edge_dst"] = jnp.asarray(centers), jnp.asarray(others)
    graph["switch"] = jnp.ones(len(centers))
    moves = jnp.asarray(moves)

    module = QeqD4(trainable=True, chi_key="chi", energy_key="energy")
    parameters = {"params": jax.tree.map(jnp.asarray, _fennol_parameters(given.hardness))}

    @jax.jit
    def evaluate(positions, graph, inputs, moves):
        def energy(positions):
            vectors = positions[graph["edge_dst"]] - positions[graph["edge_src"]] + moves
            measured = graph | {"distances": jnp.linalg.norm(vectors, axis=-1)}
            given = inputs | {"coordinates": positions, "graph": measured}
            found = module.apply(parameters, given)
            return HARTREE * found["energy"].sum(), found["charges"]

        (_, charges), slope = jax.value_and_grad(energy, has_aux=True)(positions)
        return charges, -slope

    positions = jnp.asarray(given.positions)

    def run() -> Result:
        charges, forces = evaluate(positions, graph, inputs, moves)
        return np.asarray(charges), np.asarray(forces), 0

    return run


def _fennol_parameters(hardness: dict[int, float]) -> dict[str, np.ndarray]:
    """By atomic number: hardness with the self-interaction, and √2 times the width."""
    zero = np.zeros(88)
    width, eta = zero + 1.0, zero + 1.0
    for number in ELEMENTS:
        # The module adds 1e-3 to the sum of the squares of two of its widths.
        width[number] = math.sqrt(2 * (WIDTHS[number] / BOHR) ** 2 - 0.5e-3)
        own = KE / (math.sqrt(math.pi) * WIDTHS[number])
        eta[number] = (hardness[number] + own) / HARTREE
    names = ("EN", "c3", "c4", "kappa")
    found = dict.fromkeys(names, zero) | {"rc": zero + 1.0, "a": width, "eta": eta}
    return found | {"k1": np.array(7.5)}


@dataclasses.dataclass(frozen=True)
class Program:
    """One program.

    Attributes:
        package: What its version is known by.
        modules: What it imports: no memory of an evaluation.
        prepare: Gives an evaluation.
        largest: Number of atoms that it is given at most, by boundary.
        minimal: Whether its forces are of the energy that the charges minimise.
    """

    package: str
    modules: tuple[str, ...]
    prepare: Callable[[Problem], Callable[[], Result]]
    largest: dict[str, int]
    minimal: bool = False


UP_TO_DENSE = {"crystal": LARGEST_DENSE, "open": LARGEST_DENSE}

PROGRAMS = {
    "lrpot": Program("lrpot", ("lrpot",), with_lrpot, {"crystal": 10**6, "open": LARGEST_DENSE}),
    "lrpot dense": Program(
        "lrpot",
        ("lrpot",),
        lambda given: with_lrpot(given, solver="dense"),
        {"crystal": 512, "open": LARGEST_DENSE},
    ),
    "dense": Program("numpy", ("scipy.linalg",), with_dense, UP_TO_DENSE),
    "FeNNol": Program(
        "fennol", ("fennol.models.physics.electrostatics",), with_fennol, UP_TO_DENSE, minimal=True
    ),
}


def reference(given: Problem) -> dict[str, np.ndarray]:
    """Converged charges, forces, and forces of the energy that the charges minimise.

    By dense numpy; nothing where that is not feasible.
    """
    if len(given.numbers) > LARGEST_DENSE:
        return {}
    charges, forces, _ = with_dense(given, accuracy=1e-13, cutoff=24.0)()
    if given.cell is None:
        minimal = dense.open_forces(0.5 * charges, charges, given.positions, given.widths)
    else:
        ewald = Ewald.of(1e-13, 24.0)
        pairs = dense.find_pairs(given.positions, given.cell, ewald.cutoff)
        where = given.positions, given.cell, given.widths, pairs, ewald
        minimal = dense.crystal_forces(0.5 * charges, charges, *where)
    return {"charges": charges, "forces": forces, "minimal": minimal}


def run(name: str, case: tuple[int, str, str], known: Path, runs: int) -> dict[str, float]:
    """Measure one program in this process, or a fixed-charge evaluation."""
    jax.config.update("jax_enable_x64", True)
    expected = np.load(known)
    program = PROGRAMS[name.removesuffix(" fixed")]
    for module in program.modules:
        importlib.import_module(module)

    def prepare(given: Problem) -> Callable[[], Result]:
        if name.endswith(" fixed"):
            return with_lrpot(given, charges=np.where(given.numbers == 11, 0.5, -0.5))
        return program.prepare(given)

    measured = measure(
        lambda: prepare(problem(*case)),
        runs=runs,
        warm=lambda: prepare(problem(64, *case[1:]))(),
    )
    charges, forces, iterations = measured.result

    def error(found: np.ndarray, of: str) -> float:
        if of not in expected:
            return math.nan
        return float(np.linalg.norm(found - expected[of]) / np.linalg.norm(expected[of]))

    return {
        "fastest": measured.fastest,
        "median": measured.median,
        "megabytes": measured.megabytes,
        "iterations": iterations,
        "charge": error(charges, "charges"),
        "force": error(forces, "minimal" if program.minimal else "forces"),
    }


def table_row(
    name: str, case: tuple[int, str, str], row: dict | str, fixed: float, smaller: dict
) -> list[str]:
    """One row; growth is the exponent against the next smaller size."""
    n_atoms, boundary, hardness = case
    start = [boundary, hardness, str(n_atoms), name]
    if isinstance(row, str):
        return [*start, row, *[""] * 7]
    growth = "–"
    if smaller:
        before, size = smaller["fastest"], smaller["atoms"]
        growth = f"{math.log(row['fastest'] / before) / math.log(n_atoms / size):.2f}"
    return [
        *start,
        f"{1e3 * row['fastest']:.1f}",
        f"{1e3 * row['median']:.1f}",
        growth,
        f"{row['fastest'] / fixed:.1f}",
        str(row["iterations"] or "–"),
        *("–" if math.isnan(row[of]) else f"{row[of]:.1e}" for of in ("charge", "force")),
        f"{row['megabytes']:.0f}",
    ]


def table(arguments: argparse.Namespace, boundary: str, hardness: str) -> list[list[str]]:
    """Rows of all sizes of one kind of problem."""
    rows: list[list[str]] = []
    smaller: dict[str, dict] = {}
    for n_atoms in arguments.sizes:
        case = n_atoms, boundary, hardness
        names = [name for name in arguments.programs if PROGRAMS[name].largest[boundary] >= n_atoms]
        if not names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            known = Path(folder) / "reference.npz"
            np.savez(known, **reference(problem(*case)))

            def alone(name: str, case: tuple = case, known: Path = known) -> dict | str:
                call = ("--alone", name, *case, known)
                call += ("--repeats", arguments.repeats, "--threads", arguments.threads)
                return in_own_process(__file__, *call, threads=arguments.threads)

            fixed = alone("lrpot fixed")
            time = fixed["fastest"] if isinstance(fixed, dict) else math.nan
            for name in names:
                package = PROGRAMS[name].package
                row = alone(name) if installed(package) else f"{package} is not installed"
                rows.append(table_row(name, case, row, time, smaller.get(name, {})))
                if isinstance(row, dict):
                    smaller[name] = row | {"atoms": n_atoms}
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--programs", nargs="+", default=list(PROGRAMS), choices=PROGRAMS)
    parser.add_argument("--boundaries", nargs="+", default=["crystal", "open"])
    parser.add_argument("--hardness", nargs="+", default=["equal"], choices=HARDNESS)
    parser.add_argument("--repeats", type=int, default=5, help="runs, at least")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--alone", nargs=5, help="one program, in this process")
    arguments = parser.parse_args()
    if arguments.alone:
        keep_to_cores(arguments.threads)
        name, n_atoms, boundary, hardness, known = arguments.alone
        case = int(n_atoms), boundary, hardness
        print(json.dumps(run(name, case, Path(known), arguments.repeats)))
        return
    jax.config.update("jax_enable_x64", True)
    print(machine("scipy", "fennol"))
    print("Equilibrated charges, forces of their electrostatic energy, float64\n")
    rows = []
    for boundary in arguments.boundaries:
        for hardness in arguments.hardness:
            rows += table(arguments, boundary, hardness)
    header = ("boundary", "hardness", "atoms", "program", "fastest, ms", "median, ms", "growth")
    header += ("fixed charges", "iterations", "charge error", "force error", "MB")
    print_table(header, rows)


if __name__ == "__main__":
    main()
