"""Fourth generation: charges that equilibrate over the whole system."""

import dataclasses
from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lrpot.charges.constraints import Constraints, constraints_of
from lrpot.charges.iterative import (
    ChargeMatrix,
    ProjectedSolver,
    derivative_alone,
    projected_solver,
)
from lrpot.charges.local import element_widths
from lrpot.charges.preconditioner import long_waves, with_long_waves
from lrpot.charges.result import Charges
from lrpot.descriptors.scaling import element_index
from lrpot.devices import in_single_precision
from lrpot.electrostatics import CoulombMap
from lrpot.electrostatics.coulomb import MESH_FROM
from lrpot.electrostatics.slab import extended_cell
from lrpot.environment import Environment
from lrpot.errors import InputError, suggestion
from lrpot.messages import Exchange
from lrpot.networks import ElementNetworks
from lrpot.reciprocal import Reciprocal
from lrpot.system import System

Solver = Literal["auto", "dense", "iterative"]

MANY_ATOMS = 200
"""From this many atoms on, padding included, `auto` is iterative in open space; in cells it is
from `lrpot.electrostatics.coulomb.MESH_FROM` atoms on. See docs/theory.md."""


def _with_scale(frozen: tuple[str, ...]) -> tuple[str, ...]:
    return (*(name for name in frozen if name != "scale"), "scale")


def _array(scale: float | Array | None) -> Array | None:
    return None if scale is None else jnp.asarray(scale)


class Equilibration(eqx.Module):
    """Charges that minimise Σ (χ_i + u_i) q_i + ½ J_i q_i² + ½ qᵀAq at given sums.

    The sum is the total charge, or that of each fragment; u is the energy of a unit charge in the
    field and the applied potentials of the system, if it has any. The electronegativities χ come
    from element networks, the hardness J ≥ 0 is one number per element, and A is the Coulomb
    matrix of Gaussian charges [ghasemi:15, ko:21]. With a second output y of the networks, the
    hardness of an atom is that of its element times exp(tanh y). The networks may see, besides
    the features of an atom, what it learns of others in messages.

    Attributes:
        networks: Electronegativity, in units of `scale`.
        hardness_root: √J of each element, in √eV/e: J is positive whatever training does to it.
        radii: Gaussian width of each element, in Å; `None` for point charges (J must then
            outweigh the missing self-interaction).
        coulomb: The map from charges to potentials.
        frozen: Fields that training leaves alone; `scale` is always among them.
        scale: What an output of 1 of the networks is worth, in eV/e, for all elements or each;
            `None`, which is worth 1, lets training find it, with the first hardness, from charges.
        solver: `dense` factorises the matrix; `iterative` takes conjugate gradients and applies
            it only; `auto` decides by the number of atoms.
        tolerance: Of the iterative solver: bound on the imbalance of the potentials that drive
            the charges, in eV/e. In float32 rounding errors set a bound of their own.
        max_iterations: Of the iterative solver.
        exchange: Messages that the networks see the outcome of; `None` for none.
    """

    networks: ElementNetworks
    hardness_root: Float[Array, " elements"]
    radii: Float[Array, " elements"] | None
    coulomb: CoulombMap
    frozen: tuple[str, ...] = eqx.field(static=True, default=("radii",), converter=_with_scale)
    scale: Float[Array, "*elements"] | None = eqx.field(default=1.0, converter=_array)
    solver: str = eqx.field(static=True, default="auto")
    tolerance: float = eqx.field(static=True, default=1e-5)
    max_iterations: int = eqx.field(static=True, default=300)
    exchange: Exchange | None = None

    def __check_init__(self):
        known = get_args(Solver)
        if self.solver not in known:
            raise InputError(
                f"Unknown solver `{self.solver}`. {suggestion(str(self.solver), known)}"
            )
        if not self.tolerance > 0 or not self.max_iterations > 0:
            raise InputError(
                "`tolerance` (eV/e) and `max_iterations` must be positive, got "
                f"{self.tolerance!r} and {self.max_iterations!r}."
            )

    @property
    def scales(self) -> Float[Array, " elements"]:
        """What an output of 1 of the networks is worth for each element, in eV/e."""
        scale = jnp.ones_like(self.hardness_root) if self.scale is None else self.scale
        return jnp.broadcast_to(scale, len(self.networks.elements))

    @property
    def has_local_hardness(self) -> bool:
        """Whether the hardness depends on the surroundings."""
        return self.networks.biases[-1].shape[-1] > 1

    def is_iterative(self, system: System) -> bool:
        """Whether charges are found iteratively, by boundary and atoms, padding included."""
        many = MANY_ATOMS if system.cell is None else MESH_FROM
        return self.solver == "iterative" or (self.solver == "auto" and system.n_atoms >= many)

    def reciprocal(self, system: System, *, growth: float = 0.0) -> Reciprocal | None:
        """What the Coulomb map and the preconditioner need besides neighbours; plain numpy.

        Args:
            system: One system, outside compiled code.
            growth: Largest relative growth of the cell to be prepared for.
        """
        widths = element_widths(self.radii, system, self.networks.elements)
        found = self.coulomb.reciprocal(system, widths, growth=growth)
        if found is None or system.cell is None or not self.is_iterative(system):
            return found
        return with_long_waves(found, np.asarray(extended_cell(system, found)))

    def __call__(
        self,
        features: Float[Array, "atoms features"],
        system: System,
        environment: Environment,
        *,
        guess: Float[Array, " atoms"] | None = None,
    ) -> Charges:
        """Charges, differentiable implicitly to any order.

        Args:
            features: Scaled descriptor values.
            system: One system.
            environment: Its environment.
            guess: Charges that the iterative solver starts from, in e.
        """
        problem = self.problem(features, system, environment)
        return problem.charges(guess) if self.is_iterative(system) else problem.dense()

    def inputs(
        self, features: Float[Array, "atoms features"], system: System, environment: Environment
    ) -> Float[Array, "atoms inputs"]:
        """What the networks see: the features, and what is learnt in messages."""
        if self.exchange is None:
            return features
        told = self.exchange(None, system.numbers, environment)
        return jnp.concatenate([features, told], axis=-1)

    def problem(
        self, features: Float[Array, "atoms features"], system: System, environment: Environment
    ) -> "Problem":
        """The linear equations for the charges of one system."""
        elements = self.networks.elements
        row = element_index(system.numbers, elements)
        outputs = self.networks(self.inputs(features, system, environment), system.numbers)
        hardness = self.hardness_root[row] ** 2
        if self.has_local_hardness:
            hardness *= jnp.exp(jnp.tanh(outputs[:, 1]))
        hardness = jnp.where(system.real, hardness, 0.0)
        widths = element_widths(self.radii, system, elements)
        constraints = constraints_of(system)
        operator = self.coulomb.operator(widths, system, environment)
        matrix = ChargeMatrix(operator, hardness, constraints.real)
        solver = None
        if self.is_iterative(system):
            place = in_single_precision(jax.lax.stop_gradient((hardness, widths, system)))
            preconditioner = long_waves(*place, environment.reciprocal, self.coulomb.constant)
            solver = projected_solver(
                matrix,
                constraints,
                preconditioner,
                tolerance=self.tolerance,
                max_iterations=self.max_iterations,
            )
        return Problem(
            matrix=matrix,
            electronegativity=self.scales[row] * outputs[:, 0],
            external=system.external,
            widths=widths,
            constraints=constraints,
            solver=solver,
            constant=self.coulomb.constant,
        )


class Problem(eqx.Module):
    """M q + χ + u + Cᵀμ = 0 under C q = Q, where a row of C sums over a group of atoms.

    Attributes:
        matrix: M, as a map.
        electronegativity: χ, in eV/e.
        external: Energy u of a unit charge in a field or applied potential, in eV/e, or `None`.
        widths: Standard deviations of the Gaussian charges, in Å; `None` for point charges.
        constraints: C and Q.
        solver: Of the same equations; `None` where they are solved by factorisation.
        constant: Coulomb constant, in eV Å/e².
    """

    matrix: ChargeMatrix
    electronegativity: Float[Array, " atoms"]
    external: Float[Array, " atoms"] | None
    widths: Float[Array, " atoms"] | None
    constraints: Constraints
    solver: ProjectedSolver | None
    constant: float = eqx.field(static=True)

    def dense(self) -> Charges:
        """Charges by Cholesky factorisation; NaN when M is not positive definite."""
        charges, _ = equilibrate(self.matrix, self._drive(), self.constraints)
        return dataclasses.replace(self.at(charges), converged=jnp.isfinite(charges).all())

    def charges(self, guess: Float[Array, " atoms"] | None = None) -> Charges:
        """Charges by conjugate gradients.

        Args:
            guess: Charges to start from, in e; sums and padding atoms are put right.
        """
        assert self.solver is not None
        start = self.constraints.spread()
        if guess is not None:
            start += jax.lax.stop_gradient(self.constraints.project(guess))
        moved, image, found = self.solver(-self._drive(), start)
        result = self.at(start + moved, image)
        return dataclasses.replace(
            result, converged=found.converged, iterations=found.iterations, residual=found.residual
        )

    def at(
        self, charges: Float[Array, " atoms"], image: Float[Array, " atoms"] | None = None
    ) -> Charges:
        """Any charges, with what belongs to them; the multiplier is that of the nearest balance.

        Args:
            charges: In e.
            image: The numbers M q, in eV/e, where they are known.
        """
        phi = self.matrix.operator(charges)
        if image is not None:
            known = jax.lax.stop_gradient(image - self.matrix.hardness * charges)
            phi = known + derivative_alone(phi)
        multipliers = -self.constraints.means(self.slopes(charges, phi))
        return Charges(
            charges=charges,
            phi=phi,
            widths=self.widths,
            electronegativity=self.electronegativity,
            hardness=self.matrix.hardness,
            multiplier=multipliers[0] if len(multipliers) == 1 else multipliers,
            constant=self.constant,
        )

    def slopes(
        self, charges: Float[Array, " atoms"], phi: Float[Array, " atoms"]
    ) -> Float[Array, " atoms"]:
        """χ + u + M q, in eV/e: equal over each group, and 0 outside, when in balance."""
        return self._drive() + self.matrix.hardness * charges + phi

    def _drive(self) -> Array:
        if self.external is None:
            return self.electronegativity
        return self.electronegativity + self.external


def equilibrate(
    matrix: ChargeMatrix,
    electronegativity: Float[Array, " atoms"],
    constraints: Constraints,
) -> tuple[Float[Array, " atoms"], Float[Array, " groups"]]:
    """Solve M q + χ + Cᵀμ = 0 under C q = Q by one Cholesky factorisation.

    On top of charges q₀ that share each sum Q evenly come charges x that change none. With P,
    which takes the mean over each group away, they solve PMP x = −P (χ + M q₀): the uniform
    direction of M does not matter, in which a neutralising background leaves no energy and a slab
    a negative one. Differentiated implicitly, through M as a map: a gradient costs two more
    triangular solves and one more application of M.

    Args:
        matrix: Symmetric, in eV/e²; positive definite on charges that change no sum.
        electronegativity: χ, in eV/e.
        constraints: C and Q.

    Returns:
        Charges in e, NaN when the matrix is not positive definite, and μ in eV/e.
    """
    project = constraints.project
    full = jax.lax.stop_gradient(matrix).full()
    # 1 - P, times anything positive, acts on nothing that changes no sum.
    lift = jnp.sum(jnp.abs(jnp.diag(full))) / jnp.maximum(constraints.real.sum(), 1)
    lifted = constraints.project_matrix(full) + lift * constraints.complement()
    factor = jax.scipy.linalg.cho_factor(lifted, lower=True)
    spread = constraints.spread()
    moved = jax.lax.custom_linear_solve(
        lambda v: project(matrix(project(v))) + lift * (v - project(v)),
        -project(electronegativity + matrix(spread)),
        solve=lambda _, b: jax.scipy.linalg.cho_solve(factor, b),
        symmetric=True,
    )
    charges = spread + project(moved)
    return charges, -constraints.means(electronegativity + matrix(charges))
