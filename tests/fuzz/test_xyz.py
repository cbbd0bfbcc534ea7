"""Headers of extended XYZ with keys, capitals, units, types and columns of all kinds.

Whatever stands in a file is read as it was written, or refused, or named in the report.
"""

import dataclasses
import os
import warnings

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrpot import InputError
from lrpot.data import read_data, write_structures

fuzz = settings(
    max_examples=int(os.environ.get("LRPOT_FUZZ", "100")),
    deadline=None,
    derandomize="LRPOT_FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck),
    database=None,
)

SYMBOLS = ("O", "H", "H")
POSITIONS = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])

USUAL = {
    "energy": ("energy",),
    "total_charge": ("total_charge", "charge"),
    "stress": ("stress",),
    "dipole": ("dipole",),
    "weight": ("weight",),
    "forces": ("forces",),
    "charges": ("charges", "charge"),
}
OTHER = {
    "energy": ("REF_energy", "Energy", "ENERGY", "dft_energy", "total_energy", "E", "enrgy"),
    "total_charge": ("Charge", "net_charge", "tot_charge", "Total_Charge", "totalcharge", "qtot"),
    "stress": ("REF_stress", "Stress", "dft_stress"),
    "dipole": ("REF_dipole", "Dipole", "mu"),
    "weight": ("Weight", "config_weight"),
    "forces": ("force", "REF_forces", "Forces", "dft_forces", "grad", "froces"),
    "charges": ("REF_charges", "Charges", "mulliken_charges", "hirshfeld", "q"),
}
SIZES = {"energy": 1, "total_charge": 1, "stress": 9, "dipole": 3, "weight": 1}
SIZES |= {"forces": 9, "charges": 3}
COLUMNS = {"forces": 3, "charges": 1}
ODD = (
    "",
    "None",
    "one",
    "nan",
    "inf",
    "[1]",
    "1e999",
    "T",
    "1 2",
    "+1",
    "1-",
    "--",
    "{}",
    "_JSON 1",
)
JUNK = ("config_type=bulk", "tags", "Time=0.5", 'note="a b"', "spin=2", "pbc=F", "step=3 id=x7")


@dataclasses.dataclass
class Written:
    """One label as it stands in the file."""

    label: str
    name: str
    values: np.ndarray | None
    text: str


@st.composite
def numbers(draw, size):
    values = draw(st.lists(st.floats(-50, 50, width=32), min_size=size, max_size=size))
    form = draw(st.sampled_from(["{:.8f}", "{!r}", "{:.6e}", "{:E}", "{:g}"]))
    texts = [form.format(value) for value in values]
    return np.array([float(text) for text in texts]), texts


@st.composite
def labels(draw):
    """What one structure is labelled with, some of it under other names or with odd values."""
    written = []
    for label, size in SIZES.items():
        if not draw(st.booleans()):
            continue
        name = draw(st.sampled_from(USUAL[label] * 3 + OTHER[label]))
        if any(
            one.name == name and (one.label in COLUMNS) == (label in COLUMNS) for one in written
        ):
            continue
        values, texts = draw(numbers(size))
        if label == "stress":  # symmetric, as ASE takes its nine numbers by columns
            values = values.reshape(3, 3)
            values = np.tril(values).ravel() + np.tril(values, -1).T.ravel()
            texts = [repr(float(value)) for value in values]
        text = " ".join(texts)
        if label not in COLUMNS and draw(st.integers(0, 9)) == 0:
            values, text = None, draw(st.sampled_from(ODD))
        written.append(Written(label, name, values, text))
    return written


def text_of(written, junk, cell):
    columns = [one for one in written if one.label in COLUMNS]
    names = "species:S:1:pos:R:3" + "".join(
        f":{one.name}:R:{COLUMNS[one.label]}" for one in columns
    )
    header = [f"Properties={names}", *junk]
    if cell:
        header.append('Lattice="9 0 0 0 9 0 0 0 9"')
    for one in written:
        if one.label not in COLUMNS:
            quote = '"' if " " in one.text or one.text == "" else ""
            header.append(f"{one.name}={quote}{one.text}{quote}")
    rows = [
        " ".join(
            [symbol, *map(str, POSITIONS[atom])]
            + [
                word
                for one in columns
                for word in one.text.split()[
                    COLUMNS[one.label] * atom : COLUMNS[one.label] * (atom + 1)
                ]
            ]
        )
        for atom, symbol in enumerate(SYMBOLS)
    ]
    return "\n".join([str(len(SYMBOLS)), " ".join(header), *rows]) + "\n"


def value_of(structure, label):
    if label == "total_charge":
        return float(structure.system.total_charge)
    return getattr(structure, label)


@fuzz
@given(
    st.lists(labels(), min_size=1, max_size=3),
    st.lists(st.sampled_from(JUNK), max_size=2, unique=True),
    st.booleans(),
    st.sampled_from(["{}", "\ufeff{}"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_labels_are_read_as_they_stand_or_named(
    tmp_path_factory, frames, junk, cell, begin, end_of_line
):
    path = tmp_path_factory.getbasetemp() / "mangled.xyz"
    text = begin.format("".join(text_of(one, junk, cell) for one in frames))
    path.write_bytes(text.replace("\n", end_of_line).encode())
    try:
        contents = read_data(path, charge_tolerance=np.inf)
    except InputError:
        return
    refused = {problem.number for problem in contents.problems}
    assert len(contents.structures) + len(refused) == len(frames)
    read = iter(contents.structures)
    named = {one.name for one in contents.usage.unused}
    lost = {one.name for one in contents.usage.lost}
    for number, written in enumerate(frames):
        if number in refused:
            continue
        structure = next(read)
        given = {}
        for one in written:
            given.setdefault(one.label, []).append(one)
        for label, ones in given.items():
            (one,) = ones
            found = value_of(structure, label)
            if one.name in USUAL[label]:
                assert one.values is not None or one.text in ("[1]", "+1", "_JSON 1"), one
                expected = np.ones(1) if one.values is None else one.values
                if found is None:  # a column `charge` beside a key `charge`
                    assert one.name in named
                    continue
                np.testing.assert_allclose(np.ravel(found), expected, rtol=1e-12, atol=1e-12)
            else:
                assert one.name in named
                if one.values is not None and np.any(one.values):
                    assert one.name in lost or has(written, label)
        for label in SIZES.keys() - given.keys():
            neutral = {"total_charge": 0.0, "weight": 1.0}.get(label)
            assert value_of(structure, label) == neutral


def has(written, label):
    return any(one.label == label and one.name in USUAL[label] for one in written)


@fuzz
@given(data=st.data())
def test_damaged_text_is_refused_or_read(tmp_path_factory, data):
    """One character, word or line wrong; what can be read can be written and read again."""
    path = tmp_path_factory.getbasetemp() / "damaged.xyz"
    text = "".join(text_of(one, [], True) for one in data.draw(st.lists(labels(), max_size=2)))
    place = data.draw(st.integers(0, max(len(text) - 1, 0)))
    put = data.draw(st.sampled_from(["", "\n", " ", "=", '"', "9", "-", "\0", ":", "é", "{", "\t"]))
    cut = data.draw(st.integers(0, 30))
    path.write_bytes((text[:place] + put + text[place + cut :]).encode())
    try:
        contents = read_data(path, charge_tolerance=np.inf)
    except InputError:
        return
    if not contents.structures:
        return
    again = path.with_name("again.xyz")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_structures(again, contents.structures)
        written = read_data(again, charge_tolerance=np.inf)
    for one, other in zip(contents.structures, written.structures, strict=True):
        np.testing.assert_array_equal(one.system.numbers, other.system.numbers)
        assert float(one.system.total_charge) == float(other.system.total_charge)
        for label in ("energy", "forces", "charges", "stress", "dipole"):
            first, second = getattr(one, label), getattr(other, label)
            assert (first is None) == (second is None), label
            if first is not None:
                np.testing.assert_allclose(first, second, rtol=1e-6, atol=1e-7)
