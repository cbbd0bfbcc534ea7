"""Symbols and covalent radii of the elements (no more than the physics here needs)."""

from collections.abc import Iterable

from lrpot.errors import InputError

SYMBOLS = (
    "X "  # number 0: a padding atom
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As "
    "Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu "
    "Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np "
    "Pu Am Cm"
).split()
"""Chemical symbols; the position in the list is the atomic number."""

COVALENT_RADII = (
    0.0,
    0.31,
    0.28,
    1.28,
    0.96,
    0.84,
    0.76,
    0.71,
    0.66,
    0.57,
    0.58,
    1.66,
    1.41,
    1.21,
    1.11,
    1.07,
    1.05,
    1.02,
    1.06,
    2.03,
    1.76,
    1.70,
    1.60,
    1.53,
    1.39,
    1.39,
    1.32,
    1.26,
    1.24,
    1.32,
    1.22,
    1.22,
    1.20,
    1.19,
    1.20,
    1.20,
    1.16,
    2.20,
    1.95,
    1.90,
    1.75,
    1.64,
    1.54,
    1.47,
    1.46,
    1.42,
    1.39,
    1.45,
    1.44,
    1.42,
    1.39,
    1.39,
    1.38,
    1.39,
    1.40,
    2.44,
    2.15,
    2.07,
    2.04,
    2.03,
    2.01,
    1.99,
    1.98,
    1.98,
    1.96,
    1.94,
    1.92,
    1.92,
    1.89,
    1.90,
    1.87,
    1.87,
    1.75,
    1.70,
    1.62,
    1.51,
    1.44,
    1.41,
    1.36,
    1.36,
    1.32,
    1.45,
    1.46,
    1.48,
    1.40,
    1.50,
    1.50,
    2.60,
    2.21,
    2.15,
    2.06,
    2.00,
    1.96,
    1.90,
    1.87,
    1.80,
    1.69,
)
"""Covalent radii, in Å, by atomic number [cordero:08]."""


def symbols(numbers: Iterable[int]) -> str:
    """Readable list of elements for messages: `symbols([1, 6])` is 'H (1), C (6)'."""
    return ", ".join(f"{SYMBOLS[number]} ({number})" for number in numbers)


def element_numbers(elements: Iterable[int | str]) -> tuple[int, ...]:
    """Atomic numbers, sorted and checked, from numbers or symbols."""
    numbers = []
    for element in elements:
        if isinstance(element, str) and element in SYMBOLS[1:]:
            element = SYMBOLS.index(element)
        if isinstance(element, str) or not 1 <= int(element) < len(SYMBOLS):
            raise InputError(
                f"{element!r} is not an element. Give chemical symbols (such as 'Au') or "
                f"atomic numbers from 1 to {len(SYMBOLS) - 1}."
            )
        numbers.append(int(element))
    if not numbers or len(set(numbers)) < len(numbers):
        raise InputError(
            f"`elements` must name at least one element and each only once, got {list(elements)!r}."
        )
    return tuple(sorted(numbers))
