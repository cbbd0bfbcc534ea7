"""One answer, whatever way it is computed: compiled or not, batched or not, float32 or float64."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import lrpot


def single(tree):
    """The same tree in float32."""
    return jax.tree.map(lambda a: a.astype(jnp.float32) if eqx.is_inexact_array(a) else a, tree)


def scale_of(prediction):
    return float(jnp.abs(prediction.forces).max())


def test_float32_gives_the_same_answer_in_float32(potential, boundary, contract):
    neighbors = contract.neighbors(potential, boundary)
    expected = contract.evaluate(potential, boundary, neighbors)
    found = contract.evaluate(single(potential), single(boundary), neighbors)
    for leaf in jax.tree.leaves(found):
        assert leaf.dtype in (jnp.float32, bool)
    scale = scale_of(expected)
    np.testing.assert_allclose(found.energy, expected.energy, atol=2e-5 * scale)
    np.testing.assert_allclose(found.forces, expected.forces, atol=5e-5 * scale)
    if expected.stress is not None:
        np.testing.assert_allclose(found.stress, expected.stress, atol=2e-5 * scale)
    if expected.charges is not None:
        np.testing.assert_allclose(found.charges, expected.charges, atol=2e-5)


def test_compiled_and_eager_agree(model, crystal, contract):
    neighbors = contract.neighbors(model, crystal)
    expected = lrpot.evaluate(model, crystal, neighbors, forces=False, stress=False)
    found = contract.evaluate(model, crystal, neighbors)
    for name in ("energy", "energies", "charges", "electronegativity", "converged"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)


def test_vmap_and_loop_agree(model, boundary, contract):
    """Over geometries, cells, neighbour lists and total charges."""
    rng = np.random.default_rng(6)
    systems = []
    for total_charge in (-1.0, 0.0, 2.0):
        strain = jnp.asarray(0.01 * rng.normal(size=(3, 3)))
        system = contract.charged(boundary, total_charge).strained(strain)
        noise = jnp.asarray(0.03 * rng.normal(size=system.positions.shape))
        systems.append(eqx.tree_at(lambda s: s.positions, system, system.positions + noise))
    lists = [contract.neighbors(model, system) for system in systems]
    stacked = jax.tree.map(lambda *arrays: jnp.stack(arrays), *zip(systems, lists, strict=True))
    batched = jax.jit(jax.vmap(lambda *pair: lrpot.evaluate(model, *pair)))
    found = batched(*stacked)
    expected = [contract.evaluate(model, *pair) for pair in zip(systems, lists, strict=True)]
    scale = scale_of(expected[0])
    for number, one in enumerate(expected):
        row = jax.tree.map(lambda array, number=number: array[number], found)
        for a, b in zip(jax.tree.leaves(row), jax.tree.leaves(one), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11 * scale)
