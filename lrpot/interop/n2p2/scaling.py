"""`scaling.data`: statistics of the symmetry functions, to the scaling of a descriptor."""

from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from lrpot.descriptors import Scaling
from lrpot.elements import SYMBOLS
from lrpot.errors import InputError
from lrpot.interop.n2p2.settings import Line, Settings, read_lines

SCALING_FLAGS = (
    "scale_symmetry_functions",
    "center_symmetry_functions",
    "scale_symmetry_functions_sigma",
)

COLUMNS = (5, 6)
"""Element, function, minimum, maximum and mean in files of RuNNer; sigma too in those of n2p2."""

ROUNDING = 1e-6
"""By how much of its range a mean may be outside of it, in files with few digits."""

Row = tuple[Line, float, float, float, float]
"""Where it stands, minimum, maximum, mean and sigma of a function."""


def read_scaling(path: Path, settings: Settings, n_inputs: dict[int, int]) -> Scaling:
    """The scaling that the flags of `input.nn` ask for, with the statistics of a file.

    Args:
        path: Of `scaling.data`.
        settings: The keywords.
        n_inputs: Number of symmetry functions by element, in the order of the elements.
    """
    low, high = settings.number("scale_min_short", 0.0), settings.number("scale_max_short", 1.0)
    if not low < high:
        settings.one(
            "scale_max_short" if "scale_max_short" in settings else "scale_min_short"
        ).fail(f"`scale_min_short` must be below `scale_max_short`, got {low:g} and {high:g}.")
    scale, center, sigma = (flag in settings for flag in SCALING_FLAGS)
    rows = _rows(path, n_inputs, sigma and not (scale or center))
    shape = (len(n_inputs), max(n_inputs.values()))
    arrays = {name: np.zeros(shape) for name in ("offset", "factor", "minimum", "maximum")}
    for row, element in enumerate(n_inputs):
        for column, (line, least, most, mean, spread) in enumerate(rows[element]):
            span, origin, floor = 1.0, 0.0, 0.0
            if scale:
                span, floor = (most - least) / (high - low), low
                origin = mean if center else least
            elif center:
                origin = mean
            elif sigma:
                span, origin, floor = spread / (high - low), mean, low
            if not span > 0:
                line.fail(
                    "the function is constant in the training data (or its limits are "
                    "exchanged) and cannot be scaled."
                )
            if len(line.arguments) == min(COLUMNS):
                _check_mean(line, least, most, mean)
            arrays["offset"][row, column] = origin - floor * span
            arrays["factor"][row, column] = 1 / span
            arrays["minimum"][row, column] = least
            arrays["maximum"][row, column] = most
    return Scaling(tuple(n_inputs), **{name: jnp.asarray(array) for name, array in arrays.items()})


def _check_mean(line: Line, least: float, most: float, mean: float) -> None:
    """Refuse files of six columns that have lost one; ours of six hold offsets beside means."""
    margin = ROUNDING * max(most - least, abs(least), abs(most))
    if not least - margin <= mean <= most + margin:
        line.fail(
            f"the mean {mean:g} is not between the minimum {least:g} and the maximum {most:g}: a "
            "column is missing, or they stand in another order than element, function, minimum, "
            "maximum, mean, sigma."
        )


def _rows(path: Path, n_inputs: dict[int, int], needs_sigma: bool) -> dict[int, list[Row]]:
    """The statistics of each element, and where they stand."""
    lines, comments = _lines(path)
    if len(lines) < sum(n_inputs.values()):
        raise InputError(
            f"{path} holds {len(lines)} lines of statistics, but input.nn has "
            f"{sum(n_inputs.values())} symmetry functions."
        )
    n_columns = len(lines[0].arguments)
    rows: dict[int, list[Row]] = {}
    at = 0
    for row, (element, count) in enumerate(n_inputs.items(), start=1):
        rows[element] = []
        for column in range(1, count + 1):
            line = lines[at]
            at += 1
            if (line.integer_at(0), line.integer_at(1)) != (row, column):
                line.fail(
                    f"expected function {column} of element {row} ({SYMBOLS[element]}), got "
                    f"{line.arguments[0]} {line.arguments[1]}. The statistics do not fit input.nn."
                )
            _check_columns(line, n_columns, "sigma" in comments, needs_sigma)
            least, most, mean = (line.number_at(position) for position in (2, 3, 4))
            spread = line.number_at(5) if n_columns > 5 else 0.0
            if not least <= most:
                line.fail(f"the minimum {least} is above the maximum {most}.")
            rows[element].append((line, least, most, mean, spread))
    if at < len(lines) and _is_statistics(lines[at:]):
        lines[at].fail("there are more statistics than input.nn has symmetry functions.")
    return rows


def _check_columns(line: Line, n_columns: int, announced: bool, needs_sigma: bool) -> None:
    count = len(line.arguments)
    if needs_sigma and count < 6:
        line.fail("scaling by sigma needs a sixth column.")
    if count not in COLUMNS or count != n_columns:
        line.fail(
            f"the line has {count} columns and the first one has {n_columns}. All have element, "
            "function, minimum, maximum and mean, and all or none sigma."
        )
    if announced and count < 6:
        line.fail("the comments above announce a column sigma, but there are 5 columns.")


def _lines(path: Path) -> tuple[list[Line], str]:
    """Lines that are no comments, and the text of the comments."""
    lines, comments = [], []
    for number, text in read_lines(path):
        content, _, comment = text.partition("#")
        comments.append(comment)
        words = content.split()
        if words:
            lines.append(Line(path, number, tuple(words)))
    return lines, " ".join(comments)


def _is_statistics(lines: Sequence[Line]) -> bool:
    """RuNNer ends the file with two numbers, the range of energies; anything longer is a row."""
    return any(len(line.arguments) > 2 for line in lines) or len(lines) > 1
