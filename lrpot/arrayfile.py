"""Files of named arrays: safetensors with a checksum, the same bytes for the same content.

Everything that the header says is compared with the size of the file before an array is read, and
the checksum covers every byte of the file but its own digits.
"""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any, BinaryIO, NoReturn

import numpy as np

DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}
"""Types of numbers by their names in the file."""

METADATA = "__metadata__"
CHECKSUM = "checksum"
BLANK = "0" * 64
"""Stands in place of the checksum while it is computed."""

LARGEST_HEADER = 100_000_000
"""In bytes, as in safetensors itself."""


class DamagedError(ValueError):
    """What is wrong with a file, for a message that names it."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """Where an array is, in bytes behind the header, and what it is."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Attributes:
        metadata: Texts by name.
        entries: Arrays by name.
        size: Length of the header with its own length, in bytes.
    """

    metadata: dict[str, str]
    entries: dict[str, Entry]
    size: int


def pack(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """The content of a file of arrays and texts, with a checksum.

    Raises:
        DamagedError: If an array has numbers that the format has no name for.
    """
    names = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
    # As in safetensors, wide numbers come first: all are aligned.
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header: dict[str, Any] = {METADATA: dict(sorted({**metadata, CHECKSUM: BLANK}.items()))}
    parts, end = [], 0
    for name in order:
        array = np.array(arrays[name], order="C")
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        if array.dtype not in names:
            raise DamagedError(f"the array `{name}` is of type {array.dtype}")
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": names[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
        parts.append(array.tobytes())
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    content = len(text).to_bytes(8, "little") + text + b"".join(parts)
    mark = f'"{CHECKSUM}":"%s"'
    digest = hashlib.sha256(content).hexdigest()
    return content.replace((mark % BLANK).encode(), (mark % digest).encode(), 1)


def read_header(file: BinaryIO) -> Header:
    """Read what an open file says of itself, and compare it with the size of the file.

    Raises:
        OSError: If the file cannot be read.
        DamagedError: If it is not a file of arrays, or damaged.
    """
    length = int.from_bytes(file.read(8), "little")
    n_bytes = file.seek(0, 2)
    if n_bytes < 8 or length > min(n_bytes - 8, LARGEST_HEADER):
        raise DamagedError("it ends within its header")
    file.seek(8)
    content = parse_json(file.read(length))
    if not isinstance(content, dict):
        raise DamagedError("its header is no table")
    metadata = content.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise DamagedError("its metadata are no texts")
    entries = {name: _entry(name, one) for name, one in content.items()}
    end = 0
    for name, one in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if one.begin != end:
            raise DamagedError(f"the array `{name}` does not begin where the one before ends")
        end = one.end
    if 8 + length + end != n_bytes:
        raise DamagedError(f"it has {n_bytes} bytes, and its header asks for {8 + length + end}")
    return Header(metadata, entries, 8 + length)


def read_arrays(file: BinaryIO, header: Header) -> dict[str, np.ndarray]:
    """Read all arrays, and compare the checksum if the file has one.

    Raises:
        OSError: If the file cannot be read.
        DamagedError: If the checksum is not that of the content, or the file has changed since its
            header was read, or the numbers are of a type that numpy does not have.
    """
    file.seek(0)
    content = file.read()
    check_sum(content, header)
    arrays = {}
    for name, one in header.entries.items():
        if one.dtype not in DTYPES:
            raise DamagedError(f"the array `{name}` is of type {one.dtype}")
        if header.size + one.end > len(content):
            raise DamagedError("it has become shorter")
        count = math.prod(one.shape)
        flat = np.frombuffer(content, DTYPES[one.dtype], count, header.size + one.begin)
        arrays[name] = flat.reshape(one.shape)
    return arrays


def check_sum(content: bytes, header: Header) -> None:
    """Raise `DamagedError` unless the checksum, if there is one, is that of the content."""
    told = header.metadata.get(CHECKSUM)
    if told is None:
        return
    if not re.fullmatch("[0-9a-f]{64}", told):
        raise DamagedError("its checksum is none")
    blank = content[: header.size].replace(told.encode(), BLANK.encode())
    digest = hashlib.sha256(blank)
    digest.update(memoryview(content)[header.size :])
    if digest.hexdigest() != told:
        raise DamagedError("its checksum is not that of its content")


def parse_json(text: bytes | str) -> Any:
    """JSON in which no name stands twice and every number is one.

    Raises:
        DamagedError: If it is none.
    """

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise DamagedError("a name stands twice in its header")
        return dict(pairs)

    def constant(name: str) -> NoReturn:
        raise DamagedError(f"its header holds {name}")

    try:
        return json.loads(text, object_pairs_hook=table, parse_constant=constant)
    except RecursionError:
        raise DamagedError("its header is nested too deeply") from None
    except DamagedError:
        raise
    except ValueError as error:
        raise DamagedError(f"its header is no JSON: {error}") from None


def _entry(name: str, told: Any) -> Entry:
    """One array of the header; its number of bytes follows from its shape."""
    wrong = DamagedError(f"the array `{name}` is not described")
    if not isinstance(told, dict) or told.keys() != {"dtype", "shape", "data_offsets"}:
        raise wrong
    dtype, shape, offsets = told["dtype"], told["shape"], told["data_offsets"]
    if not isinstance(dtype, str) or not _are_sizes(shape) or not _are_sizes(offsets):
        raise wrong
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise wrong
    if dtype in DTYPES:
        needed = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
        if offsets[1] - offsets[0] != needed:
            raise DamagedError(
                f"the array `{name}` has {offsets[1] - offsets[0]} bytes, and its shape {shape} "
                f"asks for {needed}"
            )
    return Entry(dtype, tuple(shape), *offsets)


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 2**63 for one in values
    )
