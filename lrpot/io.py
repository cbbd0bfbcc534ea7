"""One file per potential: a JSON header that says what it is, and its arrays; nothing is unpickled.

The file is a safetensors file. Its metadata hold the version of the format, a checksum and, as
JSON, the tree of the potential's parts with their settings; arrays are stored by their path in that
tree. Files without a checksum, of earlier versions, are read too.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from lrpot import charges, descriptors, electrostatics, messages, networks, terms
from lrpot.arrayfile import (
    CHECKSUM,
    DTYPES,
    DamagedError,
    Header,
    pack,
    parse_json,
    read_arrays,
    read_header,
)
from lrpot.committee import Committee
from lrpot.descriptors import SplitACSF
from lrpot.errors import InputError
from lrpot.files import replacing
from lrpot.layout import check_layout, fits
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

_ADDED_LATER = {"Equilibration": {"exchange"}}
"""Fields that older files lack, by class; their default is what these files mean. Any other field
that is missing has been lost."""


def save(path: str | Path, potential: Potential | Committee) -> None:
    """Write a potential or a committee to one file, which appears whole or not at all.

    The same potential gives the same bytes. A checksum covers all of them.

    Args:
        path: Where to; an existing file is replaced.
        potential: Any potential composed of the parts of this library.

    Raises:
        InputError: If a part is not one of the library's, or an array is not of floating point.
    """
    if isinstance(potential, Potential) and isinstance(potential.descriptor, SplitACSF):
        potential = potential.on_devices(1)
    arrays: dict[str, np.ndarray] = {}
    tree = _describe(potential, "", arrays)
    metadata = {"format": FORMAT, "version": str(VERSION), "potential": json.dumps(tree)}
    content = pack(arrays, metadata)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def load(path: str | Path) -> Any:
    """Read a potential or a committee written by `save`.

    Arrays keep their precision as far as JAX is set to: a float64 potential becomes float32
    unless `jax_enable_x64` is on. Everything is compared before it is used: sizes with the size of
    the file, settings with their types, shapes with each other, and the checksum with the content.

    Raises:
        InputError: If the file is missing, damaged, no potential, or from a newer version.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            header = read_header(file)
            tree = _tree(path, header)
            declared = _declared(header)
            # Settings and shapes, before anything large is read.
            check_layout(jax.eval_shape(lambda arrays: _potential(tree, arrays), declared))
            arrays = read_arrays(file, header)
        for name, array in arrays.items():
            _check_finite(name, array)
        return _potential(tree, arrays)
    except FileNotFoundError:
        raise InputError(f"There is no model file {path}.") from None
    except OSError as error:
        raise InputError(f"{path} is not a model file of lrpot ({error.strerror}).") from None
    except _OtherFileError as error:
        raise InputError(str(error)) from None
    except DamagedError as error:
        raise InputError(
            f"{path} is not a model file of lrpot, or it is damaged: {error}. Copy it again from "
            "where it was made; lrpot never leaves a half-written file behind."
        ) from None
    except InputError as error:
        raise InputError(f"{path} is damaged, or it has been edited: {error}.") from None


class _OtherFileError(Exception):
    """A file that is in order, but not one that can be loaded."""


def _tree(path: Path, header: Header) -> Any:
    """The description of the potential, if the file is one of lrpot's."""
    told = header.metadata
    if told.get("format") != FORMAT:
        raise _OtherFileError(
            f"{path} is a safetensors file, but not one of lrpot, or it is damaged: its header "
            f"says {told or 'nothing'}. Only files written by `lrpot.save` can be loaded."
        )
    if told.get("version") != str(VERSION):
        raise _OtherFileError(
            f"{path} has version {told.get('version')} of the model format; this lrpot reads "
            f"version {VERSION}. Update lrpot; if it is up to date, the file is damaged."
        )
    if told.keys() - {CHECKSUM} != {"format", "version", "potential"}:
        raise DamagedError(f"its metadata are {', '.join(sorted(told))}")
    return parse_json(told["potential"])


def _declared(header: Header) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types of the arrays; all are of floating point."""
    for name, one in header.entries.items():
        if one.dtype not in ("F64", "F32", "F16"):
            raise InputError(
                f"the array `{name}` is of type {one.dtype}, and parameters are floating point "
                "numbers of 64, 32 or 16 bits"
            )
    return {
        name: jax.ShapeDtypeStruct(one.shape, jax.dtypes.canonicalize_dtype(DTYPES[one.dtype]))
        for name, one in header.entries.items()
    }


def _check_finite(name: str, array: np.ndarray) -> None:
    """A range of training data may be infinite, before there are any."""
    open_range = name.endswith((".minimum", ".maximum"))
    if np.isnan(array).any() or not (open_range or np.isfinite(array).all()):
        raise InputError(f"the array `{name}` holds numbers that are not finite")


def _potential(tree: Any, arrays: Mapping[str, Any]) -> Potential | Committee:
    """The potential of a description, from its arrays."""
    left = dict(arrays)
    try:
        potential = _rebuild(tree, "", left)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"its description does not hold together: {_short(error)}") from None
    if not isinstance(potential, Potential | Committee) or left:
        raise InputError("it does not hold exactly one potential")
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
        name = path.lstrip(".")
        if node.dtype not in (np.float64, np.float32, np.float16):
            raise InputError(
                f"The array `{name}` is of type {node.dtype} and cannot be stored: parameters are "
                "floating point numbers of 64, 32 or 16 bits."
            )
        arrays[name] = np.asarray(node)
        return {"array": [list(node.shape), str(node.dtype)]}
    if isinstance(node, dict):
        parts = {key: _describe(node[key], f"{path}.{key}", arrays) for key in sorted(node)}
        return {"dict": parts}
    if isinstance(node, tuple):
        return {"tuple": [_describe(one, f"{path}.{i}", arrays) for i, one in enumerate(node)]}
    return node


def _rebuild(tree: Any, path: str, arrays: dict[str, Any]) -> Any:
    if not isinstance(tree, dict):
        return tree
    if tree.keys() == {"class", "fields"}:
        if tree["class"] not in _CLASSES_BY_NAME:
            raise ValueError(f"unknown part {tree['class']!r}")
        parts = {
            name: _rebuild(one, f"{path}.{name}", arrays) for name, one in tree["fields"].items()
        }
        return _made(_CLASSES_BY_NAME[tree["class"]], parts, path)
    (kind,) = tree
    if kind == "array":
        array = arrays.pop(path.lstrip("."))
        shape, dtype = tree["array"]
        # JAX that is set to single precision has tracers of nothing else.
        same = isinstance(array, Tracer) or str(array.dtype) == dtype
        if list(array.shape) != shape or not same:
            raise ValueError(f"array {path.lstrip('.')} is {array.dtype}{array.shape}")
        return jnp.asarray(array)
    if kind == "dict":
        return {key: _rebuild(one, f"{path}.{key}", arrays) for key, one in tree["dict"].items()}
    members = tree["tuple"]
    if not isinstance(members, list):
        raise ValueError(f"`{path.lstrip('.')}` is {members!r} instead of a list")
    return tuple(_rebuild(one, f"{path}.{i}", arrays) for i, one in enumerate(members))


def _made(cls: type[eqx.Module], parts: dict[str, Any], path: str) -> eqx.Module:
    """A part of a potential, whose fields are of the types that its class says."""
    hints = get_type_hints(cls)
    known = {field.name for field in dataclasses.fields(cls)}
    lost = known - parts.keys() - _ADDED_LATER.get(cls.__name__, set())
    if lost:
        where = path.lstrip(".") or "the potential"
        raise InputError(f"`{where}`, which is a `{cls.__name__}`, lacks `{min(lost)}`")
    for name, value in parts.items():
        if name in hints and not fits(value, hints[name]):
            raise InputError(
                f"`{f'{path}.{name}'.lstrip('.')}` of `{cls.__name__}` is {_short(value)}, which "
                "is of a wrong type or shape, or no finite number"
            )
    return cls(**parts)


def _short(value: Any) -> str:
    text = " ".join(eqx.tree_pformat(value).split())
    return text if len(text) <= 80 else f"{text[:80]}…"
