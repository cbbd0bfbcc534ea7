"""Float64, no silent broadcasting, and shapes checked on every call (see pyproject.toml)."""

import gc
from pathlib import Path

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

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
def kept_compilations(tmp_path_factory):
    """The folder of compiled code, for what compiles the same things anew in every call."""
    names = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in names}
    for settings in (names, before):
        for name, value in settings.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        if settings is names:
            yield names["jax_compilation_cache_dir"]
