"""The structures of a batch on several devices: data-parallel training.

Every device holds all data and all parameters, and computes errors and derivatives for its share of
the structures of an update. Their sum and the update itself are the same on each. Devices may
belong to several processes that `jax.distributed` has brought together and that run one script.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lrpot.devices import devices_along
from lrpot.errors import InputError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Devices:
    """Those that share the structures of each update.

    Attributes:
        mesh: All of them, along one axis `structures`; `None` for a single one.
    """

    mesh: Mesh | None = None

    @property
    def count(self) -> int:
        """How many there are."""
        return 1 if self.mesh is None else self.mesh.size

    def place(self, tree: T) -> T:
        """The arrays of a tree, whole on each device."""
        if self.mesh is None:
            return tree
        arrays, rest = eqx.partition(tree, eqx.is_array)
        return eqx.combine(jax.device_put(arrays, _everywhere(self.mesh)), rest)

    def bring_back(self, tree: T) -> T:
        """The arrays of a tree, on the first device of this process."""
        if self.mesh is None:
            return tree
        arrays, rest = eqx.partition(tree, eqx.is_array)
        return eqx.combine(jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), arrays), rest)

    def whole(self, tree: T) -> T:
        """Inside compiled code: every device gets all of a tree that was split."""
        if self.mesh is None:
            return tree
        return jax.lax.with_sharding_constraint(tree, _everywhere(self.mesh))

    def split(self, function: Callable[[Any, Any], T]) -> Callable[[Any, Any], T]:
        """`function(shared, structures)` by shares of the structures.

        The function treats structures independently: leading axes of its second argument and of
        its result are those of the structures, of which there must be a multiple of `count`.
        """
        if self.mesh is None:
            return function

        def together(shared: Any, structures: Any) -> T:
            arrays, rest = eqx.partition(shared, eqx.is_array)
            on_each = jax.shard_map(
                lambda arrays, share: function(eqx.combine(arrays, rest), share),
                mesh=self.mesh,
                in_specs=(PartitionSpec(), PartitionSpec("structures")),
                out_specs=PartitionSpec("structures"),
                # Loops inside start from constants, which are the same everywhere, unlike the rest.
                check_vma=False,
            )
            return self.whole(on_each(arrays, structures))

        return together

    def filled(self, rows: np.ndarray) -> np.ndarray:
        """Row numbers, with −1 for none appended to a multiple of `count` in the last axis."""
        extra = -rows.shape[-1] % self.count
        return np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, extra)], constant_values=-1)


ONE = Devices()
"""A single device, whichever JAX chooses."""


def find_devices(count: int | None = None) -> Devices:
    """As many devices as asked for, see `lrpot.devices.devices_along`."""
    return Devices(devices_along("structures", count))


def join(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Bring several processes together, before anything is computed.

    Args:
        coordinator: `host:port` of the first process, which all can reach; `auto` where the
            scheduler of a cluster tells JAX; `None` for a process on its own.
        processes: How many there are.
        process: Which of them this is, from 0.
    """
    given = processes is not None, process is not None
    if coordinator in (None, "auto"):
        if any(given):
            raise InputError(
                "How many processes there are, and which of them this is, goes with the address "
                f"of the first: give a coordinator such as `localhost:9876`, got {coordinator}."
            )
        if coordinator == "auto":
            jax.distributed.initialize()
        return
    if processes is None or process is None or not 0 <= process < processes:
        raise InputError(
            "With a coordinator, say how many processes there are and which of them this is, "
            f"counted from 0; got {processes} and {process}."
        )
    jax.distributed.initialize(coordinator, num_processes=processes, process_id=process)


def writes() -> bool:
    """Whether this process writes files and talks: the first of several."""
    return jax.process_index() == 0


def _everywhere(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())
