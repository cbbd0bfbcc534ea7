"""Files of any name and any coding are read, and damaged frames do not hide the others."""

import bz2
import gzip
import lzma

import ase
import ase.io
import numpy as np
import pytest

from lrpot import InputError
from lrpot.data import read_atoms, read_data, read_structures, write_structures

FRAME = """2
Properties=species:S:1:pos:R:3:forces:R:3 energy={energy}
O 0.0 0.0 0.0  0.5 0.0 0.0
H 0.96 0.0 0.0  -0.5 0.0 0.0
"""
TEXT = "".join(FRAME.format(energy=-number) for number in (1, 2, 3))


def energies(path, **options):
    return [float(one.energy) for one in read_structures(path, **options)]


@pytest.mark.parametrize(
    "name",
    [
        *("water@300K.xyz", "water@2", "a b.xyz", "Größe_π.xyz", "[x]*.xyz", "-.xyz", "-", "noext"),
        *("train.txt", "UPPER.XYZ", "data.extxyz", "postgres.xyz", "mysql", "x.db", "POSCAR"),
    ],
)
def test_extended_xyz_is_read_under_any_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "water").write_text(FRAME.format(energy=-9))  # what stands before the @
    (tmp_path / name).write_text(TEXT, encoding="utf-8")
    assert energies(name) == [-1, -2, -3]
    assert read_atoms(name).get_potential_energy() == -3
    assert read_atoms(name, index=0).get_potential_energy() == -1
    write_structures(tmp_path / f"out{name}", read_structures(name))
    assert energies(tmp_path / f"out{name}") == [-1, -2, -3]


@pytest.mark.parametrize(
    ("ending", "module"), [(".gz", gzip), (".xz", lzma), (".bz2", bz2), (".GZ", gzip)]
)
def test_compressed_files_are_read_and_written(tmp_path, ending, module):
    path = tmp_path / f"data.xyz{ending}"
    path.write_bytes(module.compress(TEXT.encode()))
    assert energies(path) == [-1, -2, -3]
    again = tmp_path / f"again.xyz{ending}"
    write_structures(again, read_structures(path))
    assert b"Properties" in module.decompress(again.read_bytes())
    assert energies(again) == [-1, -2, -3]
    path.write_bytes(module.compress(TEXT.encode())[:40])
    with pytest.raises(InputError, match="is compressed and damaged"):
        read_structures(path)


@pytest.mark.parametrize(
    "content",
    [
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.replace("energy", "name=Größe energy").encode("latin-1"),
        TEXT.replace("2\nProp", "\n\n2\nProp").encode(),
    ],
    ids=["CRLF", "CR", "byte order mark", "latin-1", "empty lines"],
)
def test_ends_of_lines_and_codings_do_not_matter(tmp_path, content):
    (tmp_path / "data.xyz").write_bytes(content)
    assert energies(tmp_path / "data.xyz") == [-1, -2, -3]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("wide.xyz", TEXT.encode("utf-16"), "is text in UTF-16. Save it as UTF-8"),
        ("empty.xyz", b"", "is empty"),
        ("blank.xyz", b"\n \n", "is empty"),
        ("what.foo", b"some words\n", "Cannot tell what kind of file .* `format="),
        ("input.data", b"begin\nend\n", "looks like an `input.data` .* `lrpot convert"),
        ("binary.xyz", b"2\n\0\0\n", "is not a text file"),
        ("set.db", b"SQLite format 3\0", "ASE cannot read .*set.db"),
    ],
)
def test_files_that_hold_no_structures_say_what_they_are(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_structures(tmp_path / name)


def test_a_folder_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(InputError, match=r"Cannot read .*: Is a directory"):
        read_structures(tmp_path)
    with pytest.raises(InputError, match=r"There is no data file .*none"):
        read_atoms(tmp_path / "none")


def test_a_format_can_be_named(tmp_path):
    atoms = ase.Atoms("NaCl", [[0, 0, 0], [2, 2, 2]], cell=[4, 4, 4], pbc=True)
    ase.io.write(tmp_path / "start.foo", atoms, format="vasp")
    with pytest.raises(InputError, match="Cannot tell what kind of file"):
        read_atoms(tmp_path / "start.foo")
    found = read_atoms(tmp_path / "start.foo", format="vasp")
    np.testing.assert_allclose(found.positions, atoms.positions)
    (structure,) = read_structures(tmp_path / "start.foo", format="vasp")
    np.testing.assert_allclose(structure.system.cell, 4 * np.eye(3))
    with pytest.raises(InputError, match=r"Unknown format `vaps`. Did you mean `vasp`"):
        read_atoms(tmp_path / "start.foo", format="vaps")
    with pytest.raises(InputError, match="holds 1 structures; there is no structure 3"):
        read_atoms(tmp_path / "start.foo", format="vasp", index=3)


def test_a_trajectory_of_ase_may_have_an_at_sign(tmp_path):
    path = tmp_path / "water@300K.traj"
    ase.io.write(tmp_path / "water.traj", ase.io.read(_file(tmp_path, TEXT), ":"))
    (tmp_path / "water.traj").rename(path)
    assert energies(path) == [-1, -2, -3]


def _file(folder, text):
    (folder / "data.xyz").write_text(text)
    return folder / "data.xyz"


LINES = TEXT.splitlines(keepends=True)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (LINES[:7] + LINES[8:], r"it should have 2 atoms \(line 5\), and has 1 rows"),
        (LINES[:8] + LINES[7:], r"it should have 2 atoms \(line 5\), and has 3 rows"),
        ([*LINES[:4], "0\n", "energy=1\n", *LINES[8:]], r"it has no atoms \(line 5\)"),
        ([*LINES[:4], "two\n", *LINES[5:]], None),
        ([*LINES[:6], "O 0 0 zero 0 0 0\n", *LINES[7:]], "ASE cannot read it: ValueError"),
        ([*LINES[:5], LINES[5].replace("R:3 ", "R:2 "), *LINES[6:]], "must have shape"),
    ],
    ids=["a row less", "a row more", "no atoms", "no count", "a word", "a column less"],
)
def test_a_damaged_frame_is_named_and_hides_no_other(tmp_path, lines, message):
    path = _file(tmp_path, "".join(lines))
    contents = read_data(path, ignore=["unnamed columns"])
    assert float(contents.structures[-1].energy) == -3
    if message is None:  # the first frame goes on without an end
        assert contents.problems[0].number == 0
        message = "has 6 rows"
    else:
        assert [one.number for one in contents.problems] == [1]
        assert float(contents.structures[0].energy) == -1
    with pytest.raises(InputError, match=rf"{message}.*`lrpot check .* --skip GOOD\.xyz`"):
        read_structures(path)


def test_all_bad_frames_are_counted_and_the_first_ones_named(tmp_path):
    path = _file(tmp_path, TEXT + 5 * FRAME.format(energy="nan"))
    with pytest.raises(InputError) as caught:
        read_structures(path)
    message = str(caught.value)
    assert all(f"structure {number}: `energy` is not finite" in message for number in (3, 4, 5))
    assert "structure 6" not in message
    assert "and 2 more structures" in message


def test_a_truncated_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"structure 2: it should have 2 atoms .* has 1 rows"):
        read_structures(_file(tmp_path, "".join(LINES[:-1])))
    with pytest.raises(InputError, match="structure 2: ASE cannot read it"):
        read_structures(_file(tmp_path, TEXT[:-20]))
