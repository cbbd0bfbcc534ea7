"""Commands that train and evaluate."""

from pathlib import Path
from typing import Annotated

import typer

from lrpot.cli.common import (
    Format,
    Ignored,
    Model,
    Names,
    app,
    console,
    keys_of,
    show_usage,
)


@app.command()
def quickstart(
    folder: Annotated[Path, typer.Option(help="For models, trajectory and plots.")] = Path(
        "quickstart"
    ),
    seed: Annotated[int, typer.Option(help="Random seed.", min=0, max=2**32 - 1)] = 0,
) -> None:
    """Train 2G and 4G on carbon chains, compare them, run molecular dynamics (2 minutes)."""
    from lrpot.quickstart import quickstart as run

    run(folder, seed=seed, say=console.print)


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
    try:
        _, evaluation = run(config, report=show_usage)
    except KeyboardInterrupt:
        console.print("Interrupted. The same command goes on from the last checkpoint.")
        raise
    if evaluation is not None and writes():
        console.print(groups_table(evaluation))


@app.command()
def evaluate(
    model: Model,
    data: Annotated[Path, typer.Argument(help="Structures with labels (extended XYZ).")],
    json: Annotated[Path | None, typer.Option(help="Write all errors to this file.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for parity plots.")] = None,
    keys: Names = [],  # noqa: B006  (typer copies it)
    ignore: Ignored = [],  # noqa: B006
    format: Format = None,
) -> None:
    """Compare MODEL with the labels in DATA: whole, by element and by total charge."""
    from lrpot.data import read_data, refuse_problems
    from lrpot.io import load
    from lrpot.tables import groups_table
    from lrpot.training import evaluate_structures
    from lrpot.training.config import write_json

    potential = load(model)
    contents = read_data(data, keys=keys_of(keys), format=format, ignore=ignore)
    show_usage(contents.usage)
    refuse_problems(data, contents.problems)
    evaluation = evaluate_structures(potential, contents.structures)
    console.print(groups_table(evaluation))
    if json is not None:
        write_json(json, evaluation.as_dict())
    if plots is not None:
        from lrpot.plots import parity

        parity({model.stem: evaluation}, plots / "parity.png")
