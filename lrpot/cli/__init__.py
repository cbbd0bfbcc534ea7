"""The command line: each command covers one documented Python call."""

import contextlib
import errno
import os
import sys
import warnings
from typing import Annotated, Any

import jax
import typer
from rich.console import Console
from rich.markup import escape

from lrpot.cli import data, dynamics, models, training
from lrpot.cli.common import app
from lrpot.compilation import keep_compilations
from lrpot.errors import InputError, InputWarning

__all__ = ["app", "data", "dynamics", "main", "models", "training"]


def main() -> None:
    """Run the command line.

    Wrong input, and whatever the system refuses (a full disk, no permission, a file that
    vanished, no memory), ends with a line on the error output and exit status 1. Ctrl-C ends with
    status 130.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("always", InputWarning)
        show = warnings.showwarning

        def told(message: Warning | str, category: type[Warning], *rest: Any) -> None:
            if issubclass(category, InputWarning):
                _say(f"[bold yellow]Warning:[/] {escape(str(message))}")
            else:
                show(message, category, *rest)

        warnings.showwarning = told
        sys.exit(_status())


def _status() -> Any:
    """Run a command to the end, its output written out too; its exit status."""
    try:
        try:
            app()
            status = 0
        except SystemExit as end:
            status = end.code
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return 130
    except (InputError, OSError, MemoryError, jax.errors.JaxRuntimeError) as error:
        words = _words(error)
        if words is None:
            raise
        if words:
            _say(f"[bold red]Error:[/] {escape(words)}")
        if isinstance(error, OSError):
            _forget_output()
        return 1


def _words(error: Exception) -> str | None:
    """An error in words; empty if nobody listens any more, `None` for one of ours."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError):
        if error.errno == errno.EPIPE:
            return ""
        place = "" if error.filename is None else f"{error.filename}: "
        return f"{place}{error.strerror or error}."
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return f"There is not enough memory. {error}".rstrip()
    return None


def _say(text: str) -> None:
    """Print a line on the error output, if it is still there."""
    with contextlib.suppress(OSError):
        Console(stderr=True).print(text, highlight=False, soft_wrap=True)


def _forget_output() -> None:
    """Send to nowhere what could not be written, so that Python does not try once more."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@app.callback()
def precision(
    float32: Annotated[bool, typer.Option(help="Single instead of double precision.")] = False,
) -> None:
    """Machine-learning interatomic potentials with long-range physics."""
    jax.config.update("jax_enable_x64", not float32)
    keep_compilations()
