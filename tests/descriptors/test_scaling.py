"""Statistics of features that hardly vary, or of few samples: nothing is blown up."""

import numpy as np
import pytest

from lrpot.descriptors import scaling_from_data
from lrpot.descriptors.scaling import LEAST_SPREAD

NUMBERS = np.full(2000, 8)


def factors(features, numbers=NUMBERS, **settings):
    return np.asarray(scaling_from_data(features, numbers, (8,), **settings).factor[0])


@pytest.mark.parametrize("mode", ["sigma", "scale", "scale_center"])
def test_a_spread_from_rounding_is_not_blown_up(mode):
    noise = 1e-9 * np.random.default_rng(0).normal(size=(2000, 3))
    np.testing.assert_allclose(factors(0.4 + noise, mode=mode), 1 / LEAST_SPREAD)


def test_features_that_vary_are_scaled_by_their_own_spread():
    features = np.random.default_rng(0).normal(size=(2000, 3)) * [0.3, 0.02, 1e-6]
    expected = 1 / np.array([*features.std(axis=0)[:2], 1e-3 * features.std(axis=0)[0]])
    np.testing.assert_allclose(factors(features), expected)


def test_few_samples_do_not_tell_a_small_spread_from_chance():
    """Of four samples, one feature agrees to 1e-5 by chance; a fifth may have it elsewhere."""
    features = np.array([[0.1, 0.5], [0.2, 0.50001], [0.3, 0.5], [0.4, 0.50001]])
    spread = features[:, 0].std()
    np.testing.assert_allclose(factors(features, NUMBERS[:4]), [1 / spread, 16 / spread])


def test_a_feature_that_is_the_only_one_can_have_an_absolute_floor():
    charges = -0.8 + 1e-5 * np.random.default_rng(0).normal(size=(2000, 1))
    np.testing.assert_allclose(factors(charges, least=0.01), 100.0)
