"""What keeping descriptors saves: an epoch of force training with and without.

python benchmarks/training.py
"""

import itertools
import time
from importlib import resources

import jax
from common import machine, print_table

import lrpot
from lrpot.training import charge_stage, energy_stage

EPOCHS = 20


def seconds_per_epoch(recipe: str, structures, *, keep: bool) -> float:
    """Median over the epochs of the energy stage, the first (compiling) left out."""
    potential = lrpot.MODELS[recipe](("C", "H"), key=jax.random.key(0))
    stages = [energy_stage(epochs=EPOCHS)]
    if potential.charge_model is not None:
        stages.insert(0, charge_stage(epochs=1))
    begun = time.perf_counter()
    history = lrpot.fit(potential, structures, stages=stages, keep=keep, progress=False).history
    times = [row["seconds"] for row in history if row["stage"] == "energies"]
    print(f"{recipe}, keep={keep}: {time.perf_counter() - begun:.1f} s in all")
    steps = sorted(after - before for before, after in itertools.pairwise(times))
    return steps[len(steps) // 2]


def main() -> None:
    """Print the table."""
    jax.config.update("jax_enable_x64", True)
    with resources.as_file(resources.files("lrpot") / "quickstart_data") as folder:
        structures = lrpot.read_structures(folder / "carbon_train.xyz")
    print(machine())
    print(f"{len(structures)} structures of 12 or 13 atoms, energies and forces, float64\n")
    rows = []
    for recipe in ("hdnnp_2g", "hdnnp_4g"):
        kept = seconds_per_epoch(recipe, structures, keep=True)
        anew = seconds_per_epoch(recipe, structures, keep=False)
        rows.append([recipe, f"{1e3 * kept:.0f}", f"{1e3 * anew:.0f}", f"{anew / kept:.0f}"])
    print_table(("model", "kept, ms/epoch", "computed anew, ms/epoch", "ratio"), rows)


if __name__ == "__main__":
    main()
