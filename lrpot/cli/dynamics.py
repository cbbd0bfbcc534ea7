"""Commands that move atoms."""

from pathlib import Path
from typing import Annotated, Any

import jax
import typer
from rich.markup import escape

from lrpot.cli.common import Model, app, console, potential_of, structure_of
from lrpot.config import read_table
from lrpot.errors import InputError, suggestion


def _from_file(context: Any, path: Path | None) -> Path | None:
    """Take what is not on the command line from a table; its paths are relative to the file.

    The context is typer's own class or click's, as versions have it.
    """
    if path is not None:
        values = read_table(path)
        known = [one.name or "" for one in context.command.params if one.name != "config"]
        for name in values:
            if name not in known:
                raise InputError(f"Unknown key `{name}` in {path}. {suggestion(name, known)}")
        for name in {"model", "structure", "folder"} & values.keys():
            values[name] = path.parent / str(values[name])
        context.default_map = values
    return path


@app.command()
def md(
    model: Model,
    structure: Annotated[Path, typer.Argument(help="Structure to start from (any ASE format).")],
    steps: Annotated[int, typer.Option(help="Number of steps.")] = 10_000,
    timestep: Annotated[float, typer.Option(help="In fs.")] = 0.5,
    ensemble: Annotated[str, typer.Option(help="nve, nvt, langevin or npt.")] = "nve",
    temperature: Annotated[float, typer.Option(help="In K.")] = 300.0,
    damping: Annotated[float, typer.Option(help="Of the thermostat, in fs.")] = 100.0,
    pressure: Annotated[float, typer.Option(help="In bar, for npt.")] = 1.0,
    pressure_damping: Annotated[float, typer.Option(help="Of the cell, in fs.")] = 1000.0,
    charge: Annotated[
        float | None, typer.Option(help="Total charge in e; by default that of the structure.")
    ] = None,
    record_every: Annotated[int, typer.Option(help="Steps between two frames.")] = 20,
    restart_every: Annotated[int, typer.Option(help="Frames between two stored states.")] = 50,
    folder: Annotated[Path, typer.Option(help="For trajectory, log and state.")] = Path("md"),
    formats: Annotated[
        list[str], typer.Option("--format", help="Of the trajectory: xyz, netcdf; may be repeated.")
    ] = ["xyz"],  # noqa: B006  (typer copies it)
    resume: Annotated[bool, typer.Option(help="Go on with what the folder holds.")] = True,
    max_temperature: Annotated[float, typer.Option(help="Stop above it, in K.")] = 1e5,
    max_drift: Annotated[
        float | None, typer.Option(help="Stop when the conserved energy changes more, eV/atom.")
    ] = None,
    max_extrapolation: Annotated[
        float | None, typer.Option(help="Stop outside of so many widths of the training range.")
    ] = None,
    max_iterations: Annotated[
        int | None, typer.Option(help="Stop when charges take more iterations in a step.")
    ] = None,
    max_uncertainty: Annotated[
        float | None, typer.Option(help="Stop when a committee doubts a force by more, eV/Å.")
    ] = None,
    devices: Annotated[int, typer.Option(help="How many share the atoms; 0 for all.")] = 1,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML file of options, which those given here overrule.",
            callback=_from_file,
            is_eager=True,
        ),
    ] = None,
) -> None:
    """Run molecular dynamics in jax-md; called again, go on where it was interrupted."""
    from lrpot.interop.ase import from_ase
    from lrpot.md import Limits, run

    potential, start = potential_of(model, charge, committee=devices == 1), structure_of(structure)
    trajectory = run(
        potential if devices == 1 else potential.on_devices(devices or None),
        from_ase(start, total_charge=charge),
        steps=steps,
        timestep=timestep,
        ensemble=ensemble,  # pyright: ignore[reportArgumentType]  (checked there)
        temperature=temperature,
        damping=damping,
        pressure=pressure,
        pressure_damping=pressure_damping,
        record_every=record_every,
        restart_every=restart_every,
        folder=folder,
        formats=formats,
        resume=resume,
        limits=Limits(
            max_temperature, max_drift, max_extrapolation, max_iterations, max_uncertainty
        ),
        key=jax.random.key(seed),
        progress=console.is_terminal,
    )
    if len(trajectory.positions) == 1:
        console.print(f"All {steps} steps had been done before. Ask for more `--steps` to go on.")
        return
    mean = trajectory.log["temperature_K"].mean()
    console.print(
        f"{steps} steps, mean temperature {mean:.0f} K, drift of the conserved energy "
        f"{trajectory.drift():+.2e} eV/atom/ps. Frames and log are in "
        f"{escape(str(folder))}/."
    )


@app.command()
def relax(
    model: Model,
    structure: Annotated[Path, typer.Argument(help="Structure to start from (any ASE format).")],
    output: Annotated[Path, typer.Argument(help="For the minimum (extended XYZ).")],
    tolerance: Annotated[float, typer.Option(help="Largest force left, in eV/Å.")] = 0.01,
    cell: Annotated[bool, typer.Option(help="Whether to relax the cell, too.")] = False,
    pressure: Annotated[float, typer.Option(help="On the cell, in bar.")] = 0.0,
    max_steps: Annotated[int, typer.Option(help="Steps before giving up.")] = 1000,
    charge: Annotated[
        float | None, typer.Option(help="Total charge in e; by default that of the structure.")
    ] = None,
) -> None:
    """Relax a structure to the nearest minimum of the energy."""
    import numpy as np

    from lrpot.data import Structure, write_structures
    from lrpot.interop.ase import from_ase
    from lrpot.md import minimise
    from lrpot.predict import predict
    from lrpot.units import BAR

    potential, start = potential_of(model, charge), structure_of(structure)
    found = minimise(
        potential,
        from_ase(start, total_charge=charge),
        tolerance=tolerance,
        cell=cell,
        pressure=BAR * pressure,
        max_steps=max_steps,
    )
    energy = float(predict(potential, found, forces=False, stress=False).energy)
    write_structures(output, [Structure(found, energy=np.array(energy))])
    console.print(f"Energy {energy:.6f} eV; the minimum is in {escape(str(output))}.")


@app.command()
def ipi(
    model: Model,
    structure: Annotated[Path, typer.Argument(help="Elements and boundaries (any ASE format).")],
    unix: Annotated[str | None, typer.Option(help="Name or path of a unix socket.")] = None,
    host: Annotated[str, typer.Option(help="Of an internet socket.")] = "localhost",
    port: Annotated[int, typer.Option(help="Of an internet socket.")] = 31415,
    charge: Annotated[
        float | None, typer.Option(help="Total charge in e; by default that of the structure.")
    ] = None,
) -> None:
    """Give forces to i-PI, over the socket that it listens at, until it ends."""
    from lrpot.interop.ipi import drive

    potential, atoms = potential_of(model, charge), structure_of(structure)
    answered = drive(potential, atoms, unix=unix, host=host, port=port, total_charge=charge)
    console.print(f"i-PI has ended after {answered} evaluations.")
