"""AdamW: first-order training with a cosine schedule."""

from typing import Any

import equinox as eqx
import jax
import optax
from jaxtyping import Array

from lrpot.data import Batch
from lrpot.potential import Potential
from lrpot.training.devices import ONE, Devices
from lrpot.training.loss import loss


class Adam:
    """Updates of the parameters of one stage [kingma:15, loshchilov:19].

    Args:
        weights: Weight of each label in the loss.
        learning_rate: Its highest value, reached after the first 2 % of the updates; the last is
            a hundredth of it.
        weight_decay: Relative to the learning rate.
        clip: Largest norm of a gradient.
        updates: How many there will be.
        devices: That share the structures of an update.
    """

    def __init__(
        self,
        weights: dict[str, float],
        *,
        learning_rate: float,
        weight_decay: float,
        clip: float,
        updates: int,
        devices: Devices = ONE,
    ):
        schedule = optax.warmup_cosine_decay_schedule(
            init_value=0.1 * learning_rate,
            peak_value=learning_rate,
            warmup_steps=updates // 50 + 1,
            decay_steps=max(updates, updates // 50 + 2),
            end_value=0.01 * learning_rate,
        )
        self.weights, self.devices = weights, devices
        self._transformation = optax.chain(
            optax.clip_by_global_norm(clip),
            optax.adamw(schedule, b2=0.99, weight_decay=weight_decay),
        )

    def start(self, parameters: Potential) -> Any:
        """The state before the first update."""
        return self._transformation.init(parameters)  # pyright: ignore[reportArgumentType]  (any tree will do)

    def update(
        self, parameters: Potential, state: Any, rest: Potential, batch: Batch
    ) -> tuple[Potential, Any, dict[str, Array]]:
        """New parameters and state, and the mean squared error of each label before the update."""

        def objective(parameters: Potential) -> tuple[Array, dict[str, Array]]:
            potential = eqx.combine(parameters, rest)
            return loss(potential, batch, self.weights, devices=self.devices)

        gradient, means = jax.grad(objective, has_aux=True)(parameters)
        step, state = self._transformation.update(
            gradient,
            state,
            parameters,  # pyright: ignore[reportArgumentType]  (as above)
        )
        return eqx.apply_updates(parameters, step), state, means
