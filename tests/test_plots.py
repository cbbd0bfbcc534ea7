"""Figures are written for whatever there is to show."""

import dataclasses

import matplotlib.pyplot as plt
import numpy as np
import pytest

import lrpot
from lrpot import md, plots
from lrpot.training import Errors, Evaluation


def evaluation(labels, count=12, seed=0):
    rng = np.random.default_rng(seed)
    reference = {label: rng.normal(size=count) for label in labels}
    predicted = {label: values + 0.1 for label, values in reference.items()}
    total = {label: Errors(0.1, 0.1, count) for label in labels}
    return Evaluation(total, {}, {}, reference, predicted, [])


@pytest.fixture
def shown(monkeypatch):
    """The figures that were written, which are closed afterwards."""
    figures = []
    original = plots._write

    def write(figure, path):
        figures.append(figure)
        original(figure, path)

    monkeypatch.setattr(plots, "_write", write)
    yield figures
    assert plt.get_fignums() == []


def test_parity_shows_every_label_of_every_model(tmp_path, shown):
    path = tmp_path / "made" / "parity.png"
    models = {"2G": evaluation(["energy", "forces"]), "4G": evaluation(["energy", "charges"])}
    plots.parity(models, path)
    assert path.read_bytes()[:4] == b"\x89PNG"
    (figure,) = shown
    titles = [axis.get_title("left") for axis in figure.axes]
    assert titles == ["Energy", "Forces", "Charges"]
    legends = [[text.get_text() for text in axis.get_legend().get_texts()] for axis in figure.axes]
    assert legends == [
        ["2G: 100 meV/atom", "4G: 100 meV/atom"],
        ["2G: 100 meV/Å"],
        ["4G: 100 me"],
    ]
    line = figure.axes[1].get_lines()[0]
    np.testing.assert_allclose(line.get_ydata() - line.get_xdata(), 0.1)


def test_energies_of_different_compositions_share_a_panel(tmp_path, shown):
    one = evaluation(["energy"])
    energies = np.concatenate([one.reference["energy"] / 100 - 50, [-75.0, -75.01]])
    shifted = dataclasses.replace(
        one, reference={"energy": energies}, predicted={"energy": energies + 1e-3}
    )
    plots.parity({"4G": shifted}, tmp_path / "parity.png")
    line = shown[0].axes[0].get_lines()[0]
    assert np.ptp(line.get_xdata()) < 100  # meV/atom, and not the 25 eV between compositions
    np.testing.assert_allclose(line.get_ydata() - line.get_xdata(), 1.0, atol=1e-9)


def test_parity_of_nothing_is_an_input_error(tmp_path):
    with pytest.raises(lrpot.InputError, match="nothing to show"):
        plots.parity({"4G": evaluation([])}, tmp_path / "parity.png")


def test_a_learning_curve_has_a_panel_for_each_label_of_each_stage(tmp_path, shown):
    history = [
        {"stage": "charges", "epoch": n, "train": {"charges": 1 / n}, "validation": {}}
        for n in (1, 2, 3)
    ]
    history += [
        {"stage": "energies", "epoch": n, "train": errors, "validation": errors}
        for n, errors in ((1, {"energy": 0.2, "forces": 2}), (2, {"energy": 0.1, "forces": 1}))
    ]
    plots.learning_curve(history, tmp_path / "curve.png")
    (figure,) = shown
    assert [len(axis.get_lines()) for axis in figure.axes] == [1, 2, 2]
    np.testing.assert_allclose(figure.axes[0].get_lines()[0].get_ydata(), [1, 1 / 2, 1 / 3])
    assert "energies" in figure.axes[1].get_title("left")


def test_charges_along_a_chain_have_a_panel_for_each_system(tmp_path, shown):
    values = np.array([0.1, -0.1]), np.array([0.01, 0.02])
    panels = {name: {"reference": values, "4G": values} for name in ("neutral", "cation")}
    plots.chain_charges(panels, np.array([0.0, 1.2]), tmp_path / "charges.png")
    assert [axis.get_title("left") for axis in shown[0].axes] == ["neutral", "cation"]


def test_energy_conservation_is_shown_relative_to_the_start(tmp_path, shown):
    time = np.arange(5.0)
    log = dict(
        time_fs=1000 * time,
        potential_energy_eV=-9 - 0.1 * time,
        kinetic_energy_eV=1 + 0.1 * time,
        conserved_eV=np.full(5, -8.0) + 2e-6 * time,
        temperature_K=np.full(5, 300.0),
    )
    system = lrpot.System(np.eye(3)[:2], [1, 1])
    trajectory = md.Trajectory(system, np.zeros((5, 2, 3)), np.zeros((5, 2, 3)), log, None)
    plots.energy_conservation(trajectory, tmp_path / "energy.pdf")
    upper, lower = shown[0].axes
    np.testing.assert_allclose(upper.get_lines()[0].get_ydata(), -1 - 0.1 * time)
    np.testing.assert_allclose(lower.get_lines()[0].get_ydata(), time, atol=1e-9)
    assert (tmp_path / "energy.pdf").read_bytes()[:4] == b"%PDF"
