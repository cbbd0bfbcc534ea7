"""Potentials read from files against a plain evaluation, pair by pair and image by image.

Nothing of the library enters the expected values but the size of its units.
"""

import dataclasses
import functools
import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot.environment import environment_from_shifts
from lrpot.interop.n2p2 import read_potential
from lrpot.interop.n2p2.settings import ENERGIES, LENGTHS

# The potentials here are made short-ranged to be small.
pytestmark = pytest.mark.filterwarnings("ignore:.*the largest cutoff:lrpot.errors.InputWarning")

NUMBERS = {"H": 1, "C": 6, "O": 8}
ACTIVATIONS = {
    "l": lambda x: x,
    "t": np.tanh,
    "s": lambda x: 1 / (1 + np.exp(-x)),
    "p": lambda x: np.log(1 + np.exp(x)),
    "r": lambda x: np.where(x > 0, x, 0.0),
    "g": lambda x: np.exp(-(x**2) / 2),
    "c": np.cos,
    "S": lambda x: 1 - 1 / (1 + np.exp(-x)),
    "e": lambda x: np.exp(-x),
    "h": lambda x: x**2,
}


def core(name, x):
    return {
        "c": lambda: 0.5 * (math.cos(math.pi * x) + 1),
        "e": lambda: math.exp(1 - 1 / (1 - x**2)),
        "p1": lambda: 1 - 3 * x**2 + 2 * x**3,
        "p2": lambda: 1 - 10 * x**3 + 15 * x**4 - 6 * x**5,
        "p3": lambda: 1 - 35 * x**4 + 84 * x**5 - 70 * x**6 + 20 * x**7,
        "p4": lambda: 1 - 126 * x**5 + 420 * x**6 - 540 * x**7 + 315 * x**8 - 70 * x**9,
    }[name]()


def cutoff(kind, alpha, r, rc):
    if r >= rc:
        return 0.0
    if kind in (2, 3):
        return math.tanh(1 - r / rc) ** 3 / (math.tanh(1) ** 3 if kind == 3 else 1)
    if kind == 0 or r < alpha * rc:
        return 1.0
    name = {1: "c", 4: "e", 5: "p1", 6: "p2", 7: "p3", 8: "p4"}[kind]
    return core(name, (r - alpha * rc) / (rc - alpha * rc))


def compact(r, low, high, name):
    if not low < r < high:
        return 0.0
    x = abs(r - (low + high) / 2) / ((high - low) / 2)
    return core(name[:2], x * (2 - x)) if name.endswith("a") else core(name[:2], x)


def reach_of(function):
    kind, *rest = function
    if kind >= 20:
        return [one for one in rest if not isinstance(one, str)][1]
    return rest[5] if kind in (3, 9) else rest[-1]


def pairs_of(around):
    """Atomic numbers, the three sides and the cosine of every pair of neighbours."""
    for (z1, v1), (z2, v2) in itertools.combinations(around, 2):
        r1, r2, r3 = np.linalg.norm(v1), np.linalg.norm(v2), np.linalg.norm(v1 - v2)
        yield z1, z2, r1, r2, r3, v1 @ v2 / (r1 * r2)


def function_value(function, around, pairs, fc):
    """`around`: atomic number and vector of every neighbour, images included."""
    kind, *rest = function
    n_named = {2: 1, 20: 1, 3: 2, 9: 2, 21: 2, 22: 2}.get(kind, 0)
    named, rest = sorted(NUMBERS[one] for one in rest[:n_named]), rest[n_named:]
    if kind in (2, 12):
        eta, shift, rc = rest
    elif kind == 13:
        eta, shift, sign, zeta, rc = rest
    elif kind in (3, 9):
        eta, sign, zeta, rc, shift = (*rest, 0.0)[:5]
    else:
        low, high, *window, name = rest

    def radial(r):
        if kind >= 20:
            return compact(r, low, high, name)
        return math.exp(-eta * (r - shift) ** 2) * fc(r, rc)

    if kind in (2, 12, 20, 23):
        return sum(
            (1 if named else number) * radial(np.linalg.norm(vector))
            for number, vector in around
            if not named or number == named[0]
        )
    total = 0.0
    for z1, z2, r1, r2, r3, cosine in pairs:
        if named and sorted((z1, z2)) != named:
            continue
        value = radial(r1) * radial(r2)
        if kind in (3, 13, 21, 24):
            value *= radial(r3)
        if kind < 20:
            base = 1 + sign * cosine
            value *= 0.0 if base <= 0 else 2 ** (1 - zeta) * base**zeta
        else:
            degrees = 0.0 if abs(cosine) >= 1 else math.degrees(math.acos(cosine))
            value *= compact(degrees, *window, name.removesuffix("a")) if degrees else 0.0
        total += value * (1 if named else z1 * z2)
    return total


def images(cell, reach):
    if cell is None:
        return [np.zeros(3)]
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    counts = [range(-n, n + 1) for n in (np.ceil(reach / heights).astype(int) + 1)]
    return [np.array(steps) @ cell for steps in itertools.product(*counts)]


def neighbors(positions, symbols, cell, atom, reach):
    """Index, atomic number and vector."""
    found = []
    for other, move in itertools.product(range(len(symbols)), images(cell, reach)):
        vector = positions[other] + move - positions[atom]
        if 1e-9 < np.linalg.norm(vector) < reach:
            found.append((other, NUMBERS[symbols[other]], vector))
    return found


def scaled(sample, element, values):
    low, high = sample.limits
    result = []
    for value, (least, most, mean, sigma) in zip(values, sample.statistics(element), strict=True):
        scale, center = (f"{one}_symmetry_functions" in sample.flags for one in ("scale", "center"))
        if scale:
            origin = mean if center else least
            result.append(low + (high - low) * (value - origin) / (most - least))
        elif center:
            result.append(value - mean)
        elif "scale_symmetry_functions_sigma" in sample.flags:
            result.append(low + (high - low) * (value - mean) / sigma)
        else:
            result.append(value)
    return result


def network(sample, element, inputs, which):
    values = np.array(inputs)
    for (weights, biases), letter in zip(
        sample.network(element, which), sample.shape(element, which)[1], strict=True
    ):
        sums = values @ weights + biases
        values = ACTIVATIONS[letter](sums / len(values) if sample.divide else sums)
    return values[0]


def coulomb_matrix(positions, widths, cell, constant):
    """Without hardness; in a crystal an Ewald sum of fixed, generous size."""
    n = len(positions)
    gamma = np.sqrt(widths[:, None] ** 2 + widths[None, :] ** 2)
    matrix = np.diag(1 / (widths * math.sqrt(math.pi)))
    if cell is None:
        for i, j in itertools.permutations(range(n), 2):
            r = np.linalg.norm(positions[i] - positions[j])
            matrix[i, j] = math.erf(r / (math.sqrt(2) * gamma[i, j])) / r
        return constant * matrix
    eta, volume = 1.2, abs(np.linalg.det(cell))
    matrix -= np.eye(n) * 2 / (math.sqrt(2 * math.pi) * eta)
    for i, j in itertools.product(range(n), repeat=2):
        for move in images(cell, 16.0):
            r = np.linalg.norm(positions[i] - positions[j] + move)
            if r > 1e-9:
                matrix[i, j] += math.erfc(r / (math.sqrt(2) * eta)) / r
                matrix[i, j] -= math.erfc(r / (math.sqrt(2) * gamma[i, j])) / r
    rows = 2 * math.pi * np.linalg.inv(cell).T
    waves = np.array([k for k in images(rows, 8.0) if np.linalg.norm(k) > 1e-9])
    squares = (waves**2).sum(axis=1)
    weights = 4 * math.pi / volume * np.exp(-(eta**2) * squares / 2) / squares
    for i, j in itertools.product(range(n), repeat=2):
        matrix[i, j] += weights @ np.cos(waves @ (positions[i] - positions[j]))
    return constant * matrix


def evaluate(sample, positions, symbols, cell=None, total_charge=0.0):
    """Energy, charges and scaled functions, in the units of the files."""
    fc = functools.partial(cutoff, sample.cutoff[0], (*sample.cutoff, 0.0)[1])
    reach = max(reach_of(one) for functions in sample.functions.values() for one in functions)
    around = [neighbors(positions, symbols, cell, atom, reach) for atom in range(len(symbols))]
    inputs = []
    for element, near in zip(symbols, around, strict=True):
        near = [(number, vector) for _, number, vector in near]
        pairs = list(pairs_of(near))
        values = [function_value(one, near, pairs, fc) for one in sample.sorted(element)]
        inputs.append(scaled(sample, element, values))
    mean, unit, _, charge_unit = sample.normal or (0.0, 1.0, 1.0, 1.0)
    energy = sum(sample.offsets.get(element, 0.0) + mean for element in symbols)
    charges = chi = None
    if sample.kind != 2:
        each = zip(symbols, inputs, strict=True)
        chi = np.array([network(sample, one, values, "electrostatic") for one, values in each])
        charges = chi
    if sample.kind == 4:
        charges, electrostatic = equilibrate(
            sample, positions, symbols, cell, total_charge, chi, around
        )
        energy += electrostatic
    for atom, element in enumerate(symbols):
        extra = [] if charges is None else [charge_unit * charges[atom]]
        energy += network(sample, element, [*inputs[atom], *extra], "short") / unit
    return energy, charges, inputs


def equilibrate(sample, positions, symbols, cell, total_charge, chi, around):
    n, constant = len(symbols), 1 / sample.four_pi_epsilon
    widths = np.array([sample.widths[one] for one in symbols])
    matrix = coulomb_matrix(positions, widths, cell, constant)
    hardness = np.diag([sample.hardness[one] for one in symbols])
    bordered = np.ones((n + 1, n + 1))
    bordered[:n, :n], bordered[n, n] = matrix + hardness, 0.0
    charges = np.linalg.solve(bordered, np.append(-chi, total_charge))[:n]
    energy = 0.5 * charges @ matrix @ charges
    energy -= 0.5 * constant * np.sum(charges**2 / (widths * math.sqrt(math.pi)))
    if sample.screening is not None:
        inner, outer, name = (*sample.screening, "c")[:3]
        for i, (j, _, vector) in [(atom, one) for atom in range(n) for one in around[atom]]:
            r = np.linalg.norm(vector)
            if r < outer:
                lost = 1.0 if r <= inner else core(name, (r - inner) / (outer - inner))
                gamma = math.hypot(widths[i], widths[j])
                pair = charges[i] * charges[j] * math.erf(r / (math.sqrt(2) * gamma)) / r
                energy -= 0.5 * constant * lost * pair
    return charges, energy


MOLECULE = np.array(
    [[0.1, 0.0, 0.0], [1.1, 0.3, -0.2], [-0.5, 1.1, 0.3], [0.4, -0.9, 1.2], [1.6, 1.3, 0.9]]
)
SYMBOLS = ("C", "O", "H", "H", "O")
WATERS = np.array(
    [[0.0, 0.1, 0.0], [1.7, 0.4, -0.3], [-0.6, 1.6, 0.5], [0.3, 0.7, 3.9], [1.5, 2.2, 4.6]]
)
WATER_SYMBOLS = ("O", "H", "H", "O", "H")
TINY_CELL = np.array([[4.4, 0.0, 0.0], [0.9, 4.9, 0.0], [-0.7, 0.5, 5.3]])

CASES = {
    "gaussian": ("gaussian", MOLECULE, SYMBOLS, None, 0.0),
    "gaussian in a cell": ("gaussian", MOLECULE[:3], SYMBOLS[:3], TINY_CELL / 2, 0.0),
    "compact": ("compact", MOLECULE, SYMBOLS, None, 0.0),
    "compact in a cell": ("compact for a cell", MOLECULE[:3], SYMBOLS[:3], TINY_CELL / 2, 0.0),
    "activations": ("activations", MOLECULE, SYMBOLS, None, 0.0),
    "4g": ("4g", WATERS, WATER_SYMBOLS, None, 0.0),
    "4g cation": ("4g", WATERS, WATER_SYMBOLS, None, 1.0),
    "4g in a cell": ("4g", WATERS[:3], WATER_SYMBOLS[:3], TINY_CELL, 0.0),
    "4g normalised": ("4g normalised", WATERS, WATER_SYMBOLS, None, -0.4),
    "4g normalised in a cell": ("4g normalised", WATERS[:3], WATER_SYMBOLS[:3], TINY_CELL, 0.0),
    "charge only": ("charge only", WATERS, WATER_SYMBOLS, None, 0.0),
}


def units(sample):
    return LENGTHS[sample.units[0]], ENERGIES[sample.units[1]]


def read(sample, folder):
    length, energy = sample.units
    return read_potential(sample.write(folder), length=length, energy=energy)


def system_of(sample, positions, symbols, cell, total_charge):
    length, _ = units(sample)
    return lrpot.System(
        positions * length,
        [NUMBERS[one] for one in symbols],
        cell=None if cell is None else cell * length,
        total_charge=total_charge,
    )


def features(potential, system):
    @jax.jit
    def compute(neighbors):
        return potential.descriptor(environment_from_shifts(system, neighbors))

    return np.asarray(compute(potential.neighbors(system)))


LONG = ("gaussian", "compact in a cell")  # half a minute each


@pytest.mark.parametrize(
    "case", [pytest.param(one, marks=[pytest.mark.slow] * (one in LONG)) for one in CASES]
)
def test_predictions_agree_with_a_plain_evaluation(case, samples, tmp_path):
    name, positions, symbols, cell, total_charge = CASES[case]
    sample = samples[name]
    length, unit = units(sample)
    potential = read(sample, tmp_path)
    system = system_of(sample, positions, symbols, cell, total_charge)
    neighbors = potential.neighbors(system, skin=0.1 * length)
    found = lrpot.predict(potential, system, neighbors)
    energy, charges, inputs = evaluate(sample, positions, symbols, cell, total_charge)
    assert float(found.energy) / unit == pytest.approx(energy, rel=1e-12, abs=1e-12)
    assert (charges is None) == (found.charges is None)
    if charges is not None:
        np.testing.assert_allclose(np.asarray(found.charges), charges, rtol=1e-11, atol=1e-12)
    values = features(potential, system)
    for row, wanted in zip(values, inputs, strict=True):
        np.testing.assert_allclose(row[: len(wanted)], wanted, rtol=1e-12, atol=1e-12)
    forces = np.asarray(found.forces) * length / unit
    step = 1e-3
    for atom, axis in ((0, 0), (2, 1)):
        slope = 0.0
        for count, weight in {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}.items():
            moved = positions.copy()
            moved[atom, axis] += count * step
            slope += weight * evaluate(sample, moved, symbols, cell, total_charge)[0] / step
        assert forces[atom, axis] == pytest.approx(-slope, rel=1e-8, abs=1e-8)


def test_networks_see_functions_that_matter(samples, tmp_path):
    """A guard for the tests above: no function of the samples is 0 at all atoms."""
    for name in ("gaussian", "compact"):
        sample = dataclasses.replace(samples[name], flags=())
        values = [
            dict(zip(sample.sorted(symbol), row, strict=True))
            for symbol, row in zip(
                SYMBOLS, evaluate(sample, MOLECULE, SYMBOLS, None)[2], strict=True
            )
        ]
        for element, functions in sample.functions.items():
            atoms = [row for symbol, row in zip(SYMBOLS, values, strict=True) if symbol == element]
            for function in functions:
                assert max(abs(row[function]) for row in atoms) > 1e-6, function


@pytest.mark.parametrize("alpha", [0.0, 0.4])
@pytest.mark.parametrize("kind", range(9))
def test_cutoff_functions_are_those_of_the_format(kind, alpha, samples, tmp_path):
    # 0.4 times the cutoff lies between two distances of the molecule.
    sample = dataclasses.replace(samples["4g"], kind=2, cutoff=(kind, alpha))
    potential = read(sample, tmp_path)
    found = features(potential, system_of(sample, WATERS, WATER_SYMBOLS, None, 0.0))
    wanted = evaluate(sample, WATERS, WATER_SYMBOLS)[2]
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("limits", [(0.0, 1.0), (-1.0, 3.0)], ids=["0 to 1", "-1 to 3"])
@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("scale_symmetry_functions",),
        ("center_symmetry_functions",),
        ("scale_symmetry_functions", "center_symmetry_functions"),
        ("scale_symmetry_functions_sigma",),
        ("scale_symmetry_functions_sigma", "scale_symmetry_functions"),
        ("scale_symmetry_functions_sigma", "center_symmetry_functions"),
    ],
    ids=lambda flags: "+".join(one.removesuffix("_symmetry_functions") for one in flags) or "none",
)
def test_scalings_are_those_of_the_format(flags, limits, samples, tmp_path):
    sample = dataclasses.replace(samples["4g"], kind=2, flags=flags, limits=limits)
    potential = read(sample, tmp_path)
    found = features(potential, system_of(sample, WATERS, WATER_SYMBOLS, None, 0.0))
    wanted = evaluate(sample, WATERS, WATER_SYMBOLS)[2]
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("shape", [None, "c", "e", "p1", "p2", "p3", "p4"])
def test_screening_functions_are_those_of_the_format(shape, samples, tmp_path):
    screening = None if shape is None else (1.2, 5.0, shape)
    sample = dataclasses.replace(samples["4g"], screening=screening)
    potential = read(sample, tmp_path)
    system = system_of(sample, WATERS, WATER_SYMBOLS, None, 0.0)
    environment = environment_from_shifts(system, potential.neighbors(system))
    energies, _ = potential(system, environment)
    wanted = evaluate(sample, WATERS, WATER_SYMBOLS)[0]
    assert float(energies.sum()) / units(sample)[1] == pytest.approx(wanted, rel=1e-13)


def test_screening_of_own_images_is_size_consistent(samples, tmp_path):
    sample = samples["4g"]
    potential = read(sample, tmp_path)
    single = system_of(sample, WATERS[:3], WATER_SYMBOLS[:3], TINY_CELL, 0.0)
    moves = [np.array(one) @ TINY_CELL for one in itertools.product((0, 1), (0,), (0,))]
    positions = np.concatenate([WATERS[:3] + move for move in moves])
    cell = np.diag([2.0, 1.0, 1.0]) @ TINY_CELL
    double = system_of(sample, positions, WATER_SYMBOLS[:3] * 2, cell, 0.0)
    one, two = (lrpot.predict(potential, each) for each in (single, double))
    assert float(two.energy) == pytest.approx(2 * float(one.energy), rel=1e-12)


def test_offsets_and_mean_energy_belong_to_the_energy(samples, tmp_path):
    plain = dataclasses.replace(samples["4g"], kind=2)
    shifted = dataclasses.replace(plain, offsets={"H": 1.5, "O": -70.0})
    energies = []
    for number, sample in enumerate((plain, shifted)):
        potential = read(sample, tmp_path / str(number))
        system = system_of(sample, WATERS[:3], WATER_SYMBOLS[:3], None, 0.0)
        environment = environment_from_shifts(system, potential.neighbors(system))
        energies.append(float(potential(system, environment)[0].sum()) / units(sample)[1])
    # Two H go from -0.5 to 1.5, one O from -75 to -70.
    assert energies[1] - energies[0] == pytest.approx(9.0, rel=1e-12)


def test_a_negative_shift_of_angular_functions_acts_as_none(samples, tmp_path):
    values = []
    for number, shift in enumerate((-0.8, 0.0, 0.8)):
        functions = {
            "H": [(2, "O", 0.3, 0.0, 6.0)],
            "O": [
                (3, "H", "O", 0.1, 1.0, 1.0, 6.0, shift),
                (9, "H", "H", 0.1, 1.0, 1.0, 6.0, shift),
            ],
        }
        sample = dataclasses.replace(samples["4g"], kind=2, functions=functions, flags=())
        potential = read(sample, tmp_path / str(number))
        system = system_of(sample, WATERS, WATER_SYMBOLS, None, 0.0)
        values.append(features(potential, system))
    np.testing.assert_array_equal(values[0], values[1])
    assert np.abs(values[2] - values[1]).max() > 1e-3


@pytest.mark.parametrize("word", ["2G-HDNNP", "4G-HDNNP", "Q-HDNNP", "2", "4", "10"])
def test_types_can_be_named_or_numbered(word, samples, tmp_path):
    sample = samples["4g"]
    text = sample.files()["input.nn"].replace("nnp_type 4", f"nnp_type {word}")
    expected = {"2": None, "4": "Equilibration", "1": "LocalCharges", "Q": "LocalCharges"}[word[0]]
    if expected is None:
        sample = dataclasses.replace(sample, kind=2)
    potential = read_potential(sample.write(tmp_path, **{"input.nn": text}))
    model = potential.charge_model
    assert (None if model is None else type(model).__name__) == expected


def test_five_columns_of_statistics_suffice_without_sigma(samples, tmp_path):
    sample = samples["4g"]
    text = sample.files()["scaling.data"]
    lines = [" ".join(line.split()[:5]) for line in text.splitlines()]
    short = read_potential(sample.write(tmp_path / "5", **{"scaling.data": "\n".join(lines)}))
    full = read_potential(sample.write(tmp_path / "6"))
    assert bool(eqx.tree_equal(short, full))


def test_a_read_potential_is_trained_like_any_other(samples, tmp_path):
    from lrpot.data import Structure
    from lrpot.training.stages import Stage, Weights

    sample = samples["4g"]
    potential = read(sample, tmp_path)
    random = np.random.default_rng(0)
    structures = []
    for _ in range(4):
        positions = WATERS + 0.1 * random.normal(size=WATERS.shape)
        system = system_of(sample, positions, WATER_SYMBOLS, None, 0.0)
        structures.append(Structure(system, energy=np.asarray(-4100.0 + random.normal())))
    stages = [Stage("energies", weights=Weights(energy=1.0), epochs=4, averaging=0.0)]
    trained = lrpot.fit(potential, structures, stages=stages, progress=False)
    before, after = (trained.history[row]["train"]["energy"] for row in (0, -1))
    assert after < before
    assert jnp.array_equal(
        trained.potential.descriptor.scaling.offset, potential.descriptor.scaling.offset
    )
