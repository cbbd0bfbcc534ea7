"""Numbers of n2p2 itself: eight cases, both Ewald sums, and two potentials that it trained.

The files stay outside of the repository. Their folder is found through the environment variable
LRPOT_SHARED, by default `shared` beside the repository.
"""

import functools
import json
import os
import shutil
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot.environment import environment_from_shifts
from lrpot.interop.n2p2 import read_potential, read_structures
from lrpot.system import System
from lrpot.units import BOHR, HARTREE

ROOT = Path(__file__).resolve().parents[3]
SHARED = Path(os.environ.get("LRPOT_SHARED", ROOT.parent / "shared"))
CASES = SHARED / "reference" / "n2p2"
TRAINED = SHARED / "reference" / "n2p2_trained"
DATA = SHARED / "data" / "xtb"

ATOMIC = ("bohr", "Ha")
UNITS = {
    "2g_cu2s_monoclinic": ("angstrom", "eV"),
    "2g_ethylbenzene_molecule": ATOMIC,
    "2g_h2o_bulk": ATOMIC,
    "2g_qm9_weighted_compact": ("angstrom", "eV"),
    "2g_qm9_weighted_exp": ("angstrom", "eV"),
    "4g_alaumgo_slab": ATOMIC,
    "4g_carbon_chain": ATOMIC,
    "4g_h2o_bulk": ATOMIC,
}
CHOSEN = {
    "2g_cu2s_monoclinic": (0,),
    "2g_ethylbenzene_molecule": (0, 1),
    "2g_h2o_bulk": (0,),
    "2g_qm9_weighted_compact": (0, 4),
    "2g_qm9_weighted_exp": (0, 4),
    "4g_alaumgo_slab": (0,),
    "4g_carbon_chain": (0, 1, 2, 3),
    "4g_h2o_bulk": (0, 1),
}
STRUCTURES = [(case, number) for case, numbers in CHOSEN.items() for number in numbers]
STENCIL = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}
"""Central difference of fourth order."""

pytestmark = [
    pytest.mark.skipif(
        not CASES.is_dir(),
        reason=f"GPL files of n2p2 stay outside of the repository; there is no {CASES}",
    ),
    # Some of the files have zeros for labels, and one structure is a slab.
    pytest.mark.filterwarnings("ignore::lrpot.errors.InputWarning"),
]


def sizes(case):
    length, energy = UNITS[case]
    return {"bohr": BOHR, "angstrom": 1.0}[length], {"Ha": HARTREE, "eV": 1.0}[energy]


@functools.cache
def expected(case, name="expected.json"):
    return json.loads((CASES / case / name).read_text())["structures"]


@functools.cache
def potential_of(case):
    length, energy = UNITS[case]
    return read_potential(CASES / case, length=length, energy=energy)


@functools.cache
def systems_of(case):
    length, energy = UNITS[case]
    path = CASES / case / "input.data"
    read = read_structures(path, length=length, energy=energy, charge_tolerance=None)
    return [one.system for one in read]


@functools.cache
def neighbors_of(case, number):
    # A skin, so that the same list serves displaced atoms, and one shape for one size of system.
    potential, systems = potential_of(case), systems_of(case)
    alike = [systems[other] for other in CHOSEN[case]]
    alike = [other for other in alike if other.n_atoms == systems[number].n_atoms]
    capacity = max(potential.neighbors(one, skin=0.1).index.shape[1] for one in alike)
    return potential.neighbors(systems[number], skin=0.1, capacity=capacity)


@functools.cache
def predicted(case, number):
    return lrpot.predict(
        potential_of(case),
        systems_of(case)[number],
        neighbors_of(case, number),
        stress=False,
        extrapolation=True,
    )


@pytest.mark.parametrize(("case", "number"), STRUCTURES)
def test_energy_forces_and_charges_are_those_of_n2p2(case, number):
    length, energy = sizes(case)
    wanted, found = expected(case)[number], predicted(case, number)
    assert abs(float(found.energy) / energy - wanted["energy"]) <= 1e-9
    forces = np.asarray(found.forces) * length / energy
    assert np.abs(forces - np.array(wanted["forces"])).max() <= 1e-9
    assert ("charges" in wanted) == (found.charges is not None)
    if found.charges is not None:
        assert np.abs(np.asarray(found.charges) - np.array(wanted["charges"])).max() <= 1e-9
        chi = np.asarray(found.electronegativity) / energy
        assert np.abs(chi - np.array(wanted["electronegativities"])).max() <= 1e-9


@pytest.mark.parametrize(("case", "number"), STRUCTURES)
def test_extrapolation_is_where_n2p2_warns(case, number):
    outside = np.asarray(predicted(case, number).extrapolation)
    assert np.count_nonzero(outside) == expected(case)[number]["n_extrapolation_warnings"]


@pytest.mark.parametrize("case", UNITS)
def test_scaled_symmetry_functions_have_values_and_order_of_n2p2(case):
    potential, system = potential_of(case), systems_of(case)[0]
    environment = environment_from_shifts(system, neighbors_of(case, 0))
    features = np.asarray(
        eqx.filter_jit(lambda one, near: one(near))(potential.descriptor, environment)
    )
    wanted = expected(case)[0]["symmetry_functions_scaled_sorted"]
    assert len(wanted) == len(set(np.asarray(system.numbers).tolist()))
    for atom, values in wanted.items():
        found = features[int(atom)]
        assert np.abs(found[: len(values)] - np.array(values)).max() <= 1e-10
        assert (found[len(values) :] == 0).all()


@pytest.mark.parametrize(
    "case", [pytest.param("4g_alaumgo_slab", marks=pytest.mark.slow), "4g_h2o_bulk"]
)
def test_truncated_ewald_sum_reproduces_the_shipped_settings(case, tmp_path):
    length, energy = sizes(case)
    system = systems_of(case)[0]
    folder = shutil.copytree(CASES / case, tmp_path / case)
    shutil.copy(folder / "input.nn.shipped", folder / "input.nn")
    potential = read_potential(folder, truncate_ewald_for=system)
    found = lrpot.predict(potential, system, stress=False)
    wanted = expected(case, "expected_shipped_ewald.json")[0]
    assert abs(float(found.energy) / energy - wanted["energy"]) <= 1e-9
    forces = np.asarray(found.forces) * length / energy
    assert np.abs(forces - np.array(wanted["forces"])).max() <= 1e-9
    assert np.abs(np.asarray(found.charges) - np.array(wanted["charges"])).max() <= 1e-9
    # The option matters: the converged charges are others.
    converged = np.asarray(predicted(case, 0).charges)
    assert np.abs(np.asarray(found.charges) - converged).max() > 1e-7


@pytest.mark.parametrize("case", UNITS)
def test_forces_are_the_slope_of_the_energy(case):
    # Offsets of 1e6 eV would leave nothing but rounding in a difference of energies.
    potential = eqx.tree_at(
        lambda one: one.terms["offsets"].energies, potential_of(case), replace_fn=jnp.zeros_like
    )
    system, forces = systems_of(case)[0], np.asarray(predicted(case, 0).forces)
    # So short that no neighbour crosses a cutoff, where functions have kinks in the slope.
    step = 2e-4
    components = [(0, 0), (1, 2), (system.n_atoms - 1, 1)]
    for atom, axis in components[:1] if case == "4g_alaumgo_slab" else components:
        slope = 0.0
        for count, weight in STENCIL.items():
            positions = np.array(system.positions)
            positions[atom, axis] += count * step
            moved = System(
                jnp.asarray(positions),
                system.numbers,
                cell=system.cell,
                total_charge=system.total_charge,
            )
            found = lrpot.predict(
                potential, moved, neighbors_of(case, 0), stress=False, extrapolation=True
            )
            slope += weight * float(found.energy) / step
        assert abs(forces[atom, axis] + slope) <= 1e-6 * max(1.0, np.abs(forces).max())


@pytest.mark.skipif(
    not (TRAINED.is_dir() and DATA.is_dir()),
    reason="trained potentials and their data stay outside of the repository",
)
@pytest.mark.parametrize(
    ("name", "errors"),
    [
        ("carbon_chain_2g", {"energy": 1.4373e-4, "forces": 3.7010e-3}),
        ("carbon_chain_4g", {"energy": 1.3381e-4, "forces": 2.3325e-3, "charges": 9.112e-3}),
    ],
)
def test_potentials_trained_by_n2p2_have_the_errors_that_it_reports(name, errors):
    from lrpot.training import evaluate_structures

    structures = lrpot.read_structures(DATA / "carbon_chain_test.xyz")
    total = evaluate_structures(read_potential(TRAINED / name), structures).total
    unit = {"energy": HARTREE, "forces": HARTREE / BOHR, "charges": 1.0}
    for label, wanted in errors.items():
        assert total[label].rmse / unit[label] == pytest.approx(wanted, rel=2e-4)
