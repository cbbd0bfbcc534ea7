"""Files of RuNNer and n2p2 with something wrong: a message, or exactly what they say."""

import os
import random
import shutil
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrpot import InputError
from lrpot.errors import InputWarning
from lrpot.interop.n2p2 import read_potential, read_structures
from lrpot.units import BOHR, HARTREE

EXAMPLES = int(os.environ.get("LRPOT_FUZZ", "50"))

fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="LRPOT_FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck),
    database=None,
)

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
symfunction_short H 2 O 0.1 0.0 12.0
symfunction_short H 9 O H 0.05 1.0 2.0 12.0
symfunction_short O 2 H 0.1 0.0 12.0
symfunction_short O 3 H H 0.05 -1.0 1.0 12.0
"""

STRUCTURES = """\
begin set=train
comment water
atom 0.0 0.0 0.0 O -0.6 0.0 0.1 0.0 0.0
atom 1.8 0.0 0.0 H 0.3 0.0 0.0 0.1 0.0
atom -0.5 1.7 0.0 H 0.3 0.0 -0.1 -0.1 0.0
energy -17.2
charge 0.0
end
begin
comment lrpot: labels energy
lattice 12.0 0.0 0.0
lattice 0.5 11.0 0.0
lattice 0.0 0.0 10.0
atom 1.0 2.0 3.0 H 0.0 0.0 0.0 0.0 0.0
energy -0.5d0
charge 1.0
end
"""

WORDS = [
    "", "nan", "-inf", "-1", "1e400", "1_2.0", "0x10", "1,5", "١", "+", ".", "1d", "1.0d0",
    "2.5D+1", "1-3", "H", "Xx", "x", "0", "1", "2", "3", "1e-320", "begin", "end", "#", "!",
    "set=test",
]  # fmt: skip
CHARACTERS = "\0\té9-e_#!\n .\r\x0b\x0c\x1c\u2028\u00a0\ufeffdD٣"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small 4G potential and two structures, all right."""
    folder = tmp_path_factory.mktemp("potential")
    numbers = np.random.default_rng(0)
    (folder / "input.nn").write_text(INPUT)
    rows = [f"{e} {f} 0.{e} 1.5{f} 0.7 0.3" for e in (1, 2) for f in (1, 2)]
    (folder / "scaling.data").write_text("\n".join(["# statistics", *rows]) + "\n")
    for element in (1, 8):
        for prefix, n_inputs in (("weights", 3), ("weightse", 2)):
            count = (n_inputs + 1) * 2 + 3
            lines = [f"{number:.8f}" for number in numbers.uniform(-1, 1, count)]
            (folder / f"{prefix}.{element:03d}.data").write_text("\n".join(lines) + "\n")
        (folder / f"hardness.{element:03d}.data").write_text("10.0\n")
    (folder / "input.data").write_text(STRUCTURES)
    return folder


def mangle(text, seed, kind):
    """Text with one thing wrong, or maybe not."""
    chance, lines = random.Random(seed), text.splitlines()
    at = chance.randrange(len(lines))
    words = lines[at].split() or [""]
    if kind == "delete":
        del lines[at]
    elif kind == "repeat":
        lines.insert(at, lines[chance.randrange(len(lines))])
    elif kind == "swap":
        other = chance.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == "cut":
        lines = [*lines[:at], lines[at][: chance.randrange(len(lines[at]) + 1)]]
    elif kind in ("word", "less", "more"):
        place = chance.randrange(len(words))
        new = {"word": [chance.choice(WORDS)], "less": [], "more": [words[place]] * 2}[kind]
        lines[at] = " ".join([*words[:place], *new, *words[place + 1 :]])
    elif kind == "letter":
        place = chance.randrange(len(lines[at]) or 1)
        lines[at] = lines[at][:place] + chance.choice("xX1_ \t") + lines[at][place + 1 :]
    else:
        position = chance.randrange(len(text))
        return text[:position] + chance.choice(CHARACTERS) + text[position + 1 :]
    return "\n".join(lines) + "\n"


def mangled(path, text, draw):
    """Write a file with one to three things wrong."""
    for _ in range(draw(st.integers(1, 3))):
        kinds = ("delete", "repeat", "swap", "cut", "word", "less", "more", "letter", "byte")
        if text.strip():
            text = mangle(text, draw(st.integers(0, 2**32)), draw(st.sampled_from(kinds)))
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    path.write_bytes(text.encode(encoding, errors="replace"))


def number(word):
    """As a C or Fortran program reads it, without any care."""
    return float(word.lower().replace("d", "e"))


def quietly(function, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        return function(*arguments)


def lines_of(path):
    """Words of the lines, by the line ends of all systems and nothing else."""
    text = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        text = text.decode()
    except UnicodeDecodeError:
        text = text.decode("latin-1")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [words for words in map(str.split, lines) if words]


@fuzz
@given(data=st.data())
def test_structures_are_read_as_they_stand_or_refused(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "input.data"
    mangled(path, STRUCTURES, data.draw)
    try:
        structures = quietly(read_structures, path)
    except InputError as error:
        message = str(error)
    else:
        message = None
    if message is not None:
        assert str(path) in message
        return
    told = lines_of(path)
    atoms = [words for words in told if words[0] == "atom"]
    found = np.concatenate([one.system.positions for one in structures]) / BOHR
    wanted = [[number(word) for word in words[1:4]] for words in atoms]
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-300)
    assert len(structures) == sum(words[0] == "end" for words in told)
    energies = [number(words[1]) for words in told if words[0] == "energy"]
    for one in structures:
        if one.energy is not None:
            assert np.isclose(float(one.energy) / HARTREE, energies, rtol=1e-12).any()
        if one.forces is not None:
            assert np.isfinite(one.forces).all()


NAMES = ("input.nn", "scaling.data", "weights.001.data", "weightse.008.data", "hardness.008.data")


@fuzz
@given(data=st.data())
def test_potentials_are_read_as_they_stand_or_refused(data, folder, tmp_path_factory):
    copy = tmp_path_factory.getbasetemp() / "copy"
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    name = data.draw(st.sampled_from(NAMES))
    mangled(copy / name, (folder / name).read_text(), data.draw)
    try:
        potential = quietly(read_potential, copy)
    except InputError as error:
        message = str(error)
    else:
        message = None
    if message is not None:
        assert str(copy) in message
        return
    rows = [words for words in lines_of(copy / "scaling.data") if not words[0].startswith("#")]
    limits = np.array([[number(word.split("#")[0]) for word in words[2:4]] for words in rows[:4]])
    scaling = potential.descriptor.scaling
    found = np.stack([np.ravel(scaling.minimum), np.ravel(scaling.maximum)], axis=1)
    np.testing.assert_allclose(found, limits, 1e-12, 1e-300)
    words = [line[0].split("#")[0] for line in lines_of(copy / "hardness.008.data")]
    (hardness,) = [number(word) for word in words if word]
    model = potential.charge_model
    if model is not None:
        np.testing.assert_allclose(model.hardness_root[1] ** 2 / HARTREE, hardness, 1e-12, 1e-300)
    for layer in potential.terms["short_range"].networks.weights:
        assert np.isfinite(layer).all()
