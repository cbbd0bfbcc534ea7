"""Train a 2G and a 4G potential on two charge states, and compare their errors.

A few epochs, to be quick; `make quickstart` trains longer and gets further.
"""

from importlib import resources

import jax
import numpy as np

import lrpot
from lrpot.descriptors import default_acsf
from lrpot.training import charge_stage, energy_stage, evaluate_structures

jax.config.update("jax_enable_x64", True)

data = resources.files("lrpot") / "quickstart_data"
labels = ("energy", "forces", "charges")
train = lrpot.read_structures(data / "carbon_train.xyz", require=labels)
test = lrpot.read_structures(data / "carbon_test.xyz", require=labels)

elements = ("C", "H")
settings = {
    "descriptor": default_acsf(elements, cutoff=5.0, angular_cutoff=4.0, shells=2),
    "hidden": (8,),
    "key": jax.random.key(1),
}
# 4G learns its charges first. The second stage keeps them and learns what they leave over.
charges, energies = charge_stage(epochs=40), energy_stage(epochs=60)
runs = {
    "2G": (lrpot.hdnnp_2g(elements, **settings), [energies]),
    "4G": (lrpot.hdnnp_4g(elements, **settings), [charges, energies]),
}
fits = {
    name: lrpot.fit(potential, train, stages=stages, progress=False)
    for name, (potential, stages) in runs.items()
}

errors = {name: evaluate_structures(fit.potential, test).total for name, fit in fits.items()}
for name, error in errors.items():
    print(
        f"{name}: energy {1e3 * error['energy'].rmse:5.2f} meV/atom, "
        f"forces {1e3 * error['forces'].rmse:4.0f} meV/Å"
        + (f", charges {1e3 * error['charges'].rmse:.1f} me" if "charges" in error else "")
    )

# Charges must beat the mean charge of each element, which needs no model at all.
numbers = np.concatenate([one.system.numbers for one in test])
reference = np.concatenate([one.charges for one in test])
spread = np.concatenate([reference[numbers == z] - reference[numbers == z].mean() for z in (1, 6)])
print(f"Spread of the reference charges within each element: {1e3 * spread.std():.1f} me")
assert errors["4G"]["charges"].rmse < 0.5 * spread.std()
assert "charges" not in errors["2G"]  # a 2G potential has none

# A stored potential gives the same numbers again.
lrpot.save("example_4g.lrpot", fits["4G"].potential)
again = lrpot.predict(lrpot.load("example_4g.lrpot"), test[0].system)
once = lrpot.predict(fits["4G"].potential, test[0].system)
np.testing.assert_array_equal(again.energy, once.energy)
print("Stored in example_4g.lrpot")
