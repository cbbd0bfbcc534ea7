"""One small neural network per element, selected by atomic number."""

import itertools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from lrpot.errors import InputError, suggestion

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "tanh": jnp.tanh,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "sigmoid": jax.nn.sigmoid,
    "one_minus_sigmoid": lambda x: jax.nn.sigmoid(-x),
    "relu": jax.nn.relu,
    "gauss": lambda x: jnp.exp(-0.5 * x**2),
    "cos": jnp.cos,
    "exp_minus": lambda x: jnp.exp(-x),
    "square": lambda x: x**2,
}


class ElementNetworks(eqx.Module):
    """Multilayer perceptrons, one per element.

    Networks of different shape are stacked too: the smaller ones have nodes whose weights are 0.

    Attributes:
        elements: Atomic numbers.
        weights, biases: One array per layer, stacked over the elements.
        activations: For each layer, the last included, a name of `ACTIVATIONS`, or one for each
            element.
    """

    elements: tuple[int, ...] = eqx.field(static=True)
    weights: tuple[Float[Array, "elements _ _"], ...]
    biases: tuple[Float[Array, "elements _"], ...]
    activations: tuple[str | tuple[str, ...], ...] = eqx.field(static=True)

    def __check_init__(self):
        if not len(self.weights) == len(self.biases) == len(self.activations):
            raise InputError(
                f"{len(self.weights)} layers of weights, {len(self.biases)} of biases and "
                f"{len(self.activations)} of activations do not fit together."
            )
        for layer in self.activations:
            for name in (layer,) if isinstance(layer, str) else layer:
                if name not in ACTIVATIONS:
                    raise InputError(
                        f"Unknown activation `{name}`. {suggestion(name, ACTIVATIONS)}"
                    )

    def __call__(
        self, inputs: Float[Array, "atoms inputs"], numbers: Int[Array, " atoms"]
    ) -> Float[Array, "atoms outputs"]:
        """Outputs of the network of each atom's element; 0 for padding atoms."""
        # Every network sees every atom: for networks this small that beats sorting or gathering.
        selected = numbers[:, None] == jnp.asarray(self.elements)[None, :]
        # They see the same inputs: one product of matrices, in its derivative too.
        values = jnp.einsum("ai,eio->eao", inputs, self.weights[0])
        for layer, (bias, activation) in enumerate(zip(self.biases, self.activations, strict=True)):
            if layer > 0:
                values = jnp.einsum("eai,eio->eao", values, self.weights[layer])
            values += bias[:, None, :]
            if isinstance(activation, str):
                values = ACTIVATIONS[activation](values)
            else:
                each = zip(activation, values, strict=True)
                values = jnp.stack([ACTIVATIONS[name](one) for name, one in each])
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
        activation: A name of `ACTIVATIONS` for the hidden layers; the last one is linear.
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
    activations = (activation,) * len(hidden) + ("linear",)
    return ElementNetworks(elements, tuple(weights), tuple(biases), activations)
