"""The state of a training or a simulation on disk: whole or not there."""

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from lrpot.arrayfile import DamagedError, pack, read_arrays, read_header
from lrpot.errors import InputError
from lrpot.files import replacing

T = TypeVar("T")

FILE = "checkpoint.safetensors"


def fingerprint(*parts: Any) -> str:
    """Hash of settings (by their representation) and of all arrays in the given trees."""
    digest = hashlib.sha256(repr(jax.tree.structure(parts)).encode())  # with static settings
    for leaf in jax.tree.leaves(parts):
        if isinstance(leaf, jax.Array | np.ndarray):
            digest.update(np.ascontiguousarray(leaf).tobytes())
        else:
            digest.update(repr(leaf).encode())
    return digest.hexdigest()


def write_checkpoint(folder: Path, tree: Any, notes: dict[str, Any]) -> None:
    """Store the arrays of a tree, and notes that can be written as JSON."""
    arrays = {
        f"{number:05d}": np.array(leaf, order="C")
        for number, leaf in enumerate(jax.tree.leaves(eqx.filter(tree, eqx.is_array)))
    }
    content = pack(arrays, {"notes": json.dumps(notes)})
    with replacing(folder / FILE) as temporary:
        temporary.write_bytes(content)


def read_notes(folder: Path) -> dict[str, Any] | None:
    """Notes of the checkpoint in a folder; `None` when there is no checkpoint."""
    path = folder / FILE
    if not path.exists():
        return None
    notes, _ = _contents(path)
    return notes


def read_checkpoint(folder: Path, like: T) -> T:
    """The stored arrays in a tree of the same structure as `like`."""
    arrays, rest = eqx.partition(like, eqx.is_array)
    expected, structure = jax.tree.flatten(arrays)
    stored = [array for _, array in sorted(_contents(folder / FILE)[1].items())]
    if [(one.shape, one.dtype) for one in stored] != [(one.shape, one.dtype) for one in expected]:
        raise InputError(
            f"The checkpoint in {folder} is of a potential, a system or an optimiser of another "
            "shape or precision. Take another folder, or delete it to start over."
        )
    return eqx.combine(jax.tree.unflatten(structure, [jnp.asarray(one) for one in stored]), rest)


def _contents(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Notes and arrays of a checkpoint, its checksum compared."""
    try:
        with path.open("rb") as file:
            header = read_header(file)
            return json.loads(header.metadata["notes"]), read_arrays(file, header)
    except (OSError, KeyError, ValueError) as error:
        reason = error if isinstance(error, DamagedError) else repr(error)
        raise InputError(
            f"{path} is not a checkpoint of lrpot, or it is damaged ({reason}). Delete it to start "
            "over."
        ) from None
