"""Files of structures without the ones that cannot be used, and with what is certain repaired."""

import io
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lrpot.data.files import Frame, compressed, read_frames
from lrpot.data.reading import read_data
from lrpot.data.structures import Problem
from lrpot.errors import InputError
from lrpot.files import replacing

_LATTICE = re.compile(r"(\bLattice\s*=\s*)(\"[^\"]*\"|'[^']*'|\{[^}]*\})", re.IGNORECASE)


def write_usable(
    source: str | Path, target: str | Path, *, repair: bool = False, **settings: Any
) -> list[str]:
    """Write a file of structures again as extended XYZ, without those that cannot be used.

    A structure cannot be used if `read_structures` refuses it. Everything that stands in the file
    is kept for the others, with keys and columns that lrpot does not use: lines of extended XYZ
    are copied as they are, and other formats are written by ASE.

    Args:
        source: The file.
        target: The new file. It is compressed if its name ends with `.gz`, `.bz2` or `.xz`.
        repair: Also repair what is certain. The vectors of a left-handed cell are reversed, all
            three, which is the same crystal: positions, forces and stress stay as they are. Of
            frames that are equal in every character, the first one is kept.
        **settings: `keys`, `format`, `ignore` and `charge_tolerance` of `read_data`.

    Returns:
        What was done, in sentences.

    Raises:
        InputError: If nothing would be left, or `target` is the source.
    """
    if Path(target).exists() and Path(target).samefile(source):
        raise InputError(f"{target} is the file that is read. Name another one to be written.")
    frames = read_frames(source, settings.get("format"))
    problems = {one.number: one for one in read_data(source, **settings).problems}
    pieces = {
        number: _text(frame) for number, frame in enumerate(frames) if frame.atoms is not None
    }
    done, turned = [], {}
    if repair:
        turned = _right_handed(frames, pieces, problems, settings)
        pieces |= turned
        done += [
            f"Reversed the cell vectors of structure {number}, which were left-handed."
            for number in turned
        ]
    left_out = {number: one.message for number, one in problems.items() if number not in turned}
    if repair:
        left_out |= _copies({n: text for n, text in pieces.items() if n not in left_out})
    kept = [number for number in pieces if number not in left_out]
    if not kept:
        raise InputError(f"None of the {len(frames)} structures of {source} can be used.")
    with replacing(target) as temporary:
        text = "".join(pieces[number] for number in kept)
        temporary.write_bytes(compressed(target, text.encode()))
    done += [f"Left out structure {number}: {why}" for number, why in sorted(left_out.items())]
    return [*done, f"Wrote {len(kept)} of {len(frames)} structures to {target}."]


def _right_handed(
    frames: list[Frame],
    pieces: Mapping[int, str],
    problems: Mapping[int, Problem],
    settings: Mapping[str, Any],
) -> dict[int, str]:
    """Text of frames that can be used once their left-handed cell is reversed."""
    turned = {
        number: _text(frames[number], reverse=True)
        for number in problems
        if frames[number].atoms is not None and np.linalg.det(frames[number].atoms.cell) < 0
    }
    numbers = list(pieces)
    with tempfile.TemporaryDirectory() as folder:  # all together: keys may be in some of them only
        path = Path(folder) / "turned.xyz"
        path.write_text("".join(turned.get(number, pieces[number]) for number in numbers))
        still = read_data(path, **{**settings, "format": "extxyz"}).problems
    for one in still:
        turned.pop(numbers[one.number], None)
    return turned


def _text(frame: Frame, *, reverse: bool = False) -> str:
    """A frame as extended XYZ: its own lines, or what ASE writes."""
    import ase.io

    if frame.text is None:
        atoms = frame.atoms.copy()
        atoms.calc = frame.atoms.calc
        if reverse:
            atoms.set_cell(-np.asarray(atoms.cell))
        written = io.StringIO()
        try:
            ase.io.write(written, atoms, format="extxyz")
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(f"ASE cannot write structure {frame.number}: {error}") from error
        return written.getvalue()
    if not reverse:
        return frame.text
    cell = " ".join(repr(float(-value)) for value in np.ravel(frame.atoms.cell))
    count, header, rows = frame.text.split("\n", 2)
    return "\n".join([count, _LATTICE.sub(rf'\g<1>"{cell}"', header), rows])


def _copies(pieces: Mapping[int, str]) -> dict[int, str]:
    """Why frames are left out that say the same as an earlier one."""
    first: dict[str, int] = {}
    copies = {}
    for number, text in sorted(pieces.items()):
        earlier = first.setdefault(" ".join(text.split()), number)
        if earlier != number:
            copies[number] = f"it equals structure {earlier} in every character."
    return copies
