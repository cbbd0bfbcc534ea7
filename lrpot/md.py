"""Molecular dynamics of one system in jax-md: trajectory, log and progress bar."""

import contextlib
import csv
import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from lrpot.errors import InputError, suggestion
from lrpot.interop.jax_md import charges_for_jax_md, to_jax_md
from lrpot.potential import Potential
from lrpot.system import System
from lrpot.units import BOLTZMANN, FEMTOSECOND

ENSEMBLES = ("nve", "nvt", "langevin")

EXPLODED = 1e5
"""No matter that an interatomic potential describes is hotter than this, in K."""

LOG = ("time_fs", "potential_energy_eV", "kinetic_energy_eV", "conserved_eV", "temperature_K")
"""Columns of the log."""


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """Recorded frames of a simulation; the first is the start.

    Attributes:
        system: The system as it was simulated: a triclinic cell is turned so that its first
            vector points along x and its second lies in the xy plane.
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
    potential.neighbors(system)  # complains about overlapping atoms and unknown elements
    system = _upright(system)
    # jax-md 0.2.29 mixes int32 and int64 in its cell lists, once per compilation.
    warnings.filterwarnings("ignore", "scatter inputs have incompatible types", FutureWarning)
    simulation = _Simulation(potential, system, ensemble, timestep, temperature, damping, masses)
    state, neighbors = simulation.start(key)
    frames = [simulation.frame(state, neighbors, 0)]
    with _writer(folder, system) as write, _bar(progress, steps) as advance:
        write(frames[0])
        done = 0
        while done < steps:
            count = min(record_every, steps - done)
            state, neighbors = simulation.advance(state, neighbors, count)
            done += count
            frames.append(simulation.frame(state, neighbors, done))
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
        self.neighbor_fn, self.energy_fn = to_jax_md(*model, total_charge=charge)
        self.charges_fn = None
        if potential.charge_model is not None:
            self.charges_fn = jax.jit(charges_for_jax_md(*model, total_charge=charge))
        dtype = system.positions.dtype
        masses = atomic_masses[np.asarray(system.numbers)] if masses is None else masses
        self.masses = jnp.asarray(masses, dtype=dtype)
        self.kT = BOLTZMANN * temperature
        dt = timestep * FEMTOSECOND
        tau = damping * FEMTOSECOND
        self.invariant: Any = None
        if ensemble == "nve":
            self.init, self.step = simulate.nve(self.energy_fn, shift, dt)
        elif ensemble == "nvt":
            settings = simulate.default_nhc_kwargs(tau, {})
            self.init, self.step = simulate.nvt_nose_hoover(
                self.energy_fn, shift, dt, self.kT, **settings
            )
            self.invariant = simulate.nvt_nose_hoover_invariant
        else:
            self.init, self.step = simulate.nvt_langevin(
                self.energy_fn, shift, dt, self.kT, gamma=1 / tau
            )
        self.kinetic = quantity.kinetic_energy
        self._advance = jax.jit(self._advance_all, static_argnums=2)
        self._energies = jax.jit(self._measure)

    def start(self, key: PRNGKeyArray) -> tuple[Any, Any]:
        """First state and neighbour list."""
        coordinates = self.system.positions
        if self.system.cell is not None:
            coordinates = coordinates @ jnp.linalg.inv(self.system.cell) % 1
        neighbors = self.neighbor_fn.allocate(coordinates)
        state = self.init(key, coordinates, mass=self.masses, neighbor=neighbors, kT=self.kT)
        return state, neighbors

    def advance(self, state: Any, neighbors: Any, count: int) -> tuple[Any, Any]:
        """So many steps; done again with a larger neighbour list if that has overflowed."""
        while True:
            new_state, new_neighbors = self._advance(state, neighbors, count)
            too_small = getattr(new_neighbors, "cell_size_too_small", False)
            if not (new_neighbors.did_buffer_overflow or too_small):
                return new_state, new_neighbors
            neighbors = self.neighbor_fn.allocate(state.position, extra_capacity=4)

    def frame(self, state: Any, neighbors: Any, step: int) -> dict[str, Any]:
        """What is recorded of a state."""
        measured = {
            name: np.asarray(value) for name, value in self._energies(state, neighbors).items()
        }
        positions = state.position
        if self.system.cell is not None:
            positions = positions @ self.system.cell
        return {
            "time_fs": step * self.timestep,
            "positions": np.asarray(positions),
            "velocities": np.asarray(state.velocity) * FEMTOSECOND,
            **measured,
        }

    def _advance_all(self, state: Any, neighbors: Any, count: int) -> tuple[Any, Any]:
        def body(_: Any, both: tuple[Any, Any]) -> tuple[Any, Any]:
            state, neighbors = both
            step: Any = self.step  # takes what the energy function takes, whatever its type says
            state = step(state, neighbor=neighbors)
            return state, neighbors.update(state.position)

        return jax.lax.fori_loop(0, count, body, (state, neighbors))

    def _measure(self, state: Any, neighbors: Any) -> dict[str, Any]:
        potential = self.energy_fn(state.position, neighbors)
        kinetic = self.kinetic(momentum=state.momentum, mass=state.mass)
        conserved = potential + kinetic
        if self.invariant is not None:
            conserved = self.invariant(self.energy_fn, state, self.kT, neighbor=neighbors)
        # Three degrees of freedom belong to the centre of mass, which stands still.
        freedom = max(3 * self.system.n_atoms - 3, 1)
        measured = {
            "potential_energy_eV": potential,
            "kinetic_energy_eV": kinetic,
            "conserved_eV": conserved,
            "temperature_K": 2 * kinetic / (freedom * BOLTZMANN),
        }
        if self.charges_fn is not None:
            measured["charges"] = self.charges_fn(state.position, neighbors).charges
        return measured


def _upright(system: System) -> System:
    """Turn a periodic system so that its cell is lower triangular, as jax-md wants it."""
    if system.cell is None:
        return system
    q, r = np.linalg.qr(np.asarray(system.cell).T)
    signs = np.sign(np.diag(r))
    rotation = q * signs[None, :]
    return System(
        np.asarray(system.positions) @ rotation,
        system.numbers,
        cell=np.tril(np.asarray(system.cell) @ rotation),
        total_charge=system.total_charge,
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
                pbc=system.cell is not None,
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
