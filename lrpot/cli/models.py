"""Commands that say what a model is, and what it is computed with."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from lrpot.cli.common import Energy, Length, app, console
from lrpot.errors import InputError


@app.command()
def info(
    model: Annotated[
        Path | None, typer.Argument(help="Model file, or a folder of RuNNer or n2p2.")
    ] = None,
    length: Length = "bohr",
    energy: Energy = "Ha",
    versions: Annotated[
        bool, typer.Option("--versions", help="Versions, devices, and a check of the compiler.")
    ] = False,
) -> None:
    """Say what MODEL is, or with --versions what this installation computes with."""
    if model is None and not versions:
        raise InputError("Give a model file, or `--versions` for those of this installation.")
    if versions:
        _print_versions()
    if model is not None:
        from lrpot.describe import describe
        from lrpot.interop.n2p2 import unknown_keywords
        from lrpot.interop.n2p2.convert import load_any

        lines = describe(load_any(model, length=length, energy=energy))
        unknown = unknown_keywords(model / "input.nn") if model.is_dir() else ()
        _print(lines | ({"unknown keywords": ", ".join(unknown)} if unknown else {}))


def _print_versions() -> None:
    from lrpot.versions import check_compiler, versions

    _print(versions())
    check_compiler()
    _print({"compiled code": "computes known values right"})


def _print(lines: dict[str, str]) -> None:
    for name, value in lines.items():
        console.print(f"[bold]{name}[/]  {escape(value)}", highlight=False)
