"""Files that are wrong: our own error, naming file and line, and no silently wrong potential."""

import shutil

import numpy as np
import pytest

from lrpot import InputError
from lrpot.interop.n2p2 import read_potential, read_structures

# The potentials here are made short-ranged to be small.
pytestmark = pytest.mark.filterwarnings("ignore:.*the largest cutoff:lrpot.errors.InputWarning")

INPUT = """\
nnp_type 4
number_of_elements 2
elements H O
cutoff_type 2 0.0
scale_symmetry_functions
center_symmetry_functions
global_hidden_layers_short 1
global_nodes_short 2
global_activation_short t l
global_hidden_layers_electrostatic 1
global_nodes_electrostatic 2
global_activation_electrostatic t l
fixed_gausswidth H 0.6
fixed_gausswidth O 1.2
screen_electrostatics 2.0 5.0
symfunction_short H 2 O 0.1 0.0 6.0
symfunction_short H 9 O H 0.05 1.0 2.0 6.0
symfunction_short O 2 H 0.1 0.0 6.0
symfunction_short O 3 H H 0.05 -1.0 1.0 6.0
"""

STRUCTURE = """\
begin
comment water
atom 0.0 0.0 0.0 O -0.6 0.0 0.1 0.0 0.0
atom 1.8 0.0 0.0 H 0.3 0.0 0.0 0.1 0.0
atom -0.5 1.7 0.0 H 0.3 0.0 -0.1 -0.1 0.0
energy -17.2
charge 0.0
end
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small 4G potential and one structure, all right."""
    folder = tmp_path_factory.mktemp("potential")
    numbers = np.random.default_rng(0)
    (folder / "input.nn").write_text(INPUT)
    rows = [f"{e} {f} 0.0 1.5 0.5 0.3" for e in (1, 2) for f in (1, 2)]
    (folder / "scaling.data").write_text("\n".join(["# statistics", *rows]) + "\n")
    for element in (1, 8):
        for prefix, n_inputs in (("weights", 3), ("weightse", 2)):
            count = (n_inputs + 1) * 2 + 3
            lines = [f"{number:.8f}" for number in numbers.uniform(-1, 1, count)]
            (folder / f"{prefix}.{element:03d}.data").write_text("\n".join(lines) + "\n")
        (folder / f"hardness.{element:03d}.data").write_text("10.0\n")
    (folder / "input.data").write_text(STRUCTURE)
    read_potential(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    """A copy to be damaged."""
    return shutil.copytree(whole, tmp_path / "potential")


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


WRONG_INPUT = {
    "an unknown function type": ("H 2 O", "H 7 O", r"line 16: unknown type 7"),
    "too few arguments": ("0.1 0.0 6.0", "0.1 6.0", r"line 16: type 2 takes 4 arguments, got 3"),
    "an element of nobody": ("H 2 O", "H 2 Au", r"line 16: Au is not among the elements"),
    "no element at all": ("H 2 O", "H 2 Xx", r"line 16: 'Xx' is not the symbol"),
    "no number": ("0.1 0.0 6.0", "0.1 zero 6.0", r"line 16: expected a number, got 'zero'"),
    "an infinite number": ("0.1 0.0 6.0", "0.1 inf 6.0", r"line 16: expected a finite number"),
    "a negative exponent": ("0.1 0.0 6.0", "-0.1 0.0 6.0", r"line 16: eta must not be negative"),
    "a repeated keyword": ("nnp_type 4", "nnp_type 4\nnnp_type 4", r"line 2: .* already in line 1"),
    "two names of a keyword": (
        "nnp_type 4",
        "nnp_type 4\nnnp_generation 4",
        r"line 2: .*names of the same",
    ),
    "the third generation": ("nnp_type 4", "nnp_type 3", r"line 1: unknown type '3'"),
    "a keyword of RuNNer 2": ("cutoff_type", "fc_cosine 1 0 6\ncutoff_type", r"line 4: .*RuNNer 2"),
    "another number of elements": (
        "number_of_elements 2",
        "number_of_elements 3",
        r"line 3: 2 elements are named",
    ),
    "an unknown cutoff type": ("cutoff_type 2", "cutoff_type 9", r"line 4: unknown cutoff type 9"),
    "an impossible inner radius": ("cutoff_type 2 0.0", "cutoff_type 2 1.0", r"line 4: .*fraction"),
    "no cutoff type": ("cutoff_type 2 0.0", "", r"the keyword `cutoff_type` is missing"),
    "an unknown activation": ("short t l", "short t z", r"line 9: unknown activation 'z'"),
    "nodes for another depth": (
        "global_nodes_short 2",
        "global_nodes_short 2 2",
        r"line 8: .*1 hidden layers, but 2",
    ),
    "no width": ("fixed_gausswidth O 1.2", "", r"`fixed_gausswidth` is missing for O"),
    "a negative width": ("O 1.2", "O -1.2", r"Gaussian widths must be positive"),
    "an inside-out screening": ("2.0 5.0", "5.0 2.0", r"line 15: needs 0 <= inner < outer"),
    "an unknown screening": ("2.0 5.0", "2.0 5.0 q", r"line 15: unknown screening function 'q'"),
    "half a normalisation": (
        "nnp_type 4",
        "nnp_type 4\nmean_energy 1.0",
        r"line 2: .*stand together or not at all",
    ),
    "an element without functions": (
        "symfunction_short O 2 H 0.1 0.0 6.0\nsymfunction_short O 3 H H 0.05 -1.0 1.0 6.0\n",
        "",
        r"line 3: O has no symmetry functions",
    ),
    "an override that n2p2 ignores": (
        "global_nodes_short 2",
        "global_nodes_short 2\nelement_nodes_short O 3",
        r"line 9: n2p2 takes the size of the last hidden layer",
    ),
}


@pytest.mark.parametrize("case", WRONG_INPUT)
def test_wrong_input_names_file_and_line(case, folder):
    old, new, message = WRONG_INPUT[case]
    replace(folder / "input.nn", old, new)
    with pytest.raises(InputError, match=rf"input\.nn.*{message}"):
        read_potential(folder)


@pytest.mark.parametrize(
    "name",
    [
        "input.nn",
        "scaling.data",
        "weights.001.data",
        "weights.008.data",
        "weightse.008.data",
        "hardness.001.data",
    ],
)
def test_a_missing_file_is_named(name, folder):
    (folder / name).unlink()
    with pytest.raises(InputError, match=rf"{name}.*missing"):
        read_potential(folder)


@pytest.mark.parametrize(("change", "count"), [(-1, 10), (1, 12)])
def test_a_wrong_number_of_weights_is_counted(change, count, folder):
    path = folder / "weights.008.data"
    lines = path.read_text().split()
    path.write_text("\n".join(lines[:change] if change < 0 else [*lines, "0.5"]))
    with pytest.raises(InputError, match=rf"weights.008.data holds {count} numbers.*3-2-1.* 11"):
        read_potential(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1 1 0.0 1.5", "1 1 0.7 0.7", r"line 2: .*constant"),
        ("1 1 0.0 1.5", "1 1 1.5 0.0", r"line 2: the minimum"),
        ("1 2 0.0", "2 1 0.0", r"line 3: expected function 2 of element 1 \(H\)"),
        ("2 2 0.0 1.5 0.5 0.3\n", "", r"holds 3 lines.*4 symmetry functions"),
        ("1 1 0.0 1.5", "1 1 nan 1.5", r"line 2: expected a finite number"),
    ],
)
def test_statistics_that_do_not_fit_are_refused(old, new, message, folder):
    replace(folder / "scaling.data", old, new)
    with pytest.raises(InputError, match=rf"scaling\.data.*{message}"):
        read_potential(folder)


def test_more_statistics_than_functions_are_refused(folder):
    with (folder / "scaling.data").open("a") as file:
        file.write("2 3 0.0 1.5 0.5 0.3\n")
    with pytest.raises(InputError, match=r"scaling\.data, line 6: .*more statistics"):
        read_potential(folder)


def test_negative_hardness_is_refused(folder):
    (folder / "hardness.008.data").write_text("-0.1\n")
    with pytest.raises(InputError, match=r"hardness\.008\.data: the hardness is negative"):
        read_potential(folder)


def test_files_of_runner_2_are_refused(folder):
    (folder / "weights_short.001.data").write_text("1.0\n")
    with pytest.raises(InputError, match="files of RuNNer 2"):
        read_potential(folder)


def test_unknown_units_suggest_the_nearest(folder):
    with pytest.raises(InputError, match=r"unit of length `Bohr`.*Did you mean `bohr`"):
        read_potential(folder, length="Bohr")
    with pytest.raises(InputError, match=r"unit of energy `hartree`.*Known: `Ha`"):
        read_potential(folder, energy="hartree")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("begin", "start", r"line 1: `start` stands outside"),
        ("end\n", "", r"ends in the middle of a structure"),
        ("energy -17.2", "energy", r"line 6: `energy` takes 1 values, got 0"),
        ("energy -17.2", "energy -17.2\nenergy 1.0", r"line 7: `energy` stands twice"),
        ("energy -17.2", "lattice 9 0 0", r"line 8: .*three lattice vectors or none, not 1"),
        ("energy -17.2", "enrgy -17.2", r"line 6: unknown keyword `enrgy`"),
        ("O -0.6 0.0", "O -0.6", r"line 3: `atom` takes 9 values, got 8"),
        ("0.0 O -0.6", "0.0 Q -0.6", r"line 3: 'Q' is not the symbol"),
        ("O -0.6", "O -0.9", r"line 8: the charges sum to -0.3000 e"),
        ("atom 0.0", "atom nan", r"line 3: expected a finite number"),
        ("comment water", "begin", r"line 2: a structure begins before"),
    ],
)
def test_wrong_structures_name_file_and_line(old, new, message, folder):
    replace(folder / "input.data", old, new)
    with pytest.raises(InputError, match=rf"input\.data.*{message}"):
        read_structures(folder / "input.data")
