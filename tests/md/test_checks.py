"""A simulation that went wrong stops, says why, and leaves whole files."""

import dataclasses

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot import md
from lrpot.environment import environment_from_shifts

SHORT = {"steps": 12, "record_every": 3}


def frames(folder):
    """Of the trajectory, after a look at the log: it has as many lines."""
    found = ase.io.read(folder / "trajectory.xyz", ":")
    assert len((folder / "log.csv").read_text().splitlines()) == 1 + len(found)
    return found


def test_a_limit_of_temperature_and_one_of_drift(local, ion, simulate, tmp_path):
    with pytest.raises(lrpot.InputError, match=r"start make \d+ K, and the limit is 1 K"):
        simulate(local, ion, limits=md.Limits(temperature=1.0), folder=tmp_path / "start", **SHORT)
    assert (tmp_path / "start" / "trajectory.xyz").read_text() == ""
    rest = {**SHORT, "velocities": np.zeros((4, 3))}
    with pytest.raises(lrpot.InputError, match=r"exploded after 3 steps: .* \(the limit is 1 K"):
        simulate(local, ion, limits=md.Limits(temperature=1.0), folder=tmp_path / "hot", **rest)
    assert len(frames(tmp_path / "hot")) == 1
    with pytest.raises(lrpot.InputError, match=r"conserved energy has changed by .* is 1e-09"):
        simulate(local, ion, limits=md.Limits(drift=1e-9), folder=tmp_path / "drift", **SHORT)
    assert len(frames(tmp_path / "drift")) == 1
    simulate(local, ion, limits=md.Limits(temperature=1e4, drift=1.0), **SHORT)
    with pytest.raises(lrpot.InputError, match="limit `drift` must not be negative"):
        md.Limits(drift=-1.0)


def test_a_limit_of_extrapolation_names_atom_and_feature(local, ion, simulate):
    """The training range is that of the start, give or take a tenth of each feature."""
    environment = environment_from_shifts(ion, local.neighbors(ion))
    raw = np.asarray(local.descriptor.raw(environment))
    rows = [raw[np.asarray(ion.numbers) == number] for number in (1, 8)]
    scaling = dataclasses.replace(
        local.descriptor.scaling,
        minimum=jnp.stack([row.min(axis=0) - 0.1 for row in rows]),
        maximum=jnp.stack([row.max(axis=0) + 0.1 for row in rows]),
    )
    known = dataclasses.replace(
        local, descriptor=dataclasses.replace(local.descriptor, scaling=scaling)
    )
    settings = {**SHORT, "steps": 60, "temperature": 2000.0}
    message = r"feature \d+ of atom \d \([HO]\) is outside of its training range by .* is 0.5"
    with pytest.raises(lrpot.InputError, match=message):
        simulate(known, ion, limits=md.Limits(extrapolation=0.5), **settings)
    simulate(known, ion, limits=md.Limits(extrapolation=1e3), **settings)


def test_charges_that_do_not_converge_stop_the_run(charged, ion, simulate, tmp_path):
    hasty = charged.with_solver(solver="iterative", max_iterations=1, tolerance=1e-12)
    with pytest.raises(lrpot.InputError, match=r"not equilibrated.*out of balance by.*with_solver"):
        simulate(hasty, ion, folder=tmp_path, **SHORT)
    assert (tmp_path / "trajectory.xyz").read_text() == ""


def test_bad_starts_are_refused_before_anything_is_written(charged, local, ion, simulate, tmp_path):
    naked = dataclasses.replace(ion, total_charge=jnp.asarray(19.0))
    with pytest.raises(lrpot.InputError, match=r"total charge is \+19 e, .* 18 electrons only"):
        simulate(local, naked, folder=tmp_path, **SHORT)
    close = dataclasses.replace(ion, positions=ion.positions.at[1].set([0.05, 0.0, 0.0]))
    with pytest.raises(lrpot.InputError, match="lie on top of each other"):
        simulate(local, close, folder=tmp_path / "close", **SHORT)
    assert not (tmp_path / "close").exists()
    stiff = jax.tree.map(lambda leaf: leaf, local)
    stiff = dataclasses.replace(
        stiff, terms={**stiff.terms, "short_range": _scaled(stiff.terms["short_range"], 1e6)}
    )
    with pytest.raises(lrpot.InputError, match=r"no structure to start from.*lrpot.md.minimise"):
        simulate(stiff, ion, folder=tmp_path, **SHORT)
    with pytest.raises(lrpot.InputError, match="`masses` must be 4 positive numbers"):
        simulate(local, ion, masses=np.ones(3), **SHORT)


def _scaled(term, factor):
    return dataclasses.replace(term, scale=factor * term.scale)


def test_the_bar_tells_the_speed(local, ion, simulate, capsys):
    simulate(local, ion, progress=True, **SHORT)
    assert "steps/s" in capsys.readouterr().out
