"""Errors and warnings about the input, and the nearest right name."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Input that cannot be used: says what is wrong, what was found and what to do."""


class FileError(InputError, OSError):
    """A file or folder that cannot be written: says which one and why."""


class NonFiniteUpdateError(InputError, FloatingPointError):
    """A training stopped before an update that would have made parameters infinite or NaN."""


class InputWarning(UserWarning):
    """Input that can be used, but perhaps not as it was meant."""


def suggestion(name: str, known: Iterable[str], *, hint: bool = True) -> str:
    """A sentence that names the nearest known name (unless told not to), and all of them."""
    known = sorted(known)
    if not known:
        return "None is known."
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5) if hint else []
    meant = f"Did you mean `{nearest[0]}`? " if nearest else ""
    return f"{meant}Known: {', '.join(f'`{one}`' for one in known)}."
