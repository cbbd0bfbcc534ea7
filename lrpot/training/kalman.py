"""The extended Kalman filter: second-order training that learns from each observation once.

With the parameters w as the state of a system that does not move, errors ξ and derivatives H of
the predictions, one update is

    X = P Hᵀ,   S = H X + R,   w ← w + X S⁻¹ ξ,   P ← (P − X S⁻¹ Xᵀ)/λ + q.

For predictions linear in w this is recursive least squares: after any number of updates w is the
minimum of Σ ξ²/R + |w − w₀|²/P₀ over all observations so far. P, the covariance of the parameters,
is what other optimisers forget from step to step.
"""

import dataclasses
import math
from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from lrpot.config import NotNegative, Positive, Share, check_fields
from lrpot.data import Batch
from lrpot.errors import InputError, suggestion
from lrpot.potential import Potential
from lrpot.training.devices import ONE, Devices
from lrpot.training.observations import observe

Coupling = Literal["auto", "global", "element", "layer"]

COVARIANCE_AT_MOST = 2e9
"""Memory that the covariance may take, in bytes."""

COUPLED_AT_MOST = 3500
"""Parameters of the largest group before `auto` couples fewer: an update takes the square."""


@dataclasses.dataclass(frozen=True)
class Kalman:
    """Settings of the extended Kalman filter.

    The defaults need no tuning: the noise of the observations is what they turn out to be, so
    that early updates are careful and late ones exact, and the first weights, drawn with a
    variance of about 1, are their own prior. The published schedules are among the other values.
    *Standard* [blank:94, singraberb:19]: `noise` falls by a decade per epoch down to `noise_floor`,
    `process_noise` likewise. *Fading memory*: `forgetting` λ < 1, which tends to 1.

    Attributes:
        variance: P₀, of the parameters before training.
        noise: R of the first update, in the unit of the loss; `None` for the mean squared error
            of the observations over the last half epoch times the number of passes over the data.
        noise_floor: Least R.
        process_noise: q of the first update.
        process_noise_floor: Least q.
        forgetting: λ of the first update; 1 forgets nothing.
        forgetting_rate: ν of λ ← ν λ + 1 − ν, after every update.
        forces: Share of the force components of a structure that an update looks at.
        threshold: Components whose error is above `threshold` times the root mean square of the
            structure are taken first; 0 to choose without looking.
        coupling: Parameters with a common covariance: `global` for all, `element` for those of
            one element, `layer` for those of one layer of one element [puskorius:91]; `auto`
            takes the first of these with at most `COUPLED_AT_MOST` in a group.
    """

    variance: Positive = 1.0
    noise: Positive | None = None
    noise_floor: Positive = 1e-12
    process_noise: NotNegative = 0.0
    process_noise_floor: NotNegative = 0.0
    forgetting: Share = 1.0
    forgetting_rate: Share = 0.9987
    forces: Share = 0.2
    threshold: NotNegative = 0.8
    coupling: str = "auto"

    def __post_init__(self):
        check_fields(self)
        known = get_args(Coupling)
        if self.coupling not in known:
            raise InputError(
                f"Unknown coupling `{self.coupling}`. {suggestion(self.coupling, known)}"
            )


class FilterState(eqx.Module):
    """What the filter remembers from update to update.

    Attributes:
        covariance: P, one matrix for each group of coupled parameters.
        noise: Running mean of the squared errors, in the unit of the loss.
        updates: How many there have been.
    """

    covariance: tuple[Float[Array, "_ _"], ...]
    noise: Float[Array, ""]
    updates: Int[Array, ""]


class KalmanFilter:
    """Updates of the parameters of one stage.

    Args:
        settings: Of the filter.
        weights: Weight of each label in the loss; observations count by its square root.
        updates_per_epoch: What schedules refer to.
        seed: Of the choice of force components.
        devices: That share the structures of an update.
    """

    def __init__(
        self,
        settings: Kalman,
        weights: dict[str, float],
        *,
        updates_per_epoch: int,
        seed: int,
        devices: Devices = ONE,
    ):
        self.settings, self.weights, self.seed, self.devices = settings, weights, seed, devices
        self.updates_per_epoch = updates_per_epoch

    def start(self, parameters: Potential) -> FilterState:
        """The state before the first update.

        Raises:
            InputError: In single precision, or if even the least coupling takes too much memory.
        """
        flat, _ = ravel_pytree(parameters)
        if flat.dtype != jnp.float64:
            raise InputError(
                "The Kalman filter needs double precision: in single precision its covariance "
                "does not stay positive definite. Turn `jax_enable_x64` on, or train with "
                '`optimiser="adam"`.'
            )
        sizes = [len(group) for group in coupled(parameters, self.settings.coupling)]
        covariance = tuple(self.settings.variance * jnp.eye(size) for size in sizes)
        return FilterState(covariance, jnp.zeros(()), jnp.zeros((), jnp.int32))

    def update(
        self, parameters: Potential, state: FilterState, rest: Potential, batch: Batch
    ) -> tuple[Potential, FilterState, dict[str, Array]]:
        """One update with all structures of a batch at once.

        Args:
            parameters, rest: What is learnt of the potential, and all else.
            state: From `start`, or the last update.
            batch: Structures, each of which is several observations.

        Returns:
            New parameters and state, and the mean squared error of each label before the update.
        """
        settings = self.settings
        flat, unravel = ravel_pytree(parameters)
        key = jax.random.fold_in(jax.random.key(self.seed), state.updates)
        found, means = observe(
            parameters,
            rest,
            batch,
            self.weights,
            share=settings.forces,
            threshold=settings.threshold,
            key=key,
            devices=self.devices,
        )
        measured = jnp.sum(found.errors**2) / jnp.maximum(found.present.sum(), 1)
        rate = jnp.where(state.updates == 0, 1.0, min(1.0, 2 / self.updates_per_epoch))
        measured = state.noise + rate * (measured - state.noise)
        noise, process_noise, forgetting = schedule(
            settings, state.updates, measured, self.updates_per_epoch
        )
        groups = coupled(parameters, settings.coupling)
        steps, covariance = kalman_update(
            state.covariance,
            [found.rows[:, group] for group in groups],
            found.errors,
            noise,
            process_noise=process_noise,
            forgetting=forgetting,
        )
        for group, step in zip(groups, steps, strict=True):
            flat = flat.at[group].add(step)
        return unravel(flat), FilterState(covariance, measured, state.updates + 1), means


def kalman_update(
    covariance: tuple[Float[Array, "_ _"], ...],
    rows: list[Float[Array, "observations _"]],
    errors: Float[Array, " observations"],
    noise: Float[Array, ""],
    *,
    process_noise: Float[Array, ""] | float = 0.0,
    forgetting: Float[Array, ""] | float = 1.0,
) -> tuple[list[Float[Array, " _"]], tuple[Float[Array, "_ _"], ...]]:
    """One update by several observations at once (multi-stream).

    Groups of parameters share the innovations S = Σ H P Hᵀ + R and nothing else. An observation
    whose row and error are 0 changes nothing.

    Args:
        covariance: P of each group.
        rows: H of each group, the derivative of every prediction by its parameters.
        errors: ξ, reference minus prediction.
        noise: R, the variance of each error.
        process_noise: q, added to the diagonal of P.
        forgetting: λ, by which P is divided.

    Returns:
        What to add to the parameters of each group, and the new P.
    """
    spread = [one @ row.T for one, row in zip(covariance, rows, strict=True)]
    innovation = noise * jnp.eye(len(errors)) + sum(
        row @ one for row, one in zip(rows, spread, strict=True)
    )
    factor = jnp.linalg.cholesky(innovation)
    # With S = L Lᵀ and Y = L⁻¹ X the new P is P − Yᵀ Y, symmetric as it stands.
    whitened = [jax.scipy.linalg.solve_triangular(factor, one.T, lower=True) for one in spread]
    surprise = jax.scipy.linalg.solve_triangular(factor, errors, lower=True)
    kept = [
        (one - half.T @ half) / forgetting + process_noise * jnp.eye(len(one))
        for one, half in zip(covariance, whitened, strict=True)
    ]
    return [surprise @ half for half in whitened], tuple(kept)


def schedule(
    settings: Kalman, updates: Int[Array, ""], measured: Float[Array, ""], updates_per_epoch: int
) -> tuple[Array, Array, Array]:
    """R, q and λ after so many updates.

    Args:
        settings: Of the filter.
        updates: So far.
        measured: Running mean of the squared errors.
        updates_per_epoch: R and q fall by a decade in so many.
    """
    decline = 10.0 ** (-updates / updates_per_epoch)
    passes = 1 + updates / updates_per_epoch
    # The same data once more are no new information: without `passes` training overfits.
    noise = measured * passes if settings.noise is None else settings.noise * decline
    process_noise = jnp.maximum(settings.process_noise * decline, settings.process_noise_floor)
    forgetting = 1 - (1 - settings.forgetting) * settings.forgetting_rate**updates
    return jnp.maximum(noise, settings.noise_floor), process_noise, forgetting


def coupled(parameters: Potential, coupling: str) -> list[np.ndarray]:
    """Positions in the flat parameters of those that share a covariance, group by group.

    Raises:
        InputError: If the covariance takes more than `COVARIANCE_AT_MOST`.
    """
    choices = ("global", "element", "layer") if coupling == "auto" else (coupling,)
    found: list[np.ndarray] = []
    for choice in choices:
        names = _names(parameters, choice)
        found = [np.flatnonzero(names == name) for name in np.unique(names)]
        if max(map(len, found)) <= COUPLED_AT_MOST:
            break
    if sum(len(group) ** 2 for group in found) * 8 <= COVARIANCE_AT_MOST:
        return found
    raise InputError(
        f"With the coupling `{choices[-1]}` the covariance of {sum(map(len, found))} parameters "
        f"takes {sum(len(group) ** 2 for group in found) * 8e-9:.1f} GB, and at most "
        f"{COVARIANCE_AT_MOST * 1e-9:g} GB are allowed. Couple less, take smaller networks, or "
        'train with `optimiser="adam"`.'
    )


def _names(parameters: Potential, coupling: str) -> np.ndarray:
    """For every flat parameter the name of its group."""
    names = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(parameters):
        # Weights and biases of a layer are at the same place of two tuples.
        layer = jax.tree_util.keystr(path).replace(".weights", "").replace(".biases", "")
        rows = [
            {"global": "", "element": f"{row}", "layer": f"{layer} {row}"}[coupling]
            for row in range(len(leaf))  # the first axis of all that is learnt: elements
        ]
        names.append(np.repeat(rows, math.prod(leaf.shape[1:])))
    return np.concatenate(names)
