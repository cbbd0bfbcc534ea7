"""Compiled code kept on disk, so that later processes need not compile it anew."""

import contextlib
import hashlib
import os
import platform
import tempfile
import warnings
from pathlib import Path

import jax
from jaxlib.version import __version_info__ as jaxlib_version

from lrpot.errors import InputWarning

SIZE = 2**30
"""Bytes that the folder holds at most, apart from what the running process adds."""

_SWITCHES = {"": False, "0": False, "false": False, "no": False, "off": False}
_SWITCHES |= {"1": True, "on": True, "true": True, "yes": True}
"""Values of `LRPOT_CACHE` that name no folder."""


def keep_compilations(folder: str | Path | None = None) -> Path | None:
    """Keep compiled code in a folder, where this process and later ones find it.

    The command line does so; Python programs call it before their first computation. JAX stores
    there what takes a second or more to compile, and finds it by the program, the devices, its own
    version and its flags. What was used least recently goes once there is more than 1 GiB. Deleting
    the folder does no harm. Whoever can write to it can make this process run any code: do not
    share it with people that you do not trust.

    A folder that was set for JAX itself (`JAX_COMPILATION_CACHE_DIR` or in `jax.config`) stays.
    Otherwise it is the argument, or that of the environment variable `LRPOT_CACHE`, which `off` or
    `0` switches off, or `lrpot` in `$XDG_CACHE_HOME`, or `~/.cache/lrpot`. Each kind of processor
    has a folder of its own in it, since code of another one may crash. Changes the settings of JAX
    for the whole process.

    Args:
        folder: Where to keep it.

    Returns:
        The folder that JAX uses from now on. `None` if there is none: it is switched off, by
        `jax_enable_compilation_cache` too; the folder cannot be written; or it is macOS with JAX
        before 0.10, which crashes on what it has stored. A warning tells of a folder that was
        named and is not used.
    """
    if not jax.config.jax_enable_compilation_cache:
        return None
    root, is_named = _root(folder)
    place = None if root is None else root / "compiled" / _processor()
    of_jax = jax.config.jax_compilation_cache_dir
    if of_jax is not None:
        if folder is not None and of_jax != str(place):
            _tell(f"{root}: JAX was told before to keep it in {of_jax or 'no folder'}")
        return Path(of_jax) if of_jax else None
    if place is None:
        return None
    obstacle = _obstacle(place)
    if obstacle:
        if is_named:
            _tell(f"{root}: {obstacle}")
        return None
    _make_room(place.parent)
    jax.config.update("jax_compilation_cache_dir", str(place))
    return place


def _tell(words: str) -> None:
    warnings.warn(
        f"Compiled code is not kept in {words}. Name another folder, or none by `LRPOT_CACHE=off`.",
        InputWarning,
        stacklevel=3,
    )


def _root(folder: str | Path | None) -> tuple[Path | None, bool]:
    """The folder, `None` for none; and whether the user named it."""
    if folder is None:
        value = os.environ.get("LRPOT_CACHE", "on").strip()
        switch = _SWITCHES.get(value.lower())
        if switch is False:
            return None, False
        folder = value if switch is None else None
    with contextlib.suppress(RuntimeError):  # there is no home
        if folder is not None:
            return Path(folder).expanduser().absolute(), True
        caches = Path(os.environ.get("XDG_CACHE_HOME", ""))
        caches = caches if caches.is_absolute() else Path.home() / ".cache"
        return caches / "lrpot", False
    return None, False


def _obstacle(place: Path) -> str:
    """Make a folder that can be written, or say why not; empty if all is well."""
    if platform.system() == "Darwin" and jaxlib_version < (0, 10):
        return f"JAX {jax.__version__} crashes on macOS when it reads what it has kept"
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def _processor() -> str:
    """A name for the kind of processor, which JAX's names of compiled code leave out."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    kind = ("model name", "flags", "Features", "CPU implementer", "CPU part")
    lines = sorted({line for line in text.splitlines() if line.startswith(kind)})
    digest = hashlib.sha256("\n".join([platform.processor(), *lines]).encode()).hexdigest()
    return f"{platform.machine()}-{digest[:12]}"


def _make_room(folder: Path) -> None:
    """Delete what was used least recently, until the rest is within `SIZE`."""
    found = []
    for path in folder.glob("*/*-cache"):
        with contextlib.suppress(OSError):
            status = path.stat()
            found.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    excess = sum(size for _, size, _ in found) - SIZE
    for _, size, path in sorted(found):
        if excess <= 0:
            return
        with contextlib.suppress(OSError):
            path.unlink()
            excess -= size
