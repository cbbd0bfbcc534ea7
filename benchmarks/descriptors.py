"""What symmetry functions cost, against the size of the system and against other programs.

    taskset -c 0 python benchmarks/descriptors.py [--atoms 192 648 3000] [--others 192]
        [--n2p2 FOLDER ... --at-least 1000]

jax-md is compared where it is installed, and dscribe too. dscribe has values only. Folders are of
potentials of n2p2 with an `input.data`, whose first structure is repeated.
"""

import argparse
import functools
import importlib.util
import math
import resource
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from common import machine, median_seconds, print_table, repeated, water_like

from lrpot import Potential, System, evaluate, hdnnp_2g
from lrpot.descriptors import (
    ACSF,
    Angular,
    Channels,
    CosinePowers,
    Radial,
    Shells,
    default_acsf,
    identity_scaling,
)
from lrpot.environment import environment_from_shifts
from lrpot.interop import n2p2
from lrpot.neighbors import neighbor_list

CUTOFF = 6.35
ETAS = (0.01, 0.05, 0.2, 0.8)
POWERS = ((1.0, 1.0), (-1.0, 1.0), (1.0, 4.0), (-1.0, 4.0))


def times(descriptor: ACSF, system: System) -> tuple[float, float]:
    """Seconds for the features, and for the derivative of a function of all of them."""
    neighbors = neighbor_list(system, descriptor.cutoff)

    def features(positions):
        moved = System(positions, system.numbers, cell=system.cell)
        return descriptor.raw(environment_from_shifts(moved, neighbors))

    values = jax.jit(features)
    slopes = jax.jit(jax.grad(lambda positions: jnp.sum(jnp.sin(features(positions)))))
    return (
        median_seconds(lambda: values(system.positions)),
        median_seconds(lambda: slopes(system.positions)),
    )


def against_size(atoms: list[int]) -> None:
    """Default sets of functions, µs per atom."""
    sets = {
        "wide": default_acsf(("H", "O"), cutoff=CUTOFF),
        "narrow": default_acsf(("H", "O"), cutoff=CUTOFF, narrow=True),
        "wide, ζ up to 16": default_acsf(("H", "O"), cutoff=CUTOFF, zetas=(1, 4, 16)),
    }
    rows = []
    for name, descriptor in sets.items():
        for n_atoms in atoms:
            value, slope = times(descriptor, water_like(n_atoms))
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            row = [name, str(descriptor.n_features), str(n_atoms)]
            per_atom = [f"{1e6 * seconds / n_atoms:.0f}" for seconds in (value, slope)]
            rows.append([*row, *per_atom, f"{memory:.0f}"])
    header = (
        "set",
        "functions",
        "atoms",
        "values, µs/atom",
        "and forces",
        "most memory so far, MB",
    )
    print_table(header, rows)


def same_set() -> ACSF:
    """Radial and narrow functions that every program has."""
    channels, shells = Channels((1, 8)), Shells(tuple((eta, 0.0) for eta in ETAS), CUTOFF)
    parts = (Radial(channels, shells), Angular(channels, shells, CosinePowers(POWERS), True))
    return ACSF(parts, identity_scaling((1, 8), sum(len(part.labels) for part in parts)))


def jax_md_times(system: System) -> tuple[float, float]:
    """The same functions in jax-md."""
    from jax_md import partition, space
    from jax_md._nn import behler_parrinello

    assert system.cell is not None
    box = system.cell[0, 0]
    displacement, _ = space.periodic(box)
    grid = [(eta, *power) for eta in ETAS for power in POWERS]
    etas, lambdas, zetas = jnp.asarray(grid).T
    species = system.numbers
    radial = behler_parrinello.radial_symmetry_functions_neighbor_list(
        displacement, species, jnp.asarray(ETAS), CUTOFF
    )
    angular = behler_parrinello.angular_symmetry_functions_neighbor_list(
        displacement, species, etas, lambdas, zetas, CUTOFF
    )
    lists: Any = partition.neighbor_list(displacement, box, CUTOFF, 0.0, capacity_multiplier=1.0)
    neighbors = lists.allocate(system.positions)

    def features(positions):
        both = radial(positions, neighbors), angular(positions, neighbors)
        return jnp.concatenate([one.reshape(len(positions), -1) for one in both], axis=1)

    values = jax.jit(features)
    slopes = jax.jit(jax.grad(lambda positions: jnp.sum(jnp.sin(features(positions)))))
    return (
        median_seconds(lambda: values(system.positions), runs=3),
        median_seconds(lambda: slopes(system.positions), runs=3),
    )


def dscribe_time(system: System) -> float:
    """The same functions in dscribe, values only."""
    import ase
    from dscribe import descriptors  # pyright: ignore[reportMissingImports]  (optional)

    theirs = descriptors.ACSF(
        r_cut=CUTOFF,
        g2_params=[[eta, 0.0] for eta in ETAS],
        g4_params=[[eta, zeta, sign] for eta in ETAS for sign, zeta in POWERS],
        species=["H", "O"],
        periodic=True,
    )
    cell = np.asarray(system.cell)
    atoms = ase.Atoms(np.asarray(system.numbers), np.asarray(system.positions), cell=cell, pbc=True)
    return median_seconds(lambda: theirs.create(atoms), runs=3)


def against_others(n_atoms: int) -> None:
    """One set in every program, µs per atom."""
    system, ours = water_like(n_atoms), same_set()
    rows = [["lrpot", *(f"{1e6 * seconds / n_atoms:.0f}" for seconds in times(ours, system))]]
    if importlib.util.find_spec("jax_md"):
        seconds = jax_md_times(system)
        rows.append(["jax-md", *(f"{1e6 * one / n_atoms:.0f}" for one in seconds)])
    if importlib.util.find_spec("dscribe"):
        rows.append(["dscribe", f"{1e6 * dscribe_time(system) / n_atoms:.0f}", "–"])
    print(f"\n{ours.n_features} radial and narrow functions, {n_atoms} atoms\n")
    print_table(("program", "values, µs/atom", "and forces, µs/atom"), rows)


def whole_potentials(cases: list[tuple[str, Potential, System]]) -> None:
    """Energy and forces of potentials, µs per atom."""
    rows = []
    for name, potential, system in cases:
        neighbors = potential.neighbors(system)
        compiled = eqx.filter_jit(functools.partial(evaluate, stress=False))

        def energy_and_forces(
            compiled=compiled, given=(potential, system, neighbors)
        ) -> tuple[jax.Array, ...]:
            return jax.tree.leaves(compiled(*given))

        seconds = median_seconds(energy_and_forces)
        rows.append([name, str(system.n_atoms), f"{1e6 * seconds / system.n_atoms:.0f}"])
    print_table(("potential", "atoms", "µs/atom"), rows)


def from_n2p2(folder: Path, at_least: int) -> tuple[str, Potential, System]:
    """A potential of n2p2 and its first structure, repeated until it has enough atoms."""
    potential = n2p2.read_potential(folder)
    small = n2p2.read_structures(folder / "input.data")[0].system
    assert small.cell is not None
    edges, repeats = np.linalg.norm(small.cell, axis=1), np.ones(3, dtype=int)
    while small.n_atoms * math.prod(repeats) < at_least:
        repeats[np.argmin(repeats * edges)] += 1
    # What repeats exactly is no test of anything that is iterated.
    return folder.name, potential, repeated(small, tuple(repeats), rattle=0.01)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--atoms", type=int, nargs="*", default=[192, 648, 3000])
    parser.add_argument("--n2p2", type=Path, nargs="*", default=[], metavar="FOLDER")
    parser.add_argument("--at-least", type=int, default=1000, help="atoms of a repeated structure")
    parser.add_argument("--others", type=int, default=192, help="atoms; 0 leaves them out")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    print(machine())
    print(f"water-like H and O, {CUTOFF} Å, float64\n")
    default = hdnnp_2g(("H", "O"), cutoff=CUTOFF, key=jax.random.key(0))
    cases = [from_n2p2(folder, arguments.at_least) for folder in arguments.n2p2]
    whole_potentials([("hdnnp_2g, default", default, water_like(648)), *cases])
    print()
    against_size(arguments.atoms)
    if arguments.others:
        against_others(arguments.others)


if __name__ == "__main__":
    main()
