import ase.data
import pytest

from lrpot import InputError
from lrpot.elements import COVALENT_RADII, SYMBOLS, element_numbers, symbols


def test_symbols_stand_at_their_atomic_numbers():
    known = {"H": 1, "He": 2, "C": 6, "O": 8, "Ar": 18, "Fe": 26, "Xe": 54, "La": 57, "Lu": 71}
    known |= {"Au": 79, "Rn": 86, "U": 92, "Cm": 96}
    assert {symbol: SYMBOLS.index(symbol) for symbol in known} == known
    assert len(set(SYMBOLS)) == len(SYMBOLS)


def test_symbols_and_radii_agree_with_ase():
    assert ase.data.chemical_symbols[: len(SYMBOLS)] == SYMBOLS
    assert len(COVALENT_RADII) == len(SYMBOLS)
    assert COVALENT_RADII[1:] == pytest.approx(ase.data.covalent_radii[1 : len(SYMBOLS)])


def test_elements_are_sorted_and_may_be_symbols_or_numbers():
    assert element_numbers(("O", 1, "Au")) == (1, 8, 79)
    assert symbols((1, 8)) == "H (1), O (8)"


@pytest.mark.parametrize("wrong", ["Xx", "h", "hydrogen", "X", "", 0, -1, 97])
def test_an_unknown_element_is_refused_by_name(wrong):
    with pytest.raises(InputError, match=f"{wrong!r} is not an element. Give chemical symbols"):
        element_numbers(("H", wrong))


@pytest.mark.parametrize("wrong", [(), ("H", "H"), ("H", 1)])
def test_no_element_or_one_twice_is_refused(wrong):
    with pytest.raises(InputError, match="at least one element and each only once"):
        element_numbers(wrong)
