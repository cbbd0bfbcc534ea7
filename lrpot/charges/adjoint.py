"""Energies of charges that were found iteratively, corrected by the adjoint of the equilibration.

The charges q of a fourth-generation potential do not minimise its energy E(r, q). With Λ from

    M Λ + ∂E/∂q + Cᵀν = 0,   C Λ = 0,

the Lagrangian L = E + Λᵀ(M q + χ) does not change, to first order, with either of them. So for
approximate q and Λ it is right to second order, and its derivative at constant q and Λ is that of
the energy with the response of the charges: forces cost one solution for Λ and no more.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lrpot.charges.result import Charges

if TYPE_CHECKING:
    from lrpot.charges.equilibration import Problem


def corrected_energies(
    problem: "Problem",
    energies: Callable[[Charges], Float[Array, " atoms"]],
    guess: tuple[Float[Array, " atoms"], Float[Array, " atoms"]] | None = None,
) -> tuple[Float[Array, " atoms"], Charges]:
    """Energies by atom, and the charges, by the iterative solver.

    Args:
        problem: The equations for the charges.
        energies: Energies by atom, in eV, as a function of the charges.
        guess: Charges q and adjoint Λ to start from, in e.

    Returns:
        Contributions to L by atom, in eV, and the charges with their adjoint.
    """
    assert problem.solver is not None
    guess_charges, guess_adjoint = (None, None) if guess is None else guess
    charges = problem.charges(guess_charges)

    def energy(values: Array, phi: Array) -> Array:
        return energies(dataclasses.replace(charges, charges=values, phi=phi)).sum()

    # The potential is that of a symmetric map, which takes its derivative back to the charges:
    # ∂E/∂q in full is by_charges + A by_phi, and A is best applied to Λ + by_phi at once.
    by_charges, by_phi = jax.grad(energy, (0, 1))(charges.charges, charges.phi)
    start = jnp.zeros_like(by_phi)
    if guess_adjoint is not None:
        start = jax.lax.stop_gradient(problem.constraints.project(guess_adjoint))
    moved, _, found = problem.solver(problem.matrix.hardness * by_phi - by_charges, start + by_phi)
    adjoint = start + moved

    # The sums of the charges depend on the constraints, which q minus their even spread does not.
    spread = problem.constraints.spread()
    moved, held_adjoint = _stationary((charges.charges - spread, adjoint))
    trial = problem.at(spread + moved)
    balance = problem.constraints.project(problem.slopes(trial.charges, trial.phi))
    assert charges.iterations is not None
    assert charges.residual is not None
    charges = dataclasses.replace(
        charges,
        converged=charges.converged & found.converged,
        iterations=charges.iterations + found.iterations,
        residual=jnp.maximum(charges.residual, found.residual),
        adjoint=adjoint,
    )
    return energies(trial) + held_adjoint * balance, charges


@jax.custom_jvp
def _stationary(values: tuple[Array, Array]) -> tuple[Array, Array]:
    """The same values, for a function that is stationary in all of them together.

    Its first derivative by anything else does not contain theirs, its second derivative does: the
    rule below leaves out their tangents and hands the values on as they are, so that the next
    derivative finds them unprotected. They have to be protected together: where a derivative by
    some parameter depends on one of them, that parameter moves at least one.
    """
    return values


@_stationary.defjvp
def _without_first_derivative(primals, tangents):
    return primals[0], jax.tree.map(jnp.zeros_like, primals[0])
