"""Potentials of RuNNer and n2p2 that probably mean something else than they say."""

import warnings

import numpy as np
import pytest

from lrpot import InputError
from lrpot.errors import InputWarning
from lrpot.interop.n2p2 import read_potential, unknown_keywords
from lrpot.interop.n2p2.plausible import free_atom
from lrpot.units import BOHR

INPUT = """\
nnp_type 4
number_of_elements 2
elements H O
cutoff_type 2
scale_symmetry_functions
global_hidden_layers_short 1
global_nodes_short 2
global_activation_short t l
global_hidden_layers_electrostatic 1
global_nodes_electrostatic 2
global_activation_electrostatic t l
fixed_gausswidth H 1.1
fixed_gausswidth O 1.9
symfunction_short H 2 O 0.1 0.0 12.0
symfunction_short O 2 H 0.1 0.0 12.0
epochs 10
kalman_type 0
"""


@pytest.fixture
def folder(tmp_path):
    """A 4G potential in bohr and Ha about which there is nothing to say."""
    (tmp_path / "input.nn").write_text(INPUT)
    (tmp_path / "scaling.data").write_text("1 1 0.0 1.5 0.5\n2 1 0.0 1.5 0.5\n")
    for element in (1, 8):
        for prefix, count in (("weights", 9), ("weightse", 7)):
            (tmp_path / f"{prefix}.{element:03d}.data").write_text(count * "0.25\n")
        (tmp_path / f"hardness.{element:03d}.data").write_text("# hardness\n 10.0\n")
    return tmp_path


def change(path, *pairs):
    content = path.read_text()
    for old, new in pairs:
        assert old in content
        content = content.replace(old, new)
    path.write_text(content)


def said(folder, **units):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        read_potential(folder, **units)
    assert all(one.category is InputWarning for one in told)
    return [str(one.message) for one in told]


def test_a_usual_potential_raises_no_doubts(folder):
    assert said(folder) == []
    assert unknown_keywords(folder / "input.nn") == ()


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("screen_electrostaticsx 2.0 5.0", "screen_electrostatics"),
        ("symfunction_shrt H 2 H 0.1 0.0 12.0", "symfunction_short"),
        ("Scale_min_short 0.5", "scale_min_short"),
        ("normalise_nodes", "normalize_nodes"),
        ("atom_energi H -0.5", "atom_energy"),
        ("conv_lenght 2.0", "conv_length"),
        ("center_symmetry_function", "center_symmetry_functions"),
        ("four_pi_epsilion 2.0", "four_pi_epsilon"),
    ],
)
def test_a_misspelt_keyword_is_told_with_its_line(line, meant, folder):
    change(folder / "input.nn", ("epochs 10", line))
    (message,) = said(folder)
    assert message.startswith(f"{folder / 'input.nn'}: line 16: `{line.split()[0]}` is no keyword")
    assert f"Did you mean `{meant}`?" in message


def test_keywords_of_training_are_known_and_others_are_named(folder):
    change(folder / "input.nn", ("epochs 10", "random_seed 3\nwrite_trainlog\nmy_keyword 3\nabc"))
    assert said(folder) == []
    assert unknown_keywords(folder / "input.nn") == ("abc", "my_keyword")


def test_keywords_that_change_energies_in_runner_only_are_told(folder):
    change(folder / "input.nn", ("epochs 10", "cutoff_alpha 0.3\nuse_vdw\nuse_electrostatics"))
    first, second = said(folder)
    assert "line 16: `cutoff_alpha` is not used here" in first
    assert "the second argument of `cutoff_type`" in first
    assert "line 17: `use_vdw` is not used here" in second


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("global_symfunction_short 2 0.1 0.0 12.0", "a shorthand of RuNNer"),
        ("element_symfunction_short H 2 0.1 0.0 12.0", "a shorthand of RuNNer"),
        ("center_symmetry_functions false", "is on whatever follows it"),
        ("scale_min_short 1_0.0", "line 16: expected a number, got '1_0.0'"),
        ("scale_min_short 1.0", "must be below `scale_max_short`, got 1 and 1"),
        ("scale_max_short -1.0", "must be below `scale_max_short`, got 0 and -1"),
    ],
)
def test_what_would_change_the_potential_in_silence_is_refused(line, message, folder):
    change(folder / "input.nn", ("epochs 10", line))
    with pytest.raises(InputError, match=rf"input\.nn, line 16: .*{message.split(': ')[-1]}"):
        read_potential(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("number_of_elements 2", "number_of_elements 2 3", "at most 1 arguments"),
        ("layers_short 1", "layers_short 1_0", "expected an integer, got '1_0'"),
        ("layers_short 1", "layers_short 1 2", "at most 1 arguments"),
        ("cutoff_type 2", "cutoff_type 2 0.0 0.0", "at most 2 arguments"),
    ],
)
def test_more_arguments_than_a_keyword_takes_are_refused(old, new, message, folder):
    change(folder / "input.nn", (old, new))
    with pytest.raises(InputError, match=message):
        read_potential(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 1 0.0 1.5 0.5\n2 1 0.0 1.5\n", "line 2: the line has 4 columns and the first one"),
        ("1 1 0.0 1.5 0.5 0.2\n2 1 0.0 1.5 0.5\n", "line 2: the line has 5 columns .* 6"),
        ("1 1 0.0 1.5 0.5 0.2 1\n2 1 0.0 1.5 0.5 0.2 1\n", "line 1: the line has 7 columns"),
        ("# min max mean sigma\n1 1 0.0 1.5 0.5\n2 1 0 1 0.5\n", "line 2: .*announce a column"),
        # The minimum is missing: maximum, mean and sigma are read in its place.
        ("1 1 0.9 1.5 0.2\n2 1 0.0 1.5 0.5\n", "line 1: the mean 0.2 is not between"),
        ("1 1 0.0 1.5 0.5\n2 1 0.0 1_5 0.5\n", "line 2: expected a number, got '1_5'"),
    ],
)
def test_statistics_that_have_lost_a_column_are_refused(content, message, folder):
    (folder / "scaling.data").write_text(content)
    with pytest.raises(InputError, match=rf"scaling\.data, {message}"):
        read_potential(folder)


@pytest.mark.parametrize("content", ["", "10.0 11.0\n", "10.0\n11.0\n"])
def test_a_hardness_is_one_number(content, folder):
    (folder / "hardness.008.data").write_text(content)
    with pytest.raises(InputError, match=r"hardness\.008\.data must hold one number"):
        read_potential(folder)


def test_numbers_of_fortran_are_read(folder):
    before = read_potential(folder)
    change(folder / "hardness.008.data", ("10.0", "1.0D+1"))
    change(folder / "scaling.data", ("1.5", "15.0d-1"))
    after = read_potential(folder)
    for one, other in (
        (after.charge_model.hardness_root, before.charge_model.hardness_root),
        (after.descriptor.scaling.factor, before.descriptor.scaling.factor),
    ):
        np.testing.assert_allclose(one, other, rtol=1e-15)
    np.testing.assert_allclose(after.charge_model.hardness_root**2, 10 * 27.211386245988)


def test_functions_that_stand_there_twice_are_told(folder):
    change(
        folder / "input.nn",
        ("epochs 10", "symfunction_short H 2 O 0.1 0.0 12.0"),
    )
    (folder / "scaling.data").write_text("1 1 0 1.5 0.5\n1 2 0 1.5 0.5\n2 1 0.0 1.5 0.5\n")
    (folder / "weights.001.data").write_text(11 * "0.25\n")
    (folder / "weightse.001.data").write_text(9 * "0.25\n")
    (message,) = said(folder)
    assert "1 symmetry functions stand there twice, such as `symfunction_short H 2 O" in message


def test_energies_of_some_free_atoms_only_are_told(folder):
    change(folder / "input.nn", ("epochs 10", "atom_energy O -75.0"))
    (message,) = said(folder)
    assert "`atom_energy` is missing for H and taken as 0" in message


def test_cutoffs_in_other_units_are_told(folder):
    change(folder / "input.nn", ("12.0", "6.0"))
    (message,) = said(folder)
    assert "largest cutoff 6 would be 3.18 Å. If" in message
    assert 'say length="angstrom" (--length angstrom).' in message
    assert said(folder, length="angstrom") == []
    change(folder / "input.nn", ("6.0", "0.6"))
    (message,) = said(folder)
    assert 'say length="nm"' in message
    change(folder / "input.nn", ("0.6", "18.0"))
    (message,) = said(folder, length="angstrom")
    assert 'say length="bohr"' in message


def test_widths_in_other_units_are_told(folder):
    change(folder / "input.nn", ("H 1.1", "H 0.31"), ("O 1.9", "O 0.66"))
    (message,) = said(folder)
    assert "the Gaussian widths are covalent radii in angstrom" in message
    change(folder / "input.nn", ("H 0.31", f"H {0.31 / BOHR}"), ("O 0.66", f"O {0.66 / BOHR}"))
    assert said(folder) == []


@pytest.mark.parametrize(
    ("energies", "given", "meant"),
    [
        ((-13.6, -2042.0), "Ha", "eV"),
        ((-0.4998, -75.06), "eV", "Ha"),
        ((-0.4998, -75.06), "Ha", None),
        ((-13.6, -2042.0), "eV", None),
        ((-13.6, -431.0), "eV", None),  # a pseudopotential for oxygen
        ((-1.1, -1.9), "eV", None),
        ((-0.9996, -150.1), "Ha", "Ry"),
    ],
)
def test_energies_of_free_atoms_show_their_unit(energies, given, meant, folder):
    lines = "\n".join(f"atom_energy {one} {e}" for one, e in zip("HO", energies, strict=True))
    change(folder / "input.nn", ("epochs 10", lines))
    messages = said(folder, energy=given)
    assert len(messages) == (meant is not None)
    assert all(f'say energy="{meant}" (--energy {meant})' in one for one in messages)


@pytest.mark.parametrize(
    ("number", "energy"),
    # Exact for one electron; Hartree-Fock limits of C, Ne and Ar.
    [(1, -0.5), (6, -37.689), (10, -128.547), (18, -526.818)],
)
def test_the_estimate_for_free_atoms_is_near_their_energies(number, energy):
    assert free_atom(number) == pytest.approx(energy, rel=0.08)
