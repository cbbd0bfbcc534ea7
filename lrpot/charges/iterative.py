"""Equilibrated charges without a matrix: projected, preconditioned conjugate gradients."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lrpot.charges.conjugate_gradients import Solution, conjugate_gradients
from lrpot.charges.constraints import Constraints
from lrpot.charges.preconditioner import LongWaves
from lrpot.devices import in_single_precision
from lrpot.electrostatics import Operator

ROUNDING = 32
"""The tolerance is never below this times ε times the potentials that are to cancel, where
rounding errors of M x decide."""

CLOSER = 1e-4
"""A round with the rough matrix goes no further than this times the residual it begins with."""

WORTHWHILE = 0.1
"""It has to bring the true residual down to this share, or there is no other such round."""

SINGLE = 1e-5
"""Where the tolerance is above this times the residual, M times the correction, whose rounding
errors are then 2e-7 of the residual, is computed in single precision too."""

UNCHECKED = 1e4
"""A tolerance so many times larger than that bound leaves no room for doubt: the residual that the
iteration carries along is as good as the true one."""


class ChargeMatrix(eqx.Module):
    """M = A + diag(J), as a map; rows and columns of padding atoms are 0."""

    operator: Operator
    hardness: Float[Array, " atoms"]
    real: Float[Array, " atoms"]

    def __call__(self, charges: Float[Array, " atoms"]) -> Float[Array, " atoms"]:
        """M q, in eV/e."""
        return self.real * (self.operator(charges) + self.hardness * charges)

    @property
    def rough(self) -> "ChargeMatrix | None":
        """Nearly the same map at less cost, if there is one."""
        rough = self.operator.rough
        return None if rough is None else dataclasses.replace(self, operator=rough)

    def full(self) -> Float[Array, "atoms atoms"]:
        """M, in eV/e²."""
        real = self.real > 0
        coulomb = jnp.where(real[:, None] & real[None, :], self.operator.matrix(), 0.0)
        return coulomb + jnp.diag(self.hardness)


class ProjectedSolver(eqx.Module):
    """Solves P M P x = P b, where P keeps the sums of the constraints.

    Where M has a rough double, that one is iterated with, in single precision, and M itself tells
    once a round what is left to solve, in single precision where that is exact enough. Iterations
    with M follow only if these rounds come to a halt.

    Attributes:
        matrix: M.
        constraints: What P leaves alone.
        preconditioner: Approximate inverse B of M, in single precision or not.
        weights: B Cᵀ, where a row of C sums over a group.
        correction: (C B Cᵀ)⁻¹.
        tolerance: Bound on max|P b - P M x|, in eV/e.
        max_iterations: Bound on the applications of M and its rough double in iterations.
    """

    matrix: ChargeMatrix
    constraints: Constraints
    preconditioner: LongWaves
    weights: Float[Array, "groups atoms"]
    correction: Float[Array, "groups groups"]
    tolerance: float = eqx.field(static=True)
    max_iterations: int = eqx.field(static=True)

    def __call__(
        self, right: Float[Array, " atoms"], start: Float[Array, " atoms"] | None = None
    ) -> tuple[Float[Array, " atoms"], Float[Array, " atoms"], Solution]:
        """The x with P M (x₀ + x) = P b, differentiable to any order, and how it was found.

        Between the two comes M (x₀ + x), as numbers that have no derivatives.

        Derivatives are implicit. Their right-hand sides have a scale of their own, and they are
        solved for until the residual has fallen by the factor tolerance/(1 eV/e).

        Args:
            right: b, in eV/e.
            start: x₀, in e; 0 when not given.
        """
        image = jnp.zeros_like(right) if start is None else self.matrix(start)
        left = self.constraints.project(right - image)
        frozen, fixed, terms = jax.lax.stop_gradient((self, left, (right, image)))
        rounding = jnp.max(jnp.abs(terms[0]) + jnp.abs(terms[1]))
        found, moved = frozen._iterate(fixed, self.tolerance, rounding)
        values = self.constraints.project(found.values)

        # What is left to solve is 0 by value. As a function it is all that x depends on: for
        # constant x' and c, x' + M⁻¹(b - M x' - c) = M⁻¹(b - c).
        project = self.constraints.project
        rest = jax.lax.custom_linear_solve(
            lambda v: self._apply(project(v)) + v - project(v),
            derivative_alone(left - self._apply(values)),
            lambda _, b: frozen._derivative(b),
            symmetric=True,
        )
        return values + rest, terms[1] + moved, found

    def _apply(self, charges: Array) -> Array:
        return self.constraints.project(self.matrix(charges))

    @property
    def _rough(self) -> "ProjectedSolver | None":
        """With the rough double of the matrix, and all of it in single precision."""
        if self.matrix.rough is None:
            return None
        return in_single_precision(dataclasses.replace(self, matrix=self.matrix.rough))

    def _derivative(self, right: Array) -> Array:
        inside = self.constraints.project(right)
        largest = jnp.max(jnp.abs(inside))
        found, _ = self._iterate(inside, self.tolerance * largest, largest)
        return self.constraints.project(found.values) + right - inside

    def _iterate(
        self, right: Array, tolerance: Array | float, rounding: Array
    ) -> tuple[Solution, Array]:
        """An x with P M x = P b, and M x."""
        floor = ROUNDING * jnp.finfo(right.dtype).eps * rounding
        tolerance = jnp.maximum(tolerance, floor)
        project, rough = self.constraints.project, self._rough
        single = in_single_precision(self.matrix)

        def unfinished(state: tuple[Array, Array, Array, Array]) -> Array:
            _, image, _, go_on = state
            return go_on & (jnp.max(jnp.abs(right - project(image))) > tolerance)

        def closer(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
            values, image, iterations, _ = state
            assert rough is not None
            residual = right - project(image)
            largest = jnp.max(jnp.abs(residual))
            step = conjugate_gradients(
                rough._apply,
                (residual / largest).astype(jnp.float32),
                precondition=rough._precondition,
                tolerance=jnp.maximum(0.5 * tolerance / largest, CLOSER).astype(jnp.float32),
                max_iterations=self.max_iterations - iterations,
                check=False,
            )
            # In single precision the sums are not what they should be: project once more.
            correction = project(largest * step.values.astype(values.dtype))
            values += correction
            image += jax.lax.cond(
                tolerance > SINGLE * largest,
                lambda: (
                    largest
                    * single((correction / largest).astype(jnp.float32)).astype(values.dtype)
                ),
                lambda: self.matrix(correction),
            )
            left = jnp.max(jnp.abs(right - project(image)))
            return values, image, iterations + step.iterations, left < WORTHWHILE * largest

        none = jnp.zeros_like(right)
        state = none, none, jnp.zeros((), jnp.int32), jnp.asarray(rough is not None)
        if rough is not None:
            state = jax.lax.while_loop(unfinished, closer, state)
        values, image, iterations, _ = state
        last = conjugate_gradients(
            self._apply,
            right - project(image),
            precondition=self._precondition,
            tolerance=tolerance,
            max_iterations=self.max_iterations - iterations,
            check=tolerance < UNCHECKED * floor,
        )
        values += last.values
        image = jax.lax.cond(last.iterations > 0, lambda: self.matrix(values), lambda: image)
        iterations += last.iterations
        return Solution(values, iterations, last.residual, last.converged), image

    def _precondition(self, residual: Array) -> Array:
        """The preconditioner with the constraints: what D + F Fᵀ would give with multipliers."""
        free = self.preconditioner(residual)
        multipliers = self.correction @ (self.weights @ residual)
        return self.constraints.project(free - multipliers @ self.weights)


def projected_solver(
    matrix: ChargeMatrix,
    constraints: Constraints,
    preconditioner: LongWaves,
    *,
    tolerance: float,
    max_iterations: int,
) -> ProjectedSolver:
    """Prepare a solver for several right-hand sides."""
    weights = jax.vmap(preconditioner)(constraints.members)
    overlap = weights @ constraints.members.T
    empty = (constraints.members.sum(axis=1) == 0).astype(overlap.dtype)
    correction = jnp.linalg.inv(overlap + jnp.diag(empty))
    return ProjectedSolver(
        matrix, constraints, preconditioner, weights, correction, tolerance, max_iterations
    )


@jax.custom_jvp
def derivative_alone(values: Array) -> Array:
    """0, with the derivatives of the values: `values` minus a constant of the same size.

    As nothing depends on the values themselves, they are not computed.
    """
    return jnp.zeros_like(values)


@derivative_alone.defjvp
def _of_the_values(primals, tangents):
    return derivative_alone(*primals), tangents[0]
