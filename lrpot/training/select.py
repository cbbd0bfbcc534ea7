"""Which structures to label next: those a committee disagrees on, and those unlike all others."""

from collections.abc import Sequence

import equinox as eqx
import jax
import numpy as np

from lrpot.committee import QUANTITIES, Committee
from lrpot.data import Batch, Structure, make_batches
from lrpot.descriptors import ACSF
from lrpot.environment import environment_from_shifts
from lrpot.errors import InputError, suggestion
from lrpot.potential import Potential
from lrpot.training.calibrate import own_descriptor
from lrpot.training.metrics import predict_structures


def uncertainties(
    committee: Committee, structures: Sequence[Structure], *, quantity: str = "forces"
) -> np.ndarray:
    """How uncertain a committee is of each structure.

    Args:
        committee: The committee.
        structures: With labels or without.
        quantity: `forces` or `charges` for those of the most uncertain atom, in eV/Å or e;
            `energy` for that per atom, in eV.

    Returns:
        One number for each structure.

    Raises:
        InputError: If the quantity is none of these, or the potentials have no charges.
    """
    if quantity not in QUANTITIES or (quantity == "charges" and committee.charge_model is None):
        raise InputError(
            f"A committee of recipe `{committee.recipe}` has no uncertainty of `{quantity}`. "
            f"{suggestion(quantity, QUANTITIES)}"
        )
    found = predict_structures(committee, structures, stress=False)
    values = [np.asarray(getattr(one.uncertainty, quantity)) for one in found]
    if quantity == "energy":
        sizes = [one.system.n_atoms for one in structures]
        return np.array([value / size for value, size in zip(values, sizes, strict=True)])
    return np.array([value.max() for value in values])


def farthest(
    potential: Potential | Committee,
    candidates: Sequence[Structure],
    count: int,
    *,
    known: Sequence[Structure] = (),
) -> list[int]:
    """Structures that are least like those known and each other: farthest-point sampling.

    A structure is described by the mean scaled features of its atoms of each element. Each step
    takes the candidate whose nearest known or chosen one is furthest away.

    Args:
        potential: Trained, for its descriptor and scaling.
        candidates: To choose from.
        count: How many; fewer if there are no more candidates.
        known: Structures that are labelled already.

    Returns:
        Positions in `candidates`, the least alike first.
    """
    if isinstance(potential, Committee):
        potential = potential.members[0]
    points = _means(potential, candidates)
    if not len(points) or count < 1:
        return []
    others = _means(potential, known)
    if not len(others):
        others = points.mean(axis=0, keepdims=True)  # begin with what is unlike the rest
    distances = np.min([np.linalg.norm(points - one, axis=1) for one in others], axis=0)
    chosen: list[int] = []
    for _ in range(min(count, len(points))):
        chosen.append(int(np.argmax(distances)))
        distances = np.minimum(distances, np.linalg.norm(points - points[chosen[-1]], axis=1))
        distances[chosen] = -1.0  # of two that are the same both may be wanted, but none twice
    return chosen


def _means(potential: Potential, structures: Sequence[Structure]) -> np.ndarray:
    """[structures, elements · features]: mean features of each element, 0 where it is absent."""
    descriptor = own_descriptor(potential)
    elements = np.asarray(potential.elements)
    means = np.zeros((len(structures), len(elements) * descriptor.n_features))
    for batch, chosen in make_batches(structures, potential):
        features = np.asarray(_features(descriptor, batch))
        is_of = np.asarray(batch.systems.numbers)[:, None, :] == elements[None, :, None]
        sums = np.einsum("sea,saf->sef", is_of.astype(float), features)
        counts = np.maximum(is_of.sum(axis=2), 1)[:, :, None]
        means[chosen] = (sums / counts).reshape(len(chosen), -1)
    return means


@eqx.filter_jit
def _features(descriptor: ACSF, batch: Batch):
    return jax.vmap(
        lambda system, neighbors: descriptor(environment_from_shifts(system, neighbors))
    )(batch.systems, batch.neighbors)
