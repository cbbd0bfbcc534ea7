"""How much the moment route saves: wide angular functions against the same sums pair by pair.

python benchmarks/descriptors.py [--atoms 192 648]
"""

import argparse

import jax
import jax.numpy as jnp
from common import machine, median_seconds, print_table, water_like

from lrpot import System
from lrpot.descriptors import Angular, default_acsf
from lrpot.descriptors.pairs import pair_sums
from lrpot.environment import Environment, environment_from_shifts
from lrpot.neighbors import Neighbors, neighbor_list

CUTOFF = 6.35


def pair_by_pair(part: Angular, environment: Environment) -> jax.Array:
    """The wide functions of a part by an explicit sum over pairs of neighbours."""
    radial = part.shells(environment.distances)
    weights = part.channels.weights(environment)
    sums = pair_sums(radial, environment.vectors, weights, angles=part.angles)
    return sums.reshape(len(environment.centers), -1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--atoms", type=int, nargs="+", default=[192, 648])
    parser.add_argument("--pairs-up-to", type=int, default=192, help="memory grows fast")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    descriptor = default_acsf(("H", "O"), cutoff=CUTOFF)
    radial, angular = descriptor.parts
    print(machine())
    print(f"{descriptor.n_features} functions, {CUTOFF} Å, value and gradient, float64\n")

    def gradient_time(function, system: System, neighbors: Neighbors) -> float:
        def total(positions, neighbors):
            moved = System(positions, system.numbers, cell=system.cell)
            return jnp.sum(function(environment_from_shifts(moved, neighbors)))

        compiled = jax.jit(jax.value_and_grad(total))
        return median_seconds(lambda: compiled(system.positions, neighbors))

    rows = []
    for n_atoms in arguments.atoms:
        system = water_like(n_atoms)
        neighbors = neighbor_list(system, CUTOFF)
        by_moments = gradient_time(descriptor.raw, system, neighbors)
        row = [str(n_atoms), str(neighbors.index.shape[1]), f"{1e6 * by_moments / n_atoms:.0f}"]
        if n_atoms <= arguments.pairs_up_to:
            by_pairs = gradient_time(
                lambda environment: jnp.concatenate(
                    [radial(environment), pair_by_pair(angular, environment)], axis=1
                ),
                system,
                neighbors,
            )
            row += [f"{1e6 * by_pairs / n_atoms:.0f}", f"{by_pairs / by_moments:.0f}"]
        else:
            row += ["–", "–"]
        rows.append(row)
    header = ("atoms", "slots", "moments, µs/atom", "pairs, µs/atom", "ratio")
    print_table(header, rows)


if __name__ == "__main__":
    main()
