"""Imports go down the floors of the house; `import lrpot` is quick and leaves JAX alone."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lrpot

ROOT = Path(lrpot.__file__).parent

FLOORS = {
    "units": 0,
    "versions": 1,
    "config": 0,
    "elements": 0,
    "errors": 0,
    "allocator": 0,
    "compilation": 0,
    "devices": 1,
    "files": 0,
    "arrayfile": 0,
    "arraylike": 0,
    "checkpoint": 1,
    "cutoffs": 0,
    "reciprocal": 1,
    "system": 1,
    "neighbors": 1,
    "environment": 1,
    "descriptors": 2,
    "electrostatics": 2,
    "messages": 2,
    "networks": 2,
    "charges": 3,
    "terms": 3,
    "dispersion": 3,
    "potential": 4,
    "committee": 4,
    "predict": 4,
    "models": 5,
    "data": 5,
    "describe": 5,
    "layout": 5,
    "training": 6,
    "analysis": 6,
    "interop": 6,
    "io": 6,
    "plots": 6,
    "md": 7,
    "tables": 7,
    "quickstart": 7,
    "cli": 8,
}
"""Of each module or folder; docs/architecture.md draws them."""

HEAVY = ("ase", "jax_md", "matplotlib", "optax", "rich", "scipy.optimize", "typer")


def modules():
    """Dotted name below lrpot -> path, the root excepted."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if parts:
            found[".".join(parts)] = path
    return found


def is_for_types_only(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def walk(node):
    """All nodes but those that only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if not is_for_types_only(child):
            yield child
            yield from walk(child)


def imported(path, known):
    """Dotted names below lrpot that a file imports, at its top or inside functions.

    The root package itself is "".
    """
    for node in walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the floor they go to"
            names = [
                f"{node.module}.{alias.name}"
                if f"{node.module}.{alias.name}".removeprefix("lrpot.") in known
                else node.module
                for alias in node.names
            ]
        for name in names:
            if name == "lrpot" or name.startswith("lrpot."):
                yield name.removeprefix("lrpot").removeprefix(".")


def test_every_module_has_a_floor():
    homeless = {name.split(".")[0] for name in modules()} - set(FLOORS)
    assert not homeless, f"give {sorted(homeless)} a floor, here and in docs/architecture.md"


@pytest.mark.parametrize("name", modules())
def test_imports_go_down_the_floors_or_sideways_inside_one_folder(name):
    home = name.split(".")[0]
    for target in imported(modules()[name], modules()):
        if target == "":
            assert FLOORS[home] >= 7, f"lrpot.{name} imports the root, which imports everything"
            continue
        other = target.split(".")[0]
        folders = [unit for unit in (home, other) if (ROOT / unit).is_dir()]
        sideways = home == other or (FLOORS[home] == FLOORS[other] and len(folders) < 2)
        assert FLOORS[other] < FLOORS[home] or sideways, f"lrpot.{name} imports lrpot.{target}"


def test_no_two_modules_import_each_other():
    known = modules()
    imports = {name: set(imported(path, known)) & set(known) for name, path in known.items()}
    # Importing a module runs the `__init__` of its folder too, except from inside that folder.
    finished, under_way = set(), []

    def visit(name):
        assert name not in under_way, " -> ".join([*under_way[under_way.index(name) :], name])
        if name not in finished:
            under_way.append(name)
            for other in sorted(imports[name]):
                visit(other)
            finished.add(under_way.pop())

    for name in known:
        visit(name)


FRESH = """
import json, sys
import jax
before = dict(jax.config.values)
import lrpot
after = dict(jax.config.values)
heavy = [name for name in {heavy!r} if name in sys.modules]
changed = [key for key in after if before.get(key) != after[key]]
print(json.dumps(dict(
    heavy=heavy, changed=changed, x64=jax.config.jax_enable_x64, names=dir(lrpot),
)))
"""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """What `import lrpot` does in a process of its own."""
    code = FRESH.format(heavy=HEAVY)
    cache = tmp_path_factory.mktemp("fresh") / "cache"
    environment = os.environ | {"LRPOT_CACHE": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    return json.loads(done.stdout) | {"cache_is_made": cache.exists()}


def test_importing_lrpot_loads_no_slow_dependency(fresh):
    assert fresh["heavy"] == []


def test_importing_lrpot_leaves_the_settings_of_jax_alone(fresh):
    assert fresh["changed"] == []
    assert fresh["x64"] is False


def test_importing_lrpot_makes_no_folder_for_compiled_code(fresh):
    assert fresh["cache_is_made"] is False


def test_every_public_name_is_listed_before_it_is_loaded(fresh):
    assert set(lrpot.__all__) <= set(fresh["names"])


@pytest.mark.parametrize("name", lrpot.__all__)
def test_every_public_name_can_be_had(name):
    module = lrpot._LAZY.get(name, "lrpot").removeprefix("lrpot.")
    if module != "lrpot" and module not in modules():
        pytest.skip(f"lrpot.{module} is not written yet")
    assert getattr(lrpot, name) is not None


def test_public_names_are_sorted_and_named_once():
    ordered = sorted(lrpot.__all__, key=lambda name: (not name.isupper(), name))
    constants = [name for name in ordered if name.isupper()]
    classes = [name for name in lrpot.__all__ if name[0].isupper() and not name.isupper()]
    functions = [name for name in lrpot.__all__ if name[0].islower()]
    assert list(lrpot.__all__) == constants + sorted(classes) + sorted(functions)
    assert len(set(lrpot.__all__)) == len(lrpot.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'lrpot' has no attribute 'hdnnp_9g'"):
        _ = lrpot.hdnnp_9g


def test_the_names_of_lrpot_are_those_that_are_public(fresh):
    """And not what it needs itself, such as `Any` and `importlib`."""
    assert set(fresh["names"]) == {*lrpot.__all__, *lrpot._MODULES, "__version__"}


@pytest.mark.parametrize("name", ["md.run", "interop.lammps.attach"])
def test_modules_one_level_down_need_no_import_of_their_own(name):
    code = f"import lrpot; print(callable(lrpot.{name}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_a_name_that_interop_does_not_have_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"'lrpot\.interop' has no attribute 'gromacs'"):
        _ = lrpot.interop.gromacs
