"""Equivariant messages: what functions of an atom's own surroundings cannot tell.

Each atom holds some 3×3 matrices that turn with the system. Neighbours send theirs, weighted by
functions of the distance; products of matrices bring many bodies together, and each layer tells of
atoms a cutoff further away. After TensorNet [simeon:23], with differences: what an atom is to the
others may depend on its equilibrated charge, weights are linear in Bessel functions [gasteiger:20],
and matrices are not taken apart into irreducible ones.
"""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from lrpot.cutoffs import cutoff_function
from lrpot.descriptors.chunks import ON_ACCELERATORS, by_chunks
from lrpot.environment import Environment, of_neighbors
from lrpot.errors import InputError
from lrpot.networks import ElementNetworks, element_networks

FUNCTIONS = 8
"""Bessel functions of the distance."""

NEIGHBORS = 8
"""First weights are so small that as many neighbours add up to about 1."""

Matrices = Float[Array, "atoms 3 3 channels"]


class Exchange(eqx.Module):
    """What atoms learn of each other in messages.

    A rotation turns the matrices X of an atom, an inversion transposes them. So do all X, Xᵀ and
    tr(X)·1, which everything here is made of, and X Y + Y X.

    Attributes:
        identity: What an atom is to the others, by its element and one number, as its charge.
        radial: For the first matrices and each layer, from functions of the distance to the
            weights of three matrices that a neighbour sends.
        gates: Two layers of a network that weights the first matrices by what they show.
        mixed: For each layer, weights from channels to channels before and after the products.
        cutoff: Reach of a message, in Å.
    """

    identity: ElementNetworks
    radial: tuple[Float[Array, "functions 3 channels"], ...]
    gates: tuple[Float[Array, "_ _"], Float[Array, "_ _"]]
    mixed: tuple[tuple[Float[Array, "3 channels channels"], ...], ...]
    cutoff: float = eqx.field(static=True)

    @property
    def n_features(self) -> int:
        """How many numbers each atom learns."""
        return 4 * self.gates[1].shape[-1] // 3

    def __call__(
        self,
        seen: Float[Array, "atoms 1"] | None,
        numbers: Int[Array, " atoms"],
        environment: Environment,
    ) -> Float[Array, "atoms features"]:
        """Invariants of the matrices of each atom in the end, and what it is.

        Args:
            seen: A number that belongs to each atom, of size 1; `None` for none.
            numbers: Atomic numbers.
            environment: Of the atoms.
        """
        if seen is None:
            seen = jnp.ones((len(numbers), 1), dtype=environment.dtype)
        identity = self.identity(seen, numbers)
        matrices = self._first(identity, environment)
        for radial, (before, after) in zip(self.radial[1:], self.mixed, strict=True):
            own = _mixed(before, _bounded(matrices))
            received = self._received(radial, own, environment)
            both = _product(own, received) + _product(received, own)
            change = _mixed(after, _bounded(both))
            matrices += change + _product(change, change)
        return jnp.concatenate([_invariants(matrices), identity], axis=-1)

    def _first(
        self, identity: Float[Array, "atoms channels"], environment: Environment
    ) -> Matrices:
        """Of the directions to the neighbours, by distance and by what they are."""

        def of_some(some: Environment) -> Array:
            weights = self._weights(self.radial[0], some)
            weights *= of_neighbors(identity, some.index)[:, :, None]
            directions = some.vectors / some.distances[..., None]
            turns = jnp.einsum("xyz,anz->anxy", _TURNS.astype(weights.dtype), directions)
            summed = jnp.einsum("anc,xy->axyc", weights[:, :, 0], _one(weights.dtype))
            summed += jnp.einsum("anc,anxy->axyc", weights[:, :, 1], turns)
            summed += jnp.einsum("anc,anx,any->axyc", weights[:, :, 2], directions, directions)
            return summed.reshape(len(summed), -1)

        matrices = _by_atom(of_some, environment)
        inner, outer = self.gates
        shown = jnp.concatenate([_invariants(matrices), identity], axis=-1)
        gates = (jax.nn.silu(shown @ inner) @ outer).reshape(len(shown), 3, 1, 1, -1)
        return matrices + _together(gates.swapaxes(0, 1) * matrices[None])

    def _received(
        self, radial: Float[Array, "functions 3 channels"], sent: Matrices, environment: Environment
    ) -> Matrices:
        """What neighbours send, by distance."""

        def of_some(some: Environment) -> Array:
            weights, theirs = self._weights(radial, some), of_neighbors(sent, some.index)
            summed = _together(jnp.einsum("anpc,anxyc->paxyc", weights, theirs))
            return summed.reshape(len(summed), -1)

        return _by_atom(of_some, environment)

    def _weights(
        self, radial: Float[Array, "functions 3 channels"], environment: Environment
    ) -> Float[Array, "atoms neighbors 3 channels"]:
        """Of the messages of each neighbour: Bessel functions of its distance, with a cutoff."""
        distances = environment.distances
        switch = cutoff_function(distances, cutoff=self.cutoff, function="poly2")
        inside = jnp.minimum(distances, self.cutoff)[..., None]
        orders = jnp.arange(1, len(radial) + 1, dtype=distances.dtype)[None, None]
        waves = jnp.sin(orders * jnp.pi * inside / self.cutoff) / inside * switch[..., None]
        return jnp.einsum("anb,bpc->anpc", (2 / self.cutoff) ** 0.5 * waves, radial)


def exchange(
    elements: tuple[int, ...], *, layers: int, channels: int, cutoff: float, key: PRNGKeyArray
) -> Exchange:
    """Messages with random weights.

    Args:
        elements: Atomic numbers.
        layers: Exchanges of messages.
        channels: Matrices of each atom.
        cutoff: Reach of a message, in Å.
        key: Random key of the first weights.
    """
    if layers < 1 or channels < 1:
        raise InputError(f"Messages need layers and channels, got {layers} and {channels}.")
    keys = iter(jax.random.split(key, 6 + 3 * layers))

    def normal(*shape: int, terms: int) -> Array:
        return jax.random.normal(next(keys), shape) / terms**0.5

    identity = element_networks(
        elements, 1, (channels,), n_outputs=channels, activation="silu", key=next(keys)
    )
    biases = tuple(jax.random.normal(next(keys), bias.shape) for bias in identity.biases)
    # A trace counts three times.
    each = jnp.asarray([1.0, 1.0, 1 / 3])[:, None, None]
    return Exchange(
        identity=dataclasses.replace(identity, biases=biases),
        radial=tuple(normal(FUNCTIONS, 3, channels, terms=NEIGHBORS) for _ in range(layers + 1)),
        gates=(
            normal(4 * channels, 2 * channels, terms=4 * channels),
            normal(2 * channels, 3 * channels, terms=2 * channels),
        ),
        mixed=tuple(
            tuple(each * normal(3, channels, channels, terms=2 * channels) for _ in range(2))
            for _ in range(layers)
        ),
        cutoff=cutoff,
    )


_TURNS = np.array(
    [
        [[0, 0, 0], [0, 0, 1], [0, -1, 0]],
        [[0, 0, -1], [0, 0, 0], [1, 0, 0]],
        [[0, 1, 0], [-1, 0, 0], [0, 0, 0]],
    ]
)
"""From a vector to the antisymmetric matrix of the rotation about it."""


def _by_atom(function: Callable[[Environment], Array], environment: Environment) -> Matrices:
    """Matrices of the atoms, of so many at once that what is sent to them fits into memory."""
    flat = by_chunks(function, environment, slots=ON_ACCELERATORS)
    return flat.reshape(len(flat), 3, 3, -1)


def _one(dtype: jnp.dtype) -> Float[Array, "3 3"]:
    return jnp.eye(3, dtype=dtype)


def _together(three: Float[Array, "3 atoms 3 3 channels"]) -> Matrices:
    """One matrix as it is, one transposed, and the trace of one."""
    trace = jnp.trace(three[2], axis1=1, axis2=2)[:, None, None]
    return three[0] + three[1].swapaxes(1, 2) + trace * _one(three.dtype)[None, :, :, None]


def _mixed(weights: Float[Array, "3 channels channels"], matrices: Matrices) -> Matrices:
    """Sums over channels."""
    return _together(jnp.einsum("axyc,pcd->paxyd", matrices, weights))


def _bounded(matrices: Matrices) -> Matrices:
    """The same directions, no larger than ½."""
    return matrices / (1 + jnp.sum(matrices**2, axis=(1, 2), keepdims=True))


def _product(left: Matrices, right: Matrices) -> Matrices:
    """Of matrices, channel by channel."""
    return jnp.einsum("axkc,akyc->axyc", left, right)


def _invariants(matrices: Matrices) -> Float[Array, "atoms invariants"]:
    """Of each channel: tr X, tr X Xᵀ and tr X X, which are divided by √(1 + tr X Xᵀ)."""
    trace = jnp.trace(matrices, axis1=1, axis2=2)
    square = jnp.sum(matrices**2, axis=(1, 2))
    twice = jnp.sum(matrices * matrices.swapaxes(1, 2), axis=(1, 2))
    size = jnp.sqrt(1 + square)
    return jnp.concatenate([trace / size, square / size, twice / size], axis=-1)
