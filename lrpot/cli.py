"""The command line: each command covers one documented Python call."""

import sys
from pathlib import Path
from typing import Annotated, Any

import jax
import typer
from rich.console import Console
from rich.markup import escape

from lrpot.config import read_table
from lrpot.errors import InputError, suggestion

app = typer.Typer(
    help="Machine-learning interatomic potentials with long-range physics.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# Without a terminal nothing says how wide to be; tables should not wrap in a file.
console = Console(width=None if sys.stdout.isatty() else 120)

Model = Annotated[Path, typer.Argument(help="Model file.")]


def main() -> None:
    """Run the command line; wrong input ends with a message and exit status 1."""
    try:
        app()
    except InputError as error:
        Console(stderr=True).print(
            f"[bold red]Error:[/] {escape(str(error))}", highlight=False, soft_wrap=True
        )
        sys.exit(1)


@app.callback()
def precision(
    float32: Annotated[bool, typer.Option(help="Single instead of double precision.")] = False,
) -> None:
    """Machine-learning interatomic potentials with long-range physics."""
    jax.config.update("jax_enable_x64", not float32)


@app.command()
def quickstart(
    folder: Annotated[Path, typer.Option(help="For models, trajectory and plots.")] = Path(
        "quickstart"
    ),
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Train 2G and 4G on carbon chains, compare them, run molecular dynamics (2 minutes)."""
    from lrpot.quickstart import quickstart as run

    run(folder, seed=seed, say=console.print, progress=console.is_terminal)


@app.command()
def check(
    data: Annotated[Path, typer.Argument(help="Structures with labels (extended XYZ).")],
    json: Annotated[Path | None, typer.Option(help="Write the whole report to this file.")] = None,
    show: Annotated[int, typer.Option(help="Cases to list of each kind.")] = 5,
) -> None:
    """Look DATA over before training: duplicates, outliers, missing and impossible labels."""
    from lrpot.data import check_data, read_readable
    from lrpot.tables import report_tables
    from lrpot.training.config import write_json

    report = check_data(*read_readable(data))
    for table in report_tables(report, show=show):
        console.print(table)
    if json is not None:
        write_json(json, report.as_dict())


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="TOML file.")],
    coordinator: Annotated[
        str | None, typer.Option(help="host:port of the first of several processes, or `auto`.")
    ] = None,
    processes: Annotated[int | None, typer.Option(help="How many there are.")] = None,
    process: Annotated[int | None, typer.Option(help="Which of them this is, from 0.")] = None,
) -> None:
    """Train a potential as CONFIG says; called again, go on where it was interrupted."""
    from lrpot.tables import groups_table
    from lrpot.training.config import train as run
    from lrpot.training.devices import join, writes

    join(coordinator, processes, process)
    _, evaluation = run(config, progress=console.is_terminal)
    if evaluation is not None and writes():
        console.print(groups_table(evaluation))


@app.command()
def evaluate(
    model: Model,
    data: Annotated[Path, typer.Argument(help="Structures with labels (extended XYZ).")],
    json: Annotated[Path | None, typer.Option(help="Write all errors to this file.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for parity plots.")] = None,
) -> None:
    """Compare MODEL with the labels in DATA: whole, by element and by total charge."""
    from lrpot.data import read_structures
    from lrpot.io import load
    from lrpot.tables import groups_table
    from lrpot.training import evaluate_structures
    from lrpot.training.config import write_json

    evaluation = evaluate_structures(load(model), read_structures(data))
    console.print(groups_table(evaluation))
    if json is not None:
        write_json(json, evaluation.as_dict())
    if plots is not None:
        from lrpot.plots import parity

        parity({model.stem: evaluation}, plots / "parity.png")


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

    potential, start = _potential(model, charge, committee=devices == 1), _structure(structure)
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

    potential, start = _potential(model, charge), _structure(structure)
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

    potential, atoms = _potential(model, charge), _structure(structure)
    answered = drive(potential, atoms, unix=unix, host=host, port=port, total_charge=charge)
    console.print(f"i-PI has ended after {answered} evaluations.")


def _structure(path: Path) -> Any:
    """The last structure of a file, as ASE's atoms."""
    import ase.io

    try:
        return ase.io.read(path)
    except Exception as error:
        raise InputError(f"ASE cannot read {path}: {error}") from error


def _potential(model: Path, charge: float | None, *, committee: bool = False) -> Any:
    """One potential that can have the charge, or a committee where it will do."""
    from lrpot.committee import Committee
    from lrpot.io import load

    potential = load(model)
    if isinstance(potential, Committee) and not committee:
        raise InputError(
            f"{model} is a committee, and this runs one potential: store one with "
            "`lrpot.save(path, committee.members[0])`, or use `lrpot.Calculator` in ASE."
        )
    if charge is not None and potential.charge_model is None:
        raise InputError(
            f"{model} is a potential of recipe `{potential.recipe}`, which has no charges and "
            f"cannot use --charge {charge:g}. Leave it out."
        )
    return potential


Length = Annotated[str, typer.Option(help="Unit of length of RuNNer files.")]
Energy = Annotated[str, typer.Option(help="Unit of energy of RuNNer files.")]


@app.command()
def convert(
    source: Path,
    target: Path,
    length: Length = "bohr",
    energy: Energy = "Ha",
    seed: Annotated[int, typer.Option(help="Of the weights of an untrained potential.")] = 0,
) -> None:
    """Between RuNNer or n2p2 and lrpot: a potential, or a file of structures.

    SOURCE is a folder with input.nn (TARGET becomes a model file), an input.nn alone (TARGET
    becomes the model file of an untrained potential), a model file (TARGET becomes such a folder),
    a file input.data (TARGET becomes extended XYZ) or extended XYZ (TARGET becomes an input.data).
    """
    from lrpot.interop.n2p2.convert import convert as run

    console.print(run(source, target, length=length, energy=energy, seed=seed))


@app.command()
def info(model: Model, length: Length = "bohr", energy: Energy = "Ha") -> None:
    """Say what MODEL is: a model file, or a folder of RuNNer or n2p2."""
    from lrpot.describe import describe
    from lrpot.interop.n2p2.convert import load_any

    for name, value in describe(load_any(model, length=length, energy=energy)).items():
        console.print(f"[bold]{name}[/]  {escape(value)}", highlight=False)
