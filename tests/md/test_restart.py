"""A simulation that was interrupted ends with the numbers and files of an unbroken one."""

import csv
import resource
import signal
import subprocess
import sys
import time

import ase.io
import jax
import numpy as np
import pytest
import safetensors.numpy

import lrpot
from lrpot.checkpoint import FILE, read_notes

FILES = ("trajectory.xyz", "trajectory.nc", "log.csv")

SHORT = {
    "steps": 24,
    "record_every": 3,
    "restart_every": 2,
    "temperature": 600.0,
    "formats": ("xyz", "netcdf"),
}


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def states(folder):
    """The arrays that are stored."""
    return safetensors.numpy.load_file(folder / FILE)


def same(one, other):
    """The same files, the same state to the last bit."""
    assert contents(one).keys() == contents(other).keys()
    for name in FILES:
        assert (one / name).read_bytes() == (other / name).read_bytes()
    assert states(one).keys() == states(other).keys()
    for name, value in states(one).items():
        np.testing.assert_array_equal(value, states(other)[name])
    assert read_notes(one) == read_notes(other)


@pytest.mark.parametrize("ensemble", [pytest.param("langevin", marks=pytest.mark.slow), "npt"])
def test_halves_make_the_whole_bit_for_bit(
    charged, local, ion, crystal, simulate, tmp_path, ensemble
):
    """Velocities, thermostat, barostat, noise, charges and lists: all of it goes on."""
    iterative = charged.with_solver(solver="iterative")  # with a memory of charges
    potential = iterative if ensemble == "langevin" else local
    system = crystal if ensemble == "npt" else ion
    settings = {**SHORT, "ensemble": ensemble, "damping": 20.0}
    whole = simulate(potential, system, folder=tmp_path / "whole", **settings)
    first = simulate(potential, system, folder=tmp_path / "halves", **{**settings, "steps": 11})
    second = simulate(potential, system, folder=tmp_path / "halves", **settings)
    assert len(first.positions) == 5  # 0, 3, 6, 9, 11
    np.testing.assert_array_equal(second.positions[0], first.positions[-1])
    np.testing.assert_array_equal(second.positions[-1], whole.positions[-1])
    np.testing.assert_array_equal(second.velocities[-1], whole.velocities[-1])
    if potential is iterative:
        np.testing.assert_array_equal(second.charges[-1], whole.charges[-1])
    if ensemble == "npt":
        np.testing.assert_array_equal(second.cells[-1], whole.cells[-1])
    assert np.abs(whole.positions[-1] - first.positions[-1]).max() > 0.01
    # In steps of the same frames the files are the same, too.
    simulate(potential, system, folder=tmp_path / "parts", **{**settings, "steps": 12})
    simulate(potential, system, folder=tmp_path / "parts", **settings)
    same(tmp_path / "parts", tmp_path / "whole")


def test_what_is_beyond_the_stored_state_is_written_again(local, ion, simulate, tmp_path):
    """A kill leaves whole frames that the state does not know, and half of one."""
    folder = tmp_path / "killed"
    simulate(local, ion, folder=tmp_path / "whole", **SHORT)
    simulate(local, ion, folder=folder, **{**SHORT, "steps": 12})
    whole = contents(tmp_path / "whole")
    for name in FILES:
        known = (folder / name).stat().st_size
        (folder / name).write_bytes(whole[name][: known + (len(whole[name]) - known) // 3])
    simulate(local, ion, folder=folder, **SHORT)
    same(folder, tmp_path / "whole")


SCRIPT = """
import sys
import jax
jax.config.update("jax_enable_x64", True)
import lrpot
from lrpot import md
from lrpot.interop.ase import from_ase
import ase.io
system = from_ase(ase.io.read(sys.argv[2]))
md.run(lrpot.load(sys.argv[1]), system, steps=100000, record_every=2, restart_every=3,
       folder=sys.argv[3], key=jax.random.key(0))
"""


def test_a_killed_process_leaves_what_another_goes_on_from(local, ion, simulate, tmp_path):
    lrpot.save(tmp_path / "model.lrpot", local)
    atoms = ase.Atoms(np.asarray(ion.numbers), np.asarray(ion.positions))
    ase.io.write(tmp_path / "start.xyz", atoms)
    folder = tmp_path / "md"
    arguments = [tmp_path / "model.lrpot", tmp_path / "start.xyz", folder]
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments])
    while not (folder / FILE).exists():
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = read_notes(folder)["step"]
    assert 0 < done < 100000
    start = lrpot.from_ase(ase.io.read(tmp_path / "start.xyz"))
    settings = {"steps": done + 12, "record_every": 2, "restart_every": 3}
    simulate(local, start, folder=folder, **settings)
    frames = ase.io.read(folder / "trajectory.xyz", ":")
    with (folder / "log.csv").open(newline="") as file:
        times = [float(row["time_fs"]) for row in csv.DictReader(file)]
    assert times == [frame.info["time_fs"] for frame in frames]
    np.testing.assert_allclose(times, np.arange(0, done + 13, 2) * 0.5)


def test_a_finished_simulation_is_left_alone_and_can_be_started_over(
    local, ion, simulate, tmp_path
):
    simulate(local, ion, folder=tmp_path, **SHORT)
    before = contents(tmp_path)
    again = simulate(local, ion, folder=tmp_path, **SHORT)
    assert len(again.positions) == 1
    with pytest.raises(lrpot.InputError, match="A drift needs two frames"):
        again.drift()
    assert contents(tmp_path) == before
    over = simulate(local, ion, folder=tmp_path, seed=1, resume=False, **SHORT)
    assert len(over.positions) == 9
    assert len(ase.io.read(tmp_path / "trajectory.xyz", ":")) == 9
    assert contents(tmp_path) != before


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"temperature": 500.0}, {"masses": np.full(4, 5.0)}], ids=str
)
def test_another_simulation_does_not_go_on_here(local, ion, simulate, tmp_path, other):
    simulate(local, ion, folder=tmp_path, **SHORT)
    before = contents(tmp_path)
    with pytest.raises(lrpot.InputError, match=r"holds another simulation.*--no-resume"):
        simulate(local, ion, folder=tmp_path, **{**SHORT, **other})
    assert contents(tmp_path) == before


def test_other_formats_do_not_go_on_here(local, ion, simulate, tmp_path):
    simulate(local, ion, folder=tmp_path, **SHORT)
    before = contents(tmp_path)
    with pytest.raises(lrpot.InputError, match=r"with xyz, netcdf, log.csv, which cannot go on"):
        simulate(local, ion, folder=tmp_path, **{**SHORT, "formats": ["xyz"]})
    assert contents(tmp_path) == before


def test_files_that_were_cut_short_are_refused(local, ion, simulate, tmp_path):
    simulate(local, ion, folder=tmp_path, **SHORT)
    (tmp_path / "log.csv").write_text("time_fs\n")
    with pytest.raises(lrpot.InputError, match=r"log.csv should have \d+ bytes or more, but has 8"):
        simulate(local, ion, folder=tmp_path, **{**SHORT, "steps": 30})


@pytest.fixture
def no_compilations_written():
    """Compiled code comes from its folder, and nothing is added."""
    name = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name)
    jax.config.update(name, 1e9)
    yield
    jax.config.update(name, before)


@pytest.mark.usefixtures("no_compilations_written")
def test_a_full_disk_is_told_and_leaves_whole_frames(local, ion, simulate, tmp_path):
    """A limit on the size of files refuses to write as a full disk does."""
    folder = tmp_path / "full"
    simulate(local, ion, folder=tmp_path / "whole", **SHORT)
    frame = len((tmp_path / "whole" / "trajectory.xyz").read_bytes()) // 9
    simulate(local, ion, folder=folder, **{**SHORT, "steps": 12})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    stored = (folder / FILE).stat().st_size
    assert stored < 7 * frame  # the state can still be written
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(6.5 * frame), limits[1]))
    try:
        with pytest.raises(lrpot.InputError, match=r"Cannot write to .*full: .*make room"):
            simulate(local, ion, folder=folder, **SHORT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(ase.io.read(folder / "trajectory.xyz", ":")) == 6
    assert len(ase.io.read(folder / "trajectory.nc", ":", format="netcdftrajectory")) == 6
    assert len((folder / "log.csv").read_text().splitlines()) == 7
    simulate(local, ion, folder=folder, **SHORT)
    same(folder, tmp_path / "whole")


def test_a_folder_that_cannot_be_made_is_an_error(local, ion, simulate, tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(lrpot.InputError, match=r"Cannot write to .*Choose another folder"):
        simulate(local, ion, folder=tmp_path / "file" / "md", **SHORT)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
