"""Constant pressure and temperature for jax-md: a box that breathes, coupled to Nosé-Hoover chains.

jax-md 0.2.29 has such an integrator, but it adds a displacement in Å to fractional coordinates, so
that atoms at rest move when the box does, and it computes energies twice in a step. This one keeps
fractional coordinates where they are, needs one force and one virial in a step, and lets charges
remember (`lrpot.interop.jax_md_memory.remembering`).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax_md import simulate
from jaxtyping import Array, Float

from lrpot.interop.jax_md_memory import ForceFn


class BreathingState(eqx.Module):
    """State of a system in a box that scales with all of its vectors.

    Attributes:
        position: Fractional coordinates.
        momentum: In √(amu eV).
        force: In eV/Å.
        virial: dU/dε for r → r(1 + ε), positions and box alike, in eV.
        mass: In amu.
        box: Lattice vectors as columns, in Å.
        rate_momentum: Momentum that goes with ln(V)/3.
        rate_mass: Its mass.
        thermostat: Nosé-Hoover chain of the atoms, which have 3N − 3 degrees of freedom.
        barostat: Nosé-Hoover chain of the box.
    """

    position: Float[Array, "atoms 3"]
    momentum: Float[Array, "atoms 3"]
    force: Float[Array, "atoms 3"]
    virial: Float[Array, ""]
    mass: Float[Array, "atoms 1"]
    box: Float[Array, "3 3"]
    rate_momentum: Float[Array, ""]
    rate_mass: Float[Array, ""]
    thermostat: Any
    barostat: Any

    @property
    def velocity(self) -> Float[Array, "atoms 3"]:
        """In Å/√(amu Å²/eV)."""
        return self.momentum / self.mass

    @property
    def volume(self) -> Float[Array, ""]:
        """In Å³."""
        return jnp.linalg.det(self.box)

    @property
    def pressure(self) -> Float[Array, ""]:
        """What drives the box, in eV/Å³; its mean, weighted by the volume, is the pressure set.

        The centre of mass rests; its share of the ideal gas is counted all the same.
        """
        freedom = self.thermostat.degrees_of_freedom
        return ((1 + 3 / freedom) * _twice_kinetic(self.momentum, self.mass) - self.virial) / (
            3 * self.volume
        )


def forces_and_virial(model: Callable[..., tuple[Array, Any]]) -> ForceFn:
    """A function `force_fn(R, neighbor, box=...)` that returns `((forces, virial), charges)`.

    Args:
        model: A `JaxMdModel`, or another function of energies [atoms], in eV, and charges.
    """

    def force_fn(R: Array, neighbor: Any, *, box: Array, **kwargs: Any):
        def energy(R: Array, strain: Array) -> tuple[Array, Any]:
            energies, charges = model(R, neighbor, box=box, perturbation=1 + strain, **kwargs)
            return energies.sum(), charges

        strain = jnp.zeros((), dtype=R.dtype)
        slopes, charges = jax.grad(energy, (0, 1), has_aux=True)(R, strain)
        return (-slopes[0], slopes[1]), charges

    return force_fn


def npt_nose_hoover(
    force_fn: Callable[..., Any],
    dt: float,
    pressure: float,
    kT: float,
    *,
    tau: float,
    tau_box: float,
) -> tuple[Callable[..., BreathingState], Callable[..., BreathingState]]:
    """Isotropic constant pressure after Martyna, Tobias and Klein, as functions `init` and `step`.

        init, step = remembering(npt_nose_hoover, forces_and_virial(model), dt, P, kT, ...)
        state, memory = init(key, R, mass=masses, box=box, neighbor=neighbors)

    The integrator is the reversible one of [tuckerman:06].

    Args:
        force_fn: `force_fn(R, box=..., **kwargs)` returning forces and virial.
        dt: Time step.
        pressure: In eV/Å³.
        kT: In eV.
        tau: Time constant of the atoms' thermostat.
        tau_box: Time constant of the box and of its thermostat.
    """
    half = dt / 2
    atoms = simulate.nose_hoover_chain(dt, **simulate.default_nhc_kwargs(tau, {}))
    box_chain = simulate.nose_hoover_chain(dt, **simulate.default_nhc_kwargs(tau_box, {}))

    def init(key: Array, R: Array, *, mass: Array, box: Array, **kwargs: Any) -> BreathingState:
        temperature = jnp.asarray(kT, R.dtype)
        mass = jnp.broadcast_to(jnp.asarray(mass, R.dtype).reshape(-1, 1), (len(R), 1))
        momentum = jnp.sqrt(mass * temperature) * jax.random.normal(key, R.shape, R.dtype)
        momentum -= mass * momentum.sum(axis=0, keepdims=True) / mass.sum()
        force, virial = force_fn(R, box=box, **kwargs)
        freedom, rest = max(R.size - 3, 1), jnp.zeros((), R.dtype)
        return BreathingState(
            position=R,
            momentum=momentum,
            force=force,
            virial=virial,
            mass=mass,
            box=box,
            rate_momentum=rest,
            rate_mass=jnp.asarray((freedom + 3) * kT * tau_box**2, R.dtype),
            thermostat=atoms.initialize(freedom, _twice_kinetic(momentum, mass) / 2, temperature),
            barostat=box_chain.initialize(1, rest, temperature),
        )

    def push(state: BreathingState, *, rate_first: bool) -> tuple[Array, Array]:
        """Momenta of box and atoms after half a step under their forces."""
        momentum, rate = state.momentum, state.rate_momentum
        alpha = 1 + 3 / state.thermostat.degrees_of_freedom
        if rate_first:
            rate = rate + half * 3 * state.volume * (state.pressure - pressure)
        x = alpha * rate / state.rate_mass * half
        momentum = momentum * jnp.exp(-x) + half * state.force * jnp.exp(-x / 2) * _sinhc(x / 2)
        if not rate_first:
            state = dataclasses.replace(state, momentum=momentum)
            rate = rate + half * 3 * state.volume * (state.pressure - pressure)
        return momentum, rate

    def chains(state: BreathingState) -> BreathingState:
        """Half a step of both thermostats."""
        temperature = jnp.asarray(kT, state.position.dtype)
        rate_energy = state.rate_momentum**2 / (2 * state.rate_mass)
        barostat = state.barostat.set(kinetic_energy=rate_energy)
        kinetic = _twice_kinetic(state.momentum, state.mass) / 2
        thermostat = state.thermostat.set(kinetic_energy=kinetic)
        rate, barostat = box_chain.half_step(state.rate_momentum, barostat, temperature)
        momentum, thermostat = atoms.half_step(state.momentum, thermostat, temperature)
        return dataclasses.replace(
            state,
            momentum=momentum,
            rate_momentum=rate,
            thermostat=thermostat,
            barostat=barostat,
        )

    def step(state: BreathingState, **kwargs: Any) -> BreathingState:
        state = chains(state)
        momentum, rate = push(state, rate_first=True)
        x = rate / state.rate_mass * dt
        box = state.box * jnp.exp(x)
        path = dt * (momentum / state.mass) * jnp.exp(x / 2) * _sinhc(x / 2)
        position = state.position + path @ jnp.linalg.inv(box).T
        force, virial = force_fn(position, box=box, **kwargs)
        state = dataclasses.replace(
            state,
            position=position,
            momentum=momentum,
            force=force,
            virial=virial,
            box=box,
            rate_momentum=rate,
        )
        momentum, rate = push(state, rate_first=False)
        return chains(dataclasses.replace(state, momentum=momentum, rate_momentum=rate))

    return init, step


def npt_invariant(state: BreathingState, energy: Array, pressure: float, kT: float) -> Array:
    """What the exact motion conserves, in eV, given the potential energy."""
    kinetic = _twice_kinetic(state.momentum, state.mass) / 2
    box = state.rate_momentum**2 / (2 * state.rate_mass) + pressure * state.volume
    chains = chain_energy(state.thermostat, kT) + chain_energy(state.barostat, kT)
    return energy + kinetic + box + chains


def chain_energy(chain: Any, kT: float) -> Array:
    """Energy of a Nosé-Hoover chain of jax-md, in eV."""
    own = jnp.sum(chain.momentum**2 / (2 * chain.mass))
    return own + kT * (chain.degrees_of_freedom * chain.position[0] + chain.position[1:].sum())


def _twice_kinetic(momentum: Array, mass: Array) -> Array:
    return jnp.sum(momentum**2 / mass)


def _sinhc(x: Array) -> Array:
    """sinh(x)/x for the small arguments of a time step."""
    return 1 + x**2 / 6 * (1 + x**2 / 20 * (1 + x**2 / 42))
