"""Integrators of jax-md for one system: fixed components are held, and each step evaluates once.

The potential appears in the code of a step and nowhere else. The forces of the first state come
from the same code, so that it is compiled once.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax_md import quantity, simulate
from jaxtyping import Array

from lrpot.charges import ChargeMemory, charge_memory
from lrpot.interop.jax_md import JaxMdModel
from lrpot.interop.jax_md_memory import forces_of, remembering
from lrpot.interop.jax_md_npt import forces_and_virial, npt_nose_hoover
from lrpot.md.motion import Motion
from lrpot.md.settings import Settings


class Integrator:
    """First state and steps of one system.

    Args:
        model: The potential as jax-md sees it.
        settings: Of the simulation.
        motion: Masses, fixed components and velocities of the start.
        shift: Function of jax-md that moves atoms.
        members: Number of members of a committee; `None` for one potential.
    """

    def __init__(
        self,
        model: JaxMdModel,
        settings: Settings,
        motion: Motion,
        shift: Callable[..., Array],
        members: int | None,
    ):
        self.model, self.settings, self.motion = model, settings, motion
        self.shift, self.members = shift, members
        self.variable_cell = settings.ensemble == "npt"
        forces = forces_and_virial if self.variable_cell else forces_of
        self._evaluate = forces(self._told)
        self._energy: list[Array] = []
        self._init, _ = self._built(_plainly, self._nothing)
        self._step = self._built(functools.partial(remembering, members=members), self._forces)[1]

    def first(self, key: Array, coordinates: Array, box: Array | None) -> Any:
        """The first state, whose forces are still zero; the key as an array of numbers."""
        kT = jnp.asarray(self.settings.kT)
        kwargs: dict[str, Any] = {"box": box} if self.variable_cell else {"kT": kT}
        mass = jnp.asarray(self.motion.masses, coordinates.dtype)
        state = self._init(key, coordinates, mass=mass, **kwargs)
        momentum = state.momentum
        if self.motion.momenta is not None:
            momentum = jnp.asarray(self.motion.momenta, coordinates.dtype)
        elif self.motion.fixed is not None:
            # jax-md lets the centre of mass rest, also where fixed atoms take its momentum up.
            draw = jax.random.normal(jax.random.fold_in(key, 1), momentum.shape, momentum.dtype)
            momentum = self._free(jnp.sqrt(mass * kT)[:, None] * draw)
        state = dataclasses.replace(state, momentum=momentum)
        if self.settings.ensemble == "nvt":
            # jax-md counts the centre of mass, and would keep everything else too hot.
            kinetic = quantity.kinetic_energy(momentum=momentum, mass=state.mass)
            freedom = self.motion.freedom(self.settings)
            state = state.set(
                chain=state.chain.set(kinetic_energy=kinetic, degrees_of_freedom=freedom)
            )
        # Numbers whose type is open would be compiled for once, and once more after a step.
        return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, _type(leaf)), state)

    def memory(self, n_atoms: int, dtype: Any) -> ChargeMemory:
        """An empty memory of charges."""
        several = () if self.members is None else (self.members,)
        return charge_memory(*several, n_atoms, dtype=dtype)

    def step(
        self, state: Any, memory: ChargeMemory, neighbors: Any, first: Array
    ) -> tuple[Any, ChargeMemory, Any]:
        """One step, or only the forces of a first state.

        Returns:
            The next state, or the same one with its forces; charges of the last steps; energy in eV
            and `Charges` at the positions of this state.
        """
        hold = (first, state.position, state.box if self.variable_cell else None)
        moved, memory = self._step(state, memory, neighbor=neighbors, hold=hold)
        found = self._energy.pop()
        moved = dataclasses.replace(moved, momentum=self._free(moved.momentum))
        forces = {
            name: getattr(moved, name) for name in ("force", "virial") if hasattr(moved, name)
        }
        still = dataclasses.replace(state, **forces)
        state = jax.tree.map(functools.partial(jnp.where, first), still, moved)
        return state, memory, found

    def _told(self, *args: Any, **kwargs: Any) -> tuple[Array, Any]:
        """Energies of the atoms and what should be known besides forces."""
        energies, charges = self.model(*args, **kwargs)
        return energies, (energies.sum(), charges)

    def _forces(self, R: Array, *, hold: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Forces for an integrator: where it moves atoms to, or where they are at the start."""
        first, position, box = hold
        if self.variable_cell:
            kwargs["box"] = jnp.where(first, box, kwargs["box"])
        forces, found = self._evaluate(jnp.where(first, position, R), **kwargs)
        self._energy[:] = [found]
        if not self.variable_cell:
            forces = self._free(forces)
        return forces, found[1]

    def _nothing(self, R: Array, **_: Any) -> Any:
        forces = jnp.zeros_like(R)
        return (forces, jnp.zeros((), R.dtype)) if self.variable_cell else forces

    def _free(self, vectors: Array) -> Array:
        """Vectors without their fixed components."""
        fixed = self.motion.fixed
        return vectors if fixed is None else jnp.where(jnp.asarray(fixed), 0.0, vectors)

    def _built(self, build: Callable[..., Any], force_fn: Callable[..., Any]) -> tuple[Any, Any]:
        settings = self.settings

        def shift(R: Array, path: Array, **_: Any) -> Array:
            return self.shift(R, self._free(path))

        if settings.ensemble == "npt":
            return build(
                npt_nose_hoover,
                force_fn,
                settings.dt,
                settings.outer_pressure,
                settings.kT,
                tau=settings.tau,
                tau_box=settings.tau_box,
            )
        if settings.ensemble == "nve":
            return build(simulate.nve, force_fn, shift, settings.dt)
        if settings.ensemble == "nvt":
            chain = simulate.default_nhc_kwargs(settings.tau, {})
            nose_hoover = simulate.nvt_nose_hoover
            return build(nose_hoover, force_fn, shift, settings.dt, settings.kT, **chain)
        gamma = 1 / settings.tau
        return build(simulate.nvt_langevin, force_fn, shift, settings.dt, settings.kT, gamma=gamma)


def _plainly(simulator: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return simulator(*args, **kwargs)


def _type(leaf: Any) -> Any:
    return jnp.asarray(leaf).dtype
