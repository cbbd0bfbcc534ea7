"""What all commands share: the application, its console, arguments and files."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

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
Length = Annotated[str, typer.Option(help="Unit of length of RuNNer files.")]
Energy = Annotated[str, typer.Option(help="Unit of energy of RuNNer files.")]


def structure_of(path: Path) -> Any:
    """The last structure of a file, as ASE's atoms."""
    import ase.io

    try:
        return ase.io.read(path)
    except Exception as error:
        raise InputError(f"ASE cannot read {path}: {error}") from error


def potential_of(model: Path, charge: float | None, *, committee: bool = False) -> Any:
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
