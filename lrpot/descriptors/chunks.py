"""Atoms in chunks: what lies in between stays in a cache, and memory does not grow with it."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lrpot.environment import FAR, Environment

ON_PROCESSORS, ON_ACCELERATORS = 1 << 10, 1 << 18
"""Neighbours of a chunk, with empty slots: what fits the cache of a core, or keeps many busy."""


def at_once() -> int:
    """How many neighbours a chunk has at most where nothing else is said."""
    return ON_PROCESSORS if jax.default_backend() == "cpu" else ON_ACCELERATORS


def by_chunks(
    function: Callable[[Environment], Float[Array, "atoms features"]],
    environment: Environment,
    *,
    slots: int | None = None,
    kept: Sequence[str] = (),
) -> Float[Array, "atoms features"]:
    """A function of the environments of atoms, chunk by chunk.

    Differentiation computes a chunk again, which takes less time than to fetch what would have
    been kept of it.

    Args:
        function: From environments of some atoms to their features.
        environment: Of all atoms.
        slots: Neighbours of a chunk at most, with empty slots; what suits the device when not
            given.
        kept: Names (`jax.ad_checkpoint.checkpoint_name`) of what is kept nevertheless.
    """
    n_atoms, n_slots = environment.index.shape
    n_chunks = -(-n_atoms * n_slots // (slots or at_once()))
    if n_chunks <= 1:
        return function(environment)
    size = -(-n_atoms // n_chunks)
    n_chunks = -(-n_atoms // size)

    padded = with_empty_rows(environment, n_chunks * size)
    chunks = jax.tree.map(lambda array: array.reshape(n_chunks, size, *array.shape[1:]), padded)

    def one_chunk(chunk: Environment) -> Array:  # a method of a module could not be hashed
        return function(chunk)

    policy = jax.checkpoint_policies.save_only_these_names(*kept)
    again = jax.checkpoint(one_chunk, policy=policy)
    return jax.lax.map(again, chunks).reshape(n_chunks * size, -1)[:n_atoms]


def with_empty_rows(environment: Environment, size: int) -> Environment:
    """The environments of so many atoms, padding appended; nothing reciprocal."""
    n_atoms = len(environment.index)

    def padded(array: Array, fill: float | int) -> Array:
        extra = ((0, size - n_atoms),) + ((0, 0),) * (array.ndim - 1)
        return jnp.pad(array, extra, constant_values=fill)

    return Environment(
        components=tuple(padded(along, FAR) for along in environment.components),
        index=padded(environment.index, n_atoms),
        centers=padded(environment.centers, 0),
        neighbors=padded(environment.neighbors, 0),
        reciprocal=None,
    )
