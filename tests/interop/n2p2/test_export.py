"""What is written is what was there: potentials and structures, ours and those that were read."""

import dataclasses
import itertools
from pathlib import Path

import ase
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_md import space

import lrpot
from lrpot.data import Structure
from lrpot.descriptors import (
    ACSF,
    Angular,
    Channels,
    CosinePowers,
    Radial,
    Shells,
    default_acsf,
    identity_scaling,
)
from lrpot.interop.n2p2 import (
    read_potential,
    read_structures,
    write_potential,
    write_structures,
)
from lrpot.training.stages import Stage, Weights

# The potentials here are made short-ranged to be small.
pytestmark = pytest.mark.filterwarnings("ignore:.*the largest cutoff:lrpot.errors.InputWarning")

DATA = Path(lrpot.__file__).parent / "quickstart_data"
WATERS = np.array(
    [[0.0, 0.1, 0.0], [0.9, 0.2, -0.2], [-0.3, 0.9, 0.3], [0.2, 0.4, 2.1], [0.8, 1.2, 2.4]]
)
CELL = np.array([[4.4, 0.0, 0.0], [0.9, 4.9, 0.0], [-0.7, 0.5, 5.3]])
WATER = lrpot.System(WATERS, [8, 1, 1, 8, 1])
CATION = lrpot.System(WATERS, [8, 1, 1, 8, 1], total_charge=1.0)
CRYSTAL = lrpot.System(WATERS, [8, 1, 1, 8, 1], cell=CELL)
ACID = lrpot.System(WATERS, [6, 1, 1, 8, 1])
FILES = {
    "2g": ("input.nn", "scaling.data", "weights.001.data", "weights.006.data"),
    "4g": (
        *("hardness.001.data", "hardness.006.data", "input.nn", "scaling.data"),
        *("weights.001.data", "weights.006.data", "weightse.001.data", "weightse.006.data"),
    ),
}


def same_predictions(one, other, system, *, rtol, atol=0.0):
    neighbors = one.neighbors(system)
    found, wanted = (lrpot.predict(each, system, neighbors) for each in (other, one))
    np.testing.assert_allclose(found.energy, wanted.energy, rtol=rtol)
    for name in ("forces", "stress", "charges", "electronegativity"):
        a, b = getattr(found, name), getattr(wanted, name)
        assert (a is None) == (b is None)
        if a is not None:
            scale = float(jnp.abs(b).max())
            np.testing.assert_allclose(a, b, rtol=0, atol=max(atol, rtol * scale), err_msg=name)


@pytest.mark.parametrize(
    ("name", "systems"),
    [
        ("gaussian", [ACID]),
        ("compact", [ACID]),
        ("4g", [WATER, CATION, CRYSTAL]),
        ("4g normalised", [CATION, CRYSTAL]),
    ],
)
def test_read_write_read_is_the_identity(name, systems, samples, tmp_path):
    sample = samples[name]
    if name == "compact":
        # An output that is not linear has no room for the unit of energy.
        sample = dataclasses.replace(sample, letters="pel")
    units = dict(zip(("length", "energy"), sample.units, strict=True))
    first = read_potential(sample.write(tmp_path / "1"), **units)
    write_potential(first, tmp_path / "2", **units)
    second = read_potential(tmp_path / "2", **units)
    for system in systems:
        same_predictions(first, second, system, rtol=1e-13)


@pytest.mark.parametrize(
    "units", [("bohr", "Ha"), ("angstrom", "eV"), ("nm", "kcal/mol")], ids="-".join
)
def test_units_of_the_files_change_no_prediction(units, samples, tmp_path):
    first = read_potential(samples["4g"].write(tmp_path / "1"))
    chosen = dict(zip(("length", "energy"), units, strict=True))
    write_potential(first, tmp_path / "2", **chosen)
    same_predictions(first, read_potential(tmp_path / "2", **chosen), CATION, rtol=1e-13)


@pytest.mark.parametrize("name", ["gaussian", "4g", "4g normalised"])
def test_files_are_stable(name, samples, tmp_path):
    """A potential in our own files is written again number by number."""
    sample = samples[name]
    potential = read_potential(sample.write(tmp_path / "0"))
    for number in range(3):
        write_potential(potential, tmp_path / str(number + 1))
        if number:
            potential = read_potential(tmp_path / str(number + 1))
    first, second, third = (
        {path.name: path.read_text() for path in (tmp_path / str(number)).iterdir()}
        for number in (1, 2, 3)
    )
    assert first == second
    assert sorted(first) == sorted(sample.files())
    assert {name: len(text.split()) for name, text in first.items()} == {
        name: len(text.split()) for name, text in third.items()
    }


def calibrated(recipe, activation, **settings):
    # Shaken: in a straight chain some functions are all but constant, and their scaling then
    # blows rounding up.
    random = np.random.default_rng(0)
    structures = [
        dataclasses.replace(
            one,
            system=lrpot.System(
                one.system.positions + 0.2 * random.normal(size=(one.system.n_atoms, 3)),
                one.system.numbers,
            ),
        )
        for one in lrpot.read_structures(DATA / "carbon_train.xyz")[:3]
    ]
    descriptor = default_acsf(("H", "C"), cutoff=6.0, spacing=1.5, shells=1, zetas=(1.0,))
    potential = lrpot.MODELS[recipe](
        ("H", "C"),
        descriptor=descriptor,
        hidden=(4, 3),
        activation=activation,
        key=jax.random.key(1),
        **settings,
    )
    labels = {"energy": 1.0} if recipe == "hdnnp_2g" else {"energy": 1.0, "charges": 1.0}
    stages = [Stage(weights=Weights(**labels), epochs=2, batch_size=3)]
    return lrpot.fit(potential, structures, stages=stages, progress=False).potential, structures


@pytest.mark.parametrize(
    ("recipe", "activation", "kind"),
    [
        ("hdnnp_2g", "tanh", "2g"),
        ("hdnnp_2g", "softplus", "2g"),
        ("hdnnp_4g", "tanh", "4g"),
        pytest.param("hdnnp_4g", "softplus", "4g", marks=pytest.mark.slow),
    ],
)
def test_trained_potentials_come_back(recipe, activation, kind, tmp_path):
    potential, structures = calibrated(recipe, activation)
    write_potential(potential, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES[kind])
    back = read_potential(tmp_path)
    same_predictions(potential, back, structures[0].system, rtol=1e-12)
    np.testing.assert_allclose(
        back.terms["offsets"].energies, potential.terms["offsets"].energies, rtol=1e-15
    )


def test_weighted_functions_and_other_cutoffs_come_back(tmp_path):
    shells = Shells(((0.4, 0.0), (0.7, 1.1)), 3.0, "poly2", 0.25)
    parts = (
        Radial(Channels(()), shells),
        Angular(Channels(()), shells, CosinePowers(((1.0, 2.0), (-1.0, 1.0))), narrow=True),
        Angular(Channels((1,)), shells, CosinePowers(((1.0, 2.5),))),
    )
    count = sum(len(part.labels) for part in parts)
    scaling = identity_scaling((1, 8), count)
    limits = jnp.ones((2, count))
    scaling = dataclasses.replace(scaling, minimum=-limits, maximum=limits)
    potential = lrpot.hdnnp_2g(
        ("H", "O"), descriptor=ACSF(parts, scaling), activation="tanh", key=jax.random.key(0)
    )
    write_potential(potential, tmp_path)
    same_predictions(potential, read_potential(tmp_path), WATER, rtol=1e-12)


def test_everything_in_the_way_is_listed(tmp_path):
    potential = lrpot.hdnnp_3g(("H", "O"), activation="silu", key=jax.random.key(0))
    with pytest.raises(lrpot.InputError) as error:
        write_potential(potential, tmp_path / "out")
    message = str(error.value)
    for part in ("cannot hold", "third generation", "train it first"):
        assert part in message
    assert not (tmp_path / "out").exists()


def test_cent_and_its_energy_terms_are_in_the_way(tmp_path):
    potential = lrpot.cent(("H", "O"), activation="tanh", key=jax.random.key(0))
    with pytest.raises(lrpot.InputError, match=r"(?s)`site`.*no short-range networks"):
        write_potential(potential, tmp_path / "out")


@pytest.mark.parametrize("recipe", ["hdnnp_2g", "hdnnp_4g"])
def test_a_potential_without_statistics_is_refused(recipe, tmp_path):
    potential = lrpot.MODELS[recipe](("H", "O"), activation="tanh", key=jax.random.key(0))
    with pytest.raises(lrpot.InputError, match="not been scaled by data: train it first"):
        write_potential(potential, tmp_path / "out")


def test_activations_that_the_format_lacks_are_named(tmp_path):
    potential, _ = calibrated("hdnnp_2g", "silu")
    with pytest.raises(lrpot.InputError, match="the activation `silu`; the format has linear"):
        write_potential(potential, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_point_charges_are_in_the_way(tmp_path):
    potential, _ = calibrated("hdnnp_4g", "tanh", widths="point", hardness=30.0)
    with pytest.raises(lrpot.InputError, match="- point charges"):
        write_potential(potential, tmp_path / "out")


def test_a_charge_only_potential_cannot_be_written(samples, tmp_path):
    potential = read_potential(samples["charge only"].write(tmp_path / "in"))
    with pytest.raises(lrpot.InputError, match="cannot hold"):
        write_potential(potential, tmp_path / "out")


@pytest.mark.parametrize("units", [("bohr", "Ha"), ("angstrom", "eV")], ids="-".join)
def test_structures_come_back(units, tmp_path):
    random = np.random.default_rng(0)
    charges = np.array([0.5, 0.25, 0.25, -0.4, 0.4])
    full = dict(energy=np.asarray(-7.25), forces=random.normal(size=(5, 3)), charges=charges)
    written = [
        Structure(CATION, **full),
        Structure(CRYSTAL, **full | {"charges": charges - 0.2}),
        Structure(WATER, energy=np.asarray(1e-7), forces=np.zeros((5, 3))),
    ]
    chosen = dict(zip(("length", "energy"), units, strict=True))
    write_structures(written, tmp_path / "input.data", **chosen)
    for wanted, found in zip(
        written, read_structures(tmp_path / "input.data", **chosen), strict=True
    ):
        for name in ("positions", "cell", "total_charge"):
            a, b = getattr(found.system, name), getattr(wanted.system, name)
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(a, b, rtol=1e-15, atol=1e-16)
        assert found.system.numbers.tolist() == wanted.system.numbers.tolist()
        for label in ("energy", "forces", "charges"):
            a, b = getattr(found, label), getattr(wanted, label)
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(a, b, rtol=1e-15, atol=1e-16)


def test_a_slab_cannot_be_written_and_nothing_is(tmp_path):
    slab = lrpot.System([[0, 0, 0]], [1], cell=4 * np.eye(3), pbc=(True, True, False))
    with pytest.raises(
        lrpot.InputError, match=r"the sheet: `input.data` knows crystals and molecules"
    ):
        write_structures([Structure(slab, name="the sheet")], tmp_path / "input.data")
    assert not list(tmp_path.iterdir())


def test_structures_are_in_the_layout_of_the_format(tmp_path):
    charges = np.array([0.5, 0.25, 0.25, -0.4, 0.4])
    structure = Structure(CATION, energy=np.asarray(2.0), charges=charges)
    write_structures([structure], tmp_path / "input.data", length="angstrom", energy="eV")
    lines = (tmp_path / "input.data").read_text().splitlines()
    words = [line.split()[0] for line in lines]
    assert words == ["begin", "comment", "comment", *["atom"] * 5, "energy", "charge", "end"]
    assert lines[2] == "comment lrpot: labels energy charges"  # the forces are not real
    atom = lines[4].split()
    assert atom[4] == "H"
    assert [float(one) for one in atom[1:4] + atom[5:]] == [0.9, 0.2, -0.2, 0.25, 0, 0, 0, 0]


def test_jax_md_and_ase_give_what_predict_gives(samples, tmp_path):
    potential = read_potential(samples["4g"].write(tmp_path))
    wanted = lrpot.predict(potential, CATION)
    atoms = ase.Atoms(CATION.numbers, WATERS, info={"total_charge": 1.0})
    atoms.calc = lrpot.Calculator(potential)
    assert atoms.get_potential_energy() == pytest.approx(float(wanted.energy), rel=1e-13)
    np.testing.assert_allclose(atoms.get_forces(), wanted.forces, rtol=1e-11, atol=1e-11)
    displacement, _ = space.free()
    neighbor_fn, energy_fn = lrpot.to_jax_md(
        potential, displacement, None, CATION.numbers, total_charge=1.0
    )
    neighbors = neighbor_fn.allocate(CATION.positions)
    energy, gradient = jax.value_and_grad(energy_fn)(CATION.positions, neighbor=neighbors)
    assert float(energy) == pytest.approx(float(wanted.energy), rel=1e-13)
    np.testing.assert_allclose(-gradient, wanted.forces, rtol=1e-11, atol=1e-11)


@pytest.mark.slow
def test_a_crystal_runs_in_jax_md_as_in_ase(samples, tmp_path):
    potential = read_potential(samples["4g"].write(tmp_path))
    # Cells larger than twice the cutoff in every direction.
    moves = [np.array(one) @ CELL for one in itertools.product((0, 1), repeat=3)]
    positions = np.concatenate([WATERS + move for move in moves])
    cell, numbers = 2 * np.diag(np.diag(CELL)), np.array([8, 1, 1, 8, 1] * 8)
    system = lrpot.System(positions, numbers, cell=cell)
    wanted = lrpot.predict(potential, system)
    displacement, _ = space.periodic_general(cell.T, fractional_coordinates=True)
    neighbor_fn, energy_fn = lrpot.to_jax_md(potential, displacement, cell.T, numbers)
    fractional = jnp.asarray((positions @ np.linalg.inv(cell)) % 1)
    neighbors = neighbor_fn.allocate(fractional)
    energy, gradient = jax.value_and_grad(energy_fn)(fractional, neighbor=neighbors)
    assert float(energy) == pytest.approx(float(wanted.energy), rel=1e-12)
    np.testing.assert_allclose(-gradient, wanted.forces, rtol=1e-9, atol=1e-10)


def test_a_written_potential_trains_on(samples, tmp_path):
    potential = read_potential(samples["4g"].write(tmp_path / "1"))
    random = np.random.default_rng(1)
    structures = []
    for _ in range(3):
        system = lrpot.System(WATERS + 0.05 * random.normal(size=(5, 3)), WATER.numbers)
        found = lrpot.predict(potential, system)
        noise = 0.1 * random.normal(size=(5, 3))
        structures.append(
            Structure(
                system, energy=np.asarray(found.energy), forces=np.asarray(found.forces) + noise
            )
        )
    stage = Stage(weights=Weights(forces=1.0), epochs=10, averaging=0.0, learning_rate=3e-4)
    trained = lrpot.fit(potential, structures, stages=[stage], progress=False)
    first, last = (trained.history[row]["train"]["forces"] for row in (0, -1))
    assert last < first
    write_potential(trained.potential, tmp_path / "2")
    same_predictions(trained.potential, read_potential(tmp_path / "2"), WATER, rtol=1e-12)
