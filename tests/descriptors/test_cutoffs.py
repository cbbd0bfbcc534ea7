"""Cutoff functions: where they start, how smoothly they end, and what cannot be asked of them."""

import functools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrpot.descriptors import CUTOFF_FUNCTIONS, Shells, cutoff_function
from lrpot.errors import InputError

CUTOFF = 5.3

# Highest derivative that vanishes at the cutoff, from the leading power of 1 - x in each formula
# (Singraber et al. 2019, table of cutoff functions); `exp` has all, of which a few are tested.
ORDERS = {
    "cos": 1,
    "tanh3": 2,
    "tanh3_normalised": 2,
    "exp": 4,
    "poly1": 1,
    "poly2": 2,
    "poly3": 3,
    "poly4": 4,
}

INNER = [name for name in ORDERS if not name.startswith("tanh3")]


ROUNDING = 3e-13
"""poly4 is a sum of numbers of size 500."""


def reference(name, x):
    """The formulas of the literature for 0 ≤ x < 1, polynomials in exact arithmetic."""
    x = Fraction(x)
    value = {
        "cos": lambda: (1 + math.cos(math.pi * x)) / 2,
        "tanh3": lambda: math.tanh(1 - x) ** 3,
        "tanh3_normalised": lambda: math.tanh(1 - x) ** 3 / math.tanh(1) ** 3,
        "exp": lambda: math.exp(1 - 1 / (1 - x**2)),
        "poly1": lambda: 1 - 3 * x**2 + 2 * x**3,
        "poly2": lambda: 1 - 10 * x**3 + 15 * x**4 - 6 * x**5,
        "poly3": lambda: 1 - 35 * x**4 + 84 * x**5 - 70 * x**6 + 20 * x**7,
        "poly4": lambda: 1 - 126 * x**5 + 420 * x**6 - 540 * x**7 + 315 * x**8 - 70 * x**9,
    }[name]()
    return float(value)


@functools.cache
def derivative(name, order, inner=0.0):
    function = functools.partial(cutoff_function, cutoff=CUTOFF, function=name, inner=inner)
    for _ in range(order):
        function = jax.grad(function)
    # Not optimised: what is compiled here runs for milliseconds only.
    return jax.jit(jax.vmap(function))


every_function = pytest.mark.parametrize("name", ORDERS)


def test_every_function_but_the_hard_cutoff_has_a_stated_order():
    assert ORDERS.keys() | {"hard"} == CUTOFF_FUNCTIONS.keys()


def test_hard_cutoff_is_one_up_to_the_cutoff():
    found = derivative("hard", 0)(jnp.array([0.0, np.nextafter(CUTOFF, 0), CUTOFF]))
    np.testing.assert_array_equal(found, [1, 1, 0])


@every_function
def test_values_are_those_of_the_published_formula(name):
    x = np.linspace(0, 0.999, 97)
    found = derivative(name, 0)(jnp.asarray(x * CUTOFF))
    expected = [reference(name, one) for one in x]
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING)


@every_function
def test_function_starts_at_one_and_tanh3_at_the_cube_of_tanh_one(name):
    start = math.tanh(1) ** 3 if name == "tanh3" else 1.0
    assert float(derivative(name, 0)(jnp.zeros(1))[0]) == pytest.approx(start, abs=1e-15)


@every_function
def test_value_and_stated_derivatives_vanish_at_the_cutoff(name):
    # In units of the cutoff; the largest leading coefficient is that of poly4, 126 · 5!.
    below = 1e-6
    for order in range(ORDERS[name] + 1):
        value = derivative(name, order)(jnp.array([CUTOFF * (1 - below)]))[0] * CUTOFF**order
        assert abs(value) < 126 * math.factorial(5) * below


@every_function
def test_no_further_derivative_vanishes_at_the_cutoff(name):
    near, twice = derivative(name, 0)(CUTOFF * jnp.array([1 - 2e-3, 1 - 4e-3]))
    if name == "exp":
        assert near < twice * 1e-20
    else:
        # f ~ (1 - x)^(order + 1)
        assert math.log2(twice / near) == pytest.approx(ORDERS[name] + 1, abs=0.05)


@every_function
def test_function_is_exactly_zero_from_the_cutoff_on(name):
    beyond = jnp.array([CUTOFF, np.nextafter(CUTOFF, 9), 1.5 * CUTOFF, 1e4, 1e300])
    for order in range(3):
        assert (derivative(name, order)(beyond) == 0).all()


@every_function
@pytest.mark.parametrize("order", [1, 2])
def test_derivatives_are_finite_everywhere(name, order):
    edge = np.nextafter(CUTOFF, 0)
    at = jnp.array([0.0, 1e-300, 1e-12, edge, CUTOFF * (1 - 1e-12), CUTOFF, 1.1 * CUTOFF, 1e4])
    assert np.isfinite(derivative(name, order)(at)).all()


@every_function
def test_derivatives_are_finite_in_single_precision(name):
    edge = np.nextafter(np.float32(CUTOFF), np.float32(0))
    at = jnp.array([0.0, edge, CUTOFF, 1e4], dtype=jnp.float32)
    for order in (1, 2):
        found = derivative(name, order)(at)
        assert found.dtype == jnp.float32
        assert np.isfinite(found).all()


@every_function
def test_slope_is_that_of_the_published_formula(name):
    x, step = np.linspace(0.05, 0.95, 19), 1e-6
    expected = [(reference(name, a + step) - reference(name, a - step)) / (2 * step) for a in x]
    found = derivative(name, 1)(jnp.asarray(x * CUTOFF)) * CUTOFF
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-9)  # of the differences


@every_function
@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1.2), st.floats(0, 1.2))
def test_function_falls_from_its_start_to_zero(name, one, other):
    near, far = sorted((one, other))
    higher, lower = derivative(name, 0)(CUTOFF * jnp.array([near, far]))
    assert -ROUNDING <= lower <= higher + ROUNDING
    assert higher <= 1 + ROUNDING


@pytest.mark.parametrize("name", INNER)
def test_inner_radius_keeps_one_and_squeezes_the_rest(name):
    inner = 0.4
    found = derivative(name, 0, inner)(CUTOFF * jnp.array([0.0, 0.2, 0.4, 0.7, 1.0]))
    np.testing.assert_allclose(found, [1, 1, 1, reference(name, 0.5), 0], rtol=0, atol=1e-14)
    # No kink where it begins, and no slope before it.
    slopes = derivative(name, 1, inner)(CUTOFF * jnp.array([0.2, 0.4, 0.4 + 1e-9]))
    np.testing.assert_allclose(slopes, 0, atol=1e-8)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(InputError, match=r"`tanh`.*Did you mean `tanh3`.*Known: `cos`, `exp`"):
        Shells(((1.0, 0.0),), 5.0, "tanh")


@pytest.mark.parametrize("cutoff", [0.0, -1.0, math.nan])
def test_cutoff_must_be_positive(cutoff):
    with pytest.raises(InputError, match="cutoff must be positive"):
        Shells(((1.0, 0.0),), cutoff)


@pytest.mark.parametrize(
    ("name", "inner"), [("cos", 1.0), ("cos", -0.1), ("tanh3", 0.2), ("tanh3_normalised", 0.2)]
)
def test_inner_radius_must_be_a_fraction_that_the_function_knows(name, inner):
    with pytest.raises(InputError, match=f"fraction of the cutoff.*inner={inner}.*`{name}`"):
        Shells(((1.0, 0.0),), 5.0, name, inner)
