"""L-BFGS: second-order training by gradients of the whole data."""

from collections.abc import Callable
from typing import Any

import optax
from jaxtyping import Array, Float

from lrpot.potential import Potential

MEMORY = 20
"""Steps whose change of the gradient is remembered."""

SEARCH_AT_MOST = 20
"""Evaluations along one direction."""


class Lbfgs:
    """Updates of the parameters of one stage [nocedal:06].

    A direction from the last gradients, and a search along it for a point that meets the strong
    Wolfe conditions: the loss falls with every update.
    """

    def __init__(self):
        self._transformation = optax.lbfgs(
            memory_size=MEMORY,
            linesearch=optax.scale_by_zoom_linesearch(SEARCH_AT_MOST, initial_guess_strategy="one"),
        )

    def start(self, parameters: Potential) -> Any:
        """The state before the first update."""
        return self._transformation.init(parameters)  # pyright: ignore[reportArgumentType]  (any tree will do)

    def update(
        self, parameters: Potential, state: Any, objective: Callable[[Potential], Float[Array, ""]]
    ) -> tuple[Potential, Any]:
        """New parameters and state.

        Args:
            parameters: What is learnt.
            state: Of the update before, or from `start`.
            objective: The loss over all data.
        """
        # What the search ended with is where this one begins.
        value, gradient = optax.value_and_grad_from_state(objective)(parameters, state=state)
        step, state = self._transformation.update(
            gradient,
            state,
            parameters,  # pyright: ignore[reportArgumentType]  (as above)
            value=value,
            grad=gradient,
            value_fn=objective,
        )
        return optax.apply_updates(parameters, step), state  # pyright: ignore
