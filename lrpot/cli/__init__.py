"""The command line: each command covers one documented Python call."""

import sys
from typing import Annotated

import jax
import typer
from rich.console import Console
from rich.markup import escape

from lrpot.cli import data, dynamics, models, training
from lrpot.cli.common import app
from lrpot.errors import InputError

__all__ = ["app", "data", "dynamics", "main", "models", "training"]


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
