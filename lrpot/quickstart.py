"""The main job: real data of two charge states to potentials, errors, charges and dynamics."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lrpot import md, plots
from lrpot.data import Structure, read_structures
from lrpot.descriptors import default_acsf
from lrpot.io import save
from lrpot.models import hdnnp_2g, hdnnp_3g, hdnnp_4g
from lrpot.potential import Potential
from lrpot.system import Prediction
from lrpot.tables import errors_table, far_hydrogen_table
from lrpot.training import Evaluation, charge_stage, energy_stage, evaluate_structures, fit
from lrpot.training.metrics import predict_structures

ELEMENTS = ("C", "H")

FAR_HYDROGEN = 10
"""Atom index of the hydrogen at the end of the chain that is never protonated."""

MOLECULES = {0.0: "C10H2", 1.0: "C10H3⁺"}
"""By total charge."""

CHARGE_EPOCHS, ENERGY_EPOCHS = 200, 500


@dataclasses.dataclass(frozen=True)
class Quickstart:
    """What the main job has found.

    Attributes:
        folder: Where models, trajectory and plots are.
        errors: Test errors of each model.
        far_hydrogen: Mean charge of the far hydrogen over the test structures, in e, by model
            (and "reference") and molecule.
        trajectory: Of the 4G potential.
        seconds: Wall time by step.
    """

    folder: Path
    errors: dict[str, Evaluation]
    far_hydrogen: dict[str, dict[str, float]]
    trajectory: md.Trajectory
    seconds: dict[str, float]


def quickstart(
    folder: str | Path = "quickstart",
    *,
    charge_epochs: int = CHARGE_EPOCHS,
    energy_epochs: int = ENERGY_EPOCHS,
    md_steps: int = 20_000,
    seed: int = 0,
    say: Callable[[Any], None] = print,
    progress: bool = True,
) -> Quickstart:
    """Train 2G and 4G potentials on carbon chains, compare them, and run dynamics with 4G.

    C10H2 and its protonated form C10H3⁺ share everything at one end of the chain but the charge.
    A model that sees no further than its cutoff cannot tell there which molecule it is in.

    Args:
        folder: For models, trajectory and plots.
        charge_epochs, energy_epochs: Length of the two stages of training.
        md_steps: Steps of 0.5 fs.
        seed: Of first weights, order of the data and velocities.
        say: Called with each table and line to be shown.
        progress: Whether to show progress bars.
    """
    folder = Path(folder)
    clock = _Clock()
    with resources.as_file(resources.files("lrpot") / "quickstart_data") as data:
        labels = ("energy", "forces", "charges")
        train = read_structures(data / "carbon_train.xyz", require=labels)
        test = read_structures(data / "carbon_test.xyz", require=labels)
    clock.lap("reading")

    # A longer reach for charges and for bonds along the chain, a shorter one for angles.
    descriptor = default_acsf(ELEMENTS, cutoff=7.0, angular_cutoff=5.0)
    common: dict[str, Any] = {"descriptor": descriptor, "key": jax.random.key(seed)}
    charges, energies = charge_stage(epochs=charge_epochs), energy_stage(epochs=energy_epochs)
    runs = {
        "2G": (hdnnp_2g(ELEMENTS, **common), (energies,)),
        "4G": (hdnnp_4g(ELEMENTS, **common), (charges, energies)),
        # Charges alone, from what is within the cutoff. Neutralisation is left out: it would
        # spread the total charge evenly over the molecule, which happens to look right here.
        "local charges": (hdnnp_3g(ELEMENTS, neutralisation="none", **common), (charges,)),
    }
    trained: dict[str, Potential] = {}
    for name, (potential, stages) in runs.items():
        say(f"Training {name} on {len(train)} structures")
        outcome = fit(potential, train, stages=stages, seed=seed, progress=progress)
        trained[name] = outcome.potential
        plots.learning_curve(outcome.history, folder / "plots" / f"learning_{_slug(name)}.png")
        clock.lap(f"training {name}")
    for name in ("2G", "4G"):
        save(folder / f"{name.lower()}.lrpot", trained[name])

    evaluations = {name: evaluate_structures(trained[name], test) for name in ("2G", "4G")}
    say(
        errors_table(
            {name: one.total for name, one in evaluations.items()},
            title="Errors on the test structures: RMSE (MAE)",
        )
    )
    predicted = {
        "4G": evaluations["4G"].predictions,
        "local charges": predict_structures(trained["local charges"], test, forces=False),
    }
    far, panels = _chain(predicted, test)
    say(far_hydrogen_table(far))
    say(_bonds(test))
    clock.lap("evaluation")

    start = next(one.system for one in test if float(one.system.total_charge) == 1.0)
    say(f"Molecular dynamics of C10H3⁺ in jax-md, {md_steps * 0.5e-3:g} ps")
    trajectory = md.run(
        trained["4G"],
        start,
        steps=md_steps,
        timestep=0.5,
        temperature=300.0,
        folder=folder / "md",
        resume=False,
        key=jax.random.key(seed),
        progress=progress,
    )
    say(f"Energy drift {trajectory.drift():+.1e} eV/atom/ps")
    clock.lap("molecular dynamics")

    shown = ("energy", "forces", "charges")
    plots.parity(evaluations, folder / "plots" / "parity.png", labels=shown)
    plots.chain_charges(panels, _places(test), folder / "plots" / "charges.png")
    plots.energy_conservation(trajectory, folder / "plots" / "energy.png")
    clock.lap("plots")
    say(f"Models, trajectory and plots are in {folder}/ ({clock.total():.0f} s)")
    return Quickstart(folder, evaluations, far, trajectory, clock.laps)


def _chain(
    predictions: Mapping[str, Sequence[Prediction]], test: Sequence[Structure]
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]]:
    """Charges of the far hydrogen, and of the whole chain with their spread, by molecule."""
    n_chain = FAR_HYDROGEN + 1
    sources = {"reference": [np.asarray(one.charges) for one in test]}
    for name, results in predictions.items():
        sources[name] = [np.asarray(one.charges) for one in results]
    far: dict[str, dict[str, float]] = {name: {} for name in sources}
    panels: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for charge, molecule in MOLECULES.items():
        chosen = [i for i, one in enumerate(test) if float(one.system.total_charge) == charge]
        panels[molecule] = {}
        for name, values in sources.items():
            along = np.stack([values[i][:n_chain] for i in chosen])
            far[name][molecule] = float(along[:, FAR_HYDROGEN].mean())
            panels[molecule][name] = along.mean(axis=0), along.std(axis=0)
    return far, panels


def _bonds(test: Sequence[Structure]) -> str:
    """The bonds at the far end, mean and standard deviation, in words."""
    words = []
    for charge, molecule in MOLECULES.items():
        chains = np.stack(
            [
                np.asarray(one.system.positions)[: FAR_HYDROGEN + 1]
                for one in test
                if float(one.system.total_charge) == charge
            ]
        )
        lengths = np.linalg.norm(np.diff(chains, axis=1), axis=-1)
        hydrogen, carbon = lengths[:, -1], lengths[:, -2]
        words.append(
            f"{molecule} C-H {hydrogen.mean():.3f} ± {hydrogen.std():.3f}, "
            f"C≡C {carbon.mean():.3f} ± {carbon.std():.3f} Å"
        )
    return f"Bonds around it: {'; '.join(words)}."


def _places(test: Sequence[Structure]) -> np.ndarray:
    """Distance of each atom of the chain from its first one, in Å."""
    positions = np.asarray(test[0].system.positions)[: FAR_HYDROGEN + 1]
    return np.linalg.norm(positions - positions[0], axis=1)


def _slug(name: str) -> str:
    return name.lower().replace(" ", "_")


class _Clock:
    """Wall time by step."""

    def __init__(self):
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name] = now - self._last
        self._last = now

    def total(self) -> float:
        return sum(self.laps.values())
