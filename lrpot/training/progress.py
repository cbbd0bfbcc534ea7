"""What a training says: a progress bar in a terminal, and lines that remain anywhere."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lrpot.training.stages import Stage

SECONDS = 30.0
"""Between two lines about epochs, where there is no terminal for a bar."""

_UNITS = {
    "energy": (1e3, "meV/atom"),
    "forces": (1e3, "meV/Å"),
    "stress": (1e3, "meV/Å³"),
    "charges": (1e3, "me"),
    "dipole": (1e3, "me Å"),
    "quadrupole": (1e3, "me Å²"),
}


class Reporter:
    """Takes what happens in a training, and shows what it was made to show.

    Args:
        say: Called with each line; an empty one is nothing.
        row: Called with each row of the history.
    """

    def __init__(
        self,
        say: Callable[[str], None] = lambda _: None,
        row: Callable[[dict[str, Any]], None] = lambda _: None,
    ):
        self.say, self.row = say, row


def describe(errors: dict[str, float]) -> str:
    """Errors as text: `energy 1.23 meV/atom, forces 45.6 meV/Å`."""
    parts = []
    for label, value in errors.items():
        factor, unit = _UNITS[label]
        parts.append(f"{label} {factor * value:.3g} {unit}")
    return ", ".join(parts)


def describe_row(row: dict[str, Any]) -> str:
    """The errors of an epoch as text, those on the validation data where there are any."""
    kind = "validation" if row["validation"] else "training"
    return f"{kind} {describe(row['validation'] or row['train'])}"


@contextlib.contextmanager
def reporter(
    show: bool, stages: Sequence[Stage], history: Sequence[dict[str, Any]]
) -> Iterator[Reporter]:
    """A reporter that moves a progress bar or, without a terminal, prints a line now and then."""
    if not show:
        yield Reporter()
        return
    from rich.console import Console

    console = Console()
    if console.is_terminal or console.is_jupyter:
        with _bars(stages, history, console) as shown:
            yield shown
    else:
        yield _lines(stages)


def _lines(stages: Sequence[Stage]) -> Reporter:
    epochs = {stage.name: stage.epochs for stage in stages}
    begun: set[str] = set()
    last = time.monotonic()

    def row(row: dict[str, Any]) -> None:
        nonlocal last
        # The first epoch compiles: it says that the training runs, and how far it has to go.
        if row["stage"] in begun and time.monotonic() - last < SECONDS:
            return
        begun.add(row["stage"])
        last = time.monotonic()
        say(f"{row['stage']}: epoch {row['epoch']} of {epochs[row['stage']]}, {describe_row(row)}")

    def say(line: str) -> None:
        if line:
            print(line, flush=True)

    return Reporter(say, row)


@contextlib.contextmanager
def _bars(
    stages: Sequence[Stage], history: Sequence[dict[str, Any]], console: Any
) -> Iterator[Reporter]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:>10}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[errors]}"),
    )
    with Progress(*columns, console=console) as progress:
        tasks = {
            stage.name: progress.add_task(stage.name, total=stage.epochs, errors="")
            for stage in stages
        }

        def report(row: dict[str, Any]) -> None:
            errors = row["validation"] or row["train"]
            progress.update(tasks[row["stage"]], completed=row["epoch"], errors=describe(errors))

        def say(line: str) -> None:
            if line:
                progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

        for row in {row["stage"]: row for row in history}.values():
            report(row)
        yield Reporter(say, report)
