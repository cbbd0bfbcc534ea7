"""Compiled pieces of one simulation: the first state, steps, and what is recorded of a state."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax_md import quantity, simulate, space
from jaxtyping import Array

from lrpot.charges import ChargeMemory, Charges
from lrpot.committee import Committee
from lrpot.descriptors import ACSF
from lrpot.devices import in_full_precision
from lrpot.errors import InputError
from lrpot.interop.jax_md import JaxMdModel, to_jax_md
from lrpot.interop.jax_md_memory import forces_for_jax_md, remembering
from lrpot.interop.jax_md_npt import chain_energy, forces_and_virial, npt_invariant, npt_nose_hoover
from lrpot.md.settings import Settings
from lrpot.potential import Guess, Potential
from lrpot.system import System
from lrpot.units import BAR, BOLTZMANN, FEMTOSECOND

SKIN = 0.5
"""Of the neighbour list, in Å."""

DOUBTS = ("energy_uncertainty_eV", "forces_uncertainty_eV_A", "charges_uncertainty_e")
"""Expected errors from a committee, in the log: of the energy, and the largest of any atom."""

SHRINKING = 0.01
"""By this fraction is the box smaller for which a list is made that did not last in its own."""

BREATH = 0.05
"""A box may change by this fraction before neighbours and waves are chosen anew for it."""


class State(NamedTuple):
    """All that a step hands to the next one.

    Attributes:
        atoms: State of the integrator.
        memory: Charges of the last steps.
        neighbors: Neighbour list of jax-md.
        listed: Box that the list was searched in; `None` unless the box changes.
        stretch: Largest relative change of the box since it was prepared for; likewise.
    """

    atoms: Any
    memory: ChargeMemory
    neighbors: Any
    listed: Array | None
    stretch: Array | None


class Simulation:
    """One system, upright, with one potential and settings.

    Attributes:
        system: As given.
        reference: Box that neighbours and waves are chosen for, columns; `None` in open space.
        allocated: Box that the neighbour list was allocated in; likewise.
    """

    displacement: Any
    shift: Any

    def __init__(
        self,
        potential: Potential | Committee,
        system: System,
        settings: Settings,
        masses: np.ndarray,
    ):
        self.members = len(potential.members) if isinstance(potential, Committee) else None
        self.potential, self.system, self.settings = potential, system, settings
        self.masses = jnp.asarray(masses, dtype=system.positions.dtype)
        self.breathes = settings.ensemble == "npt"
        self.freedom = max(3 * system.n_atoms - 3, 1)  # the centre of mass rests
        if settings.ensemble == "langevin":
            self.freedom = 3 * system.n_atoms  # noise moves it, too
        self.prepare(None if system.cell is None else np.asarray(system.cell).T)

    def prepare(self, reference: np.ndarray | None) -> None:
        """Choose everything that goes with one size of the box."""
        self.reference = self.allocated = reference
        self.displacement, self.shift = space.free()
        if reference is not None:
            self.displacement, self.shift = space.periodic_general(
                jnp.asarray(reference), fractional_coordinates=True, wrapped=False
            )
        charge = None if self.potential.charge_model is None else self.system.total_charge
        pbc = None if reference is None else self.system.pbc
        change = BREATH if self.breathes else 0.0
        model = self.potential, self.displacement, reference, self.system.numbers
        known: dict[str, Any] = {"total_charge": charge, "box_change": change, "pbc": pbc}
        self.neighbor_fn, _ = to_jax_md(*model, dr_threshold=SKIN, **known)
        self.model = JaxMdModel(*model, charge, True, change, pbc)
        self.init, self.step = self._integrator(forces_for_jax_md(*model, **known))
        self._advance = jax.jit(self._advance_all)
        self._measured = jax.jit(self._measure, static_argnames="extrapolation")

    def _integrator(self, force_fn: Any) -> tuple[Any, Any]:
        settings, shift = self.settings, self.shift
        remember = functools.partial(remembering, members=self.members)
        if settings.ensemble == "npt":
            return remember(
                npt_nose_hoover,
                forces_and_virial(self.model),
                settings.dt,
                settings.outer_pressure,
                settings.kT,
                tau=settings.tau,
                tau_box=settings.tau_box,
            )
        if settings.ensemble == "nve":
            return remember(simulate.nve, force_fn, shift, settings.dt)
        if settings.ensemble == "nvt":
            chain = simulate.default_nhc_kwargs(settings.tau, {})
            init, step = remember(
                simulate.nvt_nose_hoover, force_fn, shift, settings.dt, settings.kT, **chain
            )

            def resting(*args: Any, **kwargs: Any) -> tuple[Any, ChargeMemory]:
                # jax-md counts the centre of mass, and would keep everything else too hot.
                state, memory = init(*args, **kwargs)
                return state.set(chain=state.chain.set(degrees_of_freedom=self.freedom)), memory

            return resting, step
        gamma = 1 / settings.tau
        return remember(
            simulate.nvt_langevin, force_fn, shift, settings.dt, settings.kT, gamma=gamma
        )

    @in_full_precision
    def start(self, key: Array) -> State:
        """The first state; the key as an array of numbers."""
        coordinates = self._coordinates()
        neighbors = self._allocate(coordinates, self.reference)
        atoms, memory = jax.jit(self._first)(key, coordinates, neighbors)
        return self._state(atoms, memory, neighbors)

    @in_full_precision
    def blank(self, allocated: np.ndarray | None, capacities: dict[str, Any]) -> State:
        """A state of zeros in the form of one whose neighbour list was allocated so."""
        coordinates = self._coordinates()
        neighbors = _resized(self._allocate(coordinates, allocated), capacities)
        key = jax.random.PRNGKey(0)
        shapes = jax.eval_shape(self._first, key, coordinates, neighbors)
        atoms, memory = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return self._state(atoms, memory, neighbors)

    def _first(self, key: Array, coordinates: Array, neighbors: Any) -> Any:
        box = {"box": jnp.asarray(self.reference)} if self.breathes else {}
        kT = {} if self.breathes else {"kT": jnp.asarray(self.settings.kT)}
        return self.init(key, coordinates, mass=self.masses, neighbor=neighbors, **box, **kT)

    def _state(self, atoms: Any, memory: ChargeMemory, neighbors: Any) -> State:
        if not self.breathes:
            return State(atoms, memory, neighbors, None, None)
        return State(atoms, memory, neighbors, atoms.box, jnp.zeros_like(atoms.virial))

    def _coordinates(self) -> Array:
        positions = self.system.positions
        if self.system.cell is None:
            return positions
        fractional = positions @ jnp.linalg.inv(self.system.cell)
        return jnp.where(jnp.asarray(self.system.pbc)[None, :], fractional % 1, fractional)

    def _allocate(self, coordinates: Array, box: np.ndarray | None, **kwargs: Any) -> Any:
        self.allocated = box
        if self.breathes:
            kwargs["box"] = jnp.asarray(box)
        return self.neighbor_fn.allocate(coordinates, **kwargs)

    @in_full_precision
    def advance(self, state: State, count: int) -> State:
        """So many steps; done again with more room for neighbours, or for another box, if needed.

        Raises:
            InputError: If the box changes too much within these steps.
        """
        repeats = 0
        while True:
            advanced = self._advance(state, count)
            finite = np.isfinite(np.asarray(advanced.atoms.position)).all()
            too_small = getattr(advanced.neighbors, "cell_size_too_small", False)
            if finite and (advanced.neighbors.did_buffer_overflow or too_small):
                repeats += 1
                state = self._relisted(state, repeats)
            elif finite and advanced.stretch is not None and advanced.stretch > BREATH:
                if np.array_equal(np.asarray(self.reference), state.atoms.box):
                    raise InputError(
                        f"The box changes by more than {100 * BREATH:g} % within {count} steps. "
                        "Start nearer to equilibrium, or take a longer `pressure_damping`."
                    )
                self.prepare(np.asarray(state.atoms.box))
                state = self._relisted(state)
            else:
                return advanced

    def _relisted(self, state: State, repeats: int = 0) -> State:
        """With a new list, which has more room every time that it did not last.

        A box that shrinks needs more than places for neighbours: more images of them. So its list
        is made in a smaller one, where every pair is nearer.
        """
        coordinates = state.atoms.position
        room = 4 * (2**repeats - 1)
        if not self.breathes:
            neighbors = self._allocate(coordinates, self.reference, extra_capacity=room)
            return self._state(state.atoms, state.memory, neighbors)
        box = np.asarray(state.atoms.box)
        smaller = (1 - SHRINKING) ** repeats * box
        neighbors = self._allocate(coordinates, smaller, extra_capacity=room)
        neighbors = neighbors.update(coordinates, box=jnp.asarray(box))
        return self._state(state.atoms, state.memory, neighbors)

    @in_full_precision
    def frame(self, state: State, step: int, *, extrapolation: bool = False) -> dict[str, Any]:
        """What is recorded of a state."""
        measured = self._measured(state, extrapolation=extrapolation)
        measured = {name: np.asarray(value) for name, value in measured.items()}
        positions, box = state.atoms.position, self._box(state.atoms)
        if box is not None:
            positions, measured["cells"] = positions @ box.T, np.asarray(box.T)
        return {
            "time_fs": step * self.settings.timestep,
            "positions": np.asarray(positions),
            "velocities": np.asarray(state.atoms.velocity) * FEMTOSECOND,
            **measured,
        }

    def _box(self, atoms: Any) -> Array | None:
        if self.breathes:
            return atoms.box
        return None if self.reference is None else jnp.asarray(self.reference)

    def _advance_all(self, state: State, count: Array) -> State:
        def body(_: Any, state: State) -> State:
            atoms, memory = self.step(state.atoms, state.memory, neighbor=state.neighbors)
            if self.breathes:
                return self._searched(state, atoms, memory)
            neighbors = state.neighbors.update(atoms.position)
            return State(atoms, memory, neighbors, None, None)

        # The number of steps is no constant: the last few are then done by the same code.
        return jax.lax.fori_loop(0, count, body, state)

    def _searched(self, state: State, atoms: Any, memory: ChargeMemory) -> State:
        """A state whose list holds in the new box; jax-md looks at fractions of the box only.

        A pair at a distance up to the cutoff c was listed if (c + 2d)·s ≤ c + skin, for paths of
        up to d since then in a box that was larger by the factor s.
        """
        assert state.listed is not None
        assert state.stretch is not None
        neighbors, box, listed = state.neighbors, atoms.box, state.listed
        if not hasattr(neighbors, "shifts"):  # a list with several images looks at the box itself
            old = neighbors.reference_position
            apart: Any = functools.partial(self.displacement, box=box)
            paths = jax.vmap(apart)(atoms.position, old)
            longest = jnp.sqrt(jnp.max(jnp.sum(paths**2, axis=-1)))
            shrunk = jnp.cbrt(jnp.linalg.det(listed) / atoms.volume)
            reach = (self.potential.cutoff + 2 * longest) * shrunk
            stale = reach > self.potential.cutoff + SKIN
            neighbors = neighbors.set(reference_position=jnp.where(stale, old + 0.5, old))
        reference = neighbors.reference_position
        neighbors = neighbors.update(atoms.position, box=box)
        searched = jnp.any(neighbors.reference_position != reference)
        change = jnp.cbrt(atoms.volume / np.linalg.det(np.asarray(self.reference))) - 1
        return State(
            atoms,
            memory,
            neighbors,
            jnp.where(searched, box, listed),
            jnp.maximum(state.stretch, jnp.abs(change)),
        )

    def _measure(self, state: State, *, extrapolation: bool) -> dict[str, Any]:
        atoms, settings = state.atoms, self.settings
        box: dict[str, Any] = {"box": atoms.box} if self.breathes else {}
        surroundings = self.model.surroundings(atoms.position, state.neighbors, **box)
        doubts: dict[str, Any] = {}
        if isinstance(self.potential, Committee):
            potential, charges, doubts = self._of_members(self.potential, state, **box)
        else:
            energies, charges = self.potential(*surroundings, guess=state.memory.latest())
            potential = energies.sum()
        kinetic = quantity.kinetic_energy(momentum=atoms.momentum, mass=atoms.mass)
        measured = {
            "potential_energy_eV": potential,
            "kinetic_energy_eV": kinetic,
            "conserved_eV": potential + kinetic,
            "temperature_K": 2 * kinetic / (self.freedom * BOLTZMANN),
            "largest_force": jnp.sqrt(jnp.max(jnp.sum(atoms.force**2, axis=-1))),
            "failures": state.memory.failures,
            "iterations": state.memory.iterations,
            **doubts,
        }
        if settings.ensemble == "nvt":
            measured["conserved_eV"] += chain_energy(atoms.chain, settings.kT)
        if self.breathes:
            measured["conserved_eV"] = npt_invariant(
                atoms, potential, settings.outer_pressure, settings.kT
            )
            measured["volume_A3"] = atoms.volume
            measured["pressure_bar"] = atoms.pressure / BAR
        if charges is not None:
            measured["charges"] = charges.charges
            measured["converged"] = charges.converged
            if charges.residual is not None:
                measured["residual"] = charges.residual
        if extrapolation:
            measured["extrapolation"] = _extrapolation(self.potential, *surroundings)
        return measured

    def _of_members(
        self, committee: Committee, state: State, **box: Any
    ) -> tuple[Array, Charges | None, dict[str, Any]]:
        """Energy and charges by the mean of the members, and how far they disagree."""

        def energy(R: Array, member: Potential, guess: Guess) -> tuple[Array, Charges | None]:
            surroundings = self.model.surroundings(R, state.neighbors, **box)
            energies, charges = member(*surroundings, guess=guess)
            return energies.sum(), charges

        alone = jax.vmap(jax.value_and_grad(energy, has_aux=True), (None, 0, 0))
        members = committee.stacked, state.memory.latest()
        (energies, charges), slopes = alone(state.atoms.position, *members)
        found: Any = committee.uncertainty(
            energies, slopes, None if charges is None else charges.charges
        )
        doubts = {DOUBTS[0]: found.energy, DOUBTS[1]: jnp.max(found.forces)}
        if charges is None:
            return energies.mean(), None, doubts
        return energies.mean(), _as_one(charges), {**doubts, DOUBTS[2]: jnp.max(found.charges)}


def _as_one(charges: Charges) -> Charges:
    """Of the charges of all members, what is recorded."""
    return Charges(
        charges=charges.charges.mean(axis=0),
        phi=charges.phi.mean(axis=0),
        widths=None,
        converged=charges.converged.all(),
        residual=None if charges.residual is None else charges.residual.max(),
    )


def capacities(neighbors: Any) -> dict[str, Any]:
    """Sizes of a neighbour list that `_resized` gives to another one."""
    names = ("max_occupancy", "cell_list_capacity")
    return {name: getattr(neighbors, name) for name in names if hasattr(neighbors, name)}


def _resized(neighbors: Any, capacities: dict[str, Any]) -> Any:
    """An empty list of other sizes."""
    sizes = neighbors.idx.shape[0], capacities["max_occupancy"]
    empty = {"idx": jnp.zeros(sizes, neighbors.idx.dtype)}
    if hasattr(neighbors, "shifts"):
        empty["shifts"] = jnp.zeros((*sizes, 3), neighbors.shifts.dtype)
    return neighbors.set(**empty, **capacities)


def _extrapolation(potential: Potential | Committee, system: System, environment: Any) -> Array:
    one = potential.members[0] if isinstance(potential, Committee) else potential
    descriptor = one.descriptor
    if not isinstance(descriptor, ACSF):
        raise InputError("A linearised descriptor knows nothing of its training range.")
    raw = descriptor.raw(environment)
    return descriptor.scaling.outside_relative(raw, system.numbers)
