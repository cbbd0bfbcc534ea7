"""The devices that share a computation, and the precision that is asked of them."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from lrpot.errors import InputError

in_full_precision = jax.default_matmul_precision("highest")
"""Decorator of what multiplies matrices: some accelerators would round single precision to eleven
bits for it, which moments and mesh sums do not forgive. Derivative rules that multiply need it of
their own: of compiled code they are applied later, and elsewhere."""

Tree = TypeVar("Tree")


def in_single_precision(tree: Tree) -> Tree:
    """The same with all its real numbers in single precision."""

    def single(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return leaf.astype(jnp.float32)

    return jax.tree.map(single, tree)


def devices_along(axis: str, count: int | None = None) -> Mesh | None:
    """As many devices as asked for, along one axis; `None` for a single one.

    Args:
        axis: Name of what they share.
        count: All that JAX finds when not given. Several processes use all.

    Raises:
        InputError: If there are not so many, or processes would be left without a device.
    """
    found = jax.devices()
    if count is not None and not 1 <= count <= len(found):
        raise InputError(
            f"`devices` must be between 1 and {len(found)}, as many as JAX finds here "
            f"({found[0].platform}), got {count}. A processor counts as one, and as 8 with "
            "XLA_FLAGS=--xla_force_host_platform_device_count=8 in the environment."
        )
    if count not in (None, len(found)) and jax.process_count() > 1:
        raise InputError(
            f"{jax.process_count()} processes share all of their {len(found)} devices: leave "
            f"`devices = {count}` out."
        )
    chosen = np.array(found[:count])
    return Mesh(chosen, (axis,)) if len(chosen) > 1 else None
