"""A small 4G potential for carbon chains, trained once and kept beside the examples' output.

Not an example itself: 01 and 03 to 06 take their potential from here, so that each can be run on
its own. Training takes about 20 s; `make quickstart` trains a better one in a minute.
"""

from importlib import resources
from pathlib import Path

import jax

import lrpot
from lrpot.descriptors import default_acsf
from lrpot.training import charge_stage, energy_stage

DATA = resources.files("lrpot") / "quickstart_data"
"""C10H2 and C10H3⁺ with energies, forces and charges, part of the package."""


def small_potential(path: str | Path = "chain_4g.lrpot") -> lrpot.Potential:
    """Load the potential from `path`, or train it and store it there."""
    path = Path(path)
    if not path.exists():
        print(f"Training a small 4G potential (20 s); it is kept in {path}.")
        structures = lrpot.read_structures(DATA / "carbon_train.xyz")
        descriptor = default_acsf(
            ("C", "H"), cutoff=5.0, angular_cutoff=4.0, shells=2, zetas=(1.0, 2.0)
        )
        untrained = lrpot.hdnnp_4g(
            ("C", "H"),
            descriptor=descriptor,
            hidden=(10,),
            accuracy=1e-4,  # of the Ewald sum, for 04
            key=jax.random.key(0),
        )
        stages = (charge_stage(epochs=50), energy_stage(epochs=80))
        outcome = lrpot.fit(untrained, structures, stages=stages, progress=False)
        lrpot.save(path, outcome.potential)
    return lrpot.load(path)
