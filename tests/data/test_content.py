"""Data from which little can be learnt are told, and what is no fault is only remarked."""

import dataclasses

import numpy as np

import lrpot
from lrpot.data import Structure, check_data


def fluorides(count=12, charges=(0.8, -0.8, 0.8, -0.8)):
    """Rings of lithium fluoride that are all different, with the same charges."""
    random = np.random.default_rng(0)
    base = np.array([[0, 0, 0], [1.7, 0, 0], [1.7, 1.7, 0.2], [0, 1.7, 0.1]])[: len(charges)]
    return [
        Structure(
            lrpot.System(base + 0.1 * random.normal(size=base.shape), [3, 9, 3, 9][: len(charges)]),
            energy=np.array(random.normal()),
            charges=np.array(charges),
            name=f"ring {number}",
        )
        for number in range(count)
    ]


def found(structures):
    return {one.kind: one.cases for one in check_data(structures).findings}


def test_charges_without_spread_are_told():
    ((label, text),) = found(fluorides())["labels without spread"]
    assert label == "charges"
    assert "(Li +0.8, F -0.8 e)" in text
    assert "a charge model cannot learn from them" in text
    varied = fluorides()
    varied[3] = dataclasses.replace(varied[3], charges=np.array([0.9, -0.9, 0.8, -0.8]))
    assert "labels without spread" not in found(varied)


def test_labels_that_are_zero_or_constant_everywhere_are_told():
    zeros = [
        dataclasses.replace(one, charges=None, forces=np.zeros((4, 3)), energy=np.array(2.0))
        for one in fluorides()
    ]
    assert dict(found(zeros)["labels without spread"]) == {
        "energy": "the same for all 12 structures of the same atoms",
        "forces": "zero in all 12 structures that have it",
    }


def test_few_or_equal_structures_are_told():
    assert found(fluorides(count=2))["few structures"] == [
        ("all structures", "2 structures, of which 2 are different")
    ]
    equal = [dataclasses.replace(fluorides()[0], name=f"copy {number}") for number in range(12)]
    assert found(equal)["few structures"] == [
        ("all structures", "12 structures, of which 1 are different")
    ]
    assert "few structures" not in found(fluorides())


def test_structures_without_atoms_are_told():
    empty = Structure(lrpot.System(np.zeros((0, 3)), np.zeros(0, int)), name="nothing")
    assert found([*fluorides(), empty])["empty structures"] == [("nothing", "no atoms")]


def test_charges_beside_another_total_charge_are_told_with_both():
    data = fluorides()
    data[2] = dataclasses.replace(data[2], charges=np.array([0.8, -0.8, 1.8, -0.8]))
    ((name, text),) = found(data)["charge sums"]
    assert name == "ring 2"
    assert text == "charges sum to +1 e, total charge 0 e"


def test_one_composition_and_single_atoms_are_remarked_and_nothing_odd():
    remarks = " ".join(check_data(fluorides()).remarks)
    assert "All structures have the same composition" in remarks
    single = fluorides(count=3, charges=(0.0,))
    remarks = " ".join(check_data([*fluorides(), *single]).remarks)
    assert "3 structures are single atoms" in remarks
    assert "same composition" not in remarks
