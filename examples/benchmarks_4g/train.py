"""Train potentials on the sets of this folder and keep them in `models`.

python examples/benchmarks_4g/train.py [SET …] [--variants 2g 4g …] [--seeds 0 1 2] [--effort 1.0]

Test errors and times go into a JSON file beside each model; `report.py` makes tables of them. The
model of the first seed is kept. What is there already is not trained again.
"""

import argparse
import shutil
import time
from pathlib import Path

import jax
from sets import FORMS, MODELS, SETS, VARIANTS, read, stages, untrained

import lrpot
from lrpot.training import evaluate_structures
from lrpot.training.config import write_json


def train(name: str, variant: str, seed: int, effort: float, work: Path) -> None:
    """Train one potential, if it has not been trained, and write its errors."""
    outcome = MODELS / f"{name}_{variant}_{seed}.json"
    if outcome.exists():
        return
    structures, test = read(name, seed)
    potential = untrained(name, variant, structures, key=jax.random.key(seed))
    checkpoints = work / f"{name}_{variant}_{seed}"
    begun = time.perf_counter()
    fitted = lrpot.fit(
        potential,
        structures,
        stages=stages(name, variant, potential, effort),
        folder=checkpoints,
        seed=seed,
    )
    seconds = time.perf_counter() - begun
    if seed == 0 and variant not in FORMS:
        lrpot.save(MODELS / f"{name}_{variant}.lrpot", fitted.potential)
    errors = evaluate_structures(fitted.potential, test).as_dict()
    found = {"seconds": seconds, "updates": fitted.seconds}
    write_json(outcome, {**found, "effort": effort, "errors": errors})
    shutil.rmtree(checkpoints, ignore_errors=True)


def main() -> None:
    """Train what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=list(SETS), choices=[*SETS, []], metavar="SET")
    parser.add_argument(
        "--variants", nargs="+", default=["2g", "4g", "extended"], choices=[*VARIANTS, *FORMS]
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--effort", type=float, default=1.0, help="times the usual epochs")
    parser.add_argument("--work", type=Path, default=Path("training"), help="for checkpoints")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    MODELS.mkdir(exist_ok=True)
    for name in arguments.sets:
        for variant in arguments.variants:
            for seed in arguments.seeds:
                print(f"{name}, {variant}, seed {seed}", flush=True)
                train(name, variant, seed, arguments.effort, arguments.work)


if __name__ == "__main__":
    main()
