"""One file per potential: a JSON header that says what it is, and its arrays; nothing is unpickled.

The file is a safetensors file. Its metadata hold the version of the format and, as JSON, the tree
of the potential's parts with their settings; arrays are stored by their path in that tree.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from lrpot import charges, descriptors, electrostatics, messages, networks, terms
from lrpot.committee import Committee
from lrpot.descriptors import SplitACSF
from lrpot.errors import InputError
from lrpot.files import replacing
from lrpot.potential import Potential

FORMAT = "lrpot"
VERSION = 1

# Only these are ever built from a file.
_CLASSES: dict[str, type[eqx.Module]] = {
    cls.__name__: cls
    for cls in (
        Committee,
        Potential,
        descriptors.ACSF,
        descriptors.Angular,
        descriptors.Bumps,
        descriptors.Channels,
        descriptors.CosinePowers,
        descriptors.Radial,
        descriptors.Scaling,
        descriptors.Shells,
        descriptors.Windows,
        networks.ElementNetworks,
        charges.ChargeSurroundings,
        charges.Equilibration,
        charges.LocalCharges,
        electrostatics.CoulombSum,
        electrostatics.FixedSum,
        electrostatics.Screening,
        messages.Exchange,
        terms.Coulomb,
        terms.Messages,
        terms.Offsets,
        terms.ShortRange,
        terms.SiteEnergy,
    )
}

# Names of parts in older files.
_CLASSES_BY_NAME = {**_CLASSES, "DirectSum": electrostatics.CoulombSum}


def save(path: str | Path, potential: Potential | Committee) -> None:
    """Write a potential or a committee to one file, which appears whole or not at all.

    Args:
        path: Where to; an existing file is replaced.
        potential: Any potential composed of the parts of this library.
    """
    if isinstance(potential, Potential) and isinstance(potential.descriptor, SplitACSF):
        potential = potential.on_devices(1)
    arrays: dict[str, np.ndarray] = {}
    tree = _describe(potential, "", arrays)
    header = {"format": FORMAT, "version": str(VERSION), "potential": json.dumps(tree)}
    content = safetensors.numpy.save(arrays, metadata=header)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def load(path: str | Path) -> Any:
    """Read a potential or a committee written by `save`.

    Arrays keep their precision as far as JAX is set to: a float64 potential becomes float32
    unless `jax_enable_x64` is on.

    Raises:
        InputError: If the file is missing, damaged, no potential, or from a newer version.
    """
    try:
        with safetensors.safe_open(path, "numpy") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise InputError(f"There is no model file {path}.") from None
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise InputError(
            f"{path} is not a model file of lrpot, or it is damaged ({error}). Copy it again from "
            "where it was made; lrpot never leaves a half-written file behind."
        ) from None
    if header.get("format") != FORMAT:
        raise InputError(
            f"{path} is a safetensors file, but not one of lrpot: its header says "
            f"{header or 'nothing'}. Only files written by `lrpot.save` can be loaded."
        )
    if header.get("version") != str(VERSION):
        raise InputError(
            f"{path} has version {header.get('version')} of the model format; this lrpot reads "
            f"version {VERSION}. Update lrpot."
        )
    try:
        potential = _rebuild(json.loads(header["potential"]), "", arrays)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"The header of {path} is damaged: {error!r}.") from None
    if not isinstance(potential, Potential | Committee) or arrays:
        raise InputError(f"{path} does not hold exactly one potential.")
    return potential


def _describe(node: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(node, eqx.Module):
        name = type(node).__name__
        if _CLASSES.get(name) is not type(node):
            raise InputError(f"`{name}` cannot be stored; lrpot stores {sorted(_CLASSES)}.")
        fields = [field.name for field in dataclasses.fields(node)]
        parts = {name: _describe(getattr(node, name), f"{path}.{name}", arrays) for name in fields}
        return {"class": name, "fields": parts}
    if isinstance(node, jax.Array | np.ndarray):
        arrays[path.lstrip(".")] = np.array(node, order="C")
        return {"array": [list(node.shape), str(node.dtype)]}
    if isinstance(node, dict):
        return {"dict": {key: _describe(one, f"{path}.{key}", arrays) for key, one in node.items()}}
    if isinstance(node, tuple):
        return {"tuple": [_describe(one, f"{path}.{i}", arrays) for i, one in enumerate(node)]}
    return node


def _rebuild(tree: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    if not isinstance(tree, dict):
        return tree
    (kind,) = tree.keys() - {"fields"}
    if kind == "class":
        if tree["class"] not in _CLASSES_BY_NAME:
            raise ValueError(f"unknown part {tree['class']!r}")
        parts = {
            name: _rebuild(one, f"{path}.{name}", arrays) for name, one in tree["fields"].items()
        }
        return _CLASSES_BY_NAME[tree["class"]](**parts)
    if kind == "array":
        array = arrays.pop(path.lstrip("."))
        if [list(array.shape), str(array.dtype)] != tree["array"]:
            raise ValueError(f"array {path.lstrip('.')} is {array.dtype}{array.shape}")
        return jnp.asarray(array)
    if kind == "dict":
        return {key: _rebuild(one, f"{path}.{key}", arrays) for key, one in tree["dict"].items()}
    return tuple(_rebuild(one, f"{path}.{i}", arrays) for i, one in enumerate(tree["tuple"]))
