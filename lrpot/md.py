"""Molecular dynamics of one system in jax-md: trajectory, log and progress bar."""

import contextlib
import csv
import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from lrpot.charges import ChargeMemory
from lrpot.errors import InputError, suggestion
from lrpot.interop.jax_md import JaxMdModel, to_jax_md
from lrpot.interop.jax_md_memory import forces_for_jax_md, remembering
from lrpot.potential import Potential
from lrpot.system import System, upright
from lrpot.units import BOLTZMANN, FEMTOSECOND

ENSEMBLES = ("nve", "nvt", "langevin")

EXPLODED = 1e5
"""No matter that an interatomic potential describes is hotter than this, in K."""

SPACE = 10.0
"""A cell is at least so much higher than its slab, in Å."""

LOG = ("time_fs", "potential_energy_eV", "kinetic_energy_eV", "conserved_eV", "temperature_K")
"""Columns of the log."""


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """Recorded frames of a simulation; the first is the start.

    Attributes:
        system: The system as it was simulated: a triclinic cell is turned so that its first
            vector points along x and its second lies in the xy plane, and the cell of a slab is
            made higher where it leaves less than `SPACE` for the atoms to move.
        positions: [frames, atoms, 3], in Å.
        velocities: [frames, atoms, 3], in Å/fs.
        log: One array per column of `LOG`. `conserved_eV` is the total energy in the `nve`
            ensemble and includes the thermostat's in `nvt`; under `langevin` friction nothing
            is conserved and it is the total energy.
        charges: [frames, atoms], in e; `None` for a potential without charges.
    """

    system: System
    positions: np.ndarray
    velocities: np.ndarray
    log: dict[str, np.ndarray]
    charges: np.ndarray | None

    def drift(self) -> float:
        """Slope of the conserved quantity by a straight-line fit, in eV/atom/ps."""
        time = self.log["time_fs"] / 1000
        return float(np.polyfit(time, self.log["conserved_eV"], 1)[0]) / self.system.n_atoms


def run(
    potential: Potential,
    system: System,
    *,
    steps: int,
    timestep: float = 0.5,
    ensemble: Literal["nve", "nvt", "langevin"] = "nve",
    temperature: float = 300.0,
    damping: float = 100.0,
    record_every: int = 20,
    masses: np.ndarray | None = None,
    folder: str | Path | None = None,
    key: PRNGKeyArray,
    progress: bool = False,
) -> Trajectory:
    """Simulate one system with jax-md.

    Args:
        potential: The potential.
        system: Where to start; its total charge stays what it is.
        steps: Number of time steps.
        timestep: In fs.
        ensemble: `nve`; `nvt` with a Nosé-Hoover chain; `langevin` with friction and noise.
        temperature: Of the first velocities and of the thermostat, in K.
        damping: Time constant of the thermostat, in fs.
        record_every: Steps between two recorded frames.
        masses: [atoms], in amu; those of the elements when not given.
        folder: Where to write `trajectory.xyz` (extended XYZ) and `log.csv`, line by line while
            the simulation runs.
        key: Random key of the velocities (and the noise).
        progress: Whether to show a progress bar.

    Raises:
        InputError: If settings make no sense, or the simulation explodes.
    """
    if ensemble not in ENSEMBLES:
        raise InputError(f"Unknown ensemble `{ensemble}`. {suggestion(ensemble, ENSEMBLES)}")
    if steps < 1 or record_every < 1 or timestep <= 0 or temperature < 0 or damping <= 0:
        raise InputError(
            "`steps`, `record_every`, `timestep` and `damping` must be positive and `temperature` "
            f"not negative, got {steps}, {record_every}, {timestep}, {damping} and {temperature}."
        )
    if system.external is not None or system.fragments is not None:
        raise InputError(
            "Fields, applied potentials and fragments are known to `lrpot.predict`, but not to "
            "molecular dynamics yet: simulate without them."
        )
    potential.neighbors(system)  # complains about overlapping atoms and unknown elements
    system = _upright(system)
    # jax-md 0.2.29 mixes int32 and int64 in its cell lists, once per compilation.
    warnings.filterwarnings("ignore", "scatter inputs have incompatible types", FutureWarning)
    simulation = _Simulation(potential, system, ensemble, timestep, temperature, damping, masses)
    state = simulation.start(key)
    frames = [simulation.frame(state, 0)]
    with _writer(folder, system) as write, _bar(progress, steps) as advance:
        write(frames[0])
        done = 0
        while done < steps:
            count = min(record_every, steps - done)
            state = simulation.advance(state, count)
            done += count
            frames.append(simulation.frame(state, done))
            energy = frames[-1]["conserved_eV"]
            if not np.isfinite(energy) or frames[-1]["temperature_K"] > EXPLODED:
                raise InputError(
                    f"The simulation has exploded after {done} steps: {energy:.6g} eV, "
                    f"{frames[-1]['temperature_K']:.3g} K. "
                    "Start from a relaxed structure, shorten the time step, or train the "
                    "potential on what it meets there. Frames up to then are kept."
                )
            write(frames[-1])
            advance(count, frames[-1])
    stacked = {name: np.stack([one[name] for one in frames]) for name in frames[0]}
    return Trajectory(
        system=system,
        positions=stacked["positions"],
        velocities=stacked["velocities"],
        log={name: stacked[name] for name in LOG},
        charges=stacked.get("charges"),
    )


class _State(NamedTuple):
    """All that a step hands to the next one."""

    atoms: Any
    memory: ChargeMemory
    neighbors: Any


class _Simulation:
    """Compiled pieces of one simulation."""

    def __init__(
        self,
        potential: Potential,
        system: System,
        ensemble: str,
        timestep: float,
        temperature: float,
        damping: float,
        masses: np.ndarray | None,
    ):
        from ase.data import atomic_masses
        from jax_md import quantity, simulate, space

        self.system, self.timestep = system, timestep
        self.box = None if system.cell is None else system.cell.T
        if self.box is None:
            self.displacement, shift = space.free()
        else:
            self.displacement, shift = space.periodic_general(
                self.box, fractional_coordinates=True, wrapped=False
            )
        charge = None if potential.charge_model is None else system.total_charge
        model = potential, self.displacement, self.box, system.numbers
        pbc = None if self.box is None else system.pbc
        self.neighbor_fn, self.energy_fn = to_jax_md(*model, total_charge=charge, pbc=pbc)
        self.model = JaxMdModel(*model, charge, fractional=True, box_change=0.0, pbc=pbc)
        dtype = system.positions.dtype
        masses = atomic_masses[np.asarray(system.numbers)] if masses is None else masses
        self.masses = jnp.asarray(masses, dtype=dtype)
        self.kT = BOLTZMANN * temperature
        dt = timestep * FEMTOSECOND
        tau = damping * FEMTOSECOND
        self.invariant: Any = None
        force_fn = forces_for_jax_md(*model, total_charge=charge, pbc=pbc)
        if ensemble == "nve":
            self.init, self.step = remembering(simulate.nve, force_fn, shift, dt)
        elif ensemble == "nvt":
            settings = simulate.default_nhc_kwargs(tau, {})
            self.init, self.step = remembering(
                simulate.nvt_nose_hoover, force_fn, shift, dt, self.kT, **settings
            )
            self.invariant = simulate.nvt_nose_hoover_invariant
        else:
            self.init, self.step = remembering(
                simulate.nvt_langevin, force_fn, shift, dt, self.kT, gamma=1 / tau
            )
        self.kinetic = quantity.kinetic_energy
        self._advance = jax.jit(self._advance_all, static_argnums=1)
        self._energies = jax.jit(self._measure)

    def start(self, key: PRNGKeyArray) -> _State:
        """The first state."""
        coordinates = self.system.positions
        if self.system.cell is not None:
            coordinates = coordinates @ jnp.linalg.inv(self.system.cell)
            periodic = jnp.asarray(self.system.pbc)[None, :]
            coordinates = jnp.where(periodic, coordinates % 1, coordinates)
        neighbors = self.neighbor_fn.allocate(coordinates)
        init = jax.jit(self.init)
        atoms, memory = init(
            key, coordinates, mass=self.masses, neighbor=neighbors, kT=jnp.asarray(self.kT)
        )
        return _State(atoms, memory, neighbors)

    def advance(self, state: _State, count: int) -> _State:
        """So many steps; done again with a larger neighbour list if that has overflowed."""
        while True:
            advanced = self._advance(state, count)
            too_small = getattr(advanced.neighbors, "cell_size_too_small", False)
            if not (advanced.neighbors.did_buffer_overflow or too_small):
                return advanced
            larger = self.neighbor_fn.allocate(state.atoms.position, extra_capacity=4)
            state = state._replace(neighbors=larger)

    def frame(self, state: _State, step: int) -> dict[str, Any]:
        """What is recorded of a state."""
        measured = {name: np.asarray(value) for name, value in self._energies(state).items()}
        positions = state.atoms.position
        if self.system.cell is not None:
            positions = positions @ self.system.cell
        return {
            "time_fs": step * self.timestep,
            "positions": np.asarray(positions),
            "velocities": np.asarray(state.atoms.velocity) * FEMTOSECOND,
            **measured,
        }

    def _advance_all(self, state: _State, count: int) -> _State:
        def body(_: Any, state: _State) -> _State:
            atoms, memory = self.step(state.atoms, state.memory, neighbor=state.neighbors)
            return _State(atoms, memory, state.neighbors.update(atoms.position))

        return jax.lax.fori_loop(0, count, body, state)

    def _measure(self, state: _State) -> dict[str, Any]:
        atoms, neighbors = state.atoms, state.neighbors
        known = {"neighbor": neighbors, "guess": state.memory.latest()}
        energies, charges = self.model(atoms.position, **known)
        potential = energies.sum()
        kinetic = self.kinetic(momentum=atoms.momentum, mass=atoms.mass)
        conserved = potential + kinetic
        if self.invariant is not None:
            conserved = self.invariant(self.energy_fn, atoms, self.kT, **known)
        # Three degrees of freedom belong to the centre of mass, which stands still.
        freedom = max(3 * self.system.n_atoms - 3, 1)
        measured = {
            "potential_energy_eV": potential,
            "kinetic_energy_eV": kinetic,
            "conserved_eV": conserved,
            "temperature_K": 2 * kinetic / (freedom * BOLTZMANN),
        }
        if charges is not None:
            measured["charges"] = charges.charges
        return measured


def _upright(system: System) -> System:
    """Turn a periodic system so that its cell is lower triangular, as jax-md wants it.

    A cell without space for the atoms along an open vector gets a longer one.
    """
    if system.cell is None:
        return system
    cell = np.asarray(system.cell)
    open_vectors = ~np.array(system.pbc)
    across = upright(cell, open_vectors)
    heights = np.ptp(np.asarray(system.positions) @ np.linalg.inv(across), axis=0) + SPACE
    low = open_vectors & (np.abs(np.diag(cell @ np.linalg.inv(across))) < heights)
    system = dataclasses.replace(
        system, cell=np.where(low[:, None], heights[:, None] * across, cell)
    )
    q, r = np.linalg.qr(np.asarray(system.cell).T)
    signs = np.sign(np.diag(r))
    rotation = q * signs[None, :]
    return dataclasses.replace(
        system,
        positions=np.asarray(system.positions) @ rotation,
        cell=np.tril(np.asarray(system.cell) @ rotation),
    )


@contextlib.contextmanager
def _writer(folder: str | Path | None, system: System) -> Iterator[Any]:
    if folder is None:
        yield lambda _: None
        return
    import ase
    import ase.io

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        (folder / "log.csv").open("w", newline="") as log,
        (folder / "trajectory.xyz").open("w") as trajectory,
    ):
        rows = csv.writer(log)
        rows.writerow(LOG)

        def write(frame: dict[str, Any]) -> None:
            rows.writerow([f"{float(frame[name]):.10g}" for name in LOG])
            atoms = ase.Atoms(
                np.asarray(system.numbers),
                frame["positions"],
                cell=None if system.cell is None else np.asarray(system.cell),
                pbc=system.pbc,
                info={
                    "time_fs": frame["time_fs"],
                    "total_charge": float(system.total_charge),
                    "potential_energy": float(frame["potential_energy_eV"]),
                },
            )
            if "charges" in frame:
                atoms.arrays["charge"] = frame["charges"]
            ase.io.write(trajectory, atoms, format="extxyz")
            log.flush()
            trajectory.flush()

        yield write


@contextlib.contextmanager
def _bar(show: bool, steps: int) -> Iterator[Any]:
    if not show:
        yield lambda *_: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("molecular dynamics"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed}/{task.total} steps"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns) as progress:
        task = progress.add_task("", total=steps, state="")

        def advance(count: int, frame: dict[str, Any]) -> None:
            state = f"{frame['temperature_K']:.0f} K, {frame['conserved_eV']:.5f} eV"
            progress.update(task, advance=count, state=state)

        yield advance
