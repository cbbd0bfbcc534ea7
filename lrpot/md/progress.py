"""A progress bar with the speed."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

FS_PER_DAY = 86400.0 * 1e-6
"""Nanoseconds in a day for each femtosecond in a second."""


@contextlib.contextmanager
def bar(
    steps: int, timestep: float, *, done: int, show: bool
) -> Iterator[Callable[[int, dict[str, Any]], None]]:
    """A function to be called with a number of steps and the frame after them.

    Args:
        steps: Of the whole simulation.
        timestep: In fs.
        done: Steps that were done before.
        show: Whether there is a bar at all.
    """
    if not show:
        yield lambda *_: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("molecular dynamics"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed}/{task.total} steps"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns) as progress:
        task = progress.add_task("", total=steps, completed=done, state="")
        before = time.monotonic()

        def advance(count: int, frame: dict[str, Any]) -> None:
            nonlocal before
            now = time.monotonic()
            speed, before = count / max(now - before, 1e-9), now
            state = (
                f"{speed:.4g} steps/s, {FS_PER_DAY * timestep * speed:.3g} ns/day, "
                f"{frame['temperature_K']:.0f} K, {frame['conserved_eV']:.5f} eV"
            )
            progress.update(task, advance=count, state=state)

        yield advance
