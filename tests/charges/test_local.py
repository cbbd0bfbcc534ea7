"""Local charges and the rules that bring them to the total charge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot.charges import Constraints, LocalCharges, equilibrate
from lrpot.charges.iterative import ChargeMatrix
from lrpot.electrostatics import CoulombSum
from lrpot.electrostatics.open import OpenOperator
from lrpot.environment import environment_from_shifts
from lrpot.neighbors import neighbor_list
from lrpot.networks import ElementNetworks
from lrpot.units import KE

ELEMENTS = (1, 8)
COULOMB = CoulombSum(4.0, 1e-8)
NUMBERS = np.array([8, 1, 1])
POSITIONS = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
RAW = np.array([-0.8, 0.3, 0.6])
LOGITS = np.array([1.2, -0.5, 0.3])
RADII = jnp.array([0.31, 0.66])

each_charge = pytest.mark.parametrize("total_charge", [-1.0, 0.0, 1.0])


@jax.jit
def _charges(model, features, system, neighbors):
    return model(features, system, environment_from_shifts(system, neighbors))


def charges_of(
    rule, raw=RAW, logits=LOGITS, total_charge=0.0, positions=POSITIONS, numbers=NUMBERS, radii=None
):
    """Local charges whose networks hand on the features: charge, and for `weighted` its logit."""
    n = 2 if rule == "weighted" else 1
    identity = jnp.broadcast_to(jnp.eye(n), (2, n, n))
    networks = ElementNetworks(ELEMENTS, (identity,), (jnp.zeros((2, n)),), ("linear",))
    model = LocalCharges(networks, radii, COULOMB, rule)
    features = jnp.stack([jnp.asarray(raw), jnp.asarray(logits)][:n], axis=-1)
    system = lrpot.System(positions, numbers, total_charge=total_charge)
    return _charges(model, features, system, neighbor_list(system, 4.0, capacity=8))


def softplus(x):
    return np.log1p(np.exp(x))


def test_without_a_rule_charges_are_what_the_networks_say():
    found = charges_of("none", total_charge=1.0)
    np.testing.assert_array_equal(found.charges, RAW)
    assert found.converged
    assert found.multiplier is None
    assert found.electronegativity is None


@each_charge
def test_uniform_rule_shares_the_excess_equally(total_charge):
    found = charges_of("uniform", total_charge=total_charge).charges
    np.testing.assert_allclose(found, RAW + (total_charge - RAW.sum()) / 3, rtol=0, atol=1e-15)
    assert float(found.sum()) == pytest.approx(total_charge, abs=1e-15)


@each_charge
def test_weighted_rule_shares_the_excess_by_weight(total_charge):
    found = charges_of("weighted", total_charge=total_charge).charges
    share = softplus(LOGITS) / softplus(LOGITS).sum()
    np.testing.assert_allclose(found, RAW + share * (total_charge - RAW.sum()), rtol=0, atol=1e-15)
    assert float(found.sum()) == pytest.approx(total_charge, abs=1e-15)


@each_charge
def test_weighted_rule_is_an_equilibration_without_coulomb_interaction(total_charge):
    """J = 1/w and χ = -q/w: Σ χQ + ½JQ² is minimal at Q = q + w (Q_tot - Σq)/Σw."""
    weights = softplus(LOGITS)
    expected, _ = equilibrate(
        ChargeMatrix(OpenOperator(jnp.zeros((3, 3))), jnp.asarray(1 / weights), jnp.ones(3)),
        jnp.asarray(-RAW / weights),
        Constraints(jnp.ones((1, 3)), jnp.array([total_charge]), jnp.ones(3)),
    )
    found = charges_of("weighted", total_charge=total_charge).charges
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)
    # The same by numpy.
    bordered = np.zeros((4, 4))
    bordered[:3, :3], bordered[3, :3], bordered[:3, 3] = np.diag(1 / weights), 1, 1
    dense = np.linalg.solve(bordered, [*(RAW / weights), total_charge])[:3]
    np.testing.assert_allclose(found, dense, rtol=0, atol=1e-14)


def with_distant_water(rule, far_logit):
    """An ion beside a neutral molecule 500 Å away."""
    return charges_of(
        rule,
        raw=np.concatenate([RAW, [-0.7, 0.3, 0.4]]),
        logits=np.concatenate([LOGITS, np.full(3, far_logit)]),
        total_charge=1.0,
        positions=np.concatenate([POSITIONS, POSITIONS + np.array([500.0, 0, 0])]),
        numbers=np.tile(NUMBERS, 2),
    ).charges


def test_uniform_rule_is_not_size_consistent():
    alone = charges_of("uniform", total_charge=1.0).charges
    pair = with_distant_water("uniform", 0.0)
    # The distant, neutral molecule takes half of the missing charge of 0.9 e.
    assert float(pair[3:].sum()) == pytest.approx(0.45, abs=1e-14)
    np.testing.assert_allclose(alone - pair[:3], 0.15, rtol=0, atol=1e-14)


def test_weighted_rule_is_size_consistent_when_the_distant_molecule_has_no_weight():
    alone = charges_of("weighted", total_charge=1.0).charges
    pair = with_distant_water("weighted", -800.0)  # softplus is exactly 0 there
    np.testing.assert_allclose(pair[:3], alone, rtol=0, atol=1e-15)
    np.testing.assert_allclose(pair[3:], [-0.7, 0.3, 0.4], rtol=0, atol=1e-15)
    # With a weight it is not.
    shared = with_distant_water("weighted", 0.0)
    assert float(jnp.abs(shared[:3] - alone).max()) > 0.05


@pytest.mark.parametrize("rule", ["none", "uniform", "weighted"])
def test_padding_atoms_carry_nothing_and_take_no_share(rule):
    expected = charges_of(rule, total_charge=1.0, radii=RADII)
    padded = charges_of(
        rule,
        raw=np.concatenate([[9.0], RAW, [9.0]]),
        logits=np.concatenate([[5.0], LOGITS, [5.0]]),
        total_charge=1.0,
        positions=np.pad(POSITIONS, ((1, 1), (0, 0))),
        numbers=np.pad(NUMBERS, 1),
        radii=RADII,
    )
    np.testing.assert_array_equal(padded.charges[jnp.array([0, 4])], 0.0)
    np.testing.assert_allclose(padded.charges[1:4], expected.charges, rtol=0, atol=1e-15)
    np.testing.assert_allclose(padded.phi[1:4], expected.phi, rtol=0, atol=1e-13)


def test_potential_is_that_of_the_corrected_charges():
    found = charges_of("uniform", total_charge=1.0)
    q, r = np.asarray(found.charges), np.linalg.norm(POSITIONS[:, None] - POSITIONS, axis=-1)
    inverse = np.where(r > 0, 1 / np.where(r > 0, r, 1), 0)
    np.testing.assert_allclose(found.phi, KE * inverse @ q, rtol=1e-13)


@pytest.mark.parametrize("rule", ["uniform", "weighted"])
def test_derivatives_of_charges_include_the_correction(rule):
    """By central differences, and a uniform shift of all raw charges changes nothing."""

    def weighted_sum(raw, logits):
        charges = charges_of(rule, raw=raw, logits=logits, total_charge=0.3).charges
        return jnp.sum(jnp.array([0.4, -1.3, 2.0]) * charges)

    raw, logits = jnp.asarray(RAW), jnp.asarray(LOGITS)
    slopes = jax.grad(weighted_sum, argnums=(0, 1))(raw, logits)
    step = 1e-6
    for argument in range(2):
        for atom in range(3):
            moved = [[raw, logits], [raw, logits]]
            for sign, values in zip((step, -step), moved, strict=True):
                values[argument] = values[argument].at[atom].add(sign)
            up, down = (float(weighted_sum(*values)) for values in moved)
            found = float(slopes[argument][atom])
            assert found == pytest.approx((up - down) / (2 * step), abs=1e-9)
    weights = np.ones(3) if rule == "uniform" else softplus(LOGITS)
    # Charge that is added in proportion to the weights is taken away again.
    assert float(slopes[0] @ weights) == pytest.approx(0.0, abs=1e-14)
