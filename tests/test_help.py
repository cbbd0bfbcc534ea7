"""What `help()` shows can be read: short names of types, and shapes of arrays."""

import inspect
import pydoc

import pytest

import lrpot
from lrpot import charges, data, descriptors, electrostatics, md, training

SPELT_OUT = ("numpy.number", "jaxlib._jax", "ArrayImpl", "TypedNdArray")
"""What shows when unions of types are spelt out; no signature of ours names it."""

PUBLIC = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in (lrpot, charges, data, descriptors, electrostatics, md, training)
    for name in module.__all__
    if callable(getattr(module, name))
}


def help_of(thing):
    return pydoc.render_doc(thing, renderer=pydoc.plaintext)


@pytest.mark.parametrize("name", PUBLIC)
def test_no_union_of_array_types_is_spelt_out(name):
    lines = help_of(PUBLIC[name]).splitlines()
    assert not [line for line in lines if any(word in line for word in SPELT_OUT)]


def test_there_is_much_to_look_at():
    assert {"lrpot.System", "lrpot.to_jax_md", "lrpot.predict", "lrpot.md.run"} <= set(PUBLIC)


@pytest.mark.parametrize(
    ("thing", "shapes"),
    [
        (lrpot.Prediction, ["Float[Array, 'atoms 3']", "Float[Array, '3 3']"]),
        (lrpot.Neighbors, ["Int[Array, 'atoms neighbors']", "Int[Array, 'atoms neighbors 3']"]),
        (lrpot.System, ["(atoms, 3)", "(3, 3)", "ArrayLike"]),
        (lrpot.to_jax_md, ["(atoms)", "3×3 matrix", "ArrayLike"]),
    ],
)
def test_shapes_are_named(thing, shapes):
    assert not [shape for shape in shapes if shape not in help_of(thing)]


def test_the_arguments_of_a_system_have_short_types():
    types = {
        name: inspect.formatannotation(argument.annotation)
        for name, argument in inspect.signature(lrpot.System).parameters.items()
    }
    assert types["total_charge"] == "ArrayLike"
    assert types["positions"] in {"ArrayLike | list", "Union[ArrayLike, list]"}
