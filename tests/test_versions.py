"""The installed JAX computes known values, and one that does not is told."""

import re
from importlib import metadata

import jax
import jax.numpy as jnp
import pytest
from packaging.requirements import Requirement

from lrpot import InputError, versions


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_this_jax_sums_products_of_vectors_right(dtype):
    """By jax-ml/jax issue 39103: the last of the vectors (n, 0, 0) has the square (32768)²."""
    n = jnp.arange(32_769, dtype=dtype)
    vectors = jnp.stack([n, 0 * n, 0 * n], axis=1)
    matrix = jnp.eye(3, dtype=dtype)
    squares = jax.jit(jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2)))(vectors)
    assert float(squares[-1]) == 2.0**30, (
        f"JAX {jax.__version__} computes wrong values on this machine; install another version"
    )


def test_the_check_of_the_compiler_passes_here():
    versions.check_compiler()


def test_a_compiler_that_computes_wrong_values_is_an_error(monkeypatch):
    """What jaxlib 0.10.2 gives for the same sum is 1071645696."""
    monkeypatch.setattr(jax, "jit", lambda function: lambda *x: 0.998046875 * function(*x))
    with pytest.raises(InputError, match=r"gives 1071644672 for 1073741824.*another version"):
        versions.check_compiler()


@pytest.mark.parametrize("version", ["0.10.2"])
def test_a_version_that_is_known_to_be_wrong_is_warned_of_and_not_installed(monkeypatch, version):
    monkeypatch.setattr(versions, "jaxlib_version", version)
    with pytest.warns(RuntimeWarning, match=re.escape(f"jaxlib {version} computes wrong numbers")):
        versions.warn_of_miscompiling_jax()
    needed = [Requirement(text) for text in metadata.requires("lrpot") or []]
    of_jax = [one for one in needed if one.name in ("jax", "jaxlib")]
    assert len(of_jax) == 2
    assert not any(one.specifier.contains(version) for one in of_jax)


def test_the_installed_version_is_not_known_to_be_wrong(recwarn):
    versions.warn_of_miscompiling_jax()
    assert not recwarn.list


def test_versions_name_what_is_installed():
    found = versions.versions()
    assert found["jax"] == metadata.version("jax")
    assert found["numpy"] == metadata.version("numpy")
    assert "cpu" in found["devices"].lower()
