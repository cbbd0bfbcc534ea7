"""The compiled steps of one stage of training."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from lrpot.data import Batch
from lrpot.potential import Potential, trainable
from lrpot.training.adam import Adam
from lrpot.training.devices import ONE, Devices
from lrpot.training.kalman import KalmanFilter
from lrpot.training.keep import keep_charges
from lrpot.training.lbfgs import Lbfgs
from lrpot.training.loss import loss, squared_errors
from lrpot.training.stages import PARTS, Stage


class State(eqx.Module):
    """Parameters of a stage, in the shape of a potential, and the state of its optimiser."""

    parameters: Potential
    average: Potential
    best: Potential
    optimiser: Any


class NotFinite(Exception):  # noqa: N818  (it says what is the case; `fit` makes an error of it)
    """An update would have made parameters or errors that are not finite, and was not made.

    Attributes:
        looked_at: The structures of that update: rows by the number of their batch.
    """

    def __init__(self, looked_at: dict[int, np.ndarray]):
        super().__init__(looked_at)
        self.looked_at = looked_at


class Trainer:
    """Compiled steps of one stage. Parameters travel, all else of the potential stays.

    A committee is trained in the same steps, vectorised: its potential is stacked, and so is all
    that depends on parameters.

    Args:
        settings: Of the stage.
        seed: Of the order of the data.
        potential: What to train, stacked for a committee.
        batches, held_out: What to train and to validate on.
        devices: That share the structures of each update.
        emphasis: For a committee, how often each member sees each structure of each batch.
    """

    def __init__(
        self,
        settings: Stage,
        seed: int,
        potential: Potential,
        batches: Sequence[Batch],
        held_out: Sequence[Batch],
        devices: Devices = ONE,
        emphasis: Sequence[np.ndarray] | None = None,
    ):
        self.is_committee = emphasis is not None
        self.emphasis = [
            None if emphasis is None else devices.place(jnp.asarray(emphasis[number]))
            for number in range(len(batches))
        ]
        self.settings, self.seed, self.devices = settings, seed, devices
        self.batches = [devices.place(batch) for batch in batches]
        self.held_out = [devices.place(batch) for batch in held_out]
        learnt = trainable(potential)
        for part in PARTS:
            if part not in settings.train:
                learnt = eqx.tree_at(
                    lambda tree, part=part: getattr(tree, part),
                    learnt,
                    jax.tree.map(lambda _: False, getattr(learnt, part)),
                    is_leaf=lambda leaf: leaf is None,
                )
        parameters, self.rest = eqx.partition(potential, learnt)
        self.weights = {
            label: weight
            for label, weight in dataclasses.asdict(settings.weights).items()
            if weight
        }
        self.sizes = [min(settings.batch_size, batch.size) for batch in batches]
        updates = sum(batch.size // size for batch, size in zip(batches, self.sizes, strict=True))
        self.optimiser = _optimiser(settings, self.weights, updates, seed, devices)
        start = self._over_members(self.optimiser.start)(parameters)
        # Weakly typed arrays would come out of the first update as others, and compile it twice.
        self.put(
            jax.tree.map(
                lambda leaf: leaf.astype(leaf.dtype) if eqx.is_array(leaf) else leaf,
                State(parameters, parameters, parameters, start),
            ),
            self.rest,
        )
        self._updates = eqx.filter_jit(self._update_all)
        self._update_by_all = eqx.filter_jit(self._update_by_all_data)
        self._errors_of_all = eqx.filter_jit(self._squared_errors)

    def put(self, state: State, rest: Potential) -> None:
        """Go on from a state, which may come from a file."""
        self.state, self.rest = self.devices.place((state, rest))

    @property
    def n_bytes(self) -> int:
        """Size of what a checkpoint stores."""
        arrays = eqx.filter((self.state, self.rest), eqx.is_array)
        return sum(leaf.nbytes for leaf in jax.tree.leaves(arrays))

    def keep_charges(self) -> None:
        """Compute charges once, if this stage leaves them alone; members of a committee differ."""
        if "charge_model" in self.settings.train or self.is_committee:
            return
        potential = eqx.combine(self.state.parameters, self.rest)
        by_cell = "stress" in self.weights
        both = keep_charges(potential, [*self.batches, *self.held_out], by_cell=by_cell)
        self.batches, self.held_out = both[: len(self.batches)], both[len(self.batches) :]

    def result(self) -> Potential:
        """The potential with the best parameters so far."""
        return self.devices.bring_back(eqx.combine(self.state.best, self.rest))

    def keep_best(self, better: np.ndarray) -> None:
        """Remember the averaged parameters as the best so far, of the members that got better."""

        def chosen(new: Array, old: Array) -> Array:
            return jnp.where(
                better.reshape(better.shape + (1,) * (new.ndim - better.ndim)), new, old
            )

        best = jax.tree.map(chosen, self.state.average, self.state.best)
        self.state = dataclasses.replace(self.state, best=best)

    def epoch(self, epoch: int) -> dict[str, float]:
        """One pass over the data in an order that depends on seed and epoch alone.

        Returns:
            Root mean square errors by label, each before the update that it led to; of `lbfgs`,
            which makes a single update, after it.

        Raises:
            NotFinite: At the first update that fails; the state is the one before it.
        """
        if isinstance(self.optimiser, Lbfgs):
            return self._epoch_of_one_update()
        random = np.random.default_rng((self.seed, epoch))
        groups = []
        for number, (batch, size) in enumerate(zip(self.batches, self.sizes, strict=True)):
            order = random.permutation(batch.size)[: batch.size // size * size].reshape(-1, size)
            groups += [
                (number, rows) for rows in (order[:, None] if len(self.batches) > 1 else [order])
            ]
        sums: dict[str, float] = {}
        counts: dict[str, float] = {}
        for at in random.permutation(len(groups)):
            number, rows = groups[at]
            filled = self.devices.place(jnp.asarray(self.devices.filled(rows)))
            self.state, means, finite = self._updates(
                self.state, self.rest, self.batches[number], self.emphasis[number], filled
            )
            if not np.all(finite):
                raise NotFinite({number: rows[np.argmin(finite)]})
            for label, values in means.items():
                # The mean of an update is over the structures that have the label.
                known = np.asarray(self.batches[number].known[label])[rows].sum(axis=1)
                sums[label] = sums.get(label, 0.0) + float(known @ np.asarray(values))
                counts[label] = counts.get(label, 0.0) + float(known.sum())
        return {label: (sums[label] / counts[label]) ** 0.5 for label in sums if counts[label]}

    def _epoch_of_one_update(self) -> dict[str, float]:
        chunks = [
            self._chunks(batch, size) for batch, size in zip(self.batches, self.sizes, strict=True)
        ]
        self.state, finite = self._update_by_all(
            self.state, self.rest, self.batches, self.emphasis, chunks
        )
        if not np.all(finite):
            raise NotFinite({n: np.arange(one.size) for n, one in enumerate(self.batches)})
        return self._measure(self.batches)[0]

    def _chunks(self, batch: Batch, size: int) -> Array:
        """Rows of all structures of a batch, so many at a time, −1 for none."""
        rows = np.pad(np.arange(batch.size), (0, -batch.size % size), constant_values=-1)
        return self.devices.place(jnp.asarray(self.devices.filled(rows.reshape(-1, size))))

    def validate(self) -> tuple[dict[str, float], np.ndarray | None]:
        """Errors of the averaged parameters on the validation set, and the loss of each member.

        Errors of a committee are root mean squares over its members.
        """
        return self._measure(self.held_out)

    def _measure(self, batches: Sequence[Batch]) -> tuple[dict[str, float], np.ndarray | None]:
        counts = {
            label: sum(float(np.sum(batch.known[label])) for batch in batches)
            for label in self.weights
        }
        means = {label: 0.0 for label, count in counts.items() if count}
        total = np.zeros(())
        for batch in batches:
            errors, weight = self._errors(self.state.average, batch), np.asarray(batch.weight)
            for label in means:
                means[label] += float(errors[label].sum(axis=-1).mean()) / counts[label]
                total = total + self.weights[label] * (errors[label] @ weight) / counts[label]
        if not means:
            return {}, None
        return {label: mean**0.5 for label, mean in means.items()}, np.asarray(total)

    def spoilt(self, number: int, rows: np.ndarray) -> list[int]:
        """Which of these structures of a batch have an error or a gradient that is not finite."""

        def one(parameters: Potential, rest: Potential, batch: Batch) -> Array:
            def total(parameters: Potential) -> Array:
                return loss(eqx.combine(parameters, rest), batch, self.weights)[0]

            return _all_finite(jax.value_and_grad(total)(parameters))

        def all_members(parameters: Potential, rest: Potential, batch: Batch) -> Array:
            def own(parameters: Potential, rest: Potential) -> Array:
                return one(parameters, rest, batch)

            return self._over_members(own)(parameters, rest).all()

        local = self.devices.bring_back
        parameters, rest = local(self.state.parameters), local(self.rest)
        batch, is_finite = local(self.batches[number]), eqx.filter_jit(all_members)
        return [
            int(row)
            for row in rows
            if not is_finite(parameters, rest, batch[jnp.asarray(row)[None]])
        ]

    def _errors(self, parameters: Potential, batch: Batch) -> dict[str, np.ndarray]:
        rows = self.devices.place(jnp.asarray(self.devices.filled(np.arange(batch.size))))
        errors = self._errors_of_all(parameters, self.rest, batch, rows)
        return {label: np.asarray(values)[..., : batch.size] for label, values in errors.items()}

    def _squared_errors(
        self, parameters: Potential, rest: Potential, batch: Batch, rows: Array
    ) -> dict[str, Array]:
        chosen = batch.take(rows)

        def one(parameters: Potential, rest: Potential) -> dict[str, Array]:
            potential = eqx.combine(parameters, rest)
            return squared_errors(potential, chosen, self.weights, devices=self.devices)

        return self.devices.whole(self._over_members(one)(parameters, rest))

    def _over_members(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return jax.vmap(function) if self.is_committee else function

    def _update_all(
        self, state: State, rest: Potential, data: Batch, emphasis: Array | None, rows: Array
    ) -> tuple[State, dict[str, Array], Array]:
        def update(carry: tuple[State, Array], row: Array):
            state, so_far = carry
            batch = data.take(row)
            seen = None
            if emphasis is not None:
                seen = batch.weight[None] * emphasis[:, jnp.maximum(row, 0)]

            def one(state: State, rest: Potential, weight: Array | None):
                own = batch if weight is None else dataclasses.replace(batch, weight=weight)
                return self._update(state, rest, own)

            updated, means = self._over_members(one)(state, rest, seen)
            finite = so_far & _all_finite((updated, means))
            # After an update that fails there are no others: its cause can still be found.
            state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), updated, state)
            return (state, finite), ({name: mean.mean() for name, mean in means.items()}, finite)

        (state, _), (means, finite) = jax.lax.scan(update, (state, jnp.array(True)), rows)
        return self.devices.whole((state, means, finite))

    def _update_by_all_data(
        self,
        state: State,
        rest: Potential,
        batches: Sequence[Batch],
        emphasis: Sequence[Array | None],
        chunks: Sequence[Array],
    ) -> tuple[State, Array]:
        """One update by the loss over all batches, summed chunk by chunk."""
        optimiser = self.optimiser
        assert isinstance(optimiser, Lbfgs)
        counts = {
            label: jnp.maximum(sum(batch.known[label].sum() for batch in batches), 1)
            for label in self.weights
        }

        def one(state: State, rest: Potential, seen: Sequence[Array | None]) -> State:
            def objective(parameters: Potential) -> Array:
                potential, total = eqx.combine(parameters, rest), jnp.zeros(())

                def part(total: Array, rows: Array, batch: Batch, weight: Array):
                    errors = squared_errors(
                        potential, batch.take(rows), self.weights, devices=self.devices
                    )
                    own = weight[jnp.maximum(rows, 0)]
                    for label, error in errors.items():
                        total += self.weights[label] * (own @ error) / counts[label]
                    return total, None

                for batch, times, rows in zip(batches, seen, chunks, strict=True):
                    weight = batch.weight if times is None else batch.weight * times
                    # Derivatives are computed chunk by chunk too: nothing of a chunk is kept.
                    body = jax.checkpoint(functools.partial(part, batch=batch, weight=weight))
                    total, _ = jax.lax.scan(body, total, rows)
                return total

            parameters, found = optimiser.update(state.parameters, state.optimiser, objective)
            return self._moved(state, parameters, found)

        updated = self._over_members(one)(state, rest, emphasis)
        finite = _all_finite(updated)
        state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), updated, state)
        return self.devices.whole((state, finite))

    def _update(
        self, state: State, rest: Potential, batch: Batch
    ) -> tuple[State, dict[str, Array]]:
        assert not isinstance(self.optimiser, Lbfgs)
        parameters, optimiser, means = self.optimiser.update(
            state.parameters, state.optimiser, rest, batch
        )
        return self._moved(state, parameters, optimiser), means

    def _moved(self, state: State, parameters: Potential, optimiser: Any) -> State:
        decay = self.settings.averaging or 0.0
        average = jax.tree.map(
            lambda old, new: decay * old + (1 - decay) * new, state.average, parameters
        )
        return State(parameters, average, state.best, optimiser)


def _all_finite(tree: Any) -> Array:
    leaves = jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()


def _optimiser(
    stage: Stage, weights: dict[str, float], updates_per_epoch: int, seed: int, devices: Devices
) -> Adam | KalmanFilter | Lbfgs:
    assert stage.epochs is not None
    if stage.optimiser == "lbfgs":
        return Lbfgs()
    if stage.kalman is not None:
        return KalmanFilter(
            stage.kalman,
            weights,
            updates_per_epoch=updates_per_epoch,
            seed=seed,
            devices=devices,
        )
    settings = {name: getattr(stage, name) for name in ("learning_rate", "weight_decay", "clip")}
    updates = stage.epochs * updates_per_epoch
    return Adam(weights, updates=updates, devices=devices, **settings)
