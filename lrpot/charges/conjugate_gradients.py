"""Conjugate gradients on a symmetric positive definite map that is known by its action alone."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Map = Callable[[Array], Array]

ROUNDS = 4
"""Times that a solution is corrected with a freshly computed residual, at most."""


class Solution(eqx.Module):
    """What conjugate gradients found.

    Attributes:
        values: The solution x.
        iterations: Applications of the map, but for those that check a residual.
        residual: max|b − A x|, by default computed afresh from the x that is returned.
        converged: Whether the residual is within the tolerance. False too when the map turned
            out not to be positive definite, or anything is NaN.
    """

    values: Float[Array, " atoms"]
    iterations: Int[Array, ""]
    residual: Float[Array, ""]
    converged: Bool[Array, ""]


class _Step(eqx.Module):
    """State of the iteration."""

    values: Array
    residual: Array
    direction: Array
    product: Array
    iterations: Array
    definite: Array


def conjugate_gradients(
    apply: Map,
    right: Float[Array, " atoms"],
    *,
    precondition: Map,
    tolerance: Float[Array, ""],
    max_iterations: int | Array,
    check: Bool[Array, ""] | bool = True,
) -> Solution:
    """Solve A x = b, beginning at 0: from a guess x₀, solve A (x - x₀) = b - A x₀.

    The residual that the iteration carries along drifts from the true one by rounding errors,
    which matters in float32. So the iteration comes in rounds: when the carried residual is
    within the tolerance, the true one is computed, and if it is not, the next round solves for
    what is missing.

    Args:
        apply: A, symmetric and positive definite where `right` lives.
        right: b.
        precondition: Approximate inverse of A, symmetric and positive definite there.
        tolerance: Bound on max|b − A x|.
        max_iterations: Bound on the iterations of all rounds together.
        check: Whether to compute the true residual, which costs one application of A a round. If
            not, the one that is carried along is believed.
    """

    def iterate(residual: Array, done: Array) -> _Step:
        """One round from 0, with the residual as right-hand side."""
        preconditioned = precondition(residual)
        first = _Step(
            values=jnp.zeros_like(residual),
            residual=residual,
            direction=preconditioned,
            product=residual @ preconditioned,
            iterations=done,
            definite=jnp.asarray(True),
        )

        def unfinished(step: _Step) -> Array:
            above = jnp.max(jnp.abs(step.residual)) > tolerance
            return above & step.definite & (step.iterations < max_iterations)

        def advance(step: _Step) -> _Step:
            image = apply(step.direction)
            curvature = step.direction @ image
            definite = (curvature > 0) & (step.product > 0)
            length = jnp.where(definite, step.product / jnp.where(definite, curvature, 1.0), 0.0)
            residual = step.residual - length * image
            preconditioned = precondition(residual)
            product = residual @ preconditioned
            turn = product / jnp.where(step.product > 0, step.product, 1.0)
            return _Step(
                values=step.values + length * step.direction,
                residual=residual,
                direction=preconditioned + turn * step.direction,
                product=product,
                iterations=step.iterations + 1,
                definite=definite,
            )

        return jax.lax.while_loop(unfinished, advance, first)

    def incomplete(state: tuple[Array, Array, Array, Array, Array]) -> Array:
        _, residual, iterations, rounds, definite = state
        above = jnp.max(jnp.abs(residual)) > tolerance
        return above & definite & (iterations < max_iterations) & (rounds < ROUNDS)

    def correct(
        state: tuple[Array, Array, Array, Array, Array],
    ) -> tuple[Array, Array, Array, Array, Array]:
        values, residual, iterations, rounds, _ = state
        step = iterate(residual, iterations)
        values = values + step.values
        residual = jax.lax.cond(check, lambda: right - apply(values), lambda: step.residual)
        return values, residual, step.iterations, rounds + 1, step.definite

    zero = jnp.zeros((), dtype=jnp.int32)
    state = (jnp.zeros_like(right), right, zero, zero, jnp.asarray(True))
    values, residual, iterations, _, definite = jax.lax.while_loop(incomplete, correct, state)
    largest = jnp.max(jnp.abs(residual))
    return Solution(values, iterations, largest, definite & (largest <= tolerance))
