"""Figures: parity, learning curves, charges along a chain, energy conservation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lrpot.errors import InputError
from lrpot.files import replacing

if TYPE_CHECKING:
    from lrpot.md import Trajectory
    from lrpot.training import Evaluation

COLORS = ("#5B8DB8", "#D1495B", "#E9A03B", "#3B7A57", "#7A5C99")
"""One per model, in the order they are given; told apart by colour-blind readers too."""

STYLE: dict[Any, Any] = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "legend.frameon": False,
    "savefig.dpi": 200,
}

_QUANTITIES = {
    "energy": ("Energy", "meV/atom", 1e3),
    "forces": ("Forces", "eV/Å", 1.0),
    "charges": ("Charges", "e", 1.0),
    "dipole": ("Dipole", "e Å", 1.0),
    "quadrupole": ("Quadrupole", "e Å²", 1.0),
    "stress": ("Stress", "meV/Å³", 1e3),
}


def parity(
    evaluations: Mapping[str, "Evaluation"],
    path: str | Path,
    *,
    labels: Sequence[str] = tuple(_QUANTITIES),
) -> None:
    """Predicted against reference values, one panel per quantity, all models in each.

    Energies are shown relative to the mean reference energy of the structures with the same
    number of components, so that different compositions fit into one panel.

    Args:
        evaluations: By the name of the model.
        path: Image to write, in any format of matplotlib.
        labels: Quantities to show, as far as there are any.

    Raises:
        InputError: If there are none.
    """
    labels = [
        label
        for label in labels
        if any(label in evaluation.total for evaluation in evaluations.values())
    ]
    if not labels:
        raise InputError("There is nothing to show: the evaluations compare no such quantity.")
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(labels), figsize=(3.9 * len(labels), 3.7), squeeze=False)
        for axis, label in zip(axes[0], labels, strict=True):
            _parity_panel(axis, label, evaluations)
        _write(figure, path)


def _parity_panel(axis: Axes, label: str, evaluations: Mapping[str, "Evaluation"]) -> None:
    name, unit, factor = _QUANTITIES[label]
    low, high = np.inf, -np.inf
    for color, (model, evaluation) in zip(COLORS, evaluations.items(), strict=False):
        if label not in evaluation.total:
            continue
        reference = evaluation.reference[label]
        predicted = evaluation.predicted[label]
        origin = _group_means(reference) if label == "energy" else 0.0
        x, y = factor * (reference - origin), factor * (predicted - origin)
        rmse = evaluation.total[label].rmse
        error = f"{1e3 * rmse:.3g} m{unit}" if factor == 1.0 else f"{factor * rmse:.3g} {unit}"
        axis.plot(x, y, "o", ms=3, mew=0, alpha=0.5, color=color, label=f"{model}: {error}")
        low, high = min(low, x.min()), max(high, x.max())
    margin = 0.05 * (high - low)
    limits = (low - margin, high + margin)
    axis.plot(limits, limits, color="0.3", lw=0.8, zorder=0)
    axis.set(xlim=limits, ylim=limits, aspect="equal", title=name)
    axis.yaxis.set_major_locator(MaxNLocator(5))
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.set_xlabel(f"reference ({unit})")
    axis.set_ylabel(f"predicted ({unit})")
    axis.legend(loc="upper left", handletextpad=0.2, fontsize=9, title="RMSE", alignment="left")


def _group_means(energies: np.ndarray) -> np.ndarray:
    """Mean of each cluster of energies per atom, clusters being more than 0.5 eV/atom apart."""
    order = np.argsort(energies)
    cluster = np.cumsum(np.diff(energies[order], prepend=energies[order][0]) > 0.5)
    means = np.empty_like(energies)
    for number in np.unique(cluster):
        means[order[cluster == number]] = energies[order[cluster == number]].mean()
    return means


def learning_curve(history: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Root mean square errors against epochs, one row of panels per stage of training.

    Args:
        history: Of a `lrpot.training.Fit`.
        path: Image to write.
    """
    stages = list(dict.fromkeys(row["stage"] for row in history))
    panels = [
        (stage, label)
        for stage in stages
        for label in next(row["train"] for row in history if row["stage"] == stage)
    ]
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(panels), figsize=(3.6 * len(panels), 3.2), squeeze=False)
        for axis, (stage, label) in zip(axes[0], panels, strict=True):
            name, unit, _ = _QUANTITIES[label]
            rows = [row for row in history if row["stage"] == stage]
            for color, kind in zip(COLORS, ("train", "validation"), strict=False):
                values = [row[kind].get(label, np.nan) for row in rows]
                if np.isfinite(values).any():
                    axis.semilogy([row["epoch"] for row in rows], values, color=color, label=kind)
            axis.set(xlabel="epoch", title=f"{name}, stage “{stage}”")
            axis.set_ylabel(f"RMSE ({'eV/atom' if label == 'energy' else unit.lstrip('m')})")
            axis.legend()
        _write(figure, path)


def chain_charges(
    panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]],
    positions: np.ndarray,
    path: str | Path,
) -> None:
    """Charges along a chain, mean and standard deviation over structures, one panel per system.

    Args:
        panels: By system, then by source ("reference" or the name of a model): mean and
            standard deviation of the charge at each position, in e.
        positions: Place of each atom along the chain, in Å.
        path: Image to write.
    """
    styles = {"reference": dict(color="0.15", marker="o", ms=8, mfc="white", zorder=1)}
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(
            1, len(panels), figsize=(5.2 * len(panels), 3.6), sharey=True, squeeze=False
        )
        for axis, (system, sources) in zip(axes[0], panels.items(), strict=True):
            models = [name for name in sources if name != "reference"]
            for name, (mean, spread) in sources.items():
                style = styles.get(name) or dict(
                    color=COLORS[1 - models.index(name) % 2], marker="o", ms=4.5, zorder=2
                )
                axis.errorbar(positions, mean, spread, label=name, lw=1.2, capsize=2, **style)
            axis.axhline(0.0, color="0.8", lw=0.8, zorder=0)
            axis.set(xlabel="position along the chain (Å)", title=system)
        axes[0, 0].set_ylabel("charge (e)")
        axes[0, -1].legend(loc="best")
        _write(figure, path)


def energy_conservation(trajectory: "Trajectory", path: str | Path) -> None:
    """Potential, kinetic and conserved energy of a simulation, relative to their start.

    Args:
        trajectory: From `lrpot.md.run`.
        path: Image to write.
    """
    time, log = trajectory.log["time_fs"] / 1000, trajectory.log
    n_atoms = trajectory.system.n_atoms
    with mpl.rc_context(STYLE):
        figure, (upper, lower) = plt.subplots(
            2, 1, figsize=(6.4, 4.4), sharex=True, height_ratios=(2, 1)
        )
        for color, name, label in (
            (COLORS[0], "potential_energy_eV", "potential"),
            (COLORS[2], "kinetic_energy_eV", "kinetic"),
            ("0.15", "conserved_eV", "conserved"),
        ):
            values = log[name] - (0.0 if label == "kinetic" else log["conserved_eV"][0])
            upper.plot(time, values, color=color, lw=0.9, label=label)
        upper.set(ylabel="energy (eV)", title="Energy conservation")
        upper.legend(
            loc="lower right",
            bbox_to_anchor=(1.0, 0.98),
            ncols=3,
            borderaxespad=0.0,
            handlelength=1.2,
        )
        change = 1e6 * (log["conserved_eV"] - log["conserved_eV"][0]) / n_atoms
        lower.plot(time, change, color="0.15", lw=0.9)
        lower.set(xlabel="time (ps)", ylabel="change (µeV/atom)", xlim=(time[0], time[-1]))
        lower.set_title(
            f"drift {1e6 * trajectory.drift():+.2f} µeV/atom/ps", fontsize=9, fontweight="normal"
        )
        _write(figure, path)


def _write(figure: Figure, path: str | Path) -> None:
    kind = Path(path).suffix.removeprefix(".") or None
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            figure.savefig(file, format=kind)
    finally:
        plt.close(figure)
