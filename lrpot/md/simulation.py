"""Compiled pieces of one simulation: the first state, steps, and what is recorded of a state."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax_md import quantity, space
from jaxtyping import Array

from lrpot.charges import ChargeMemory, Charges
from lrpot.committee import Committee
from lrpot.descriptors import ACSF
from lrpot.devices import in_full_precision
from lrpot.errors import InputError
from lrpot.interop.jax_md import JaxMdModel, to_jax_md
from lrpot.interop.jax_md_npt import chain_energy, npt_invariant
from lrpot.md.integrators import Integrator
from lrpot.md.motion import Motion
from lrpot.md.settings import Settings
from lrpot.potential import Guess, Potential
from lrpot.system import System
from lrpot.units import BAR, BOLTZMANN, FEMTOSECOND

SKIN = 0.5
"""Of the neighbour list, in Å."""

DOUBTS = ("energy_uncertainty_eV", "forces_uncertainty_eV_A", "charges_uncertainty_e")
"""Expected errors from a committee, in the log: of the energy, and the largest of any atom."""

DIPOLE = ("dipole_x_eA", "dipole_y_eA", "dipole_z_eA")
"""Dipole in the log, in e Å, of a potential with charges."""

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
        found: Energy and charges at these positions, as they are recorded; empty for a committee.
        listed: Box that the list was searched in; `None` unless the box changes.
        stretch: Largest relative change of the box since it was prepared for; likewise.
    """

    atoms: Any
    memory: ChargeMemory
    neighbors: Any
    found: dict[str, Array]
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
        motion: Motion,
    ):
        self.members = len(potential.members) if isinstance(potential, Committee) else None
        self.potential, self.system = potential, system
        self.settings, self.motion = settings, motion
        self.breathes = settings.ensemble == "npt"
        self.freedom = motion.freedom(settings)
        self.coordinates, self.images = self._coordinates()
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
        self.integrator = Integrator(
            self.model, self.settings, self.motion, self.shift, self.members
        )
        self._advance = jax.jit(self._advance_all)
        self._measured = jax.jit(self._measure, static_argnames="extrapolation")

    @in_full_precision
    def start(self, key: Array) -> State:
        """The first state; the key as an array of numbers."""
        neighbors = self._allocate(self.coordinates, self.reference)
        atoms = jax.jit(self.integrator.first)(key, self.coordinates, self._reference_box())
        return self.advance(self._state(atoms, neighbors), 1, first=True)

    @in_full_precision
    def blank(self, allocated: np.ndarray | None, capacities: dict[str, Any]) -> State:
        """A state of zeros in the form of one whose neighbour list was allocated so."""
        neighbors = _resized(self._allocate(self.coordinates, allocated), capacities)
        first = jax.random.PRNGKey(0), self.coordinates, self._reference_box()
        shapes = jax.eval_shape(self.integrator.first, *first)
        atoms = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return self._state(atoms, neighbors)

    def _reference_box(self) -> Array | None:
        return jnp.asarray(self.reference) if self.breathes else None

    def _state(self, atoms: Any, neighbors: Any) -> State:
        """A state of which nothing has been computed yet."""
        memory = self.integrator.memory(self.system.n_atoms, atoms.position.dtype)
        found: dict[str, Array] = {}
        if self.members is None:
            nothing = jnp.zeros((), atoms.position.dtype)
            found["potential_energy_eV"] = nothing
            if self.potential.charge_model is not None:
                found["charges"] = jnp.zeros_like(atoms.position[:, 0])
                found["converged"], found["residual"] = jnp.asarray(True), nothing
        if not self.breathes:
            return State(atoms, memory, neighbors, found, None, None)
        return State(atoms, memory, neighbors, found, atoms.box, jnp.zeros_like(atoms.virial))

    def _coordinates(self) -> tuple[Array, Array]:
        """Coordinates for jax-md, and whole periods between them and where the atoms are."""
        positions = self.system.positions
        if self.system.cell is None:
            return positions, jnp.zeros_like(positions)
        fractional = positions @ jnp.linalg.inv(self.system.cell)
        images = jnp.where(jnp.asarray(self.system.pbc)[None, :], jnp.floor(fractional), 0.0)
        return fractional - images, images

    def _allocate(self, coordinates: Array, box: np.ndarray | None, **kwargs: Any) -> Any:
        self.allocated = box
        if self.breathes:
            kwargs["box"] = jnp.asarray(box)
        return self.neighbor_fn.allocate(coordinates, **kwargs)

    @in_full_precision
    def advance(self, state: State, count: int, *, first: bool = False) -> State:
        """So many steps; done again with more room for neighbours, or for another box, if needed.

        The first step of a first state finds the forces that it has to begin with.

        Raises:
            InputError: If the box changes too much within these steps.
        """
        repeats = 0
        while True:
            advanced = self._advance(state, count, first)
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
            return state._replace(neighbors=neighbors)
        box = np.asarray(state.atoms.box)
        smaller = (1 - SHRINKING) ** repeats * box
        neighbors = self._allocate(coordinates, smaller, extra_capacity=room)
        neighbors = neighbors.update(coordinates, box=jnp.asarray(box))
        stretch = jnp.zeros_like(state.atoms.virial)
        return state._replace(neighbors=neighbors, listed=state.atoms.box, stretch=stretch)

    @in_full_precision
    def frame(self, state: State, step: int, *, extrapolation: bool = False) -> dict[str, Any]:
        """What is recorded of a state."""
        measured = self._measured(state, extrapolation=extrapolation)
        measured = {name: np.asarray(value) for name, value in measured.items()}
        if np.isnan(measured.get("residual", 0.0)):
            del measured["residual"]
        positions, box = state.atoms.position, self._box(state.atoms)
        if box is not None:
            positions = (positions + self.images) @ box.T
            measured["cells"] = np.asarray(box.T)
        positions = np.asarray(positions)
        if "charges" in measured:
            dipole = measured["charges"] @ positions
            measured.update(zip(DIPOLE, dipole, strict=True))
        return {
            "time_fs": step * self.settings.timestep,
            "positions": positions,
            "velocities": np.asarray(state.atoms.velocity) * FEMTOSECOND,
            **measured,
        }

    def _box(self, atoms: Any) -> Array | None:
        if self.breathes:
            return atoms.box
        return None if self.reference is None else jnp.asarray(self.reference)

    def _advance_all(self, state: State, count: Array, first: Array) -> State:
        def body(number: Array, state: State) -> State:
            opening = (number == 0) & first
            atoms, memory, found = self.integrator.step(
                state.atoms, state.memory, state.neighbors, opening
            )
            moved = state._replace(atoms=atoms, memory=memory, found=self._recorded(*found))
            if self.breathes:
                return self._searched(state, moved)
            return moved._replace(neighbors=state.neighbors.update(atoms.position))

        # The number of steps is no constant: the last few are then done by the same code.
        return jax.lax.fori_loop(0, count, body, state)

    def _recorded(self, energy: Array, charges: Charges | None) -> dict[str, Array]:
        """What a step finds of the potential; the members of a committee are asked later."""
        if self.members is not None:
            return {}
        found = {"potential_energy_eV": energy}
        if charges is not None:
            residual = jnp.full_like(energy, jnp.nan)  # where none is iterated away
            if charges.residual is not None:
                residual = charges.residual.astype(energy.dtype)
            found.update(charges=charges.charges, converged=charges.converged, residual=residual)
        return found

    def _searched(self, state: State, moved: State) -> State:
        """A moved state whose list holds in the new box; jax-md looks at fractions of the box only.

        A pair at a distance up to the cutoff c was listed if (c + 2d)·s ≤ c + skin, for paths of
        up to d since then in a box that was larger by the factor s.
        """
        assert state.listed is not None
        assert state.stretch is not None
        atoms, neighbors, listed = moved.atoms, state.neighbors, state.listed
        box = atoms.box
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
        return moved._replace(
            neighbors=neighbors,
            listed=jnp.where(searched, box, listed),
            stretch=jnp.maximum(state.stretch, jnp.abs(change)),
        )

    def _measure(self, state: State, *, extrapolation: bool) -> dict[str, Any]:
        atoms, settings = state.atoms, self.settings
        box: dict[str, Any] = {"box": atoms.box} if self.breathes else {}
        found = dict(state.found)
        if isinstance(self.potential, Committee):
            found = self._of_members(self.potential, state, **box)
        potential = found["potential_energy_eV"]
        kinetic = quantity.kinetic_energy(momentum=atoms.momentum, mass=atoms.mass)
        measured = {
            **found,
            "kinetic_energy_eV": kinetic,
            "conserved_eV": potential + kinetic,
            "temperature_K": 2 * self._thermal(atoms, kinetic) / (self.freedom * BOLTZMANN),
            "largest_force": jnp.sqrt(jnp.max(jnp.sum(atoms.force**2, axis=-1))),
            "failures": state.memory.failures,
            "iterations": state.memory.iterations,
        }
        if settings.ensemble == "nvt":
            measured["conserved_eV"] += chain_energy(atoms.chain, settings.kT)
        if self.breathes:
            measured["conserved_eV"] = npt_invariant(
                atoms, potential, settings.outer_pressure, settings.kT
            )
            measured["volume_A3"] = atoms.volume
            measured["pressure_bar"] = atoms.pressure / BAR
        if extrapolation:
            surroundings = self.model.surroundings(atoms.position, state.neighbors, **box)
            measured["extrapolation"] = _extrapolation(self.potential, *surroundings)
        return measured

    def _thermal(self, atoms: Any, kinetic: Any) -> Any:
        """Kinetic energy without that of the centre of mass, where nothing changes its motion."""
        if not self.motion.centred(self.settings):
            return kinetic
        whole = atoms.momentum.sum(axis=0)
        return kinetic - jnp.sum(whole**2) / (2 * jnp.sum(atoms.mass))

    def _of_members(self, committee: Committee, state: State, **box: Any) -> dict[str, Any]:
        """Energy and charges as means of the members, and how far they disagree."""

        def energy(R: Array, member: Potential, guess: Guess) -> tuple[Array, Charges | None]:
            surroundings = self.model.surroundings(R, state.neighbors, **box)
            energies, charges = member(*surroundings, guess=guess)
            return energies.sum(), charges

        alone = jax.vmap(jax.value_and_grad(energy, has_aux=True), (None, 0, 0))
        members = committee.stacked, state.memory.latest()
        (energies, charges), slopes = alone(state.atoms.position, *members)
        uncertain: Any = committee.uncertainty(
            energies, slopes, None if charges is None else charges.charges
        )
        found = {
            "potential_energy_eV": energies.mean(),
            DOUBTS[0]: uncertain.energy,
            DOUBTS[1]: jnp.max(uncertain.forces),
        }
        if charges is not None:
            found[DOUBTS[2]] = jnp.max(uncertain.charges)
            found["charges"] = charges.charges.mean(axis=0)
            found["converged"] = charges.converged.all()
            if charges.residual is not None:
                found["residual"] = charges.residual.max()
        return found


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
