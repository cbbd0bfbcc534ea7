"""Atom-centred symmetry functions [behler:07, behler:11], resolved or weighted by element."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lrpot.descriptors.angles import AngularFunctions, CosinePowers
from lrpot.descriptors.chunks import by_chunks
from lrpot.descriptors.moments import moment_sums
from lrpot.descriptors.pairs import KEPT, pair_sums
from lrpot.descriptors.scaling import Scaling, element_index
from lrpot.descriptors.shells import Channels, RadialFunctions
from lrpot.devices import in_full_precision
from lrpot.environment import Environment
from lrpot.errors import InputError

FEW = 5
"""Neighbours are few if so many times their number is less than the number of harmonics. Measured
on one core for ζ up to 4, 8 and 16: pairs are quicker below 9, 12 and 80 neighbours."""


class Radial(eqx.Module):
    """Radial functions Σ_j w_j g(r_ij): type G2 with Gaussian shells, G1 for η = 0.

    Attributes:
        channels: How neighbours are told apart.
        shells: The functions g.
    """

    channels: Channels
    shells: RadialFunctions

    @property
    def cutoff(self) -> float:
        """In Å."""
        return self.shells.cutoff

    @property
    def labels(self) -> tuple[str, ...]:
        """A readable name of every function."""
        return tuple(
            f"G2 {channel} {shell}"
            for channel in self.channels.names
            for shell in self.shells.labels
        )

    def __call__(self, environment: Environment) -> Float[Array, "atoms features"]:
        weights, values = self.channels.weights(environment), self.shells(environment.distances)
        return jnp.einsum("acn,asn->acs", weights, values).reshape(len(environment.centers), -1)


class Angular(eqx.Module):
    """Angular functions, wide (G5) or narrow (G4), on a grid of shells and angles.

        Σ_{j<k} w_jk t(θ_ijk) g(r_ij) g(r_ik) [g(r_jk)],

    the last factor for narrow functions only; each unordered pair j<k counts once. Wide
    functions whose angular part is a polynomial of cos θ are computed through moments, linear in
    the number of neighbours and exact; all others pair by pair, and they too where neighbours are
    few for the power: that is quicker, and takes no small difference of large moments.

    Attributes:
        channels: How neighbours are told apart.
        shells: The functions g of the sides.
        angles: The functions t of the angle.
        narrow: Whether the third side r_jk has its factor too.
    """

    channels: Channels
    shells: RadialFunctions
    angles: AngularFunctions
    narrow: bool = eqx.field(static=True, default=False)

    @property
    def cutoff(self) -> float:
        """In Å."""
        return self.shells.cutoff

    @property
    def labels(self) -> tuple[str, ...]:
        """A readable name of every function."""
        return tuple(
            f"{'G4' if self.narrow else 'G5'} {pair} {shell} {angle}"
            for pair in self.channels.pairs
            for shell in self.shells.labels
            for angle in self.angles.labels
        )

    def by_pairs(self, n_slots: int) -> bool:
        """Whether so many neighbours are summed pair by pair, and not through moments."""
        angles = self.angles
        if self.narrow or not (isinstance(angles, CosinePowers) and angles.polynomial):
            return True
        return FEW * n_slots < (angles.degree + 1) ** 2

    def __call__(self, environment: Environment) -> Float[Array, "atoms features"]:
        if self.by_pairs(environment.index.shape[1]) or not isinstance(self.angles, CosinePowers):
            return sums_over_pairs([self], environment)[0]
        distances = environment.distances
        sums = moment_sums(
            self.shells(distances),
            jnp.stack([along / distances for along in environment.components], axis=1),
            self.channels.weights(environment),
            angles=self.angles.powers,
        )
        return sums.reshape(len(environment.centers), -1)


def sums_over_pairs(
    parts: Sequence[Angular], environment: Environment
) -> list[Float[Array, "atoms features"]]:
    """Parts over the same pairs: all narrow or all wide, and of one cutoff."""
    grids = [(part.channels, part.shells, part.angles) for part in parts]
    sums = pair_sums(environment, grids, cutoff=parts[0].cutoff, narrow=parts[0].narrow)
    return [one.reshape(len(environment.centers), -1) for one in sums]


class ACSF(eqx.Module):
    """A set of symmetry functions, scaled by statistics of the training data.

    Attributes:
        parts: Radial and angular functions; their values are joined.
        scaling: One offset and factor for each function and element of the centre.
        columns: Which of the joined values are the features of each element of the centre, -1
            for a feature that is always 0; `None` when all elements have all of them.
    """

    parts: tuple[Radial | Angular, ...]
    scaling: Scaling
    columns: tuple[tuple[int, ...], ...] | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if self.columns is None:
            return
        sizes = {len(columns) for columns in self.columns}
        if len(self.columns) != len(self.scaling.elements) or len(sizes) != 1:
            raise InputError("`columns` needs one row of equal length for each element.")

    @property
    def cutoff(self) -> float:
        """Largest cutoff of the parts, in Å."""
        return max(part.cutoff for part in self.parts)

    @property
    def labels(self) -> tuple[str, ...]:
        """A readable name of every joined value."""
        return tuple(label for part in self.parts for label in part.labels)

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.labels) if self.columns is None else len(self.columns[0])

    @in_full_precision
    def raw(self, environment: Environment) -> Float[Array, "atoms features"]:
        """The functions before scaling."""
        joined = by_chunks(self._joined, environment, kept=(KEPT,))
        if self.columns is None:
            return joined
        table = np.array(self.columns, dtype=np.int32)
        chosen = jnp.asarray(table)[element_index(environment.centers, self.scaling.elements)]
        values = jnp.take_along_axis(joined, jnp.maximum(chosen, 0), axis=1)
        return jnp.where(chosen >= 0, values, 0.0)

    def _joined(self, environment: Environment) -> Float[Array, "atoms features"]:
        values: dict[int, Array] = {}
        shared: dict[tuple[float, bool], list[int]] = {}
        for number, part in enumerate(self.parts):
            if isinstance(part, Angular) and part.by_pairs(environment.index.shape[1]):
                shared.setdefault((part.cutoff, part.narrow), []).append(number)
            else:
                values[number] = part(environment)
        for numbers in shared.values():
            parts = [part for number in numbers if isinstance(part := self.parts[number], Angular)]
            values |= zip(numbers, sums_over_pairs(parts, environment), strict=True)
        return jnp.concatenate([values[number] for number in range(len(self.parts))], axis=-1)

    def __call__(self, environment: Environment) -> Float[Array, "atoms features"]:
        return self.scaling(self.raw(environment), environment.centers)
