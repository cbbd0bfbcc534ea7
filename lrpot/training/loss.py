"""What training minimises: mean squared errors of what the data hold."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lrpot.committee import Committee
from lrpot.data import Batch
from lrpot.potential import Potential
from lrpot.predict import evaluate
from lrpot.system import Prediction
from lrpot.training.devices import ONE, Devices
from lrpot.training.keep import with_kept


def predict_batch(
    potential: Potential | Committee, batch: Batch, *, forces: bool = True, stress: bool = False
) -> Prediction:
    """Predictions for every structure of a batch; a potential uses what is kept of them."""

    def one(single: Batch) -> Prediction:
        model = potential
        if not isinstance(model, Committee):
            model = with_kept(model, single, is_still=not forces and not stress)
        return evaluate(model, single.systems, single.neighbors, forces=forces, stress=stress)

    return jax.vmap(one)(batch)


def squared_errors(
    potential: Potential, batch: Batch, weights: dict[str, float], *, devices: Devices = ONE
) -> dict[str, Float[Array, " structures"]]:
    """Mean squared error of each label within each structure, for the labels with a weight.

    Energies count per atom, in (eV/atom)²; forces in (eV/Å)² per component; charges in e² per
    atom; the dipole in (e Å)², the quadrupole in (e Å²)² and the stress in (eV/Å³)² per
    component. A structure without the label has the error 0.

    Args:
        potential: The potential.
        batch: Structures, a multiple of the number of devices.
        weights: By label.
        devices: That share the structures.
    """
    return devices.split(lambda shared, share: _squared_errors(shared, share, weights))(
        potential, batch
    )


def _squared_errors(
    potential: Potential, batch: Batch, weights: dict[str, float]
) -> dict[str, Float[Array, " structures"]]:
    prediction = predict_batch(
        potential, batch, forces=bool(weights.get("forces")), stress=bool(weights.get("stress"))
    )
    n_atoms = jnp.sum(batch.systems.numbers > 0, axis=1).astype(prediction.energy.dtype)

    def error(label: str) -> Array:
        difference = getattr(prediction, label) - batch.labels[label]
        return jnp.sum(jnp.square(difference).reshape(batch.size, -1), axis=1)

    per_structure = {
        "energy": lambda: error("energy") / n_atoms**2,
        "forces": lambda: error("forces") / (3 * n_atoms),
        "charges": lambda: error("charges") / n_atoms,
        "dipole": lambda: error("dipole") / 3,
        "quadrupole": lambda: error("quadrupole") / 9,
        "stress": lambda: error("stress") / 9,
    }
    return {
        label: per_structure[label]() * batch.known[label]
        for label, weight in weights.items()
        if weight
    }


def loss(
    potential: Potential, batch: Batch, weights: dict[str, float], *, devices: Devices = ONE
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Weighted sum of the mean squared errors, and each of them.

    The mean is over the structures of the batch that have the label. In the sum, but not in what
    is reported, each structure counts by its weight.
    """
    errors = squared_errors(potential, batch, weights, devices=devices)

    def mean(label: str, error: Array) -> Array:
        return error.sum() / jnp.maximum(batch.known[label].sum(), 1)

    means = {label: mean(label, error) for label, error in errors.items()}
    weighted = [
        weights[label] * mean(label, batch.weight * error) for label, error in errors.items()
    ]
    return jnp.asarray(sum(weighted)), means
