"""Physical constants and the conversions that readers, writers and adapters need.

Inside the library everything is in Å, eV and e, so forces are in eV/Å, stress in eV/Å³
and potentials in eV/e. Values: CODATA 2018.
"""

import math

KE = 14.399645478456
"""Coulomb constant e²/(4πε₀), in eV Å."""

HARTREE = 27.211386245988
"""In eV."""

BOHR = 0.529177210903
"""In Å."""

KJ_PER_MOL = 1 / 96.48533212331
"""In eV."""

KCAL_PER_MOL = 4.184 * KJ_PER_MOL
"""In eV."""

BOLTZMANN = 8.617333262e-5
"""In eV/K."""

FEMTOSECOND = 1e-15 / math.sqrt(1.66053906660e-27 * 1e-20 / 1.602176634e-19)
"""In Å √(amu/eV), the unit of time that goes with Å, eV and amu (0.0982269 of them)."""

DEBYE = 0.20819433270
"""In e Å."""

GPA = 1 / 160.2176634
"""In eV/Å³."""

BAR = 1e-4 * GPA
"""In eV/Å³."""
