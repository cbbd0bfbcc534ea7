"""One small neural network per element, selected by atomic number."""

import itertools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from lrpot.errors import InputError, suggestion

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
}


class ElementNetworks(eqx.Module):
    """Multilayer perceptrons, one per element, with a linear last layer.

    Attributes:
        elements: Atomic numbers.
        weights, biases: One array per layer, stacked over the elements.
        activation: A name of `ACTIVATIONS`, used in the hidden layers.
    """

    elements: tuple[int, ...] = eqx.field(static=True)
    weights: tuple[Float[Array, "elements _ _"], ...]
    biases: tuple[Float[Array, "elements _"], ...]
    activation: str = eqx.field(static=True, default="tanh")

    def __check_init__(self):
        if self.activation not in ACTIVATIONS:
            raise InputError(
                f"Unknown activation `{self.activation}`. "
                f"{suggestion(self.activation, ACTIVATIONS)}"
            )

    def __call__(
        self, inputs: Float[Array, "atoms inputs"], numbers: Int[Array, " atoms"]
    ) -> Float[Array, "atoms outputs"]:
        """Outputs of the network of each atom's element; 0 for padding atoms."""
        # Every network sees every atom: for networks this small that beats sorting or gathering.
        selected = numbers[:, None] == jnp.asarray(self.elements)[None, :]
        values = jnp.broadcast_to(inputs, (len(self.elements), *inputs.shape))
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if layer > 0:
                values = ACTIVATIONS[self.activation](values)
            values = jnp.einsum("eai,eio->eao", values, weight) + bias[:, None, :]
        return jnp.einsum("eao,ae->ao", values, selected.astype(inputs.dtype))


def element_networks(
    elements: tuple[int, ...],
    n_inputs: int,
    hidden: tuple[int, ...],
    *,
    n_outputs: int = 1,
    activation: str = "tanh",
    key: PRNGKeyArray,
) -> ElementNetworks:
    """Networks with Glorot-normal weights and zero biases.

    Args:
        elements: Atomic numbers.
        n_inputs: Number of features.
        hidden: Width of each hidden layer.
        n_outputs: Outputs per atom.
        activation: A name of `ACTIVATIONS`.
        key: Random key.
    """
    sizes = (n_inputs, *hidden, n_outputs)
    if any(size < 1 for size in sizes):
        raise InputError(f"Layers need at least one node, got the sizes {sizes}.")
    weights, biases = [], []
    keys = jax.random.split(key, len(sizes) - 1)
    for layer_key, (fan_in, fan_out) in zip(keys, itertools.pairwise(sizes), strict=True):
        scale = (2 / (fan_in + fan_out)) ** 0.5
        shape = (len(elements), fan_in, fan_out)
        weights.append(scale * jax.random.normal(layer_key, shape))
        biases.append(jnp.zeros((len(elements), fan_out)))
    return ElementNetworks(elements, tuple(weights), tuple(biases), activation)
