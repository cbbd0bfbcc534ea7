"""How far a simulation is and how fast: a bar on a terminal, or a line now and then."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

NS_PER_DAY = 86400.0 * 1e-6
"""Nanoseconds in a day for each femtosecond in a second."""

SILENCE = 30.0
"""Longest time without a line, in s, as far as frames are recorded that often."""

Advance = Callable[[int, dict[str, Any]], None]

Report = Callable[[str], None]
"""What takes a line, such as `print`."""


@contextlib.contextmanager
def progress_of(
    steps: int, timestep: float, *, done: int, show: bool, report: Report | None
) -> Iterator[Advance]:
    """A function to be called with a number of steps and the frame after them.

    Args:
        steps: Of the whole simulation.
        timestep: In fs.
        done: Steps that were done before.
        show: Whether there is a bar.
        report: What takes lines where there is none; `None` for silence.
    """
    if show:
        with _bar(steps, timestep, done) as advance:
            yield advance
    elif report is not None:
        yield _lines(steps, timestep, done, report)
    else:
        yield lambda *_: None


class _Speed:
    """Nanoseconds of simulation in a day, since the last time that it was asked for."""

    def __init__(self, timestep: float):
        self.timestep, self.before, self.steps = timestep, time.monotonic(), 0

    def waited(self) -> float:
        return time.monotonic() - self.before

    def __call__(self) -> str:
        speed = self.steps / max(self.waited(), 1e-9)
        self.before, self.steps = time.monotonic(), 0
        return f"{speed:.4g} steps/s, {NS_PER_DAY * self.timestep * speed:.3g} ns/day"


def _lines(steps: int, timestep: float, done: int, report: Report) -> Advance:
    """A line after every tenth of the steps, or sooner after some time; and at the end."""
    speed, last = _Speed(timestep), done

    def advance(count: int, frame: dict[str, Any]) -> None:
        nonlocal done, last
        done += count
        speed.steps += count
        if done < steps and done - last < steps / 10 and speed.waited() < SILENCE:
            return
        last = done
        report(
            f"step {done} of {steps}, {frame['time_fs']:g} fs: {frame['temperature_K']:.0f} K, "
            f"potential energy {frame['potential_energy_eV']:.5f} eV, conserved "
            f"{frame['conserved_eV']:.5f} eV, {speed()}"
        )

    return advance


@contextlib.contextmanager
def _bar(steps: int, timestep: float, done: int) -> Iterator[Advance]:
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
        speed = _Speed(timestep)

        def advance(count: int, frame: dict[str, Any]) -> None:
            speed.steps += count
            state = f"{speed()}, {frame['temperature_K']:.0f} K, {frame['conserved_eV']:.5f} eV"
            progress.update(task, advance=count, state=state)

        yield advance
