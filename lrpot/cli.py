"""The command line: each command covers one documented Python call."""

import sys
from pathlib import Path
from typing import Annotated, Any

import jax
import typer
from rich.console import Console
from rich.markup import escape

from lrpot.errors import InputError

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
def train(config: Annotated[Path, typer.Argument(help="TOML file.")]) -> None:
    """Train a potential as CONFIG says; called again, go on where it was interrupted."""
    from lrpot.tables import groups_table
    from lrpot.training.config import train as run

    _, evaluation = run(config, progress=console.is_terminal)
    if evaluation is not None:
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


@app.command()
def md(
    model: Model,
    structure: Annotated[Path, typer.Argument(help="Structure to start from (any ASE format).")],
    steps: Annotated[int, typer.Option(help="Number of steps.")] = 10_000,
    timestep: Annotated[float, typer.Option(help="In fs.")] = 0.5,
    ensemble: Annotated[str, typer.Option(help="nve, nvt or langevin.")] = "nve",
    temperature: Annotated[float, typer.Option(help="In K.")] = 300.0,
    damping: Annotated[float, typer.Option(help="Of the thermostat, in fs.")] = 100.0,
    charge: Annotated[
        float | None, typer.Option(help="Total charge in e; by default that of the structure.")
    ] = None,
    record_every: Annotated[int, typer.Option(help="Steps between two frames.")] = 20,
    folder: Annotated[Path, typer.Option(help="For the trajectory and the log.")] = Path("md"),
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Run molecular dynamics in jax-md; writes a trajectory and a log."""
    import ase.io

    from lrpot.interop.ase import from_ase
    from lrpot.io import load
    from lrpot.md import run

    potential = load(model)
    if charge is not None and potential.charge_model is None:
        raise InputError(
            f"{model} is a potential of recipe `{potential.recipe}`, which has no charges and "
            f"cannot use --charge {charge:g}. Leave it out."
        )
    try:
        atoms: Any = ase.io.read(structure)
    except Exception as error:
        raise InputError(f"ASE cannot read {structure}: {error}") from error
    trajectory = run(
        potential,
        from_ase(atoms, total_charge=charge),
        steps=steps,
        timestep=timestep,
        ensemble=ensemble,  # pyright: ignore[reportArgumentType]  (checked there)
        temperature=temperature,
        damping=damping,
        record_every=record_every,
        folder=folder,
        key=jax.random.key(seed),
        progress=console.is_terminal,
    )
    mean = trajectory.log["temperature_K"].mean()
    console.print(
        f"{steps} steps, mean temperature {mean:.0f} K, drift of the conserved energy "
        f"{trajectory.drift():+.2e} eV/atom/ps. Frames and log are in "
        f"{escape(str(folder))}/."
    )


Length = Annotated[str, typer.Option(help="Unit of length of RuNNer files.")]
Energy = Annotated[str, typer.Option(help="Unit of energy of RuNNer files.")]


@app.command()
def convert(source: Path, target: Path, length: Length = "bohr", energy: Energy = "Ha") -> None:
    """Between RuNNer or n2p2 and lrpot: a potential, or a file of structures.

    SOURCE is a folder with input.nn (TARGET becomes a model file), a model file (TARGET becomes
    such a folder), a file input.data (TARGET becomes extended XYZ) or extended XYZ (TARGET
    becomes an input.data).
    """
    from lrpot.interop.n2p2.convert import convert as run

    console.print(run(source, target, length=length, energy=energy))


@app.command()
def info(model: Model, length: Length = "bohr", energy: Energy = "Ha") -> None:
    """Say what MODEL is: a model file, or a folder of RuNNer or n2p2."""
    from lrpot.describe import describe
    from lrpot.interop.n2p2.convert import load_any

    for name, value in describe(load_any(model, length=length, energy=energy)).items():
        console.print(f"[bold]{name}[/]  {escape(value)}", highlight=False)
