"""Compiled code is kept on disk when asked for, and found by the next process."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

import lrpot
from lrpot import compilation

OPTIONS = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture(autouse=True)
def settings_of_jax(monkeypatch):
    """No cache to begin with, and afterwards what was there before."""
    before = {name: getattr(jax.config, name) for name in OPTIONS}
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
    monkeypatch.delenv(compilation.VARIABLE)
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def events():
    """Names of the events that JAX tells of from now on."""
    names = []
    jax.monitoring.register_event_listener(lambda name, **_: names.append(name))
    return names


def test_what_was_compiled_is_found_again(tmp_path, monkeypatch, events):
    monkeypatch.setattr(compilation, "_SECONDS", 0.0)
    folder = tmp_path / "a" / "b"
    assert lrpot.keep_compilations(folder) == folder
    x = jnp.arange(5.0)
    double = lambda y: jnp.sin(2.0 * y)  # noqa: E731
    first = jax.jit(double)(x)
    assert any(path.name.startswith("jit_") for path in folder.iterdir())
    events.clear()
    jax.clear_caches()  # as a new process begins
    second = jax.jit(double)(x)
    assert "/jax/compilation_cache/cache_hits" in events
    assert "/jax/compilation_cache/cache_misses" not in events
    np.testing.assert_array_equal(second, first)


def test_the_folder_is_the_argument_or_the_environments_or_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert lrpot.keep_compilations() == tmp_path / "user" / "lrpot"
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv(compilation.VARIABLE, str(tmp_path / "environment"))
    assert lrpot.keep_compilations() == tmp_path / "environment"
    jax.config.update("jax_compilation_cache_dir", None)
    assert lrpot.keep_compilations(tmp_path / "argument") == tmp_path / "argument"
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "argument")


@pytest.mark.parametrize("word", ["off", "0", "OFF"])
def test_it_can_be_switched_off(monkeypatch, word):
    monkeypatch.setenv(compilation.VARIABLE, word)
    assert lrpot.keep_compilations() is None
    assert jax.config.jax_compilation_cache_dir is None


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    assert lrpot.keep_compilations(tmp_path / "file" / "folder") is None
    assert jax.config.jax_compilation_cache_dir is None


def test_a_folder_that_jax_has_stays(tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    assert lrpot.keep_compilations(tmp_path / "other") == tmp_path / "own"
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own")
