"""Molecular dynamics of one system in jax-md."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from lrpot.checkpoint import fingerprint
from lrpot.committee import Committee
from lrpot.errors import InputError
from lrpot.md.checks import check_frame, check_start
from lrpot.md.formats import check_formats
from lrpot.md.motion import motion_of, turned
from lrpot.md.progress import Report, progress_of
from lrpot.md.recorder import Recorder
from lrpot.md.settings import Ensemble, Limits, Settings
from lrpot.md.simulation import DIPOLE, DOUBTS, Simulation
from lrpot.potential import Potential
from lrpot.system import System, refuse_conditions

LOG = ("time_fs", "potential_energy_eV", "kinetic_energy_eV", "conserved_eV", "temperature_K")
"""Columns of the log."""

BREATHING_LOG = (*LOG, "volume_A3", "pressure_bar")
"""Columns of the log at constant pressure."""


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """Recorded frames of a simulation; the first is the start, or where it went on.

    Attributes:
        system: The system as it was simulated: a triclinic cell is turned so that its first
            vector points along x and its second lies in the xy plane, and the cell of a slab is
            made higher where it leaves less than `SPACE` for the atoms to move.
        positions: [frames, atoms, 3], in Å.
        velocities: [frames, atoms, 3], in Å/fs.
        log: One array per column of `LOG`, at constant pressure of `BREATHING_LOG`, with charges
            of `lrpot.md.simulation.DIPOLE`, and with a committee of `lrpot.md.simulation.DOUBTS`.
            `conserved_eV` is the total energy in the `nve` ensemble and includes thermostat and
            barostat in `nvt` and `npt`; under `langevin` friction nothing is conserved and it is
            the total energy. `temperature_K` counts the components that move. It does without the
            motion of the centre of mass, except under `langevin` and where atoms are fixed.
            The dipole is Σ q_i r_i at the recorded positions, which do not jump when an atom leaves
            the cell.
        charges: [frames, atoms], in e; `None` for a potential without charges.
        cells: [frames, 3, 3], lattice vectors as rows, in Å; `None` in open space.
    """

    system: System
    positions: np.ndarray
    velocities: np.ndarray
    log: dict[str, np.ndarray]
    charges: np.ndarray | None
    cells: np.ndarray | None = None

    def drift(self) -> float:
        """Slope of the conserved quantity by a straight-line fit, in eV/atom/ps.

        Raises:
            InputError: If there is one frame only.
        """
        return drift_of(self.log, self.system.n_atoms)


def drift_of(log: Mapping[str, np.ndarray], n_atoms: int) -> float:
    """Slope of the conserved quantity of a log by a straight-line fit, in eV/atom/ps.

    Raises:
        InputError: If there is one frame only.
    """
    time = log["time_fs"] / 1000
    if len(time) < 2:
        raise InputError("A drift needs two frames, but there is one: nothing was simulated.")
    return float(np.polyfit(time, log["conserved_eV"], 1)[0]) / n_atoms


def run(
    potential: Potential | Committee,
    system: System,
    *,
    steps: int,
    timestep: float = 0.5,
    ensemble: Ensemble = "nve",
    temperature: float = 300.0,
    damping: float = 100.0,
    pressure: float = 1.0,
    pressure_damping: float = 1000.0,
    record_every: int = 20,
    restart_every: int = 50,
    masses: np.ndarray | None = None,
    fixed: np.ndarray | None = None,
    velocities: np.ndarray | None = None,
    folder: str | Path | None = None,
    formats: Sequence[str] = ("xyz",),
    resume: bool = True,
    limits: Limits | None = None,
    key: PRNGKeyArray,
    progress: bool = False,
    report: Report | None = None,
) -> Trajectory:
    """Simulate one system with jax-md.

    With a folder the simulation can be interrupted at any time: called again with the same
    arguments it goes on from the last state that was stored, to the very numbers of an unbroken
    run on the same kind of device; called with more `steps` it is prolonged. What comes back then
    begins where it went on; the files hold everything.

    Args:
        potential: The potential, or a committee, whose mean forces move the atoms and whose
            uncertainties go into the log.
        system: Where to start; its total charge stays what it is.
        steps: Number of time steps, those of an interrupted run included.
        timestep: In fs.
        ensemble: `nve`; `nvt` with a Nosé-Hoover chain; `langevin` with friction and noise;
            `npt` with Nosé-Hoover chains and a cell that keeps its shape and changes its size.
        temperature: Of the thermostat, and of velocities that are drawn, in K.
        damping: Time constant of the thermostat, in fs.
        pressure: In bar, for `npt`.
        pressure_damping: Time constant of the cell, in fs, for `npt`.
        record_every: Steps between two recorded frames.
        restart_every: Recorded frames between two stored states; there is one at the end, too.
        masses: [atoms], in amu; those of the elements when not given.
        fixed: Booleans, [atoms] or [atoms, 3], true for atoms or Cartesian components that do not
            move. They have no velocity and no share of the temperature. With fixed atoms the
            centre of mass is free to move.
        velocities: [atoms, 3] at the start, in Å/fs. When not given they are drawn from the
            distribution at `temperature`, without motion of the centre of mass.
        folder: Where to write the trajectory and `log.csv`, frame by frame while the simulation
            runs, and `checkpoint.safetensors`, the state to go on from.
        formats: Of the trajectory: `xyz` for `trajectory.xyz` (extended XYZ), `netcdf` for
            `trajectory.nc` (NetCDF in the convention of AMBER, binary), both, or none.
        resume: Whether to go on with what the folder holds; otherwise it is overwritten.
        limits: When to stop because something went wrong; see `Limits` for what is checked
            when not given.
        key: Random key of the velocities (and the noise).
        progress: Whether to show a progress bar.
        report: Takes lines, such as `print`: from which step the simulation goes on, and, without
            a bar, how far it is, every tenth of the steps or every half minute.

    Raises:
        InputError: If settings make no sense, atoms are fixed at constant pressure, the start is
            no structure, a limit is exceeded, or the folder holds another simulation or cannot be
            written to.
    """
    settings = Settings(
        ensemble=ensemble,
        timestep=timestep,
        temperature=temperature,
        damping=damping,
        pressure=pressure,
        pressure_damping=pressure_damping,
        record_every=record_every,
    )
    if steps < 1 or restart_every < 1:
        raise InputError(
            f"`steps` and `restart_every` must be positive, got {steps} and {restart_every}."
        )
    check_formats(formats)
    _check_system(potential, system, settings)
    motion = motion_of(system, settings, masses=masses, fixed=fixed, velocities=velocities)
    system, motion = turned(system, motion)
    limits = Limits() if limits is None else limits
    charged = potential.charge_model is not None
    columns = (BREATHING_LOG if ensemble == "npt" else LOG) + (DIPOLE if charged else ())
    if isinstance(potential, Committee):
        columns += DOUBTS if charged else DOUBTS[:2]
    elif limits.uncertainty is not None:
        raise InputError("A limit of the uncertainty needs a committee, and this is one potential.")
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.key_data(key)  # numbers can be stored
    identity = fingerprint(potential, dataclasses.asdict(settings), system, vars(motion), key)
    # jax-md 0.2.29 mixes int32 and int64 in its cell lists, once per compilation.
    warnings.filterwarnings("ignore", "scatter inputs have incompatible types", FutureWarning)
    folder = None if folder is None else Path(folder)
    files: dict[str, Any] = dict(formats=formats, charged=charged, resume=resume)
    recorder = Recorder(folder, system, motion, columns, identity, **files)
    simulation = Simulation(potential, system, settings, motion)
    extrapolation = limits.extrapolation is not None
    try:
        if recorder.notes is None:
            state, done = simulation.start(key), 0
        else:
            state, done = recorder.restored(simulation), recorder.notes["step"]
        frames = [simulation.frame(state, done, extrapolation=extrapolation)]
        start = frames[0]["conserved_eV"]
        if recorder.notes is None:
            check_start(system, frames[0], limits)
            recorder.write(frames[0])
        else:
            start = recorder.notes["start"]
            if report is not None:
                report(f"Going on from step {done} of {steps}, as stored in {folder}.")
        shown: dict[str, Any] = dict(show=progress, report=report)
        with progress_of(steps, timestep, done=done, **shown) as advance:
            while done < steps:
                count = min(record_every, steps - done)
                state = simulation.advance(state, count)
                done += count
                frame = simulation.frame(state, done, extrapolation=extrapolation)
                check_frame(frame, done, float(start), system, limits)
                frames.append(frame)
                recorder.write(frame)
                if done == steps or done % (record_every * restart_every) == 0:
                    recorder.store(simulation, state, step=done, start=float(start))
                advance(count, frame)
    finally:
        recorder.close()
    stacked = {
        name: np.stack([one[name] for one in frames])
        for name in ("positions", "velocities", "charges", "cells", *columns)
        if name in frames[0]
    }
    return Trajectory(
        system=system,
        positions=stacked["positions"],
        velocities=stacked["velocities"],
        log={name: stacked[name] for name in columns},
        charges=stacked.get("charges"),
        cells=stacked.get("cells"),
    )


def _check_system(potential: Potential | Committee, system: System, settings: Settings) -> None:
    refuse_conditions(system, "molecular dynamics")
    if settings.ensemble == "npt" and not all(system.pbc):
        raise InputError(
            f"Constant pressure needs a crystal, got pbc={system.pbc}. Take `nvt`, or a cell with "
            "periodicity along all of its vectors."
        )
    potential.neighbors(system)  # complains about overlapping atoms and unknown elements
