"""An epoch of training with forces: descriptors kept, computed anew, and FeNNol.

    taskset -c 0 python benchmarks/training.py [--epochs 20]

All have 74 radial and wide angular functions of carbon and hydrogen to 6 Å, two layers of 15 tanh
units, float64, ten structures in an update of AdamW and an error of energies and forces. Each
runs in a process of its own. FeNNol, of `pip install .[peers]`, has the functions of ANI, and its
own trainer finds neighbours for every update; here they are found once, and only its updates
are timed.
"""

import argparse
import functools
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import (
    forget_peak,
    in_own_process,
    installed,
    machine,
    print_table,
    resident_megabytes,
)

import lrpot
from lrpot.data import Structure
from lrpot.training import charge_stage, energy_stage

DATA = Path(__file__).parents[1] / "examples" / "benchmarks_4g" / "data"
BATCH, CUTOFF, HIDDEN = 10, 6.0, (15, 15)
WEIGHTS = {"energy": 100.0, "forces": 1.0}

Epochs = Callable[[list[Structure], int], list[float]]


def with_lrpot(structures: list[Structure], epochs: int, *, recipe: str, keep: bool) -> list[float]:
    """Seconds at the end of each epoch of the energy stage."""
    start = lrpot.MODELS[recipe]
    potential = start(("C", "H"), hidden=HIDDEN, activation="tanh", key=jax.random.key(0))
    stages = [energy_stage(epochs=epochs, batch_size=BATCH)]
    if potential.charge_model is not None:
        stages.insert(0, charge_stage(epochs=1))
    history = lrpot.fit(potential, structures, stages=stages, keep=keep, progress=False).history
    return [row["seconds"] for row in history if row["stage"] == "energies"]


def with_fennol(structures: list[Structure], epochs: int) -> list[float]:
    """Seconds at the end of each epoch, of its network of the functions of ANI."""
    from fennol import FENNIX  # pyright: ignore[reportMissingImports]  (optional)

    species = ["C", "H"]
    model = FENNIX(
        cutoff=CUTOFF,
        preprocessing={
            "graph": {"switch_params": {"switch_type": "cosine"}},
            "graph_angle_filter": {
                "module_name": "GRAPH_FILTER",
                "graph_key": "graph_angle",
                "parent_graph": "graph",
                "cutoff": CUTOFF,
                "switch_params": {"switch_type": "cosine"},
            },
            "angles": {"module_name": "GRAPH_ANGULAR_EXTENSION", "graph_key": "graph_angle"},
        },
        modules={
            "embedding": {
                "module_name": "ANI_AEV",
                "species_order": species,
                "graph_angle_key": "graph_angle",
                "radial_dist_divisions": 10,
                "angular_dist_divisions": 3,
                "angle_sections": 6,
            },
            "energy": {
                "module_name": "CHEMICAL_NET",
                "species_order": species,
                "neurons": [*HIDDEN, 1],
                "activation": "tanh",
                "input_key": "embedding",
                "output_key": "energy",
            },
        },
        energy_terms=["energy"],
        energy_unit="eV",
        use_atom_padding=True,
        rng_key=jax.random.PRNGKey(0),
    )
    groups = [structures[start : start + BATCH] for start in range(0, len(structures), BATCH)]
    inputs = [_fennol_inputs(group) for group in groups]
    # The second time nothing grows any more, and all updates have one compiled shape.
    for one in inputs:
        model.preprocess(**one)
    inputs = [model.preprocess(**one) for one in inputs]
    labels = [_fennol_labels(group, one) for group, one in zip(groups, inputs, strict=True)]
    optimiser = optax.adamw(1e-3, weight_decay=0.0)
    energy_and_forces = model._energy_and_forces  # what its own trainer calls

    @jax.jit
    def update(variables: Any, state: Any, one: Any, label: Any) -> tuple[Any, Any]:
        def objective(variables: Any) -> jax.Array:
            energies, forces, _ = energy_and_forces(variables, one)
            off = (energies - label["energies"]) / label["sizes"]
            off_forces = jnp.sum(label["is_atom"][:, None] * (forces - label["forces"]) ** 2)
            mean = off_forces / (3 * jnp.sum(label["is_atom"]))
            energy = jnp.sum(label["is_system"] * off**2) / jnp.sum(label["is_system"])
            return WEIGHTS["energy"] * energy + WEIGHTS["forces"] * mean

        step, state = optimiser.update(jax.grad(objective)(variables), state, variables)
        return optax.apply_updates(variables, step), state

    variables, ends, random = model.variables, [], np.random.default_rng(0)
    state = optimiser.init(variables)
    begun = time.perf_counter()
    for _ in range(epochs):
        for at in random.permutation(len(inputs)):
            variables, state = update(variables, state, inputs[at], labels[at])
        jax.block_until_ready(variables)
        ends.append(time.perf_counter() - begun)
    return ends


def _fennol_inputs(group: list[Structure]) -> dict[str, np.ndarray]:
    sizes = [one.system.n_atoms for one in group]
    return {
        "species": np.concatenate([np.asarray(one.system.numbers) for one in group]),
        "coordinates": np.concatenate([np.asarray(one.system.positions) for one in group]),
        "natoms": np.array(sizes),
        "batch_index": np.repeat(np.arange(len(group)), sizes),
    }


def _fennol_labels(group: list[Structure], inputs: dict[str, Any]) -> dict[str, jax.Array]:
    """Energies less their mean, and forces, padded as its inputs are."""
    atoms, systems = len(inputs["species"]), len(inputs["natoms"])
    labels: dict[str, np.ndarray] = {
        "is_atom": np.zeros(atoms),
        "forces": np.zeros((atoms, 3)),
        "is_system": np.zeros(systems),
        "energies": np.zeros(systems),
        "sizes": np.ones(systems),
    }
    forces = np.concatenate([np.asarray(one.forces) for one in group])
    labels["is_atom"][: len(forces)] = 1
    labels["forces"][: len(forces)] = forces
    energies = np.array([float(np.asarray(one.energy)) for one in group])
    labels["is_system"][: len(group)] = 1
    labels["sizes"][: len(group)] = [one.system.n_atoms for one in group]
    labels["energies"][: len(group)] = energies - energies.mean()
    return jax.tree.map(jnp.asarray, labels)


PROGRAMS: dict[str, Epochs] = {
    "lrpot 2G, kept": functools.partial(with_lrpot, recipe="hdnnp_2g", keep=True),
    "lrpot 2G, computed anew": functools.partial(with_lrpot, recipe="hdnnp_2g", keep=False),
    "FeNNol": with_fennol,
    "lrpot 4G, kept": functools.partial(with_lrpot, recipe="hdnnp_4g", keep=True),
    "lrpot 4G, computed anew": functools.partial(with_lrpot, recipe="hdnnp_4g", keep=False),
}
"""What is timed; ratios are to the first."""


def one_program(name: str, epochs: int) -> dict[str, float]:
    """Times and memory of one program."""
    jax.config.update("jax_enable_x64", True)
    structures = lrpot.read_structures(DATA / "carbon_chain_train.xyz.xz")
    if name == "FeNNol":
        import fennol  # noqa: F401  # pyright: ignore[reportMissingImports]  (not its memory)
    before = resident_megabytes()
    forget_peak()
    begun = time.perf_counter()
    ends = PROGRAMS[name](structures, epochs)
    total = time.perf_counter() - begun
    steps = [after - earlier for earlier, after in itertools.pairwise(ends)]
    memory = resident_megabytes(peak=True) - before
    return {"epoch": statistics.median(steps), "total": total, "megabytes": memory}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--program", choices=PROGRAMS, help="this one alone, in JSON")
    arguments = parser.parse_args()
    if arguments.program:
        print(json.dumps(one_program(arguments.program, arguments.epochs)))
        return
    print(machine("fennol"))
    rows, first = [], None
    for name in PROGRAMS:
        if name == "FeNNol" and not installed("fennol"):
            continue
        given = ("--program", name, "--epochs", arguments.epochs)
        found = in_own_process(__file__, *given, threads=1)
        if isinstance(found, str):
            print(f"{name}: {found}", file=sys.stderr)
            continue
        first = first or found["epoch"]
        ratio, epoch = found["epoch"] / first, 1e3 * found["epoch"]
        all_epochs = f"{found['total']:.1f}"
        rows.append([name, f"{epoch:.0f}", f"{ratio:.1f}", all_epochs, f"{found['megabytes']:.0f}"])
    header = ("program", "ms/epoch", "ratio", f"{arguments.epochs} epochs in all, s", "MB")
    print_table(header, rows)


if __name__ == "__main__":
    main()
