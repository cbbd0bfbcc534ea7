"""Files of structures, whatever they are called, and what each structure holds."""

import bz2
import dataclasses
import gzip
import io
import lzma
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lrpot.errors import InputError, suggestion

COMPRESSIONS: dict[str, tuple[bytes, Any]] = {
    ".gz": (b"\x1f\x8b", gzip),
    ".bz2": (b"BZh", bz2),
    ".xz": (b"\xfd7zXZ\x00", lzma),
}
"""By ending: the first bytes of such a file, and the module that reads and writes it."""

_XYZ = ("xyz", "extxyz")
_DATABASES = ("db", "json")
_SETTINGS = ("Lattice", "pbc", "Properties")
_COUNT = re.compile(r"\s*\d+\s*", re.ASCII)
_EMPTY = re.compile(
    r"\"[^\"]+\"|'[^']+'|\{[^}]+\}|\[[^\]]+\]"
    r"|(?P<name>[^\s=\"']+)\s*=\s*(?:\"\"|''|\{\s*\}|\[\s*\])(?=\s|$)"
)
"""A key with an empty value; what stands in quotes or brackets is passed over."""

_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'|\{[^}]*\}|\[[^\]]*\]")


@dataclasses.dataclass(frozen=True)
class Frame:
    """One structure of a file, under the names that stand there.

    Attributes:
        number: Its place in the file, from 0.
        atoms: `ase.Atoms` with all keys in `info`; `None` if it cannot be read.
        keys: What is said once for the structure, by name.
        columns: What is said for each atom, by name; elements and positions are left out.
        unnamed: Values in each row beyond those that the header names.
        text: Its lines, for extended XYZ; `None` for other formats.
        problem: Why it cannot be read; `None` if it can.
    """

    number: int
    atoms: Any = None
    keys: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    columns: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    unnamed: int = 0
    text: str | None = None
    problem: str | None = None


def read_frames(path: str | Path, format: str | None = None) -> list[Frame]:
    """All structures of a file. What cannot be read has a `problem`, and hides no other one.

    Extended XYZ is recognised by its content, whatever the file is called, and may be compressed.

    Args:
        path: The file; no character of its name has a meaning.
        format: ASE's name of the format, where it cannot be told from name and content.

    Raises:
        InputError: If there is no such file, its format cannot be told, or all of it is unreadable.
    """
    path = Path(path)
    content = _content(path)
    format = _known(format) if format is not None else _format_of(path, content)
    if format in _XYZ:
        frames = [_parsed(*one) for one in enumerate(_split(_text(path, content)))]
    elif format in _DATABASES:
        frames = [_from_atoms(*one) for one in enumerate(_guarded(path, format, _rows))]
    else:
        frames = [_from_atoms(*one) for one in enumerate(_guarded(path, format, _all))]
    if not frames:
        raise InputError(f"{path} holds no structures.")
    return frames


def read_atoms(path: str | Path, format: str | None = None, index: int = -1) -> Any:
    """One structure of a file as ASE gives it, by default the last one.

    The file may have any name that `read_structures` takes.

    Raises:
        InputError: If the file or this structure of it cannot be read.
    """
    from ase.io.extxyz import read_xyz

    frames = read_frames(path, format)
    if not -len(frames) <= index < len(frames):
        raise InputError(f"{path} holds {len(frames)} structures; there is no structure {index}.")
    frame = frames[index]
    if frame.problem is not None:
        raise InputError(f"{path}, structure {frame.number}: {frame.problem}")
    if frame.text is None:
        return frame.atoms
    return next(read_xyz(io.StringIO(frame.text), 0))


def compressed(path: str | Path, content: bytes) -> bytes:
    """Content as the ending of the file's name asks for: `.gz`, `.bz2`, `.xz` or as it is."""
    _, module = COMPRESSIONS.get(Path(path).suffix.lower(), (b"", None))
    return content if module is None else module.compress(content)


def flat(info: Mapping[str, Any]) -> dict[str, Any]:
    """`atoms.info`, with what ASE's databases keep in `data` and `key_value_pairs` in line."""
    nested = [info.get(name) for name in ("data", "key_value_pairs")]
    found = dict(info)
    for name, inner in zip(("data", "key_value_pairs"), nested, strict=True):
        if isinstance(inner, Mapping):
            del found[name]
            found |= inner
    return found


def _content(path: Path) -> bytes:
    """What the file holds, uncompressed."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"There is no data file {path}.") from None
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.") from None
    for start, module in COMPRESSIONS.values():
        if content.startswith(start):
            try:
                return module.decompress(content)
            except (OSError, EOFError, ValueError, lzma.LZMAError) as error:
                raise InputError(f"{path} is compressed and damaged: {error}.") from None
    return content


def _text(path: Path, content: bytes) -> str:
    """Content as text, without a byte order mark, lines ending as they do on Unix."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path} is text in UTF-16. Save it as UTF-8.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    if "\0" in text:
        raise InputError(f"{path} is not a text file. Name its kind with `format`.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _known(format: str) -> str:
    """A format as ASE calls it."""
    from ase.io.formats import ioformats

    known = [name for name, one in ioformats.items() if one.can_read]
    if format not in known:
        raise InputError(f"Unknown format `{format}`. {suggestion(format, known)}")
    return format


def _format_of(path: Path, content: bytes) -> str:
    """The format by content, else by name."""
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    head = content.lstrip(b"\xef\xbb\xbf \t\r\n")[:4096]
    if not head:
        raise InputError(f"{path} is empty: it holds no structures.")
    endings = [one.lower().lstrip(".") for one in path.suffixes[-2:]]
    if endings and f".{endings[-1]}" in COMPRESSIONS:
        endings.pop()
    utf16 = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    if utf16 or (endings and endings[-1] in _XYZ) or _looks_like_xyz(head):
        return "extxyz"
    if head.startswith(b"SQLite format 3"):
        return "db"
    if head.split()[0] == b"begin":
        raise InputError(
            f"{path} looks like an `input.data` of RuNNer or n2p2. Convert it first: "
            f"`lrpot convert {path} structures.xyz`."
        )
    try:
        # With the whole path no beginning of a name stands for a database on a server.
        found = filetype(str(path.absolute()))
    except UnknownFileTypeError:
        found = ""
    if found not in ioformats:
        raise InputError(
            f"Cannot tell what kind of file {path} is. Say it with `format`, for example "
            '`format="extxyz"` (on the command line `--format extxyz`); the names are those of ASE.'
        )
    return found


def _looks_like_xyz(head: bytes) -> bool:
    """Whether a number of atoms, a comment and a row of an atom come first."""
    lines = head.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if not _COUNT.fullmatch(lines[0]):
        return False
    return int(lines[0]) == 0 or (len(lines) > 2 and len(lines[2].split()) > 3)


def _guarded(path: Path, format: str, read: Callable[[Path, str], Iterator[Any]]) -> Sequence[Any]:
    """What ASE reads; whatever it raises is an error of the input."""
    try:
        return list(read(path.absolute(), format))
    except Exception as error:
        raise InputError(
            f"ASE cannot read {path} as `{format}`: {type(error).__name__}: {error}. If it is of "
            "another kind, name that with `format`."
        ) from error


def _all(path: Path, format: str) -> Iterator[Any]:
    import ase.io

    yield from ase.io.iread(str(path), ":", format=format, do_not_split_by_at_sign=True)


def _rows(path: Path, format: str) -> Iterator[Any]:
    """Rows of a database of ASE, with their key-value pairs and data in `info`."""
    import ase.db

    with ase.db.connect(str(path), type=format, serial=True) as database:
        for row in database.select():
            atoms = row.toatoms()
            atoms.info = {"data": dict(row.data), "key_value_pairs": dict(row.key_value_pairs)}
            yield atoms


def _from_atoms(number: int, atoms: Any) -> Frame:
    from ase.io.extxyz import per_atom_properties

    atoms.info = flat(atoms.info)
    keys = dict(atoms.info)
    columns = {
        name: value for name, value in atoms.arrays.items() if name not in ("positions", "numbers")
    }
    results = {} if atoms.calc is None else atoms.calc.results
    for name, value in results.items():
        (columns if name in per_atom_properties else keys)[name] = value
    return Frame(number, atoms, keys, columns)


def _split(text: str) -> Iterator[tuple[str, str | None]]:
    """Frames of extended XYZ, and what is wrong with the lines of each.

    A frame that has fewer or more rows than it says ends where the next number of atoms stands.
    """
    lines = text.split("\n")
    here = 0
    while here < len(lines):
        if not lines[here].strip():
            here += 1
            continue
        start, count = here, _COUNT.fullmatch(lines[here])
        wanted = int(lines[here]) if count else 0
        here += 2 if count else 1
        rows = here
        while here < len(lines) and _is_row(lines[here]):
            here += 1
        vectors = sum(line.lstrip().startswith("VEC") for line in lines[rows:here])
        found = here - rows - vectors
        problem = None
        if not count:
            problem = f"line {start + 1} should be a number of atoms, and is {lines[start]!r}."
        elif not wanted:
            problem = f"it has no atoms (line {start + 1})."
        elif found != wanted:
            problem = f"it should have {wanted} atoms (line {start + 1}), and has {found} rows."
        yield "\n".join(lines[start:here]) + "\n", problem


def _is_row(line: str) -> bool:
    return bool(line.strip()) and not _COUNT.fullmatch(line)


_NEEDED = (("pos", "positions"), ("species", "symbols", "Z", "numbers"))
"""Columns that a structure cannot be without, by their names."""


def _parsed(number: int, frame: tuple[str, str | None]) -> Frame:
    """A frame of extended XYZ: ASE reads the rows, and the names stay those of the file."""
    from ase.io.extxyz import REV_PROPERTY_NAME_MAP, parse_properties, read_xyz

    text, problem = frame
    if problem is not None:
        return Frame(number, text=text, problem=problem)
    header: dict[str, Any] = {}

    def parse(line: str) -> dict[str, Any]:
        header.update(_header(line))
        return {name: header[name] for name in _SETTINGS if name in header}

    try:
        atoms = next(read_xyz(io.StringIO(text), 0, properties_parser=parse))
        named, names, *_ = parse_properties(header.get("Properties", "species:S:1:pos:R:3"))
        if len({name for name, _ in named.values()}) < len(names):
            raise InputError(f"two of the columns {', '.join(names)} mean the same.")
        if not all(any(name in names for name in needed) for needed in _NEEDED):
            raise InputError(
                f"its columns are {', '.join(names)}: it needs `pos`, and `species` or `Z`."
            )
    except InputError as error:
        return Frame(number, text=text, problem=str(error))
    except Exception as error:
        found = f"ASE cannot read it: {type(error).__name__}: {error}"
        return Frame(number, text=text, problem=found)
    atoms.info = {name: value for name, value in header.items() if name not in _SETTINGS}
    held = dict(atoms.arrays) | ({} if atoms.calc is None else atoms.calc.results)
    columns = {
        name: held.get(REV_PROPERTY_NAME_MAP.get(name, name))
        for name in names
        if name not in sum(_NEEDED, ())
    }
    rows = text.split("\n")[2 : 2 + len(atoms)]
    unnamed = max(len(row.split()) for row in rows) - sum(width for _, width in named.values())
    return Frame(number, atoms, atoms.info, columns, unnamed, text)


def _header(line: str) -> dict[str, Any]:
    """Keys and values of the comment line, by ASE; none may stand there twice."""
    from ase.io.extxyz import key_val_str_to_dict

    names = re.findall(r"([^\s=\"]+)\s*=", _QUOTED.sub('""', line))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"`{twice[0]}` stands twice in its header.")
    empty: dict[str, Any] = {}

    def taken_out(found: re.Match[str]) -> str:
        if found["name"] is None:
            return found[0]
        empty[found["name"]] = ""
        return ""

    # ASE 3.29 takes the next key for the value that is not there.
    return key_val_str_to_dict(_EMPTY.sub(taken_out, line)) | empty
