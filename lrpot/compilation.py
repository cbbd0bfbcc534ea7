"""Compiled code that is kept on disk, for the next process that needs the same."""

import os
from pathlib import Path

import jax

VARIABLE = "LRPOT_CACHE"
"""Environment variable with the folder for compiled code; `off` for none."""

_LARGEST = 2**30
"""Bytes that the folder may grow to; what was not used for longest goes first."""

_SECONDS = 0.1
"""What takes less time to compile is not worth a file."""


def keep_compilations(folder: str | Path | None = None) -> Path | None:
    """Keep compiled code on disk, so that it is not compiled again by the next process.

    This sets options of JAX for the whole process, and is to be called before anything is compiled.
    `lrpot` itself calls it on the command line only. JAX finds what it has compiled by the program,
    the devices, its own version and its flags. A folder that is set already, by
    `JAX_COMPILATION_CACHE_DIR` or in `jax.config`, stays.

    Args:
        folder: Where to; by default that of the environment variable `LRPOT_CACHE` (`off` for
            none), else `lrpot` in the folder for caches of the user.

    Returns:
        The folder that is used; `None` if there is none, because it is switched off or cannot be
        written to.
    """
    chosen = jax.config.jax_compilation_cache_dir
    if chosen is not None:
        return Path(chosen)
    told = os.environ.get(VARIABLE, "")
    if folder is None and told.lower() in ("off", "0", "no", "false"):
        return None
    path = Path(folder or told or _usual()).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(path, os.W_OK | os.X_OK):
        return None
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_compilation_cache_max_size", _LARGEST)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _SECONDS)
    return path


def _usual() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path("~/.cache")) / "lrpot"
