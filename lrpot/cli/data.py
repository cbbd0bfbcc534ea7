"""Commands for files of structures."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from lrpot.cli.common import (
    Energy,
    Format,
    Ignored,
    Length,
    Names,
    app,
    console,
    keys_of,
    show_usage,
)
from lrpot.errors import InputError


@app.command()
def check(
    data: Annotated[Path, typer.Argument(help="Structures with labels (extended XYZ).")],
    json: Annotated[Path | None, typer.Option(help="Write the whole report to this file.")] = None,
    show: Annotated[int, typer.Option(help="Cases to list of each kind.")] = 5,
    skip: Annotated[
        Path | None, typer.Option(help="Write the structures that can be used to this file.")
    ] = None,
    fix: Annotated[
        Path | None,
        typer.Option(help="The same, with left-handed cells reversed and copies left out."),
    ] = None,
    keys: Names = [],  # noqa: B006  (typer copies it)
    ignore: Ignored = [],  # noqa: B006
    format: Format = None,
) -> None:
    """Look DATA over before training: duplicates, outliers, missing and impossible labels."""
    from lrpot.data import check_data, read_data, write_usable
    from lrpot.tables import report_tables
    from lrpot.training.config import write_json

    settings: dict[str, Any] = dict(keys=keys_of(keys), format=format, ignore=ignore)
    contents = read_data(data, charge_tolerance=float("inf"), **settings)
    show_usage(contents.usage)
    report = check_data(contents.structures, contents.problems, usage=contents.usage)
    for table in report_tables(report, show=show):
        console.print(table)
    if json is not None:
        write_json(json, report.as_dict() | {"usage": contents.usage.as_dict()})
    for target, repair in ((skip, False), (fix, True)):
        if target is not None:
            for sentence in write_usable(data, target, repair=repair, **settings):
                console.print(sentence, markup=False, soft_wrap=True)


def _periods(words: str | None) -> tuple[bool, ...] | None:
    """`T T F`, or `TTF`, as three booleans."""
    if words is None:
        return None
    letters = words.replace(" ", "").upper()
    if len(letters) != 3 or set(letters) - {"T", "F"}:
        raise InputError(f'--pbc takes three letters T or F, such as "T T F", got {words!r}.')
    return tuple(letter == "T" for letter in letters)


@app.command()
def convert(
    source: Path,
    target: Path,
    length: Length = "bohr",
    energy: Energy = "Ha",
    seed: Annotated[
        int, typer.Option(help="Of the weights of an untrained potential.", min=0, max=2**32 - 1)
    ] = 0,
    pbc: Annotated[
        str | None,
        typer.Option(help='Periods of structures in an input.data, "T T F" for slabs.'),
    ] = None,
    keys: Names = [],  # noqa: B006  (typer copies it)
    ignore: Ignored = [],  # noqa: B006
    format: Format = None,
) -> None:
    """Between RuNNer or n2p2 and lrpot: a potential, or a file of structures.

    SOURCE is a folder with input.nn (TARGET becomes a model file), an input.nn alone (TARGET
    becomes the model file of an untrained potential), a model file (TARGET becomes such a folder),
    a file input.data (TARGET becomes extended XYZ) or any other file of structures (TARGET becomes
    an input.data, or extended XYZ where it ends with .xyz).
    """
    from lrpot.interop.n2p2.convert import convert as run

    said = run(
        source,
        target,
        length=length,
        energy=energy,
        seed=seed,
        pbc=_periods(pbc),
        keys=keys_of(keys) if keys else None,
        format=format,
        ignore=ignore,
    )
    console.print(escape(said), highlight=False, soft_wrap=True)
