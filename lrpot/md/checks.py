"""Looks at a simulation while it runs, and says why it has to stop."""

from typing import Any

import numpy as np

from lrpot.elements import SYMBOLS
from lrpot.errors import InputError
from lrpot.md.settings import Limits
from lrpot.md.simulation import DOUBTS
from lrpot.system import System

STRONG = 1e3
"""No structure worth starting from has a force on an atom above this, in eV/Å."""

KEPT = "Frames up to then are kept."


def check_start(system: System, frame: dict[str, Any], limits: Limits) -> None:
    """Raise `InputError` if a first frame is nothing to start from."""
    charge, most = float(system.total_charge), int(np.sum(system.numbers))
    if charge > most:
        raise InputError(
            f"The total charge is {charge:+g} e, but the atoms have {most} electrons only."
        )
    _check_charges(frame, 0)
    energy, force = frame["potential_energy_eV"], frame["largest_force"]
    if not np.isfinite(energy) or not force < STRONG:
        raise InputError(
            f"This is no structure to start from: its energy is {energy:.6g} eV, and the largest "
            f"force on an atom {force:.3g} eV/Å. Look for atoms that are too close, a wrong cell "
            f"or a wrong total charge ({charge:+g} e), or relax it first (`lrpot.md.minimise`)."
        )
    if not frame["temperature_K"] <= limits.temperature:
        raise InputError(
            f"The velocities of the start make {frame['temperature_K']:.3g} K, and the limit is "
            f"{limits.temperature:g} K. Look at their unit: `lrpot.md.run` takes Å/fs, and momenta "
            "of a file are in √(amu eV), as ASE writes them."
        )


def check_frame(
    frame: dict[str, Any], step: int, start: float, system: System, limits: Limits
) -> None:
    """Raise `InputError` if a frame is beyond a limit.

    Args:
        frame: As recorded.
        step: Steps done.
        start: The first conserved energy, in eV.
        system: The system.
        limits: What is allowed.
    """
    energy, temperature = frame["conserved_eV"], frame["temperature_K"]
    if not np.isfinite(energy) or temperature > limits.temperature:
        raise InputError(
            f"The simulation has exploded after {step} steps: {energy:.6g} eV, "
            f"{temperature:.3g} K (the limit is {limits.temperature:g} K). "
            "Start from a relaxed structure, shorten the time step, or train the "
            f"potential on what it meets there. {KEPT}"
        )
    _check_charges(frame, step)
    drift = (energy - start) / system.n_atoms
    if limits.drift is not None and abs(drift) > limits.drift:
        raise InputError(
            f"After {step} steps the conserved energy has changed by {drift:+.3g} eV/atom; the "
            f"limit is {limits.drift:g}. Shorten the time step, compute in float64, or look for a "
            f"potential that is not smooth there. {KEPT}"
        )
    if limits.iterations is not None and frame["iterations"] > limits.iterations:
        raise InputError(
            f"Step {step} took {int(frame['iterations'])} iterations for its charges; the limit is "
            f"{limits.iterations}. Look for atoms that come too close, or for charges that jump; "
            f"a shorter time step lets the steps before foresee them. {KEPT}"
        )
    if limits.uncertainty is not None and frame[DOUBTS[1]] > limits.uncertainty:
        raise InputError(
            f"After {step} steps the committee is uncertain: a force may be wrong by "
            f"{float(frame[DOUBTS[1]]):.3g} eV/Å; the limit is {limits.uncertainty:g}. Label this "
            f"structure and train with it. {KEPT}"
        )
    if limits.extrapolation is not None:
        _check_extrapolation(frame["extrapolation"], step, system, limits.extrapolation)


def _check_charges(frame: dict[str, Any], step: int) -> None:
    if frame.get("converged", True) and frame["failures"] == 0:
        return
    solver = ""
    if "residual" in frame:
        solver = (
            f" After the {int(frame['iterations'])} iterations of the last step they are out of "
            f"balance by {float(frame['residual']):.2g} eV/e."
        )
    raise InputError(
        f"After {step} steps the charges are not equilibrated (not converged in "
        f"{int(frame['failures'])} steps).{solver} Look for atoms that are too close or charges "
        "that run away, shorten the time step, or choose a solver with `potential.with_solver` "
        f'(`max_iterations`, `tolerance`, or `solver="dense"`). {KEPT}'
    )


def _check_extrapolation(outside: np.ndarray, step: int, system: System, limit: float) -> None:
    atom, feature = np.unravel_index(int(np.argmax(outside)), outside.shape)
    if outside[atom, feature] > limit:
        raise InputError(
            f"After {step} steps the potential extrapolates: feature {feature} of atom {atom} "
            f"({SYMBOLS[int(system.numbers[atom])]}) is outside of its training range by "
            f"{outside[atom, feature]:.3g} times the width of that range; the limit is {limit:g}. "
            f"Train the potential on structures like this one. {KEPT}"
        )
