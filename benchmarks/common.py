"""Timing and reporting shared by the benchmarks."""

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import ase
import jax
import numpy as np

from lrpot import System


def median_seconds(function: Callable[[], object], *, runs: int = 5) -> float:
    """Median wall time of several calls after one that compiles."""
    jax.block_until_ready(function())
    times = []
    for _ in range(runs):
        begun = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def matmul_seconds(size: int = 1024) -> float:
    """Time of one numpy float64 matrix product: what this machine can do."""
    matrix = np.random.default_rng(0).normal(size=(size, size))
    return median_seconds(lambda: matrix @ matrix)


def machine(*others: str) -> str:
    """One line about machine and versions, to stand above every table.

    Args:
        *others: More packages to give the version of, where they are installed.
    """
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("jax", "jaxlib", "numpy", *filter(installed, others))
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{processor()}, {cores} cores, {jax.default_backend()}, Python "
        f"{platform.python_version()}, {versions}; 1024³ float64 matmul "
        f"{1e3 * matmul_seconds():.0f} ms"
    )


def processor() -> str:
    """Name of the processor, or of its architecture where the name is not known."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{platform.machine()} {names[0]}" if names else platform.machine()


def installed(package: str) -> bool:
    """Whether a package is there."""
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def in_own_process(script: str, *arguments: object, threads: int) -> dict | str:
    """What a script prints as the last line, in JSON, when it runs alone; else what went wrong.

    Memory and threads of one program are then no matter of another one.
    """
    limits = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    settings = dict.fromkeys(limits, str(threads))
    # Threads that spin while they wait take the processor from those they wait for.
    settings["OMP_WAIT_POLICY"] = "passive"
    finished = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = finished.stdout.strip().splitlines()
    if finished.returncode == 0 and lines:
        return json.loads(lines[-1])
    errors = [line for line in finished.stderr.splitlines() if "Error" in line]
    return errors[-1] if errors else f"exit code {finished.returncode}"


def keep_to_cores(count: int) -> None:
    """Some programs take as many threads as they see cores; to be called before they start."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def resident_megabytes(*, peak: bool = False) -> float:
    """Memory of this process that is (or, at most, was) in use; Linux tells, others give NaN."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    key = "VmHWM:" if peak else "VmRSS:"
    line = next(line for line in status.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def forget_peak() -> None:
    """Let the peak of the memory count from now on."""
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")


@dataclass(frozen=True)
class Measured:
    """What a program gave and what it took.

    Attributes:
        result: Of an evaluation.
        fastest: Seconds of the fastest evaluation: what the program takes undisturbed. Threads
            that wait for each other suffer most from company on the machine.
        median: Seconds of the median evaluation.
        megabytes: Memory that evaluations take at most, inputs and neighbours included; what
            compiling and building lists take is not.
    """

    result: tuple
    fastest: float
    median: float
    megabytes: float


def measure(
    prepare: Callable[[], Callable[[], tuple]],
    *,
    runs: int,
    warm: Callable[[], object] = lambda: None,
    shortest: float = 1.0,
    longest: float = 20.0,
) -> Measured:
    """Measure what `prepare` returns, after a call that compiles.

    Args:
        prepare: Gives an evaluation; its result is a tuple.
        runs: At least so many evaluations, unless they take `longest`.
        warm: Loads what stays in memory, such as libraries, by a small evaluation.
        shortest: Measure for at least so many seconds.
        longest: Measure for at most so many seconds, and one evaluation.
    """
    warm()
    before = resident_megabytes()
    evaluate = prepare()
    result = evaluate()
    forget_peak()
    times: list[float] = []
    while not times or sum(times) < (shortest if len(times) >= runs else longest):
        begun = time.perf_counter()
        jax.block_until_ready(evaluate())
        times.append(time.perf_counter() - begun)
    memory = max(resident_megabytes(peak=True) - before, 0.0)
    return Measured(result, min(times), statistics.median(times), memory)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table in Markdown."""
    for row in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(row) + " |")


def repeated(system: System, repeats: tuple[int, ...], *, rattle: float = 0.0) -> System:
    """A crystal several times along each vector of its cell.

    Args:
        system: The crystal.
        repeats: How often.
        rattle: Standard deviation of what every coordinate is moved by, in Å.
    """
    atoms = ase.Atoms(np.asarray(system.numbers), np.asarray(system.positions), pbc=True)
    atoms.set_cell(np.asarray(system.cell))
    large = atoms.repeat(repeats)
    if rattle:
        large.rattle(rattle, seed=0)
    return System(large.positions, large.numbers, cell=large.cell.array)


def water_like(n_atoms: int, *, seed: int = 0) -> System:
    """Random periodic O and H atoms at the density of water, none closer than 0.8 Å."""
    random = np.random.default_rng(seed)
    edge = (n_atoms / 0.1) ** (1 / 3)
    per_edge = int(np.ceil(n_atoms ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(per_edge)] * 3, indexing="ij"), -1).reshape(-1, 3)
    spacing = edge / per_edge
    chosen = random.permutation(len(grid))[:n_atoms]
    jitter = random.uniform(-0.5, 0.5, (n_atoms, 3)) * max(spacing - 0.8, 0.0)
    numbers = np.where(np.arange(n_atoms) % 3 == 0, 8, 1)
    return System(grid[chosen] * spacing + jitter, numbers, cell=edge * np.eye(3))


def rock_salt(
    n_atoms: int, *, rattle: float = 0.1, density: float = 0.04, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int, int]]:
    """Rattled rock salt: an irregular tile, repeated.

    All of it repeats one tile of 64, 512 or 1000 atoms, so that its forces are those of the tile.

    Args:
        n_atoms: 64, 512 times a cube, or 100 000.
        rattle: Standard deviation of the displacements along each axis, in Å.
        density: Atoms per Å³.
        seed: Of the displacements.

    Returns:
        Positions, signs of the charges, cell, and how often the tile repeats along each axis. The
        atoms of the tile come first.
    """
    edge = 4 if n_atoms == 64 else 10 if n_atoms == 100_000 else 8
    times = round((n_atoms / edge**3) ** (1 / 3))
    repeats = (5, 5, 4) if n_atoms == 100_000 else (times, times, times)
    if edge**3 * np.prod(repeats) != n_atoms:
        raise SystemExit(f"{n_atoms} atoms: choose 64, 512, 4096, 13824, 32768, … or 100000.")
    spacing = density ** (-1 / 3)
    sites = np.stack(np.meshgrid(*[np.arange(edge)] * 3, indexing="ij"), -1).reshape(-1, 3)
    tile = spacing * sites + np.random.default_rng(seed).normal(0, rattle, sites.shape)
    shifts = np.stack(np.meshgrid(*map(np.arange, repeats), indexing="ij"), -1).reshape(-1, 1, 3)
    positions = (tile + spacing * edge * shifts).reshape(-1, 3)
    charges = np.tile((-1.0) ** sites.sum(axis=1), len(shifts))
    return positions, charges, spacing * edge * np.diag(repeats).astype(float), repeats
