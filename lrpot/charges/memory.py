"""Charges that remember: the start of an iterative equilibration from the steps before.

In molecular dynamics the charges and the adjoint of the last K steps tell those of the next one by
the always stable predictor of order k = K - 2 [kolafa:04],

    x(t) ≈ Σ_{j=1..K} B_j x(t - j δt),   B_j = (-1)^(j+1) j C(2K, K - j)/C(2K - 2, K - 1),

which is time-reversible up to an order higher than its own. What is remembered are the solutions
themselves, each to the tolerance of the solver, so that an error of the prediction costs iterations
and nothing else.
"""

import functools
import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lrpot.charges.result import Charges
from lrpot.devices import in_full_precision
from lrpot.errors import InputError


class ChargeMemory(eqx.Module):
    """The last steps of a trajectory, for `lrpot.evaluate(..., guess=memory.guess())`.

    A state like any other: carry it through `jax.lax.scan`, store it with a restart. Start afresh
    when atoms jump, as after a swap of replicas or a Monte Carlo move.

    Attributes:
        charges: Charges of the last steps, the latest first, in e; of each member, if there are
            several.
        adjoint: Adjoint charges of the same steps, in e.
        steps: How many have been remembered.
        failures: How many of those were not solved to the tolerance.
        iterations: That the last step took.
    """

    charges: Float[Array, "depth *members atoms"]
    adjoint: Float[Array, "depth *members atoms"]
    steps: Int[Array, ""]
    failures: Int[Array, ""]
    iterations: Int[Array, ""]

    @in_full_precision
    def guess(self) -> tuple[Float[Array, "*members atoms"], Float[Array, "*members atoms"]]:
        """Charges and adjoint of the next step; zeros, a cold start, of an empty memory."""
        depth = len(self.charges)
        table = jnp.asarray(_predictors(depth), self.charges.dtype)
        weights = table[jnp.minimum(self.steps, depth)]
        charges, adjoint = (
            jnp.tensordot(weights, values, axes=1) for values in (self.charges, self.adjoint)
        )
        return charges, adjoint

    def latest(self) -> tuple[Float[Array, "*members atoms"], Float[Array, "*members atoms"]]:
        """Charges and adjoint of the last step, for positions that are still the same."""
        return self.charges[0], self.adjoint[0]

    def remember(self, charges: Charges | None) -> "ChargeMemory":
        """The memory with one more step; as it is where charges are not found iteratively."""
        if charges is None or charges.adjoint is None:
            return self
        assert charges.iterations is not None  # as whoever has an adjoint has
        return ChargeMemory(
            charges=jnp.concatenate([charges.charges[None], self.charges[:-1]]),
            adjoint=jnp.concatenate([charges.adjoint[None], self.adjoint[:-1]]),
            steps=self.steps + 1,
            failures=self.failures + ~charges.converged.all(),
            iterations=charges.iterations.max(),
        )


def charge_memory(*shape: int, depth: int = 5, dtype: jnp.dtype | None = None) -> ChargeMemory:
    """An empty memory.

    Args:
        *shape: Number of atoms, padding included; for a committee, the number of members before.
        depth: Steps to remember. More foresee smoother motion; fewer are less sensitive to noise.
        dtype: Of the charges; that of JAX's floats by default.
    """
    if depth < 1:
        raise InputError(f"A memory holds at least one step, got depth={depth}.")
    nothing = jnp.zeros((depth, *shape), dtype=dtype)
    none = jnp.zeros((), jnp.int32)
    return ChargeMemory(nothing, nothing, steps=none, failures=none, iterations=none)


@functools.lru_cache(maxsize=16)
def _predictors(depth: int) -> np.ndarray:
    """Coefficients [steps, depth] of the predictors from 0, 1, … depth remembered steps."""
    table = np.zeros((depth + 1, depth))
    for known in range(1, depth + 1):
        for j in range(1, known + 1):
            table[known, j - 1] = (
                (-1) ** (j + 1)
                * j
                * math.comb(2 * known, known - j)
                / math.comb(2 * known - 2, known - 1)
            )
    return table
