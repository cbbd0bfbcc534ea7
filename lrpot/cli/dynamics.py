"""Commands that move atoms."""

from collections.abc import Sequence
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


Ignore = Annotated[
    bool, typer.Option("--ignore-constraints", help="Let fixed atoms of the structure move.")
]


def _start_of(path: Path) -> Any:
    """The structure of a file whose momenta and total charge ASE can read."""
    if path.suffix in (".nc", ".ncdf", ".netcdf"):
        raise InputError(
            f"{path} is a NetCDF trajectory: ASE reads neither the unit of its velocities nor its "
            "total charge. Start from extended XYZ, such as trajectory.xyz."
        )
    return structure_of(path)


def _say(words: Sequence[str]) -> None:
    for one in words:
        console.print(escape(one), soft_wrap=True)


@app.command()
def md(
    model: Model,
    structure: Annotated[Path, typer.Argument(help="Structure to start from (any ASE format).")],
    steps: Annotated[int, typer.Option(help="Number of steps.")] = 10_000,
    timestep: Annotated[float, typer.Option(help="In fs.")] = 0.5,
    ensemble: Annotated[str, typer.Option(help="nve, nvt, langevin or npt.")] = "nve",
    temperature: Annotated[
        float | None,
        typer.Option(help="Of the thermostat and of new velocities, in K; 300 when not given."),
    ] = None,
    damping: Annotated[float, typer.Option(help="Of the thermostat, in fs.")] = 100.0,
    pressure: Annotated[float, typer.Option(help="In bar, for npt.")] = 1.0,
    pressure_damping: Annotated[float, typer.Option(help="Of the cell, in fs.")] = 1000.0,
    charge: Annotated[
        float | None, typer.Option(help="Total charge in e; by default that of the structure.")
    ] = None,
    mass: Annotated[
        list[str], typer.Option(help="Mass of an element in amu, as H=2.014; may be repeated.")
    ] = [],  # noqa: B006
    new_velocities: Annotated[
        bool,
        typer.Option("--new-velocities", help="Draw velocities, also if the structure has some."),
    ] = False,
    ignore_constraints: Ignore = False,
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
    seed: Annotated[int, typer.Option(help="Random seed.", min=0, max=2**32 - 1)] = 0,
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
    from lrpot.md import Limits, run, start_from
    from lrpot.md.start import parse_masses

    potential = potential_of(model, charge, committee=devices == 1)
    start = start_from(
        _start_of(structure),
        total_charge=charge,
        masses=parse_masses(mass),
        ignore_constraints=ignore_constraints,
        new_velocities=new_velocities,
        at_rest=ensemble in ("nvt", "npt"),
    )
    _say(start.words)
    if temperature is not None and ensemble == "nve" and start.velocities is not None:
        raise InputError(
            f"--temperature {temperature:g} would change nothing: nve keeps the velocities of "
            f"{structure}. Leave it out, or draw velocities with --new-velocities."
        )
    trajectory = run(
        potential if devices == 1 else potential.on_devices(devices or None),
        start.system,
        masses=start.masses,
        fixed=start.fixed,
        velocities=start.velocities,
        steps=steps,
        timestep=timestep,
        ensemble=ensemble,  # pyright: ignore[reportArgumentType]  (checked there)
        temperature=300.0 if temperature is None else temperature,
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
        report=lambda line: _say([line]),
    )
    if len(trajectory.positions) == 1:
        console.print(f"All {steps} steps had been done before. Ask for more `--steps` to go on.")
        return
    console.print(_summary(folder, steps, ensemble, len(start.system.numbers)), soft_wrap=True)


def _summary(folder: Path, steps: int, ensemble: str, n_atoms: int) -> str:
    """One sentence about the whole simulation, also about what was done before."""
    from lrpot.md import drift_of
    from lrpot.md.formats import read_log

    log = read_log(folder)
    mean = log["temperature_K"].mean()
    kept = ""
    if ensemble != "langevin":  # friction and noise conserve nothing
        kept = f", drift of the conserved energy {drift_of(log, n_atoms):+.2e} eV/atom/ps"
    return (
        f"{steps} steps, mean temperature {mean:.0f} K{kept}. Frames and log are in "
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
    steps: Annotated[int, typer.Option(help="Steps before giving up.")] = 1000,
    max_steps: Annotated[int | None, typer.Option(hidden=True)] = None,
    charge: Annotated[
        float | None, typer.Option(help="Total charge in e; by default that of the structure.")
    ] = None,
    ignore_constraints: Ignore = False,
) -> None:
    """Relax a structure to the nearest minimum of the energy."""
    from lrpot.md import minimise, start_from
    from lrpot.md.formats import write_minimum
    from lrpot.predict import predict
    from lrpot.units import BAR

    if max_steps is not None:
        _say(["`--max-steps` is now called `--steps`, and will go."])
        steps = max_steps
    potential = potential_of(model, charge)
    start = start_from(
        _start_of(structure),
        total_charge=charge,
        ignore_constraints=ignore_constraints,
        new_velocities=True,
    )
    _say(start.words)
    found = minimise(
        potential,
        start.system,
        tolerance=tolerance,
        cell=cell,
        pressure=BAR * pressure,
        max_steps=steps,
        fixed=start.fixed,
    )
    energy = float(predict(potential, found, forces=False, stress=False).energy)
    write_minimum(output, found, energy, fixed=start.fixed, masses=start.masses)
    console.print(
        f"Energy {energy:.6f} eV; the minimum is in {escape(str(output))}.", soft_wrap=True
    )


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
    from lrpot.interop.ipi import drive, left_to_ipi

    potential, atoms = potential_of(model, charge), structure_of(structure)
    _say(left_to_ipi(atoms))
    answered = drive(potential, atoms, unix=unix, host=host, port=port, total_charge=charge)
    console.print(f"i-PI has ended after {answered} evaluations.")
