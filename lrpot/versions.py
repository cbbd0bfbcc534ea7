"""The versions that a computation rests on, and a check of the compiler under it."""

import platform
import warnings
from importlib import metadata

import jax
import jax.numpy as jnp
from jaxlib.version import __version__ as jaxlib_version

from lrpot.errors import InputError

MISCOMPILING = {"0.10.2": "jax-ml/jax issue 39103"}
"""Versions of jaxlib whose compiled code gives wrong numbers on processors, and where that is told.
The requirements of this package exclude them."""

_PACKAGES = (
    "lrpot",
    "jax",
    "jaxlib",
    "jax-md",
    "equinox",
    "optax",
    "numpy",
    "scipy",
    "ase",
    "vesin",
)

_ROWS = 2**15 + 1
"""From so many rows on the faulty compiler splits the work among its threads, and does so wrongly.
The last row has a square that single precision holds exactly."""


def versions() -> dict[str, str]:
    """Name and version of Python, this package and what it computes with, and the devices.

    Returns:
        In the order in which they are worth reading; a package that is not installed is left out.
    """
    found = {"Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    found["devices"] = ", ".join(str(device) for device in jax.devices())
    return found


def check_compiler() -> None:
    """Compute squared lengths of vectors in compiled code and compare with their known values.

    The vectors are (n, 0, 0), multiplied by the unit matrix: the pattern that jaxlib 0.10.2 gets
    wrong. Takes less than a second.

    Raises:
        InputError: If the compiled code gives other numbers.
    """
    for dtype in dict.fromkeys((jnp.dtype(jnp.float32), jnp.zeros(()).dtype)):
        rows, unit = jnp.arange(_ROWS, dtype=dtype), jnp.eye(3, dtype=dtype)
        vectors = jnp.stack([rows, jnp.zeros_like(rows), jnp.zeros_like(rows)], axis=1)
        squares = jax.jit(jax.vmap(lambda row, unit=unit: jnp.sum((unit @ row) ** 2)))(vectors)
        found, expected = float(squares[-1]), float((_ROWS - 1) ** 2)
        if found != expected:
            raise InputError(
                f"The compiled code of JAX {jax.__version__} (jaxlib {jaxlib_version}) gives "
                f"{found:.0f} for {expected:.0f} on {jax.devices()[0].device_kind}. No result of "
                "this installation can be trusted: install another version of jax and jaxlib, "
                "such as `pip install --upgrade 'jax!=0.10.2'`."
            )


def warn_of_miscompiling_jax() -> None:
    """Warn when the installed jaxlib is known to compute wrong numbers; costs no time."""
    if jaxlib_version in MISCOMPILING:
        warnings.warn(
            f"jaxlib {jaxlib_version} computes wrong numbers on processors "
            f"({MISCOMPILING[jaxlib_version]}). Install another version: "
            "`pip install --upgrade 'jax!=0.10.2'`.",
            RuntimeWarning,
            stacklevel=3,
        )
