"""The Kalman filter against AdamW: test errors and time of 4G on the quickstart data.

python benchmarks/optimisers.py
"""

import dataclasses
from importlib import resources

import jax
from common import machine, print_table

import lrpot
from lrpot.data import Structure
from lrpot.descriptors import default_acsf
from lrpot.quickstart import CHARGE_EPOCHS, ELEMENTS, ENERGY_EPOCHS
from lrpot.training import default_stages, evaluate_structures

LABELS = {"charges": "charges, me", "energy": "energy, meV/atom", "forces": "forces, meV/Å"}
ADAM_EPOCHS = {"charges": CHARGE_EPOCHS, "energies": ENERGY_EPOCHS}


def trained(optimiser: str, train: list[Structure], test: list[Structure]) -> list[str]:
    """A row of the table."""
    descriptor = default_acsf(ELEMENTS, cutoff=7.0, angular_cutoff=5.0)
    potential = lrpot.hdnnp_4g(ELEMENTS, descriptor=descriptor, key=jax.random.key(0))
    stages = default_stages(potential, train, optimiser=optimiser)
    if optimiser == "adam":  # as long as in the quickstart
        stages = [dataclasses.replace(one, epochs=ADAM_EPOCHS[one.name]) for one in stages]
    outcome = lrpot.fit(potential, train, stages=stages, progress=False)
    errors = evaluate_structures(outcome.potential, test).total
    shown = [f"{1e3 * errors[name].rmse:.2f}" for name in LABELS]
    epochs = " + ".join(str(stage.epochs) for stage in stages)
    return [optimiser, epochs, f"{outcome.seconds:.0f}", *shown]


def main() -> None:
    """Print the table."""
    jax.config.update("jax_enable_x64", True)
    with resources.as_file(resources.files("lrpot") / "quickstart_data") as folder:
        train, test = (
            lrpot.read_structures(folder / f"carbon_{part}.xyz") for part in ("train", "test")
        )
    print(machine())
    print(f"{len(train)} structures to train on, {len(test)} to test, float64\n")
    rows = [trained(optimiser, train, test) for optimiser in ("adam", "kalman")]
    print_table(("optimiser", "epochs", "seconds", *LABELS.values()), rows)


if __name__ == "__main__":
    main()
