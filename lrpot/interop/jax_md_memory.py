"""Molecular dynamics in jax-md with charges that remember the steps before.

An energy function of jax-md returns a number and keeps nothing. Here the charges of a step are
handed to the next one beside the state of the integrator, so that an iterative equilibration
starts close to its solution (`lrpot.charges.ChargeMemory`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from lrpot.arraylike import ArrayLike
from lrpot.charges import ChargeMemory, Charges, charge_memory
from lrpot.committee import Committee
from lrpot.interop.jax_md import Displacement, JaxMdModel
from lrpot.potential import Potential

ForceFn = Callable[..., tuple[Any, Any]]
"""Forces, or what else an integrator takes in their place, and charges."""


def forces_for_jax_md(
    potential: Potential | Committee,
    displacement: Displacement,
    box: ArrayLike | None,
    numbers: ArrayLike,
    *,
    total_charge: ArrayLike | None = None,
    fractional_coordinates: bool = True,
    box_change: float = 0.0,
    pbc: ArrayLike | Sequence | None = None,
) -> ForceFn:
    """A function `force_fn(R, neighbor=..., guess=..., ...)` that returns forces and charges.

    Arguments are those of `lrpot.interop.jax_md.to_jax_md`, whose neighbour lists it takes. Of
    the charges, `adjoint`, `iterations` and `converged` say how an iterative solver fared; they
    are `None` for a potential without charges. Of a committee these are the mean forces, and the
    charges of each member.
    """
    model = JaxMdModel(
        potential, displacement, box, numbers, total_charge, fractional_coordinates, box_change, pbc
    )
    return forces_of(model)


def forces_of(model: Callable[..., tuple[Array, Any]]) -> ForceFn:
    """The same from a function of energies [atoms], in eV, and charges, as `JaxMdModel` is one."""

    def force_fn(R: ArrayLike, neighbor: Any, **kwargs: Any) -> tuple[Array, Any]:
        def energy(R: Array) -> tuple[Array, Any]:
            energies, charges = model(R, neighbor, **kwargs)
            return energies.sum(), charges

        slope, charges = jax.grad(energy, has_aux=True)(jnp.asarray(R))
        return -slope, charges

    return force_fn


def remembering(
    simulator: Callable[..., Any],
    force_fn: ForceFn,
    *args: Any,
    depth: int = 5,
    members: int | None = None,
    **kwargs: Any,
) -> tuple[Callable[..., tuple[Any, ChargeMemory]], Callable[..., tuple[Any, ChargeMemory]]]:
    """Any simulation of `jax_md.simulate`, with a memory beside its state.

        force_fn = forces_for_jax_md(potential, displacement, box, numbers)
        init, step = remembering(simulate.nve, force_fn, shift, dt)
        state, memory = init(key, R, mass=masses, kT=kT, neighbor=neighbors)
        state, memory = step(state, memory, neighbor=neighbors)

    Both functions are pure, and neither is compiled: call them inside of your own `jax.jit` or
    `jax.lax.fori_loop`.

    Args:
        simulator: `simulate.nve`, `simulate.nvt_langevin`, …: a function of a force function that
            returns functions for the first state and for a step, in which forces are computed
            once, at the end.
        force_fn: From `forces_for_jax_md`.
        *args, **kwargs: Passed on to the simulator.
        depth: Steps to remember.
        members: Of a committee, each of which has its own charges.
    """
    several = () if members is None else (members,)
    # Forces are computed deep inside of the integrator, which has no room for anything else:
    # what goes in and comes out besides passes by it while one step is traced.
    inside: list[ChargeMemory] = []
    outside: list[Charges | None] = []

    def force(R: Array, **rest: Any) -> Any:
        forces, charges = force_fn(R, guess=inside[0].guess(), **rest)
        outside[:] = [charges]
        return forces

    start, advance = (
        # An inner `jit` would keep its values to itself.
        getattr(function, "__wrapped__", function)
        for function in simulator(force, *args, **kwargs)
    )

    def traced(function: Callable[..., Any], memory: ChargeMemory, *values: Any, **rest: Any):
        inside[:] = [memory]
        try:
            state = function(*values, **rest)
            return state, memory.remember(outside[0])
        finally:
            inside.clear()
            outside.clear()

    def init(key: Array, R: Array, *values: Any, **rest: Any) -> tuple[Any, ChargeMemory]:
        empty = charge_memory(*several, len(R), depth=depth, dtype=R.dtype)
        return traced(start, empty, key, R, *values, **rest)

    def step(state: Any, memory: ChargeMemory, **rest: Any) -> tuple[Any, ChargeMemory]:
        return traced(advance, memory, state, **rest)

    return init, step
