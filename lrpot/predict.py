"""Energy, forces, stress, charges and their moments from one call, by differentiation."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lrpot.charges import Charges
from lrpot.committee import Committee
from lrpot.descriptors import ACSF
from lrpot.devices import in_full_precision
from lrpot.environment import environment_from_shifts
from lrpot.errors import InputError
from lrpot.neighbors import Neighbors, in_buckets
from lrpot.potential import Guess, Potential
from lrpot.system import Prediction, System


@in_full_precision
def evaluate(
    potential: Potential | Committee,
    system: System,
    neighbors: Neighbors,
    *,
    forces: bool = True,
    stress: bool = True,
    extrapolation: bool = False,
    guess: Guess | None = None,
) -> Prediction:
    """Everything a potential says about one system; pure, for use under `jit` and `vmap`.

    Forces are the exact negative gradient of the energy, the response of the charges to the
    positions included. Flags of the result say whether it can be trusted, see `Prediction`.

    Args:
        potential: The potential, or a committee.
        system: One system, padded or not.
        neighbors: Its neighbour list, from `potential.neighbors`.
        forces: Whether to compute forces.
        stress: Whether to compute the stress of a periodic system.
        extrapolation: Whether to say where features are outside of the training range.
        guess: Charges and adjoint, in e, that an iterative solver starts from, such as those of
            a prediction for similar positions.
    """
    if isinstance(potential, Committee):
        settings = dict(forces=forces, stress=stress, extrapolation=extrapolation, guess=guess)
        alone = functools.partial(evaluate, system=system, neighbors=neighbors, **settings)
        return potential.summary(jax.vmap(alone)(potential.stacked))

    def energy(positions: Array, strain: Array):
        energies, charges = deformed(potential, system, neighbors, positions, strain, guess=guess)
        return energies.sum(), (energies, charges)

    stress = stress and system.cell is not None
    no_strain = jnp.zeros((3, 3), dtype=system.positions.dtype)
    argnums = tuple(number for number, wanted in enumerate((forces, stress)) if wanted)
    if argnums:
        (total, (energies, charges)), gradients = jax.value_and_grad(energy, argnums, has_aux=True)(
            system.positions, no_strain
        )
    else:
        (total, (energies, charges)), gradients = energy(system.positions, no_strain), ()
    by_argument = dict(zip(argnums, gradients, strict=True))
    virial = by_argument.get(1)
    return Prediction(
        energy=total,
        energies=energies,
        forces=-by_argument[0] if forces else None,
        stress=None
        if virial is None or system.cell is None
        else (virial + virial.T) / (2 * jnp.abs(jnp.linalg.det(system.cell))),
        charges=None if charges is None else charges.charges,
        dipole=None if charges is None else charges.charges @ system.positions,
        quadrupole=None if charges is None else quadrupole(charges.charges, system.positions),
        electronegativity=None if charges is None else charges.electronegativity,
        converged=jnp.asarray(True) if charges is None else charges.converged,
        overflow=neighbors.overflow,
        extrapolation=_extrapolation(potential, system, neighbors) if extrapolation else None,
        iterations=None if charges is None else charges.iterations,
        residual=None if charges is None else charges.residual,
        adjoint=None if charges is None else charges.adjoint,
    )


def quadrupole(
    charges: Float[Array, " atoms"], positions: Float[Array, "atoms 3"]
) -> Float[Array, "3 3"]:
    """Σ qᵢ (rᵢ rᵢᵀ − rᵢ²/3) about the origin of the coordinates, in e Å²."""
    moments = jnp.einsum("a,ax,ay->xy", charges, positions, positions)
    return moments - jnp.trace(moments) / 3 * jnp.eye(3, dtype=moments.dtype)


def deformed(
    potential: Potential,
    system: System,
    neighbors: Neighbors,
    positions: Float[Array, "atoms 3"],
    strain: Float[Array, "3 3"],
    *,
    guess: Guess | None = None,
) -> tuple[Float[Array, " atoms"], Charges | None]:
    """Energies by atom and charges of a system that has been moved and strained.

    What forces and stress are derivatives of. The neighbour list stays as it is.

    Args:
        potential, system, neighbors, guess: As in `evaluate`.
        positions: In place of those of the system, in Å.
        strain: As in `System.strained`.
    """
    moved = dataclasses.replace(system, positions=positions).strained(strain)
    return potential(moved, environment_from_shifts(moved, neighbors), guess=guess)


def _extrapolation(potential: Potential, system: System, neighbors: Neighbors) -> Array:
    descriptor = potential.descriptor
    if not isinstance(descriptor, ACSF):
        raise InputError("A linearised descriptor knows nothing of its training range.")
    raw = descriptor.raw(environment_from_shifts(system, neighbors))
    return descriptor.scaling.outside(raw, system.numbers)


_compiled = eqx.filter_jit(evaluate)


def predict(
    potential: Potential | Committee,
    system: System,
    neighbors: Neighbors | None = None,
    *,
    forces: bool = True,
    stress: bool = True,
    extrapolation: bool = False,
) -> Prediction:
    """Energy, forces, stress, charges and dipole of one system.

    Compiles on the first call for a number of atoms and neighbour slots, which are rounded up so
    that similar systems share what is compiled, and checks the result.
    Inside compiled code call `evaluate` instead.

    Args:
        potential: The potential, or a committee.
        system: One system.
        neighbors: Its neighbour list; built when not given.
        forces: Whether to compute forces.
        stress: Whether to compute the stress of a periodic system.
        extrapolation: Whether to say where features are outside of the training range.

    Raises:
        InputError: If an element is unknown to the potential, atoms overlap, the neighbour list
            has overflowed or the charges could not be determined.

    Examples:
        >>> import lrpot
        >>> potential = lrpot.hdnnp_4g(("H", "O"), hidden=(4,), key=jax.random.key(0))
        >>> hydroxide = System([[0, 0, 0], [0.97, 0, 0]], [8, 1], total_charge=-1.0)
        >>> prediction = predict(potential, hydroxide)
        >>> bool(jnp.allclose(prediction.charges.sum(), -1.0))  # charge is conserved
        True
        >>> bool(jnp.allclose(prediction.forces.sum(axis=0), 0.0, atol=1e-4))  # so is momentum
        True
    """
    if neighbors is None:
        neighbors = in_buckets(potential.neighbors(system))
    prediction = _compiled(
        potential,
        system,
        neighbors,
        forces=forces,
        stress=stress,
        extrapolation=extrapolation,
    )
    check_prediction(prediction)
    return prediction


def check_prediction(prediction: Prediction) -> None:
    """Raise `InputError` if a flag of the prediction says that it is meaningless."""
    if bool(prediction.overflow):
        raise InputError(
            "The neighbour list overflowed: an atom has more neighbours than the list has slots, "
            "so energy and forces would be wrong. Build the list again with a larger `capacity`, "
            "or leave `capacity` out."
        )
    if not bool(prediction.converged):
        iterations, residual = prediction.iterations, prediction.residual
        if iterations is not None and residual is not None and bool(jnp.isfinite(residual)):
            raise InputError(
                f"The charges did not converge: after {int(iterations)} iterations the "
                f"potentials that drive them are out of balance by {float(residual):.2g} eV/e. If "
                "they stopped early, the equilibration matrix is not positive definite: look for "
                "overlapping atoms, or point charges without hardness. Otherwise allow more "
                "`max_iterations`, a larger `tolerance`, or solve with "
                '`potential.with_solver(solver="dense")`.'
            )
        raise InputError(
            "The charges could not be determined: the equilibration matrix is not positive "
            "definite or holds NaN. Look for overlapping atoms, point charges without hardness, "
            "parameters that are not finite, or for a neighbour list that no longer holds, because "
            "a crystal has outgrown its mesh by a tenth, or the atoms of a slab have moved far "
            "apart: build it again."
        )
