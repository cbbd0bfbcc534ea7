"""One 4G potential, several total charges: the same geometry at −1, 0 and +1, then a proton.

The potential was trained on C10H2 (charge 0) and C10H3⁺ (charge +1). C10H2 at ±1 is therefore an
extrapolation in its energy; how charge is shared out follows from the equilibration.
"""

import jax
import numpy as np
from small_potential import DATA, small_potential

import lrpot

jax.config.update("jax_enable_x64", True)

potential = small_potential()
test = lrpot.read_structures(DATA / "carbon_test.xyz")
neutral = next(one.system for one in test if one.system.total_charge == 0)

# 1. The same geometry at three total charges.
states = {
    charge: lrpot.predict(
        potential, lrpot.System(neutral.positions, neutral.numbers, total_charge=charge)
    )
    for charge in (-1.0, 0.0, 1.0)
}
print("total charge   energy (eV)   charge on the ten C   on the two H")
carbon = np.asarray(neutral.numbers) == 6
for charge, state in states.items():
    on_carbon, on_hydrogen = state.charges[carbon].sum(), state.charges[~carbon].sum()
    print(f"{charge:+12.0f} {state.energy:13.3f} {on_carbon:+21.3f} {on_hydrogen:+14.3f}")
    np.testing.assert_allclose(state.charges.sum(), charge, atol=1e-10)

# Charges answer linearly to the total charge: the matrix of the equilibration depends on the
# geometry alone. Energies do not, because the networks see the charges.
minus, zero, plus = (np.asarray(states[charge].charges) for charge in (-1.0, 0.0, 1.0))
np.testing.assert_allclose(plus - zero, zero - minus, atol=1e-10)

# 2. A proton at one end: what does the other end of the chain notice?
far = 10  # hydrogen at the end that is never protonated, 12 Å away
means = {}
for charge, name in ((0.0, "C10H2"), (1.0, "C10H3+")):
    chosen = [one for one in test if one.system.total_charge == charge][:10]
    predicted = [lrpot.predict(potential, one.system, forces=False).charges for one in chosen]
    means[name] = (
        np.mean([one[far] for one in predicted]),
        np.mean([one.charges[far] for one in chosen]),
    )
    print(f"far hydrogen in {name:6}: {means[name][0]:+.3f} e, reference {means[name][1]:+.3f} e")
change, reference = np.subtract(means["C10H3+"], means["C10H2"])
print(
    f"change: {change:+.3f} e, reference {reference:+.3f} e; the cutoff is {potential.cutoff:g} Å"
)
assert 0.7 < change / reference < 1.3
