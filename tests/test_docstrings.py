"""Every example in a docstring runs and gives what it says."""

import doctest
import importlib
import importlib.util
import pkgutil

import pytest

import lrpot

MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(lrpot.__path__, "lrpot.")
    if ">>>" in (importlib.util.find_spec(name).loader.get_source(name) or "")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name):
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0


def test_there_are_examples_to_run():
    assert {"lrpot.system", "lrpot.predict", "lrpot.interop.ase"} <= set(MODULES)
