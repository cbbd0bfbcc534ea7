"""Molecular dynamics in jax-md: its own integrator on a triclinic cell, then `lrpot.md.run`.

A neutral chain in a periodic triclinic cell: charges interact through the Ewald sum. Images of the
chain are kept further apart than the cutoff, as the potential has never seen two chains together.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jax_md import quantity, simulate, space
from small_potential import DATA, small_potential

import lrpot
from lrpot import md
from lrpot.units import BOLTZMANN, FEMTOSECOND

jax.config.update("jax_enable_x64", True)
# jax-md 0.2.29 mixes int32 and int64 in its cell lists; harmless.
warnings.filterwarnings("ignore", "scatter inputs have incompatible types", FutureWarning)

potential = small_potential()
chain = lrpot.read_structures(DATA / "carbon_test.xyz")[0].system
# Our cell has lattice vectors as rows, jax-md's box has them as columns.
cell = jnp.array([[20.0, 0.0, 0.0], [2.0, 12.0, 0.0], [-1.0, 3.0, 12.0]])
system = lrpot.System(chain.positions, chain.numbers, cell=cell)
box = cell.T

# 1. jax-md as in its own examples: fractional coordinates, any integrator, any quantity.
displacement, shift = space.periodic_general(box, fractional_coordinates=True)
neighbor_fn, energy_fn = lrpot.to_jax_md(potential, displacement, box, system.numbers)
fractional = system.positions @ jnp.linalg.inv(cell) % 1.0
neighbors = neighbor_fn.allocate(fractional)

reference = lrpot.predict(potential, system)
energy = jax.jit(energy_fn)(fractional, neighbor=neighbors)
forces = jax.jit(quantity.force(energy_fn))(fractional, neighbor=neighbors)
print(f"energy by jax-md {energy:.8f} eV, by lrpot.predict {reference.energy:.8f} eV")
np.testing.assert_allclose(energy, reference.energy, rtol=1e-10)
np.testing.assert_allclose(forces, reference.forces, atol=1e-8)

init, step = simulate.nve(energy_fn, shift, dt=0.5 * FEMTOSECOND)
state = init(
    jax.random.key(0), fractional, kT=BOLTZMANN * 300, mass=12.0, neighbor=neighbors
)  # one mass for all keeps the example short


@jax.jit
def ten_steps(state, neighbors):
    """Ten steps of 0.5 fs."""

    def body(_, both):
        state, neighbors = both
        neighbors = neighbors.update(state.position)
        return step(state, neighbor=neighbors), neighbors

    return jax.lax.fori_loop(0, 10, body, (state, neighbors))


@jax.jit
def total_energy(state, neighbors):
    """Potential and kinetic energy, in eV."""
    kinetic = quantity.kinetic_energy(momentum=state.momentum, mass=state.mass)
    return energy_fn(state.position, neighbor=neighbors) + kinetic


totals, room = [], 0
while len(totals) < 10:
    new_state, neighbors = ten_steps(state, neighbors)
    if neighbors.did_buffer_overflow:  # an atom has more neighbours than there was room for
        room += 4  # these steps again, with more room
        neighbors = neighbor_fn.allocate(state.position, extra_capacity=room)
    else:
        state = new_state
        totals.append(float(total_energy(state, neighbors)))
print(f"jax-md NVE: total energy within {1e6 * np.ptp(totals) / 12:.0f} µeV/atom over 50 fs")
assert np.ptp(totals) / 12 < 1e-3

# 2. The same in one call, with masses, charges, a trajectory and a log.
trajectory = md.run(
    potential,
    system,
    steps=100,
    ensemble="nve",
    temperature=300.0,
    record_every=10,
    folder="md_example",
    resume=False,
    key=jax.random.key(0),
)
spread = np.ptp(trajectory.log["conserved_eV"]) / system.n_atoms
print(
    f"lrpot.md.run: {len(trajectory.positions)} frames, energy within {1e6 * spread:.0f} µeV/atom"
)
print("Trajectory and log are in md_example/")
assert spread < 1e-3
np.testing.assert_allclose(trajectory.charges.sum(axis=1), 0.0, atol=1e-10)
