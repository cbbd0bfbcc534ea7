"""A progress bar with the losses."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lrpot.training.stages import Stage

Reporter = Callable[[dict[str, Any]], None]

_UNITS = {
    "energy": (1e3, "meV/atom"),
    "forces": (1e3, "meV/Å"),
    "stress": (1e3, "meV/Å³"),
    "charges": (1e3, "me"),
    "dipole": (1e3, "me Å"),
    "quadrupole": (1e3, "me Å²"),
}


def describe(errors: dict[str, float]) -> str:
    """Errors as text: `energy 1.23 meV/atom, forces 45.6 meV/Å`."""
    parts = []
    for label, value in errors.items():
        factor, unit = _UNITS[label]
        parts.append(f"{label} {factor * value:.3g} {unit}")
    return ", ".join(parts)


@contextlib.contextmanager
def reporter(
    show: bool, stages: Sequence[Stage], history: Sequence[dict[str, Any]]
) -> Iterator[Reporter]:
    """A function to be called with each row of the history, which moves a progress bar."""
    if not show:
        yield lambda _: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:>10}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[errors]}"),
    )
    with Progress(*columns) as progress:
        tasks = {
            stage.name: progress.add_task(stage.name, total=stage.epochs, errors="")
            for stage in stages
        }

        def report(row: dict[str, Any]) -> None:
            errors = row["validation"] or row["train"]
            progress.update(tasks[row["stage"]], completed=row["epoch"], errors=describe(errors))

        for row in {row["stage"]: row for row in history}.values():
            report(row)
        yield report
