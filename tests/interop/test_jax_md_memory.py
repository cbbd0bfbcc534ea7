"""Charges that remember in jax-md: the same trajectory in fewer iterations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_md import simulate, space

import lrpot
from lrpot.charges import ChargeMemory, charge_memory
from lrpot.charges.result import Charges
from lrpot.errors import InputError
from lrpot.interop.jax_md import to_jax_md
from lrpot.interop.jax_md_memory import forces_for_jax_md, remembering

NUMBERS = np.array([8, 1, 8, 1, 1, 8])
POSITIONS = np.array(
    [[0, 0, 0], [0.96, 0, 0], [2.4, 0.3, 0.1], [2.7, 1.2, 0], [-0.2, 0.9, 0.3], [0.5, 2.6, 0.8]]
)


TIME_STEP = 0.02  # in units of Å √(amu/eV), about 0.2 fs


def solution(charges, adjoint):
    charges, adjoint = jnp.asarray(charges), jnp.asarray(adjoint)
    return Charges(
        charges=charges,
        phi=charges,
        widths=None,
        electronegativity=None,
        hardness=None,
        multiplier=None,
        converged=jnp.asarray(True),
        iterations=jnp.asarray(7),
        adjoint=adjoint,
    )


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_smooth_charges_are_foreseen_the_better_the_more_is_remembered(depth):
    """The error of the predictor falls with the square of the step, for a memory of one linearly.

    Its order is K - 2 by construction, and what is given up is given up for stability.
    """

    def course(time):
        return np.array([np.sin(time), np.cos(1.3 * time), 0.5]), np.array([time, 1.0, -time])

    errors = []
    for step in (0.1, 0.05):
        memory = charge_memory(3, depth=depth)
        for ago in range(8, 0, -1):
            memory = memory.remember(solution(*course(1 - ago * step)))
        charges, adjoint = memory.guess()
        errors.append(np.abs(charges - course(1)[0]).max())
        latest = course(1 if depth > 1 else 1 - step)[1]
        np.testing.assert_allclose(adjoint, latest, rtol=0, atol=1e-12)
    assert errors[0] / errors[1] > (1.7 if depth == 1 else 3.0)


def test_a_memory_begins_empty_and_uses_what_it_has():
    memory = charge_memory(2, depth=4)
    np.testing.assert_array_equal(memory.guess()[0], 0.0)
    memory = memory.remember(solution([1.0, 2.0], [0.5, 0.0]))
    np.testing.assert_allclose(memory.guess()[0], [1.0, 2.0])
    np.testing.assert_allclose(memory.latest()[1], [0.5, 0.0])
    memory = memory.remember(solution([1.5, 2.5], [0.5, 0.0]))
    np.testing.assert_allclose(memory.guess()[0], [2.0, 3.0])  # straight on
    assert int(memory.steps) == 2
    with pytest.raises(InputError, match="at least one step"):
        charge_memory(2, depth=0)


def test_what_is_not_solved_iteratively_is_not_remembered():
    memory = charge_memory(2)
    assert memory.remember(None) is memory


@pytest.fixture(scope="module")
def potential():
    potential = lrpot.hdnnp_4g(("H", "O"), cutoff=4.0, hidden=(4,), key=jax.random.key(1))
    return potential.with_solver(solver="iterative", tolerance=1e-8)


def trajectory(potential, simulator, *settings, steps, depth):
    """Positions after some steps, the memory, and iterations of each step."""
    displacement, shift = space.free()
    neighbor_fn, _ = to_jax_md(potential, displacement, None, NUMBERS)
    R = jnp.asarray(POSITIONS)
    neighbors = neighbor_fn.allocate(R)
    counts = []
    forces = forces_for_jax_md(potential, displacement, None, NUMBERS, total_charge=1.0)

    def counted(R, **kwargs):
        force, charges = forces(R, **kwargs)
        jax.debug.callback(lambda n: counts.append(int(n)), charges.iterations, ordered=True)
        return force, charges

    init, step = remembering(simulator, counted, shift, TIME_STEP, *settings, depth=depth)

    @jax.jit
    def run(R, neighbors):
        state, memory = init(jax.random.key(0), R, mass=12.0, kT=0.03, neighbor=neighbors)

        def body(carried, _):
            state, memory = step(*carried, neighbor=neighbors)
            return (state, memory), state.position

        return jax.lax.scan(body, (state, memory), length=steps)

    (_, memory), positions = run(R, neighbors)
    jax.effects_barrier()
    assert isinstance(memory, ChargeMemory)
    assert int(memory.steps) == steps + 1
    return np.asarray(positions), memory, counts[-steps:]


@pytest.mark.parametrize(
    ("simulator", "settings"),
    [
        pytest.param(simulate.nve, (), id="nve"),
        pytest.param(simulate.nvt_nose_hoover, (0.03,), id="nose-hoover", marks=pytest.mark.slow),
    ],
)
def test_a_memory_saves_iterations_and_changes_nothing(potential, simulator, settings):
    with_memory, memory, few = trajectory(potential, simulator, *settings, steps=12, depth=4)
    displacement, shift = space.free()
    neighbor_fn, energy_fn = to_jax_md(
        potential.with_solver(solver="dense"), displacement, None, NUMBERS, total_charge=1.0
    )
    R = jnp.asarray(POSITIONS)
    init, step = simulator(energy_fn, shift, TIME_STEP, *settings)
    neighbors = neighbor_fn.allocate(R)
    step = jax.jit(getattr(step, "__wrapped__", step))
    state = init(jax.random.key(0), R, mass=12.0, kT=0.03, neighbor=neighbors)
    for number in range(12):
        state = step(state, neighbor=neighbors)
        np.testing.assert_allclose(with_memory[number], state.position, rtol=0, atol=1e-7)
    assert float(jnp.abs(state.position - R).max()) > 1e-3
    cold = trajectory(potential, simulator, *settings, steps=1, depth=1)[2]
    assert np.mean(few[4:]) < cold[0]
    assert float(jnp.abs(memory.charges.sum(axis=1) - 1.0).max()) < 1e-9
