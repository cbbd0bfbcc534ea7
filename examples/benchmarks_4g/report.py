"""Tables of what `train.py` has left in `models`: errors, and physics that errors do not show.

python examples/benchmarks_4g/report.py [--wetting FILE]

The four relaxed structures of Au2 on MgO may not be passed on with this library; `--wetting` names
a file with them, labelled `label=1-doped` (non-wetting), `3-doped` (wetting) and so on.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import jax
import numpy as np
from ase.optimize import BFGS
from sets import FORMS, HERE, MODELS, SETS, VARIANTS, read

import lrpot
from lrpot.data import Structure
from lrpot.interop.ase import Calculator
from lrpot.potential import Potential

LABELS = ("energy", "forces", "charges")


def errors_table() -> list[list[str]]:
    """Root mean square errors on the test structures, over all seeds, and the time to train."""
    rows = [
        ["set", "model", "seeds", "energy, meV/atom", "forces, meV/Å", "charges, me", "time, s"]
    ]
    for name in SETS:
        for variant in (*VARIANTS, *FORMS):
            found = [
                json.loads(path.read_text())
                for path in sorted(MODELS.glob(f"{name}_{variant}_[0-9]*.json"))
            ]
            if not found:
                continue
            cells = [
                _mean([one["errors"]["total"].get(label) for one in found]) for label in LABELS
            ]
            seconds = f"{np.mean([one['seconds'] for one in found]):.0f}"
            rows.append([name, variant, str(len(found)), *cells, seconds])
    return rows


def _mean(errors: list[dict | None]) -> str:
    values = [1e3 * one["rmse"] for one in errors if one is not None]
    if not values:
        return "–"
    spread = f" ± {np.std(values, ddof=1):.2g}" if len(values) > 1 else ""
    return f"{np.mean(values):.3g}{spread}"


def far_charges(name: str, potential: Potential) -> dict[str, float]:
    """Mean charge of the hydrogen far from the proton, in C10H2 and C10H3⁺, in e."""
    found: dict[str, list[float]] = defaultdict(list)
    for one in read(name, 0)[1]:
        molecule = "C10H3+" if float(one.system.total_charge) else "C10H2"
        hydrogen = _far_hydrogen(one)
        found[f"{molecule} reference"].append(float(one.charges[hydrogen]))
        charges = lrpot.predict(potential, one.system, forces=False).charges
        found[f"{molecule} model"].append(float(charges[hydrogen]))
    return {key: float(np.mean(values)) for key, values in sorted(found.items())}


def _far_hydrogen(one: Structure) -> int:
    """The hydrogen with one other at least 12 Å away; the proton makes a pair at the other end."""
    positions, numbers = np.asarray(one.system.positions), np.asarray(one.system.numbers)
    hydrogens = np.flatnonzero(numbers == 1)
    apart = np.linalg.norm(positions[hydrogens][:, None] - positions[hydrogens], axis=-1)
    return int(hydrogens[apart.sum(axis=1).argmax()])


def minima(name: str, potential: Potential) -> dict[str, float]:
    """Largest error of a distance in each relaxed cluster, from the minimum of the reference, Å."""
    found = {}
    for atoms, _ in _references("minima.xyz", name):
        moving = atoms.copy()
        moving.calc = Calculator(potential)
        BFGS(moving, logfile=None).run(fmax=1e-4, steps=300)
        difference = moving.get_all_distances() - atoms.get_all_distances()
        found[atoms.info["system"]] = float(np.abs(difference).max())
    return found


def scans(name: str, potential: Potential) -> dict[str, float]:
    """Where the moved sodium is at rest by a parabola, model and reference, in Å."""
    curves: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for atoms, one in _references("scans.xyz", name):
        energy = float(lrpot.predict(potential, one.system, forces=False).energy)
        curves[atoms.info["system"]].append((atoms.info["step"], float(one.energy), energy))
    found = {}
    for system, points in curves.items():
        step, reference, model = np.array(points).T
        found[f"{system} reference"] = _lowest(step, reference)
        found[f"{system} model"] = _lowest(step, model)
    return found


def _lowest(step: np.ndarray, energy: np.ndarray) -> float:
    """The minimum of a parabola through the lowest point and its two neighbours on either side."""
    lowest = int(np.clip(energy.argmin(), 2, len(energy) - 3))
    near = slice(lowest - 2, lowest + 3)
    square, slope, _ = np.polyfit(step[near], energy[near] - energy[lowest], 2)
    return float(-slope / (2 * square))


def _references(file: str, name: str):
    import ase.io

    frames = ase.io.read(HERE / "data" / file, ":")
    pairs = zip(frames, lrpot.read_structures(HERE / "data" / file), strict=True)
    origin = (SETS[name].files or Path(name)).name
    return [(atoms, one) for atoms, one in pairs if atoms.info["set"] == origin]


def wetting(file: Path, potential: Potential) -> dict[str, float]:
    """Energy of wetting minus that of non-wetting Au2, in meV."""
    import ase.io

    labels = [one.info["label"] for one in ase.io.read(file, ":")]
    structures = lrpot.read_structures(file, charge_tolerance=0.1)
    energies = {
        label: (float(one.energy), float(lrpot.predict(potential, one.system).energy))
        for label, one in zip(labels, structures, strict=True)
    }
    found = {}
    for slab in ("doped", "undoped"):
        for number, source in enumerate(("reference", "model")):
            difference = energies[f"3-{slab}"][number] - energies[f"1-{slab}"][number]
            found[f"{slab} {source}"] = 1e3 * difference
    return found


def physics(file: Path | None) -> list[list[str]]:
    """What each model of the first seed says about what is known."""
    checks = [
        (far_charges, ("carbon_chain", "carbon_chain_dft"), "charge of the far hydrogen, e"),
        (minima, ("ag3", "nacl", "nacl_more"), "largest error of a distance at the minimum, Å"),
        (scans, ("nacl", "nacl_more"), "sodium at rest, Å"),
    ]
    if file is not None:
        checks.append((lambda _, model: wetting(file, model), ("au2_mgo_dft",), "wetting, meV"))
    rows = [["set", "model", "what", "found"]]
    for check, names, what in checks:
        for name in names:
            for variant in VARIANTS:
                path = MODELS / f"{name}_{variant}.lrpot"
                if not path.exists():
                    continue
                potential = lrpot.load(path)
                if check is far_charges and potential.charge_model is None:
                    continue
                found = check(name, potential)
                cells = "; ".join(f"{key} {value:+.4g}" for key, value in found.items())
                rows.append([name, variant, what, cells])
    return rows


def main() -> None:
    """Print the tables, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wetting", type=Path, help="the four relaxed structures of Au2 on MgO")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    for rows in (errors_table(), physics(arguments.wetting)):
        head, *rest = rows
        for row in (head, ["---"] * len(head), *rest):
            print("| " + " | ".join(row) + " |")
        print()


if __name__ == "__main__":
    main()
