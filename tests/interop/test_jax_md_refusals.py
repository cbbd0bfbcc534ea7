"""jax-md: what the adapter cannot use is refused, with what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_md import partition, space

from lrpot.errors import InputError
from lrpot.interop.jax_md import charges_for_jax_md, to_jax_md
from lrpot.interop.jax_md_checks import PASSED_ON
from lrpot.interop.jax_md_memory import forces_for_jax_md

NUMBERS = np.array([8, 1, 1])
R = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
FREE, _ = space.free()
UNKNOWN = {
    "charge": r"Unknown keyword `charge` of .*Did you mean `total_charge`\?",
    "total_chrage": r"Unknown keyword `total_chrage` of .*Did you mean `total_charge`\?",
    "field": r"Unknown keyword `field` .* `lrpot\.fit` only",
    "electric_field": r"Unknown keyword `electric_field` .* `lrpot\.fit` only",
    "fragments": r"Unknown keyword `fragments` .* `lrpot\.fit` only",
    "species": "Unknown keyword `species` of ",
    "new_box": r"Unknown keyword `new_box` of .*Did you mean `box`\?",
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_keyword_that_would_change_nothing_is_refused(charged, name):
    """By what makes functions for jax-md, and by every function that it makes."""
    given = {name: 1.0}
    if name != "new_box":
        with pytest.raises(InputError, match=UNKNOWN[name]):
            to_jax_md(charged, FREE, None, NUMBERS, **given)
    where = charged, FREE, None, NUMBERS
    neighbor_fn, energy_fn = to_jax_md(*where)
    neighbors = neighbor_fn.allocate(R)
    for function in (energy_fn, charges_for_jax_md(*where), forces_for_jax_md(*where)):
        with pytest.raises(InputError, match=UNKNOWN[name]):
            function(R, neighbor=neighbors, **given)
    for function in (neighbor_fn.allocate, neighbors.update):
        with pytest.raises(InputError, match=f"Unknown keyword `{name}` of `neighbor_fn`"):
            function(R, **given)


def test_what_integrators_hand_on_is_let_through(charged):
    neighbor_fn, energy_fn = to_jax_md(charged, FREE, None, NUMBERS)
    more = dict.fromkeys(PASSED_ON, jnp.asarray(0.1))
    neighbors = neighbor_fn.allocate(R, **more, total_charge=1.0).update(R, **more)
    plain = energy_fn(R, neighbor=neighbors)
    assert energy_fn(R, neighbor=neighbors, **more) == plain
    assert abs(energy_fn(R, neighbor=neighbors, total_charge=1.0) - plain) > 0.01


def test_settings_of_jax_mds_list_are_taken_and_others_are_not(local):
    roomy, _ = to_jax_md(local, FREE, None, NUMBERS, capacity_multiplier=0.5)
    assert roomy.allocate(R).idx.shape == (3, 1)
    with pytest.raises(InputError, match=r"`capacity_multiplyer`.*mean `capacity_multiplier`\?"):
        to_jax_md(local, FREE, None, NUMBERS, capacity_multiplyer=2.0)
    with pytest.raises(InputError, match="Unknown keyword `mask_self`"):
        to_jax_md(local, FREE, None, NUMBERS, mask_self=False)
    with pytest.raises(InputError, match=r"several images .* knows no `custom_mask_function`"):
        to_jax_md(local, *boxed(4.0), NUMBERS, custom_mask_function=lambda index: index)


def boxed(box, **settings):
    return space.periodic_general(jnp.asarray(box), **settings)[0], box


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (np.full(2, 7.0), r"one length, three lengths, or a 3×3 matrix .* got the shape \(2,\)"),
        (np.eye(2), r"got the shape \(2, 2\)"),
        (np.array([[7.0, 7, 0], [0, 0, 0], [0, 0, 7]]), "The cell is flat"),
        (7.0 * np.eye(3)[[1, 0, 2]], "The cell is left-handed"),
        (np.array([7.0, 7.0, np.nan]), "The cell is not finite"),
        (-7.0, "The cell is left-handed"),
    ],
)
def test_a_box_that_is_none_is_refused(local, box, message):
    with pytest.raises(InputError, match=message):
        to_jax_md(local, FREE, box, NUMBERS)


@pytest.mark.parametrize(
    "displacement",
    [
        FREE,
        space.periodic(7.5)[0],
        space.periodic_general(7.0)[0],
        space.periodic(np.diag([7.0, 8.0, 9.0]))[0],
    ],
    ids=["no periods", "another side", "fractions for Å", "a matrix for three sides"],
)
def test_a_displacement_of_another_box_is_refused(local, displacement):
    box = np.array([7.0, 8.0, 9.0])
    with (
        jax.numpy_rank_promotion("allow"),
        pytest.raises(InputError, match="displacement function does not go with the box"),
    ):
        to_jax_md(local, displacement, box, NUMBERS, fractional_coordinates=False)


def test_coordinates_of_another_shape_are_refused(local):
    neighbor_fn, energy_fn = to_jax_md(local, FREE, None, NUMBERS)
    neighbors = neighbor_fn.allocate(R)
    for wrong in (R[:, :2], R[:2], R.ravel()):
        for function in (
            neighbor_fn.allocate,
            neighbors.update,
            lambda R: energy_fn(R, neighbor=neighbors),
        ):
            with pytest.raises(InputError, match=r"must have shape \(3, 3\), one row for each"):
                function(wrong)


@pytest.mark.parametrize("numbers", [[[8, 1, 1]], 8, [8.0, 1.5, 1.0]])
def test_numbers_that_are_none_are_refused(local, numbers):
    with pytest.raises(InputError, match="`numbers` must be one atomic number for each atom"):
        to_jax_md(local, FREE, None, np.array(numbers))


def test_a_list_of_another_format_is_refused(local):
    _, energy_fn = to_jax_md(local, FREE, None, NUMBERS)
    sparse = partition.neighbor_list(
        FREE, 9.0, 3.0, disable_cell_list=True, format=partition.Sparse
    )
    with pytest.raises(InputError, match="must be a neighbour list of `to_jax_md`"):
        energy_fn(R, neighbor=sparse.allocate(R))


def test_a_box_for_functions_without_one_is_refused(local):
    neighbor_fn, energy_fn = to_jax_md(local, FREE, None, NUMBERS)
    neighbors = neighbor_fn.allocate(R)
    for function in (neighbor_fn.allocate, lambda R, box: energy_fn(R, neighbors, box=box)):
        with pytest.raises(InputError, match="that `to_jax_md` made without one"):
            function(R, box=7.0)
    with pytest.raises(InputError, match=r"pbc=\(True, True, True\) needs a `cell`"):
        to_jax_md(local, FREE, None, NUMBERS, pbc=True)


def test_a_total_charge_that_is_none_is_refused(charged):
    with pytest.raises(InputError, match="`total_charge` must be a single number"):
        to_jax_md(charged, FREE, None, NUMBERS, total_charge=np.ones(3))
    with pytest.raises(InputError, match="`total_charge` is not finite"):
        to_jax_md(charged, FREE, None, NUMBERS, total_charge=np.nan)
