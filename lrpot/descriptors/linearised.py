"""Descriptor values and Jacobians computed once, for training.

Symmetry functions have no parameters. A loss on energies and forces needs their values and first
derivatives at the training structures only, so training replaces the descriptor by its tangent
there: energies, forces, stress and all their parameter gradients are unchanged to the last digit.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lrpot.descriptors.acsf import ACSF
from lrpot.descriptors.scaling import Scaling
from lrpot.devices import in_full_precision
from lrpot.environment import Environment


class Linearised(eqx.Module):
    """A descriptor frozen at one environment: right there in value and first derivative.

    Attributes:
        values: Raw features at the environment it was made for.
        jacobian: Their derivatives with respect to the vectors to the neighbours.
        scaling: Applied to the raw features.
        cutoff: Cutoff of the original, in Å.
    """

    values: Float[Array, "atoms features"]
    jacobian: Float[Array, "atoms features neighbors 3"]
    scaling: Scaling
    cutoff: float = eqx.field(static=True)

    def __call__(self, environment: Environment) -> Float[Array, "atoms features"]:
        raw = _tangent(environment.vectors, self.values, self.jacobian)
        return self.scaling(raw, environment.centers)


def linearise(descriptor: ACSF, environment: Environment) -> Linearised:
    """Values and Jacobian of a descriptor at one environment.

    The Jacobian has atoms · features · neighbours · 3 numbers.
    """

    def one_atom(vectors: Array, neighbors: Array, center: Array) -> Array:
        index = jnp.zeros_like(neighbors)
        alone = Environment.of_vectors(vectors[None], index[None], center[None], neighbors[None])
        return descriptor.raw(alone)[0]

    arguments = environment.vectors, environment.neighbors, environment.centers
    jacobian = jax.vmap(jax.jacfwd(one_atom))(*arguments)
    return Linearised(descriptor.raw(environment), jacobian, descriptor.scaling, descriptor.cutoff)


@jax.custom_jvp
def _tangent(vectors: Array, values: Array, jacobian: Array) -> Array:
    # The value belongs to exactly these vectors; only the derivative has to be supplied.
    return values


@_tangent.defjvp
@in_full_precision
def _tangent_jvp(primals, tangents):
    _, values, jacobian = primals
    # With neighbours and components in one axis the product in reverse is as fast as this one.
    flat = jacobian.reshape(*jacobian.shape[:2], -1)
    change = jnp.einsum("afv,av->af", flat, tangents[0].reshape(len(flat), -1))
    # What was kept is data: its own tangents are zero wherever training differentiates.
    return values, change
