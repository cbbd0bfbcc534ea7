"""Compiled code is kept on disk when asked for, and where it was asked for."""

import os
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache
from typer.testing import CliRunner

import lrpot
from lrpot import compilation
from lrpot.cli import app
from lrpot.errors import InputWarning


@pytest.fixture(autouse=True)
def settings_of_jax(tmp_path, monkeypatch):
    """As a fresh process has them, but for the time from which on something is kept."""
    names = {
        "jax_compilation_cache_dir": None,
        "jax_enable_compilation_cache": True,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: getattr(jax.config, name) for name in names}
    for name, value in names.items():
        jax.config.update(name, value)
    monkeypatch.delenv("LRPOT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture
def hits():
    """How often JAX has found compiled code on disk, in a list that grows."""
    found = []

    def listen(event, **_):
        if event == "/jax/compilation_cache/cache_hits":
            found.append(event)

    jax.monitoring.register_event_listener(listen)  # for good: JAX 0.8 can only forget all of them
    return found


def sum_of_squares():
    """A function that this process has not compiled."""
    return jax.jit(lambda x: jnp.sum(x**2))


def test_what_is_compiled_is_found_again_on_disk(tmp_path, hits):
    compiled_before = sum_of_squares()(jnp.arange(3.0))  # JAX has looked at its settings by now
    folder = lrpot.keep_compilations(tmp_path / "kept")
    numbers = jnp.arange(4.0)
    assert float(compiled_before) == 5.0
    assert float(sum_of_squares()(numbers)) == 14.0
    assert list(folder.glob("*-cache"))
    assert not hits
    assert float(sum_of_squares()(numbers)) == 14.0
    assert len(hits) == 1


@pytest.mark.parametrize("value", ["off", "OFF", "0", "", "no", "false"])
def test_lrpot_cache_switches_it_off(value, tmp_path, monkeypatch):
    monkeypatch.setenv("LRPOT_CACHE", value)
    assert lrpot.keep_compilations() is None
    assert jax.config.jax_compilation_cache_dir is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("environment", "root"),
    [
        ({}, "caches/lrpot"),
        ({"LRPOT_CACHE": "on"}, "caches/lrpot"),
        ({"LRPOT_CACHE": "{0}/mine"}, "mine"),
        ({"LRPOT_CACHE": "~/mine", "HOME": "{0}/home"}, "home/mine"),
        ({"XDG_CACHE_HOME": "", "HOME": "{0}/home"}, "home/.cache/lrpot"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "{0}/home"}, "home/.cache/lrpot"),
    ],
)
def test_the_folder_is_that_of_the_environment(environment, root, tmp_path, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(tmp_path))
    folder = lrpot.keep_compilations()
    assert folder.is_dir()
    assert folder.parent == tmp_path / root / "compiled"
    assert jax.config.jax_compilation_cache_dir == str(folder)


def test_an_argument_goes_before_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("LRPOT_CACHE", "off")
    folder = lrpot.keep_compilations(tmp_path / "a")
    assert folder.parent == tmp_path / "a" / "compiled"
    assert lrpot.keep_compilations() == folder
    assert lrpot.keep_compilations(tmp_path / "a") == folder


def test_a_folder_that_jax_has_stays_and_another_one_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("LRPOT_CACHE", str(tmp_path / "mine"))
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "of_jax"))
    assert lrpot.keep_compilations() == tmp_path / "of_jax"
    with pytest.warns(InputWarning, match=rf"not kept in {tmp_path}/b: JAX .* in {tmp_path}/of_j"):
        assert lrpot.keep_compilations(tmp_path / "b") == tmp_path / "of_jax"
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "of_jax")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "setting", [("jax_enable_compilation_cache", False), ("jax_compilation_cache_dir", "")]
)
def test_jax_told_to_keep_nothing_keeps_nothing(setting, tmp_path):
    jax.config.update(*setting)
    assert lrpot.keep_compilations() is None
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_told_if_it_was_named(tmp_path, monkeypatch):
    (tmp_path / "caches").write_text("a file")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lrpot.keep_compilations() is None
    monkeypatch.setenv("LRPOT_CACHE", str(tmp_path / "caches" / "mine"))
    message = rf"is not kept in {tmp_path}/caches/mine: Not a directory\. .*LRPOT_CACHE=off"
    with pytest.warns(InputWarning, match=message):
        assert lrpot.keep_compilations() is None
    with pytest.warns(InputWarning, match=message):
        assert lrpot.keep_compilations(tmp_path / "caches" / "mine") is None
    assert jax.config.jax_compilation_cache_dir is None


def test_old_jax_keeps_nothing_on_macos(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(compilation, "jaxlib_version", (0, 9, 2))
    with pytest.warns(InputWarning, match="crashes on macOS when it reads what it has kept"):
        assert lrpot.keep_compilations(tmp_path / "mine") is None
    monkeypatch.setattr(compilation, "jaxlib_version", (0, 10, 0))
    assert lrpot.keep_compilations(tmp_path / "mine") is not None


def test_without_a_home_nothing_is_kept(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    assert lrpot.keep_compilations() is None


def test_another_kind_of_processor_has_another_folder(tmp_path, monkeypatch):
    here = lrpot.keep_compilations(tmp_path)
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setattr(compilation.platform, "processor", lambda: "another one")
    assert lrpot.keep_compilations(tmp_path) != here


def test_what_was_used_least_recently_makes_room(tmp_path, monkeypatch):
    folder = lrpot.keep_compilations(tmp_path)
    other = folder.with_name("another_processor")
    other.mkdir()
    now = 1_700_000_000
    for place, name, age in [(other, "old", 9), (folder, "older", 99), (folder, "new", 1)]:
        path = place / f"{name}-cache"
        path.write_bytes(bytes(100))
        os.utime(path, (now - age, now - age))
    (folder / "notes.txt").write_bytes(bytes(1000))  # not JAX's, and none of our business
    monkeypatch.setattr(compilation, "SIZE", 200)
    jax.config.update("jax_compilation_cache_dir", None)
    lrpot.keep_compilations(tmp_path)
    assert {path.name for path in folder.iterdir()} == {"new-cache", "notes.txt"}
    assert {path.name for path in other.iterdir()} == {"old-cache"}


def test_the_command_line_keeps_what_it_compiles(tmp_path):
    done = CliRunner().invoke(app, ["info", "--versions"])
    assert done.exit_code == 0, done.output
    assert jax.config.jax_compilation_cache_dir.startswith(str(tmp_path / "caches" / "lrpot"))
