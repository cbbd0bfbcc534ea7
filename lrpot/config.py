"""Settings: names, types and ranges, checked alike for dataclasses, functions and TOML files.

What a setting may be is said once, by its type: `Annotated[float, Limits(above=0)]` is a positive
number wherever it comes from.
"""

import dataclasses
import functools
import inspect
import math
import numbers
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

from lrpot.errors import InputError, suggestion

P = ParamSpec("P")
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Limits:
    """The range of a number.

    Attributes:
        least, most: The smallest and the largest value.
        above, below: What the value must be above and below.
        infinite: Whether it may be infinite, too.
    """

    least: float | int = -math.inf
    most: float | int = math.inf
    above: float | int = -math.inf
    below: float | int = math.inf
    infinite: bool = False

    def hold(self, value: float | int) -> bool:
        """Whether a value is in the range."""
        if isinstance(value, float) and not math.isfinite(value):
            return self.infinite and value > 0
        return self.least <= value <= self.most and self.above < value < self.below

    def __repr__(self):  # signatures in `help` show it
        return f"Limits({self})"

    def __str__(self):
        parts = [
            f"{words} {limit:.12g}"
            for words, limit in (
                ("at least", self.least),
                ("above", self.above),
                ("at most", self.most),
                ("below", self.below),
            )
            if math.isfinite(limit)
        ]
        return " and ".join(parts) or "finite"


Positive = Annotated[float, Limits(above=0.0)]
NotNegative = Annotated[float, Limits(least=0.0)]
Share = Annotated[float, Limits(above=0.0, most=1.0)]
Count = Annotated[int, Limits(least=1, most=2**31 - 1)]
Seed = Annotated[int, Limits(least=0, most=2**32 - 1)]
"""Of random numbers: JAX without 64 bits takes no larger one."""


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
    except (ValueError, RecursionError) as error:  # integers of 5000 digits, brackets without end
        raise InputError(f"{path} is not valid TOML: {error}.") from None


def from_mapping(cls: type[T], values: Mapping[str, Any], *, where: str = "configuration") -> T:
    """Build the dataclass `cls` from nested mappings, checking names and types.

    Lists become tuples, integers become floats where a float is declared, and tables become
    nested dataclasses.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    check_names(values, fields, where)
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
        name: convert(hints[name], value, f"{where}: {name}") for name, value in values.items()
    }
    return cls(**arguments)


def arguments_of(
    function: Callable[..., Any],
    values: Mapping[str, Any],
    where: str,
    but: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Keyword arguments of a function from a table, names and values checked.

    Args:
        function: With type hints.
        values: The table.
        where: It stands, for messages.
        but: Parameters that a table does not give.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    check_names(
        values, [name for name in inspect.signature(function).parameters if name not in but], where
    )
    return {name: convert(hints[name], value, f"{where}: {name}") for name, value in values.items()}


def check_names(values: Mapping[str, Any], known: typing.Iterable[str], where: str) -> None:
    """Refuse a key that is not known, and name the nearest one that is."""
    known = list(known)
    for name in values:
        if name not in known:
            raise InputError(f"Unknown key `{name}` in {where}. {suggestion(name, known)}")


def check_fields(settings: Any) -> None:
    """Check the fields of a frozen dataclass by their types, from its `__post_init__`."""
    hints = typing.get_type_hints(type(settings), include_extras=True)
    for field in dataclasses.fields(settings):
        value = convert(hints[field.name], getattr(settings, field.name), f"`{field.name}`")
        object.__setattr__(settings, field.name, value)


def checked(*names: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorator: check these arguments of a function by their types before it is called."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            hints = typing.get_type_hints(function, include_extras=True)
            bound = signature.bind(*args, **kwargs)
            for name in names:
                if name in bound.arguments:
                    value = bound.arguments[name]
                    bound.arguments[name] = convert(hints[name], value, f"`{name}`")
            return function(*bound.args, **bound.kwargs)

        return call

    return decorate


def to_mapping(settings: Any) -> dict[str, Any]:
    """The inverse of `from_mapping`: nested plain dictionaries, fit for JSON or TOML."""
    return dataclasses.asdict(settings)


def convert(hint: Any, value: Any, where: str) -> Any:
    """A value as a type hint wants it, `Limits` included.

    Args:
        hint: A class, or one of the types of `typing`.
        value: As it was given.
        where: Its name, for messages.

    Raises:
        InputError: If it is of another type or out of range.
    """
    if hint is Any:
        return value
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_first(arguments, value, where)
    limits = Limits()
    if origin is Annotated:
        limits = next((one for one in arguments[1:] if isinstance(one, Limits)), limits)
        hint = arguments[0]
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    found = _NOTHING
    if origin is typing.Literal:
        found = next((one for one in arguments if value == one), _NOTHING)
    elif origin is not None or dataclasses.is_dataclass(hint):
        found = _convert_many(hint, origin, arguments, value, where)
    elif isinstance(hint, type):
        found = _convert_one(hint, value, where)
    if found is _NOTHING:
        hints = ""
        if origin is typing.Literal and isinstance(value, str):
            hints = f" {suggestion(value, arguments)}"
        raise InputError(f"{where} must be {_readable(hint)}, got {_short(value)}.{hints}")
    if hint in (int, float) and not limits.hold(found):
        raise InputError(f"{where} must be {limits}, got {_short(value)}.")
    return found


_NOTHING: Any = object()
"""What a conversion gives when the value is of another type."""


def _convert_many(
    hint: Any, origin: Any, arguments: tuple[Any, ...], value: Any, where: str
) -> Any:
    """Tables and lists."""
    if dataclasses.is_dataclass(hint):
        if isinstance(value, Mapping):
            return from_mapping(typing.cast(type, hint), value, where=where)
        return value if isinstance(value, typing.cast(type, hint)) else _NOTHING
    if origin is tuple and isinstance(value, list | tuple):
        kinds = arguments[:1] * len(value) if Ellipsis in arguments else arguments
        if len(kinds) == len(value):
            return tuple(convert(*pair, where) for pair in zip(kinds, value, strict=True))
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return {key: convert(arguments[1], one, f"{where}.{key}") for key, one in value.items()}
    return _NOTHING


def _convert_one(kind: type, value: Any, where: str) -> Any:
    """A number, a string or an instance of another class."""
    if kind is float and isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:  # integers of TOML have any size
            return math.inf
    if kind is int and isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if kind is str and isinstance(value, str) and "\0" in value:
        raise InputError(f"{where} must not contain the character 0, got {_short(value)}.")
    if kind in (int, float) or not isinstance(value, kind):
        return _NOTHING
    return value


def _convert_first(options: tuple[Any, ...], value: Any, where: str) -> Any:
    """The value as the first of several types that takes it."""
    problems = []
    for option in options:
        try:
            return convert(option, value, where)
        except InputError as problem:
            problems.append(problem)
    # A table is told about as a table, even where a name would do too.
    tables = [typing.get_origin(option) in (dict, Mapping) for option in options]
    raise problems[tables.index(True) if isinstance(value, Mapping) and any(tables) else 0]


def _readable(hint: Any) -> str:
    """A type in the words of messages, without what is said of ranges."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _readable(arguments[0])
    if origin is tuple:
        return f"tuple[{', '.join('...' if a is Ellipsis else _readable(a) for a in arguments)}]"
    if origin in (dict, Mapping) or dataclasses.is_dataclass(hint):
        return "a table"
    if origin is typing.Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if origin is not None:
        return str(hint).replace("typing.", "")
    return getattr(hint, "__name__", str(hint))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
