"""The potentials and systems of the contract, in shapes few enough to compile everything once.

Every test of this folder runs over `lrpot.MODELS`: a new model is one new entry there. Weights,
biases, scalings, offsets and hardness are random but fixed, so that nothing is trivially zero.
"""

import dataclasses
import functools
import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot.descriptors import (
    ACSF,
    Angular,
    Channels,
    CosinePowers,
    Radial,
    Scaling,
    Shells,
    identity_scaling,
)
from lrpot.potential import trainable
from lrpot.terms import Offsets, ShortRange

ELEMENTS = ("H", "C", "O")
CUTOFF = 3.55  # no pair of the systems below is within 0.05 Å of it
SKIN = 0.15


def symmetry_functions(numbers, *, weighted=False, narrow=False):
    """Radial and angular functions, as few as show everything."""
    channels = Channels(() if weighted else numbers)
    radial = Shells(((0.6, 0.9), (0.6, 2.2)), CUTOFF, "tanh3")
    angular = Shells(((0.1, 0.0),), CUTOFF, "tanh3")
    angles = CosinePowers(((1.0, 1.0), (-1.0, 2.0)))
    parts = Radial(channels, radial), Angular(channels, angular, angles, narrow)
    n_features = sum(len(part.labels) for part in parts)
    return ACSF(parts, identity_scaling(numbers, n_features))


# Name of a case -> recipe, its settings, those of the descriptor.
MODELS = {name: (recipe, {}, {}) for name, recipe in lrpot.MODELS.items()}
VARIANTS = MODELS | {
    "hdnnp_2g, narrow": (lrpot.hdnnp_2g, {}, {"narrow": True}),
    "hdnnp_2g, weighted": (lrpot.hdnnp_2g, {}, {"weighted": True}),
    "hdnnp_3g, weighted": (lrpot.hdnnp_3g, {"neutralisation": "weighted"}, {}),
    "hdnnp_3g, covalent": (lrpot.hdnnp_3g, {"widths": "covalent"}, {}),
    "hdnnp_4g, extended": (lrpot.hdnnp_4g, {"charge_shells": 2, "local_hardness": True}, {}),
    "hdnnp_2g, one layer": (lrpot.hdnnp_2g, {"message_layers": 1, "message_channels": 3}, {}),
    "hdnnp_4g, messages": (
        lrpot.hdnnp_4g,
        {"charge_message_layers": 1, "message_layers": 2, "message_channels": 3},
        {},
    ),
}

MOLECULE = lrpot.System(
    [[0.0, 0.0, 0.0], [1.08, 0.1, -0.05], [1.75, 1.1, 0.3], [1.9, -1.05, -0.2], [3.6, -0.75, 0.5]],
    [1, 6, 8, 8, 1],
)
# Shorter than the cutoff in every direction: an atom sees several images of each other one, and
# of itself.
CELL = np.array([[3.1, 0.0, 0.0], [0.7, 3.0, 0.0], [-0.5, 0.8, 3.3]])
FRACTIONAL = np.array([[0.02, -0.05, 0.01], [0.33, 0.1, 0.2], [0.1, 0.55, 0.45], [0.6, 0.5, 0.9]])
CRYSTAL = lrpot.System(FRACTIONAL @ CELL, [1, 6, 8, 1], cell=CELL)


def charged(system, total_charge):
    return eqx.tree_at(lambda s: s.total_charge, system, jnp.asarray(total_charge, dtype=float))


SYSTEMS = {
    "anion": charged(MOLECULE, -1),
    "molecule": MOLECULE,
    "cation": charged(MOLECULE, 1),
    "crystal": CRYSTAL,
    "charged crystal": charged(CRYSTAL, 1),
}


def typical_size(label):
    """Order of magnitude of a feature of these systems, from its label."""
    weighted = (7, 50) if "Z" in label else (1, 1)
    return 0.1 * weighted[0] if label.startswith("G2") else 0.01 * weighted[1]


@functools.cache
def build(case):
    recipe, settings, descriptor = VARIANTS[case]
    acsf = symmetry_functions((1, 6, 8), **descriptor)
    settings = dict(settings, descriptor=acsf, hidden=(5,), key=jax.random.key(0))
    if "accuracy" in inspect.signature(recipe).parameters:
        settings["accuracy"] = 1e-10  # the wave vectors are cheap, and differences stay smooth
    return randomised(recipe(ELEMENTS, **settings), np.random.default_rng(len(case)))


def randomised(potential, rng):
    """Every weight, bias and hardness moved, and every statistic different from its default."""

    def moved(path, leaf, learnt):
        # Products of products: messages soon vary too fast for differences.
        name = jax.tree_util.keystr(path)
        size = 0.05 if "messages" in name or "exchange" in name else 0.3
        return leaf + size * rng.normal(size=leaf.shape) if learnt else leaf

    potential = jax.tree_util.tree_map_with_path(moved, potential, trainable(potential))
    labels = potential.descriptor.labels
    of_features = [typical_size(label) for label in labels]

    def with_statistics(part):
        if isinstance(part, Scaling):
            shape = part.offset.shape
            size = of_features if shape[1] == len(labels) else 0.5  # of what belongs to charges
            offset = rng.uniform(-1, 1, shape) * size
            factor = rng.uniform(0.4, 1.2, shape) / size
            where, new = lambda s: (s.offset, s.factor), (jnp.asarray(offset), jnp.asarray(factor))
        elif isinstance(part, Offsets):
            where, new = lambda o: o.energies, jnp.asarray(rng.uniform(-4, -2, part.energies.shape))
        elif isinstance(part, ShortRange):
            part = jax.tree.map(with_statistics, part, is_leaf=lambda p: isinstance(p, Scaling))
            where, new = lambda t: t.scale, jnp.full((), 1.7)
        else:
            return part
        return eqx.tree_at(where, part, new)

    parts = Scaling | Offsets | ShortRange
    return jax.tree.map(with_statistics, potential, is_leaf=lambda p: isinstance(p, parts))


@dataclasses.dataclass(frozen=True)
class Shape:
    """Sizes of all arrays of one system."""

    atoms: int
    slots: int
    waves: int


SHAPES = {False: Shape(5, 4, 0), True: Shape(4, 36, 2000)}
"""By periodicity: room for each list of the systems above."""

BIG_SHAPES = {False: Shape(10, 6, 0), True: Shape(8, 38, 4000)}
"""Room for two molecules or cells; with one of them the other half is padding."""


def neighbors_of(potential, system, *, skin=SKIN, shape=None):
    """The neighbour list of an unpadded system in the shape that everything is compiled for."""
    shape = shape or SHAPES[system.cell is not None]
    neighbors = potential.neighbors(system, skin=skin, capacity=shape.slots)
    assert not neighbors.overflow
    if neighbors.reciprocal is None:
        return neighbors
    padding = ((0, shape.waves - neighbors.n_waves), (0, 0))
    waves = jnp.pad(neighbors.reciprocal.waves, padding)
    return eqx.tree_at(lambda n: n.reciprocal.waves, neighbors, waves)


evaluate = jax.jit(lrpot.evaluate)


def loss(found):
    """Of energy, forces, stress and charges."""
    parts = found.energy, found.forces, found.stress, found.charges
    return sum(jnp.sum(part**2) for part in parts if part is not None)


@jax.jit
def loss_gradient(potential, system, neighbors):
    """By the parameters, which takes second derivatives."""
    return jax.grad(lambda p: loss(lrpot.evaluate(p, system, neighbors)))(potential)


class Contract:
    """What the tests of this folder share."""

    shapes = SHAPES
    big_shapes = BIG_SHAPES
    cutoff = CUTOFF
    evaluate = staticmethod(evaluate)
    loss = staticmethod(loss)
    loss_gradient = staticmethod(loss_gradient)
    neighbors = staticmethod(neighbors_of)
    charged = staticmethod(charged)

    @staticmethod
    def predict(potential, system, **settings):
        """Energy, forces, stress and charges with a new neighbour list."""
        found = evaluate(potential, system, neighbors_of(potential, system, **settings))
        assert found.converged
        return found


@pytest.fixture(scope="session")
def contract():
    return Contract


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(name, marks=[pytest.mark.variant] * (name not in MODELS)) for name in VARIANTS
    ],
)
def potential(request):
    """Every model and cheap variants of it."""
    return build(request.param)


@pytest.fixture(scope="session", params=MODELS)
def model(request):
    """Every model, for what takes longer to compile."""
    return build(request.param)


@pytest.fixture(params=SYSTEMS)
def system(request):
    return SYSTEMS[request.param]


@pytest.fixture
def molecule():
    """With a charge, so that nothing cancels by symmetry."""
    return SYSTEMS["cation"]


@pytest.fixture
def crystal():
    """With a charge, so that nothing cancels by symmetry."""
    return SYSTEMS["charged crystal"]


@pytest.fixture(params=["molecule", "crystal"])
def boundary(request):
    """A charged system of each kind of boundary."""
    return request.getfixturevalue(request.param)
