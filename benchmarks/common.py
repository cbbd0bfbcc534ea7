"""Timing and reporting shared by the benchmarks."""

import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence

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


def machine() -> str:
    """One line about machine and versions, to stand above every table."""
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("jax", "jaxlib", "numpy")
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{platform.machine()}, {cores} cores, {jax.default_backend()}, Python "
        f"{platform.python_version()}, {versions}; 1024³ float64 matmul "
        f"{1e3 * matmul_seconds():.0f} ms"
    )


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table in Markdown."""
    for row in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(row) + " |")


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
