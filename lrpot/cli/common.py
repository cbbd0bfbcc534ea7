"""What all commands share: the application, its console, arguments and files."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

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
Names = Annotated[
    list[str],
    typer.Option("--key", help="LABEL=NAME of a label in the file, such as forces=REF_forces."),
]
Ignored = Annotated[
    list[str], typer.Option("--ignore", help="Name in the file that is left out on purpose.")
]
Format = Annotated[
    str | None, typer.Option(help="Kind of the file, by ASE's name, where it cannot be told.")
]
Length = Annotated[str, typer.Option(help="Unit of length of RuNNer files.")]
Energy = Annotated[str, typer.Option(help="Unit of energy of RuNNer files.")]


def structure_of(path: Path) -> Any:
    """The last structure of a file, as ASE's atoms."""
    from lrpot.data import read_atoms

    return read_atoms(path)


def keys_of(pairs: list[str]) -> Any:
    """Names of labels from `LABEL=NAME`."""
    from lrpot.data import Keys

    known = [field.name for field in dataclasses.fields(Keys)]
    names = {}
    for pair in pairs:
        label, equals, name = pair.partition("=")
        if not equals or not name:
            raise InputError(f"`--key` takes LABEL=NAME, such as forces=REF_forces, got {pair!r}.")
        if label not in known:
            raise InputError(f"Unknown label `{label}` in `--key`. {suggestion(label, known)}")
        names[label] = name
    return Keys(**names)


def show_usage(usage: Any) -> None:
    """Print what of a file was used and what was not."""
    for line in usage.lines():
        console.print(escape(line), highlight=False, soft_wrap=True)


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
