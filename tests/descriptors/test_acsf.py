"""Symmetry functions against plain loops over pairs of neighbours.

The oracle below is written from the formulas of Behler 2011 (sums over unordered pairs j < k, as
in n2p2), in plain Python and with its own search for periodic images.
"""

import functools
import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import lrpot
from lrpot.descriptors import (
    ACSF,
    Angular,
    Channels,
    CosinePowers,
    Radial,
    Shells,
    chunks,
    default_acsf,
    identity_scaling,
    linearise,
    pairs,
    scaling_from_data,
)
from lrpot.descriptors.moments import harmonics, moment_sums
from lrpot.environment import FAR, Environment, environment_from_shifts
from lrpot.errors import InputError
from lrpot.neighbors import neighbor_list

SYMBOL = {1: "H", 6: "C", 8: "O"}
CUTOFF = 3.4
SHELLS = ((0.3, 0.0), (1.1, 1.4))
INTEGER = tuple(itertools.product((1.0, -1.0), (1.0, 2.0, 4.0, 8.0, 16.0)))
FEW = tuple(itertools.product((1.0, -1.0), (1.0, 2.0, 4.0)))
OTHER = tuple(itertools.product((1.0, -1.0), (1.5, 2.7, 3.0)))

CELL = np.array([[2.9, 0.0, 0.0], [0.8, 2.7, 0.0], [-0.6, 0.9, 3.1]])
SYSTEMS = {
    "cluster": lrpot.System(
        [
            [0.0, 0.0, 0.0],
            [1.1, 0.2, -0.1],
            [-0.4, 1.3, 0.5],
            [1.9, 1.2, 0.6],
            [0.3, -1.1, 1.4],
            [-1.6, -0.3, -0.9],
            [2.4, -0.9, -1.2],
        ],
        [1, 6, 8, 1, 6, 1, 6],
    ),
    # Shorter than the cutoff in every direction.
    "crystal": lrpot.System(
        np.array([[0.1, 0.0, 0.05], [0.45, 0.5, 0.1], [0.9, 0.4, 0.6]]) @ CELL, [1, 6, 6], cell=CELL
    ),
}


def cutoff_value(r, cutoff, function):
    """Formulas of two of the cutoff functions."""
    if r >= cutoff:
        return 0.0
    x = r / cutoff
    return math.tanh(1 - x) ** 3 if function == "tanh3" else (1 + math.cos(math.pi * x)) / 2


def neighbors_by_loop(system, center, cutoff):
    """(atomic number, vector) of everything within the cutoff, one image after the other."""
    positions = np.asarray(system.positions)
    images = [np.zeros(3)]
    if system.cell is not None:
        shifts = itertools.product(range(-4, 5), repeat=3)
        images = [np.asarray(shift) @ np.asarray(system.cell) for shift in shifts]
    found = []
    for number, position in zip(np.asarray(system.numbers).tolist(), positions, strict=True):
        for image in images:
            vector = position + image - positions[center]
            if 0 < math.hypot(*vector) < cutoff:
                found.append((number, vector))
    return found


def member(number, channel):
    """Weight of a neighbour in a channel: its number, or whether it is of that element."""
    return float(number) if channel == "Z" else float(SYMBOL[number] == channel)


def shell_value(shells, r, eta, shift):
    return math.exp(-eta * (r - shift) ** 2) * cutoff_value(r, shells.cutoff, shells.function)


def features_by_loop(part, neighbors):
    """Label → value of one part at one atom."""
    shells = part.shells
    names = [SYMBOL[number] for number in part.channels.elements] or ["Z"]
    if isinstance(part, Radial):
        return {
            f"G2 {name} eta={eta:g} r_s={shift:g}": sum(
                member(number, name) * shell_value(shells, math.hypot(*vector), eta, shift)
                for number, vector in neighbors
            )
            for name, (eta, shift) in itertools.product(names, shells.shells)
        }
    kind = "G4" if part.narrow else "G5"
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i:]]
    return {
        f"{kind} {a}-{b} eta={eta:g} r_s={shift:g} lambda={sign:g} zeta={zeta:g}": sum(
            angular_term(part, (a, b), (eta, shift), (sign, zeta), one, other)
            for j, one in enumerate(neighbors)
            for other in neighbors[j + 1 :]
        )
        for (a, b), (eta, shift), (sign, zeta) in itertools.product(
            pairs, shells.shells, part.angles.powers
        )
    }


def angular_term(part, channels, shell, angle, one, other):
    (a, b), (sign, zeta), (number_j, to_j), (number_k, to_k) = channels, angle, one, other
    weight = member(number_j, a) * member(number_k, b)
    if a != b:
        weight += member(number_j, b) * member(number_k, a)
    if weight == 0:
        return 0.0
    r_j, r_k, r_jk = math.hypot(*to_j), math.hypot(*to_k), math.hypot(*(to_j - to_k))
    cosine = float(np.dot(to_j, to_k)) / (r_j * r_k)
    term = weight * 2 ** (1 - zeta) * max(1 + sign * cosine, 0.0) ** zeta
    for r in (r_j, r_k, r_jk) if part.narrow else (r_j, r_k):
        term *= shell_value(part.shells, r, *shell)
    return term


def surroundings(neighbors, slots, dtype=float):
    """Environment of a single atom with these neighbours, and empty slots after them."""
    vectors = np.tile([FAR, 0.0, 0.0], (slots, 1))
    numbers = np.zeros(slots, dtype=np.int32)
    for slot, (number, vector) in enumerate(neighbors):
        vectors[slot], numbers[slot] = vector, number
    index = jnp.zeros((1, slots), dtype=jnp.int32)
    return Environment.of_vectors(
        jnp.asarray(vectors[None], dtype), index, jnp.array([1]), jnp.asarray(numbers[None])
    )


def random_neighbors(n, seed, cutoff=CUTOFF, elements=(1, 6, 8)):
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(n, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    vectors = directions * rng.uniform(0.8, 1.02 * cutoff, size=(n, 1))
    return list(zip(rng.choice(elements, size=n).tolist(), vectors, strict=True))


THREE, WEIGHTED = Channels((1, 6, 8)), Channels(())
COSINE, SMOOTH = Shells(SHELLS, CUTOFF, "cos"), Shells(SHELLS, CUTOFF, "tanh3")

PARTS = {
    "radial": Radial(THREE, SMOOTH),
    "radial, weighted": Radial(WEIGHTED, COSINE),
    "wide, by moments": Angular(THREE, SMOOTH, CosinePowers(INTEGER)),
    "wide, by pairs": Angular(THREE, COSINE, CosinePowers(OTHER)),
    "wide, weighted": Angular(WEIGHTED, SMOOTH, CosinePowers(FEW)),
    "wide, one element": Angular(Channels((6,)), COSINE, CosinePowers(FEW)),
    "narrow": Angular(THREE, SMOOTH, CosinePowers(OTHER), narrow=True),
    "narrow, weighted": Angular(WEIGHTED, COSINE, CosinePowers(INTEGER), narrow=True),
}

every_part = pytest.mark.parametrize("name", PARTS)


def assert_equals_loop(name, found, neighbors):
    part = PARTS[name]
    expected = features_by_loop(part, neighbors)
    assert list(expected) == list(part.labels)
    # Sums that nearly cancel keep the rounding of what is added up, of size (Σ w g)².
    largest = max(features_by_loop(_all_shells(part), neighbors).values(), default=0.0)
    rounding = 1e-15 * (largest if isinstance(part, Radial) else largest**2)
    np.testing.assert_allclose(found, list(expected.values()), rtol=1e-12, atol=rounding)


def _all_shells(part):
    return Radial(WEIGHTED, Shells(((0.0, 0.0),), part.shells.cutoff, part.shells.function))


SLOTS = 60


@functools.cache
def surroundings_of_everything():
    """Name → (neighbours by loop, environment), all in one shape, so that parts compile once."""
    known = {}
    for kind, system in SYSTEMS.items():
        neighbors = neighbor_list(system, CUTOFF + 0.1, capacity=SLOTS)
        assert not neighbors.overflow
        by_loop = [neighbors_by_loop(system, center, CUTOFF) for center in range(system.n_atoms)]
        known[kind] = by_loop, environment_from_shifts(system, neighbors)
    for n in (0, 1, 2, SLOTS):
        neighbors = random_neighbors(n, seed=n + 7)
        known[f"{n} neighbours"] = [neighbors], surroundings(neighbors, SLOTS)
    return known


@functools.cache
def features_of_everything(name):
    """The same names → features of one part."""
    known = surroundings_of_everything()
    leaves = [
        jax.tree.leaves((e.vectors, e.index, e.centers, e.neighbors)) for _, e in known.values()
    ]
    columns = (jnp.concatenate(column) for column in zip(*leaves, strict=True))
    joined = Environment.of_vectors(*columns)
    features = np.asarray(jax.jit(PARTS[name])(joined))
    ends = np.cumsum([len(by_loop) for by_loop, _ in known.values()])
    return dict(zip(known, np.split(features, ends[:-1]), strict=True))


@every_part
@pytest.mark.parametrize(
    "where", ["cluster", "crystal", "0 neighbours", "1 neighbours", "2 neighbours", "60 neighbours"]
)
def test_features_equal_a_plain_loop_over_neighbours(name, where):
    by_loop, _ = surroundings_of_everything()[where]
    found = features_of_everything(name)[where]
    for features, neighbors in zip(found, by_loop, strict=True):
        assert_equals_loop(name, features, neighbors)


def test_atoms_of_the_crystal_see_several_images_of_each_other_and_of_themselves():
    _, environment = surroundings_of_everything()["crystal"]
    for row in np.asarray(environment.index):
        assert np.bincount(row)[:3].min() > 2


@pytest.mark.parametrize("name", [name for name in PARTS if "radial" not in name])
@pytest.mark.parametrize("n", [0, 1])
def test_angular_features_need_two_neighbours(name, n):
    found = features_of_everything(name)[f"{n} neighbours"]
    largest = max((number for number, _ in random_neighbors(n, seed=n + 7)), default=0)
    weight = 1 if PARTS[name].channels.elements else largest**2
    np.testing.assert_allclose(found, 0.0, rtol=0, atol=1e-15 * weight)


def random_inputs(seed, neighbors=12, dtype=float):
    """Radial functions, vectors and weights of the neighbours of two atoms."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(2, 3, neighbors))
    # A neighbour belongs to one channel.
    channels = rng.uniform(0.1, 1.0, size=(2, 1, neighbors)) * np.moveaxis(
        np.eye(2)[rng.choice(2, size=(2, neighbors))], -1, 1
    )
    radial = rng.uniform(0.0, 1.0, size=(2, 2, neighbors))
    return tuple(jnp.asarray(one, dtype) for one in (radial, vectors, channels))


def by_moments(radial, vectors, channels, angles):
    units = vectors / jnp.linalg.norm(vectors, axis=1, keepdims=True)
    return moment_sums(radial, units, channels, angles=angles)


def by_pairs(radial, vectors, channels, angles):
    """The same sums over a square of neighbours, of which the upper triangle counts."""
    units = vectors / jnp.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = jnp.einsum("axj,axk->ajk", units, units)
    powers = jnp.stack([2 * (0.5 * (1 + sign * cosines)) ** round(zeta) for sign, zeta in angles])
    powers = jnp.triu(powers, 1)
    pairs = [(0, 0), (0, 1), (1, 1)]
    sums = [
        jnp.einsum("aj,ak,asj,ask,zajk->asz", channels[:, a], channels[:, b], radial, radial, both)
        for a, b in pairs
        for both in [powers if a == b else powers + powers.swapaxes(-1, -2)]
    ]
    return jnp.stack(sums, axis=1)


def test_moments_equal_pairs_in_value_gradient_and_curvature():
    *inputs, channels = random_inputs(0)
    direction = random_inputs(1)[:2]
    cotangent = np.random.default_rng(2).normal(size=(2, 3, 2, len(FEW)))

    def all_orders(route):
        def sums(radial, vectors):
            return route(radial, vectors, channels, FEW)

        gradient = jax.grad(lambda *inputs: jnp.sum(cotangent * sums(*inputs)), argnums=(0, 1))
        compiled = jax.jit(lambda *a: (sums(*a), jax.jvp(gradient, a, direction)))
        return jax.tree.leaves(compiled(*inputs))

    for one, other in zip(all_orders(by_moments), all_orders(by_pairs), strict=True):
        scale = float(jnp.abs(other).max())
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13 * scale)


def test_first_and_second_derivatives_of_narrow_sums_are_finite_differences():
    part = Angular(
        WEIGHTED,
        Shells(((0.4, 0.3),), CUTOFF, "tanh3"),
        CosinePowers(((1.0, 1.5), (-1.0, 2.0))),
        narrow=True,
    )
    number = jnp.ones((1, 4), dtype=jnp.int32)
    # Two empty slots, which coincide.
    filled = jnp.array([[1.0, 0.2, -0.3], [-0.4, 1.2, 0.5]])
    empty = jnp.array([[FAR, 0.0, 0.0], [FAR, 0.0, 0.0]])

    @jax.jit
    def with_derivatives(step, direction):
        def along(t):
            vectors = jnp.concatenate([filled + t * direction, empty])[None]
            return part(Environment.of_vectors(vectors, 0 * number, number[:, 0], number)).sum()

        slope = jax.grad(along)
        return along(step), slope(step), jax.grad(slope)(step)

    size = 1e-4
    for direction in np.eye(6).reshape(6, 2, 3):
        (_, slope, curvature), up, down = (
            with_derivatives(t, jnp.asarray(direction)) for t in (0.0, size, -size)
        )
        tolerance = dict(rel=1e-6, abs=1e-9)
        assert float(slope) == pytest.approx(float(up[0] - down[0]) / (2 * size), **tolerance)
        assert float(curvature) == pytest.approx(float(up[1] - down[1]) / (2 * size), **tolerance)


@pytest.mark.parametrize("name", ["narrow", "wide, by pairs", "wide, weighted", "radial"])
def test_empty_slots_have_no_slope_in_either_direction_of_differentiation(name):
    neighbors = random_neighbors(2, seed=3)
    environment = surroundings(neighbors, slots=4)

    def features(vectors):
        kept = environment.index, environment.centers, environment.neighbors
        return jnp.sum(PARTS[name](Environment.of_vectors(vectors, *kept)))

    both = jax.jit(lambda v: (jax.jacfwd(features)(v), jax.jacrev(features)(v)))
    for slopes in both(environment.vectors):
        assert (jnp.abs(slopes[0, :2]).max(axis=-1) > 0).all()
        np.testing.assert_array_equal(slopes[0, 2:], 0.0)


def test_moments_keep_their_promise_in_single_precision():
    """The bound of the float32 error is 5e-7 (Σ g)², with a reference in float64."""
    angles = (*FEW, (1.0, 8.0), (-1.0, 8.0))
    moments = jax.jit(functools.partial(by_moments, angles=angles))
    pairs = jax.jit(functools.partial(by_pairs, angles=angles))
    for seed in range(10):
        single = random_inputs(seed, neighbors=60, dtype=jnp.float32)
        double = tuple(jnp.asarray(one, float) for one in single)
        found = moments(*single)
        assert found.dtype == jnp.float32
        sums = jnp.einsum("acn,asn->acs", double[2], double[0])
        bound = 5e-7 * sums[:, [0, 0, 1]] * sums[:, [0, 1, 1]]  # pairs A-A, A-B, B-B of channels
        ratio = jnp.abs(found - pairs(*double)).max(axis=-1) / bound
        assert ratio.max() < 1


@pytest.mark.parametrize("slots", [3, SLOTS])
def test_few_neighbours_are_summed_by_pairs_and_keep_small_features_in_single_precision(slots):
    part = Angular(Channels((6,)), SMOOTH, CosinePowers(INTEGER))
    neighbors = [(6, 1.2 * np.array([math.cos(t), math.sin(t), 0.0])) for t in (0.0, 2.1, 4.2)]
    single = np.asarray(part(surroundings(neighbors, slots, np.float32))[0])
    double = np.asarray(part(surroundings(neighbors, slots, float))[0])
    assert single.dtype == np.float32
    assert np.abs(double).min() < 1e-7 * np.abs(double).max()
    if slots == 3:
        assert part.by_pairs(slots)
        np.testing.assert_allclose(single, double, rtol=2e-5)
    else:  # what the choice guards against
        assert not part.by_pairs(slots)
        assert np.abs(single / double - 1).max() > 0.1
    alone = features_by_loop(part, neighbors)
    np.testing.assert_allclose(double, list(alone.values()), rtol=1e-12, atol=1e-15)


def test_harmonics_obey_the_addition_theorem():
    rng = np.random.default_rng(5)
    u, v = rng.normal(size=(2, 3, 50))
    u[:, 0], v[:, 0] = [0, 0, 1], [0, 0, -1]  # the poles
    u[:, 1], v[:, 1] = [1, 0, 0], [0, 1, 0]
    u, v = (one / np.linalg.norm(one, axis=0) for one in (u, v))
    degree = 16
    both = jnp.asarray(np.stack([u, v]))
    at = jax.jit(functools.partial(harmonics, degree=degree))
    products = np.asarray(at(both)).prod(axis=0)
    for order in range(degree + 1):
        expected = scipy.special.eval_legendre(order, np.sum(u * v, axis=0))
        found = products[order**2 : (order + 1) ** 2].sum(axis=0)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


def descriptor_of(*names, elements=(1, 6, 8)):
    parts = tuple(PARTS[name] for name in names)
    n_features = sum(len(part.labels) for part in parts)
    return ACSF(parts, identity_scaling(elements, n_features))


def energy_of(descriptor, system, neighbors, strain):
    """Some smooth function of all features."""
    moved = system.strained(strain)
    features = descriptor(environment_from_shifts(moved, neighbors))
    slopes = jnp.sin(1.0 + jnp.arange(features.size)).reshape(features.shape)
    return jnp.sum(jnp.sin(slopes * features))


@jax.jit
def derivatives(descriptor, system, neighbors):
    def energy(positions, strain):
        moved = lrpot.System(positions, system.numbers, cell=system.cell)
        return energy_of(descriptor, moved, neighbors, strain)

    return jax.value_and_grad(energy, argnums=(0, 1))(system.positions, jnp.zeros((3, 3)))


@pytest.mark.parametrize("kind", SYSTEMS)
def test_linearised_descriptor_gives_the_same_value_forces_and_stress(kind):
    system = SYSTEMS[kind]
    neighbors = neighbor_list(system, CUTOFF)
    descriptor = descriptor_of("radial", "wide, weighted")
    scaling = descriptor.scaling
    rng = np.random.default_rng(8)
    scaling = eqx.tree_at(
        lambda s: (s.offset, s.factor),
        scaling,
        tuple(jnp.asarray(rng.uniform(0.5, 1.5, scaling.offset.shape)) for _ in range(2)),
    )
    descriptor = ACSF(descriptor.parts, scaling)
    environment = environment_from_shifts(system, neighbors)
    frozen = jax.jit(linearise)(descriptor, environment)
    value, (forces, stress) = derivatives(descriptor, system, neighbors)
    frozen_value, (frozen_forces, frozen_stress) = derivatives(frozen, system, neighbors)
    assert float(jnp.abs(forces).max()) > 0.1
    np.testing.assert_allclose(frozen_value, value, rtol=1e-13)
    np.testing.assert_allclose(frozen_forces, forces, rtol=0, atol=1e-11 * jnp.abs(forces).max())
    np.testing.assert_allclose(frozen_stress, stress, rtol=0, atol=1e-11 * jnp.abs(stress).max())


@pytest.mark.parametrize("kind", SYSTEMS)
def test_forces_and_stress_are_central_differences(kind):
    # tanh3 throughout: with `cos` the third derivative is infinite at the cutoff.
    system = SYSTEMS[kind]
    neighbors = neighbor_list(system, CUTOFF + 0.1)
    descriptor = descriptor_of("radial", "wide, weighted", "narrow")
    energy = jax.jit(functools.partial(energy_of, descriptor))
    _, (forces, stress) = derivatives(descriptor, system, neighbors)
    rng = np.random.default_rng(4)
    step = 1e-5
    for _ in range(3):
        move, strain = jnp.asarray(rng.normal(size=(system.n_atoms, 3))), rng.normal(size=(3, 3))
        up, down = (
            energy(
                lrpot.System(system.positions + sign * move, system.numbers, cell=system.cell),
                neighbors,
                jnp.asarray(sign * strain),
            )
            for sign in (step, -step)
        )
        expected = jnp.sum(forces * move) + jnp.sum(stress * strain)
        np.testing.assert_allclose((up - down) / (2 * step), expected, rtol=1e-7)


def packed(found_pairs, n_slots):
    """Pairs of slots (j, k), j < k, of each atom, in any order."""
    found = {}
    bits = n_slots.bit_length()
    blocks = zip(
        *(np.asarray(one) for one in (found_pairs.slots, found_pairs.atom, found_pairs.filled)),
        strict=True,
    )
    for number, block in enumerate(blocks):
        for slots, atom, filled in zip(*block, strict=True):
            assert filled == 0 or number < found_pairs.n_blocks
            both = [divmod(code, 1 << bits) for code in slots[:filled].tolist()]
            found.setdefault(int(atom), []).extend(tuple(sorted(pair)) for pair in both)
    return found


@pytest.mark.parametrize("narrow", [True, False])
@pytest.mark.parametrize(("n_slots", "countable"), [(2, 1 << 24), (3, 1), (24, 1 << 24), (61, 1)])
def test_pairs_are_packed_each_once_and_none_is_lost(narrow, n_slots, countable, monkeypatch):
    monkeypatch.setattr(pairs, "COUNTABLE", countable)
    rng = np.random.default_rng(n_slots)
    vectors = rng.uniform(-3, 3, size=(5, n_slots, 3))
    vectors[3] = [FAR, 0, 0]  # an atom without neighbours
    vectors[4] = rng.uniform(-1, 1, size=(n_slots, 3))  # and one with all of them, all near
    found = packed(pairs.near_pairs(jnp.asarray(vectors), CUTOFF, narrow=narrow), n_slots)
    for atom, around in enumerate(vectors):
        distances = np.linalg.norm(around[:, None] - around[None, :], axis=-1)
        inside = np.linalg.norm(around, axis=-1) < CUTOFF
        near = inside[:, None] & inside[None, :] & ((distances < CUTOFF) | (not narrow))
        expected = list(zip(*(axis.tolist() for axis in np.triu(near, 1).nonzero()), strict=True))
        assert sorted(found.get(atom, [])) == expected


def test_chunks_change_neither_features_nor_their_derivatives(monkeypatch):
    system = SYSTEMS["cluster"]
    neighbors = neighbor_list(system, CUTOFF + 0.1)
    descriptor = descriptor_of("radial", "wide, weighted", "narrow")

    @jax.jit
    def everything(move):
        def energy(t):
            moved = lrpot.System(system.positions + t * move, system.numbers)
            return energy_of(descriptor, moved, neighbors, jnp.zeros((3, 3)))

        return energy(0.0), jax.grad(energy)(0.0), jax.grad(jax.grad(energy))(0.0)

    move = jnp.asarray(np.random.default_rng(3).normal(size=(system.n_atoms, 3)))
    whole = everything(move)
    # Three atoms at a time: the last chunk of the seven is filled up.
    monkeypatch.setattr(chunks, "at_once", lambda: 3 * neighbors.index.shape[1])
    jax.clear_caches()
    np.testing.assert_allclose(everything(move), whole, rtol=1e-12)


def sample(seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(40, 5)) * [1.0, 10.0, 0.1, 3.0, 1.0] + [0, 5, -1, 100, 2]
    numbers = rng.choice([0, 1, 8], size=40)
    features[numbers == 8, 3] = 7.0  # constant for oxygen only
    features[:, 4] = 0.25 + 1e-13 * rng.normal(size=40)  # constant up to rounding
    return features, numbers


@pytest.mark.parametrize("mode", ["scale_center", "scale", "center", "sigma", "none"])
def test_scaling_follows_its_formula(mode):
    features, numbers = sample()
    scaling = scaling_from_data(features, numbers, (1, 8), mode=mode)
    formula = {
        "scale_center": lambda G: (G - G.mean(0)) / (G.max(0) - G.min(0)),
        "scale": lambda G: (G - G.min(0)) / (G.max(0) - G.min(0)),
        "center": lambda G: G - G.mean(0),
        "sigma": lambda G: (G - G.mean(0)) / G.std(0),
        "none": lambda G: G,
    }[mode]
    real = numbers > 0
    found = np.asarray(scaling(jnp.asarray(features[real]), jnp.asarray(numbers[real])))
    for row, element in enumerate((1, 8)):
        of_element = features[numbers == element]
        varying = [0, 1, 2, 3] if element == 1 else [0, 1, 2]
        here = found[numbers[real] == element]
        np.testing.assert_allclose(here[:, varying], formula(of_element[:, varying]), atol=1e-12)
        constant = [column for column in range(5) if column not in varying]
        kept = of_element[:, constant] if mode == "none" else 0.0
        np.testing.assert_array_equal(here[:, constant], kept)
        np.testing.assert_array_equal(scaling.minimum[row], of_element.min(0))
        np.testing.assert_array_equal(scaling.maximum[row], of_element.max(0))


@pytest.mark.parametrize("mode", ["scale_center", "scale", "center", "sigma"])
def test_constant_features_are_dropped_and_not_divided_by_nothing(mode):
    features, numbers = sample()
    scaling = scaling_from_data(features, numbers, (1, 8), mode=mode)
    np.testing.assert_array_equal(scaling.factor == 0, [[0, 0, 0, 0, 1], [0, 0, 0, 1, 1]])
    elsewhere = scaling(jnp.full((1, 5), 1e3), jnp.array([8]))
    np.testing.assert_array_equal(elsewhere[0, 3:], 0.0)


def test_scaling_needs_every_element_in_the_data():
    features, numbers = sample()
    with pytest.raises(InputError, match=r"Element 6 .*\(1, 6, 8\).*does not occur"):
        scaling_from_data(features, numbers, (1, 6, 8))


def test_unknown_scaling_suggests_the_nearest():
    features, numbers = sample()
    with pytest.raises(InputError, match=r"`sigmas`.*Did you mean `sigma`"):
        scaling_from_data(features, numbers, (1, 8), mode="sigmas")


@pytest.mark.parametrize("shells", [(), ((-0.1, 0.0),)])
def test_shells_need_a_positive_exponent(shells):
    with pytest.raises(InputError, match="at least one pair"):
        Shells(shells, CUTOFF)


def test_angles_need_a_power():
    with pytest.raises(InputError, match="at least one pair"):
        CosinePowers(())


DEFAULTS = {
    "hydrogen": (("H",), {}),
    "hydrocarbon": (("C", "H"), {}),
    "five elements": (("H", "C", "N", "O", "S"), {}),
    "five elements, weighted": (("H", "C", "N", "O", "S"), {"weighted": True}),
    "hydrocarbon, narrow": (("C", "H"), {"narrow": True}),
    "hydrocarbon, short angular part": (("C", "H"), {"angular_cutoff": 4.0}),
    "hydrocarbon, one shell": (("C", "H"), {"spacing": 5.5, "shells": 1, "zetas": (3.0,)}),
}


@pytest.mark.parametrize("case", DEFAULTS)
def test_default_features_are_named_finite_and_all_of_them_vary(case):
    elements, options = DEFAULTS[case]
    descriptor = default_acsf(elements, **options)
    environments = [
        surroundings(
            random_neighbors(24, seed, cutoff=6.0, elements=descriptor.scaling.elements), 24
        )
        for seed in range(12)
    ]
    batch = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *environments)
    features = np.asarray(jax.jit(lambda batch: descriptor.raw(batch))(batch))
    assert features.shape == (12, descriptor.n_features)
    assert len(descriptor.labels) == len(set(descriptor.labels)) == descriptor.n_features
    assert np.isfinite(features).all()
    spread = features.max(axis=0) - features.min(axis=0)
    assert spread.min() > 1e-3, descriptor.labels[int(spread.argmin())]


def test_weighted_default_does_not_grow_with_the_number_of_elements():
    few, many = (
        default_acsf(elements, weighted=True).n_features for elements in (("H",), ("H", "C", "O"))
    )
    assert few == many


def test_default_radial_functions_cover_the_whole_range():
    descriptor = default_acsf(("H",), cutoff=6.0)
    curve = jax.jit(jax.vmap(lambda r: descriptor.parts[0](_pair_at(r))[0]))
    distances = jnp.linspace(0.8, 5.5, 48)
    # Wherever a neighbour is, some function responds to its motion.
    slopes = jnp.gradient(curve(distances), axis=0) / (distances[1] - distances[0])
    assert float(jnp.abs(slopes).max(axis=1).min()) > 1e-3


def _pair_at(distance):
    vector = distance * jnp.array([0.6, 0.0, 0.8])
    one = jnp.ones((1, 1), dtype=jnp.int32)
    return Environment.of_vectors(vector[None, None], 0 * one, one[0], one)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"angular_cutoff": 7.0}, "A default set needs 0 < angular_cutoff <= cutoff"),
        ({"angular_cutoff": 0.0}, "`angular_cutoff` must be at least 0.1"),
        ({"spacing": 0.0}, "`spacing` must be at least 0.001"),
        ({"shells": 0}, "`shells` must be at least 1"),
    ],
)
def test_default_set_refuses_shells_that_do_not_fit(options, message):
    with pytest.raises(InputError, match=message):
        default_acsf(("H",), cutoff=6.0, **options)
