"""Settings: frozen dataclasses read from TOML, with messages that name the nearest key."""

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from lrpot.errors import InputError, suggestion

T = TypeVar("T")


def read_toml(path: str | Path, cls: type[T]) -> T:
    """Read a TOML file into the dataclass `cls`.

    Raises:
        InputError: If the file is missing or not TOML, a key is unknown (the nearest known
            one is named) or a value has the wrong type.
    """
    return from_mapping(cls, read_table(path), where=str(path))


def read_table(path: str | Path) -> dict[str, Any]:
    """What a TOML file holds.

    Raises:
        InputError: If the file is missing or not TOML.
    """
    try:
        with Path(path).open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise InputError(f"Cannot read the configuration {path}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid TOML: {error}.") from None


def from_mapping(cls: type[T], values: Mapping[str, Any], *, where: str = "configuration") -> T:
    """Build the dataclass `cls` from nested mappings, checking names and types.

    Lists become tuples, integers become floats where a float is declared, and tables become
    nested dataclasses.
    """
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            raise InputError(f"Unknown key `{name}` in {where}. {suggestion(name, fields)}")
    missing = [
        name
        for name, field in fields.items()
        if name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InputError(f"{where} lacks the key `{missing[0]}` of `{cls.__name__}`.")
    arguments = {
        name: _convert(hints[name], value, f"{where}: {name}") for name, value in values.items()
    }
    return cls(**arguments)


def to_mapping(settings: Any) -> dict[str, Any]:
    """The inverse of `from_mapping`: nested plain dictionaries, fit for JSON or TOML."""
    return dataclasses.asdict(settings)


def _convert(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return value
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_first(arguments, value, where)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return from_mapping(typing.cast(type, hint), value, where=where)
    if origin is tuple and isinstance(value, list | tuple):
        kinds = arguments[:1] * len(value) if Ellipsis in arguments else arguments
        if len(kinds) == len(value):
            return tuple(_convert(*pair, where) for pair in zip(kinds, value, strict=True))
    if origin is dict and isinstance(value, Mapping):
        return {key: _convert(arguments[1], one, f"{where}.{key}") for key, one in value.items()}
    if origin is typing.Literal and value in arguments:
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    expected = "a table" if dataclasses.is_dataclass(hint) else getattr(hint, "__name__", str(hint))
    if origin is not None:
        expected = str(hint).replace("typing.", "")
    raise InputError(f"{where} must be {expected}, got {value!r}.")


def _convert_first(options: tuple[Any, ...], value: Any, where: str) -> Any:
    """The value as the first of several types that takes it."""
    problems = []
    for option in options:
        try:
            return _convert(option, value, where)
        except InputError as problem:
            problems.append(problem)
    raise problems[0]
