"""Iterations of the equilibration by size and shape of the cell, with and without long waves.

python benchmarks/iterations.py [--cells 13,13,13 13,13,120]

Random systems of 0.1 atoms/Å³ with widths of 0.31, 0.66 and 0.76 Å, from a cold start to
1.4e-5 eV/e, charges and nothing else.
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from common import machine, print_table

from lrpot import System
from lrpot.charges import Equilibration
from lrpot.electrostatics import CoulombSum
from lrpot.environment import environment_from_shifts
from lrpot.neighbors import neighbor_list
from lrpot.networks import ElementNetworks

ELEMENTS = (1, 6, 8)
WIDTHS = (0.31, 0.76, 0.66)
HARDNESS = {"1.8": (1.8, 1.8, 1.8), "0": (0.0, 0.0, 0.0), "0.24/1.8/60": (0.24, 1.8, 60.0)}
CELLS = ("13,13,13", "20,20,20", "28,28,28", "13,13,120")


def random_system(edges: np.ndarray) -> tuple[System, jax.Array]:
    """Atoms on a disturbed grid, and their electronegativities."""
    random = np.random.default_rng(0)
    count = int(0.1 * np.prod(edges))
    shape = np.ceil(edges * 0.1 ** (1 / 3)).astype(int)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
    grid = grid[random.permutation(len(grid))[:count]]
    positions = (grid + 0.5) / shape * edges + 0.35 * random.normal(size=grid.shape)
    numbers = random.choice(ELEMENTS, len(grid), p=(0.5, 0.25, 0.25))
    chi = np.array([0.0, -2.0, 3.0])[np.searchsorted(ELEMENTS, numbers)]
    chi += 0.5 * random.normal(size=len(grid))
    return System(positions, numbers, cell=np.diag(edges)), jnp.asarray(chi)


def equilibration(hardness: tuple[float, ...]) -> Equilibration:
    """With features for electronegativities."""
    networks = ElementNetworks(ELEMENTS, (jnp.ones((3, 1, 1)),), (jnp.zeros((3, 1)),), ("linear",))
    return Equilibration(
        networks,
        jnp.sqrt(jnp.array(hardness)),
        jnp.array(WIDTHS),
        CoulombSum(6.0, 1e-4),
        solver="iterative",
        tolerance=1.4e-5,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", nargs="+", default=CELLS, help="edges in Å")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    solve = eqx.filter_jit(
        lambda model, chi, system, neighbors: model(
            chi[:, None], system, environment_from_shifts(system, neighbors)
        )
    )
    rows = []
    for cell in arguments.cells:
        system, chi = random_system(np.array([float(edge) for edge in cell.split(",")]))
        row = [cell.replace(",", " × "), str(system.n_atoms)]
        for hardness in HARDNESS.values():
            model = equilibration(hardness)
            reciprocal = model.reciprocal(system)
            neighbors = neighbor_list(system, model.coulomb.cutoff, reciprocal=reciprocal)
            plain = eqx.tree_at(lambda n: n.reciprocal.longest, neighbors, None)
            found = [solve(model, chi, system, one) for one in (plain, neighbors)]
            assert all(one.converged for one in found)
            row.append(" / ".join(str(int(one.iterations)) for one in found))
        rows.append(row)
    print(machine())
    print("Iterations with the preconditioner of Jacobi / of long waves\n")
    print_table(["cell, Å", "atoms", *(f"J = {name} eV/e²" for name in HARDNESS)], rows)


if __name__ == "__main__":
    main()
