"""Atom-centred symmetry functions [behler:07, behler:11], resolved or weighted by element."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from lrpot.descriptors.cutoffs import check_cutoff, cutoff_function
from lrpot.descriptors.moments import moment_sums
from lrpot.descriptors.pairs import pair_sums
from lrpot.descriptors.scaling import Scaling
from lrpot.elements import SYMBOLS
from lrpot.environment import Environment
from lrpot.errors import InputError


class Shells(eqx.Module):
    """Radial functions exp(-η (r - r_s)²) f_c(r), and how neighbours are told apart.

    Attributes:
        elements: Atomic numbers of the neighbours that are told apart, one channel each.
            Empty for one channel in which every neighbour is weighted by its atomic number
            (wACSF [gastegger:18]).
        shells: Pairs (η in 1/Å², r_s in Å).
        cutoff: In Å.
        function: A name of `lrpot.descriptors.cutoffs.CUTOFF_FUNCTIONS`.
        inner: Fraction of the cutoff up to which the cutoff function is 1.
    """

    elements: tuple[int, ...] = eqx.field(static=True)
    shells: tuple[tuple[float, float], ...] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)
    function: str = eqx.field(static=True, default="cos")
    inner: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        check_cutoff(self.function, self.cutoff, self.inner)
        if not self.shells or any(eta < 0 for eta, _ in self.shells):
            raise InputError(
                "Symmetry functions need at least one pair (η, r_s) with η ≥ 0, got "
                f"{self.shells!r}."
            )

    @property
    def settings(self) -> dict:
        """Keyword arguments of `cutoff_function`."""
        return dict(cutoff=self.cutoff, function=self.function, inner=self.inner)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels."""
        return tuple(SYMBOLS[number] for number in self.elements) or ("Z",)

    @property
    def channel_pairs(self) -> tuple[str, ...]:
        """Names of the unordered pairs of channels."""
        names = self.channels
        return tuple(f"{a}-{b}" for i, a in enumerate(names) for b in names[i:])

    def radial(self, environment: Environment) -> Float[Array, "atoms neighbors shells"]:
        """The radial functions at every neighbour."""
        distances = environment.distances
        gaussians = [jnp.exp(-eta * (distances - shift) ** 2) for eta, shift in self.shells]
        return (
            jnp.stack(gaussians, axis=-1) * cutoff_function(distances, **self.settings)[:, :, None]
        )

    def weights(self, environment: Environment) -> Float[Array, "atoms neighbors channels"]:
        """Weight of every neighbour in every channel."""
        numbers, dtype = environment.neighbors[:, :, None], environment.vectors.dtype
        if not self.elements:
            return numbers.astype(dtype)
        return (numbers == jnp.asarray(self.elements)[None, None, :]).astype(dtype)


class Radial(eqx.Module):
    """Radial functions, type G2: Σ_j w_j exp(-η (r_ij - r_s)²) f_c(r_ij).

    With η = 0 they are the coordination numbers G1.
    """

    shells: Shells

    @property
    def cutoff(self) -> float:
        """In Å."""
        return self.shells.cutoff

    @property
    def labels(self) -> tuple[str, ...]:
        """A readable name of every function."""
        return tuple(
            f"G2 {channel} eta={eta:g} r_s={shift:g}"
            for channel in self.shells.channels
            for eta, shift in self.shells.shells
        )

    def __call__(self, environment: Environment) -> Float[Array, "atoms features"]:
        sums = jnp.einsum(
            "anc,ans->acs", self.shells.weights(environment), self.shells.radial(environment)
        )
        return sums.reshape(len(environment.centers), -1)


class Angular(eqx.Module):
    """Angular functions, wide (G5) or narrow (G4), on a grid of shells and angles.

        2^(1-ζ) Σ_{j<k} w_jk (1 + λ cos θ_ijk)^ζ g(r_ij) g(r_ik) [g(r_jk)],
        g(r) = exp(-η (r - r_s)²) f_c(r),

    the last factor for narrow functions only; each unordered pair j<k counts once. Wide
    functions with λ = ±1 and integer ζ ≥ 1 are computed through moments, linear in the number
    of neighbours and exact; all others pair by pair.

    Attributes:
        shells: The radial functions of both legs.
        angles: Pairs (λ, ζ), λ being 1 or -1.
        narrow: Whether the third side r_jk has its factor too.
    """

    shells: Shells
    angles: tuple[tuple[float, float], ...] = eqx.field(static=True)
    narrow: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if not self.angles or any(abs(sign) != 1 for sign, _ in self.angles):
            raise InputError(
                f"Angular functions need pairs (λ, ζ) with λ = 1 or -1, got {self.angles!r}."
            )

    @property
    def cutoff(self) -> float:
        """In Å."""
        return self.shells.cutoff

    @property
    def labels(self) -> tuple[str, ...]:
        """A readable name of every function."""
        return tuple(
            f"{'G4' if self.narrow else 'G5'} {pair} eta={eta:g} r_s={shift:g} "
            f"lambda={sign:g} zeta={zeta:g}"
            for pair in self.shells.channel_pairs
            for eta, shift in self.shells.shells
            for sign, zeta in self.angles
        )

    def __call__(self, environment: Environment) -> Float[Array, "atoms features"]:
        radial, channels = self.shells.radial(environment), self.shells.weights(environment)
        units = environment.vectors / environment.distances[:, :, None]
        if not self.narrow and all(zeta == round(zeta) >= 1 for _, zeta in self.angles):
            sums = moment_sums(radial, units, channels, angles=self.angles)
        else:
            sums = pair_sums(
                radial,
                environment.vectors,
                units,
                channels,
                angles=self.angles,
                shells=self.shells.shells,
                narrow=self.shells.settings if self.narrow else None,
            )
        return sums.reshape(len(environment.centers), -1)


class ACSF(eqx.Module):
    """A set of symmetry functions, scaled by statistics of the training data.

    Attributes:
        parts: Radial and angular functions; their values are joined.
        scaling: One offset and factor for each function and element of the centre.
    """

    parts: tuple[Radial | Angular, ...]
    scaling: Scaling

    @property
    def cutoff(self) -> float:
        """Largest cutoff of the parts, in Å."""
        return max(part.cutoff for part in self.parts)

    @property
    def labels(self) -> tuple[str, ...]:
        """A readable name of every feature."""
        return tuple(label for part in self.parts for label in part.labels)

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.labels)

    def raw(self, environment: Environment) -> Float[Array, "atoms features"]:
        """The functions before scaling."""
        return jnp.concatenate([part(environment) for part in self.parts], axis=-1)

    def __call__(self, environment: Environment) -> Float[Array, "atoms features"]:
        return self.scaling(self.raw(environment), environment.centers)
