"""One large system on several devices: each computes the features of its share of the atoms."""

import equinox as eqx
import jax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float

from lrpot.descriptors.acsf import ACSF
from lrpot.descriptors.chunks import with_empty_rows
from lrpot.environment import Environment


class SplitACSF(ACSF):
    """Symmetry functions of one system, by shares of its atoms.

    What belongs to the neighbours of an atom, vectors and all that is computed from them, lies on
    one device alone; XLA splits what comes before and after alike where it can. Positions,
    charges, and the mesh of a long-range sum are the same on each.

    Attributes:
        mesh: The devices, along one axis `atoms`.
    """

    mesh: Mesh = eqx.field(static=True, kw_only=True)

    def raw(self, environment: Environment) -> Float[Array, "atoms features"]:
        """The functions before scaling."""
        n_atoms = len(environment.index)
        padded = with_empty_rows(environment, n_atoms + -n_atoms % self.mesh.size)
        whole = ACSF(self.parts, self.scaling, self.columns)
        arrays, rest = eqx.partition(whole, eqx.is_array)
        on_each = jax.shard_map(
            lambda arrays, share: eqx.combine(arrays, rest).raw(share),
            mesh=self.mesh,
            in_specs=(PartitionSpec(), PartitionSpec("atoms")),
            out_specs=PartitionSpec("atoms"),
            # Loops inside start from constants, which are the same everywhere, unlike the rest.
            check_vma=False,
        )
        return on_each(arrays, padded)[:n_atoms]
