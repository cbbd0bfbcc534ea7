"""What is simulated and how, and when to stop."""

import dataclasses
import math
from typing import Literal

from lrpot.errors import InputError, suggestion
from lrpot.units import BAR, BOLTZMANN, FEMTOSECOND

Ensemble = Literal["nve", "nvt", "langevin", "npt"]

ENSEMBLES = ("nve", "nvt", "langevin", "npt")

EXPLODED = 1e5
"""No matter that an interatomic potential describes is hotter than this, in K."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of one simulation; those of `lrpot.md.run`.

    Attributes:
        ensemble: One of `ENSEMBLES`.
        timestep: In fs.
        temperature: In K.
        damping: Time constant of the thermostat, in fs.
        pressure: In bar.
        pressure_damping: Time constant of the box, in fs.
        record_every: Steps between two recorded frames.
    """

    ensemble: Ensemble = "nve"
    timestep: float = 0.5
    temperature: float = 300.0
    damping: float = 100.0
    pressure: float = 1.0
    pressure_damping: float = 1000.0
    record_every: int = 20

    def __post_init__(self):
        if self.ensemble not in ENSEMBLES:
            raise InputError(
                f"Unknown ensemble `{self.ensemble}`. {suggestion(self.ensemble, ENSEMBLES)}"
            )
        positive = ("record_every", "timestep", "damping", "pressure_damping")
        good = all(0 < getattr(self, name) < math.inf for name in positive)
        if not (good and 0 <= self.temperature < math.inf and math.isfinite(self.pressure)):
            raise InputError(
                "`record_every`, `timestep`, `damping` and `pressure_damping` must be positive, "
                "`temperature` not negative, and all of them and `pressure` finite, got "
                f"{self.record_every}, {self.timestep}, {self.damping}, {self.pressure_damping}, "
                f"{self.temperature} and {self.pressure}."
            )
        if self.ensemble == "npt" and self.temperature == 0:
            raise InputError("Constant pressure needs a temperature above 0 K for its thermostats.")

    # The same in the units of jax-md: Å, eV and amu.

    @property
    def dt(self) -> float:
        """Time step, in Å √(amu/eV)."""
        return self.timestep * FEMTOSECOND

    @property
    def tau(self) -> float:
        """Time constant of the thermostat, in Å √(amu/eV)."""
        return self.damping * FEMTOSECOND

    @property
    def tau_box(self) -> float:
        """Time constant of the box, in Å √(amu/eV)."""
        return self.pressure_damping * FEMTOSECOND

    @property
    def kT(self) -> float:  # noqa: N802  (the letters of the field)
        """In eV."""
        return BOLTZMANN * self.temperature

    @property
    def outer_pressure(self) -> float:
        """In eV/Å³."""
        return BAR * self.pressure


@dataclasses.dataclass(frozen=True)
class Limits:
    """When a simulation stops because it has gone wrong; looked at with every recorded frame.

    Attributes:
        temperature: Highest temperature, in K.
        drift: Largest change of the conserved quantity since the start, in eV/atom; `None` for
            any. Under `langevin` nothing is conserved.
        extrapolation: How far a feature of the descriptor may be outside of its range in the
            training data, relative to the width of that range; `None` for any distance.
        iterations: Most iterations for the charges of a step; `None` for as many as the solver
            allows.
        uncertainty: Largest expected error of a component of a force, in eV/Å, by the
            disagreement of a committee; `None` for any.
    """

    temperature: float = EXPLODED
    drift: float | None = None
    extrapolation: float | None = None
    iterations: int | None = None
    uncertainty: float | None = None

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if value is not None and not value >= 0:
                raise InputError(f"The limit `{name}` must not be negative, got {value}.")
