"""Whether long dynamics keep what they should: energy under NVE, pressure and volumes under NPT.

python benchmarks/ensembles.py nve [--ps 100] [--float32]
python benchmarks/ensembles.py npt [--ps 30] [--pressure 1]

96 atoms of periodic water, the 4G potential of `examples/benchmarks_4g`, 0.5 fs, default settings,
after 2 ps of Langevin dynamics at 300 K. Errors are those of the means of 20 blocks.

In the ensemble of the integrator, with V̄ the mean volume and P the pressure that drives the box,

    ⟨V (P - P₀)⟩ = 0,   ⟨V (V - V̄)(P - P₀)⟩ = -kT ⟨V⟩:

the second ties the fluctuations of the volume to those of the pressure, whatever the liquid is.
"""

import argparse
import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from common import machine, repeated

import lrpot
from lrpot import md
from lrpot.md.settings import Ensemble
from lrpot.units import BAR, BOLTZMANN

FOLDER = Path(__file__).parents[1] / "examples" / "benchmarks_4g"
TEMPERATURE, BLOCKS = 300.0, 20


def simulated(ensemble: Ensemble, ps: float, pressure: float) -> md.Trajectory:
    """The trajectory, a frame every 10 fs."""
    system = lrpot.read_structures(FOLDER / "data" / "water_pbc_train.xyz.xz")[0].system
    potential = lrpot.load(FOLDER / "models" / "water_pbc_4g.lrpot")
    common = dict(temperature=TEMPERATURE, damping=50.0, key=jax.random.key(7))
    warm = md.run(
        potential,
        repeated(system, (2, 1, 1)),
        steps=4000,
        record_every=4000,
        ensemble="langevin",
        **common,
    )
    start = dataclasses.replace(warm.system, positions=warm.positions[-1])
    return md.run(
        potential,
        start,
        steps=round(2000 * ps),
        record_every=20,
        ensemble=ensemble,
        pressure=pressure,
        pressure_damping=200.0,
        **common,
        progress=True,
    )


def slope(time: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Of a straight line, and its error from the means of blocks."""
    line = np.polyfit(time, values, 1)
    rest = values - np.polyval(line, time)
    blocks = np.array_split(np.arange(len(time)), BLOCKS)
    means, places = (np.array([one[block].mean() for block in blocks]) for one in (rest, time))
    error = means.std(ddof=2) / np.sqrt(np.sum((places - places.mean()) ** 2))
    return float(line[0]), float(error)


def mean(values: np.ndarray) -> tuple[float, float]:
    """And its error, likewise."""
    means = [block.mean() for block in np.array_split(values, BLOCKS)]
    return float(values.mean()), float(np.std(means, ddof=1) / np.sqrt(BLOCKS))


def strain_derivatives(trajectory: md.Trajectory, every: int) -> float:
    """Largest difference of dE/dε and its numerical derivative, relative to its spread, in frames.

    ε stretches all lengths alike.
    """
    potential = lrpot.load(FOLDER / "models" / "water_pbc_4g.lrpot").with_solver(tolerance=1e-8)
    step, exact, numerical = 1e-4, [], []
    assert trajectory.cells is not None
    frames = zip(trajectory.positions[::every], trajectory.cells[::every], strict=True)
    for positions, cell in frames:
        system = dataclasses.replace(trajectory.system, positions=positions, cell=cell)
        neighbors = potential.neighbors(system, skin=0.1)
        found = lrpot.predict(potential, system, neighbors)
        assert found.stress is not None
        exact.append(float(jnp.trace(found.stress)) * np.linalg.det(cell))
        up, down = (
            lrpot.predict(
                potential, system.strained(sign * step * jnp.eye(3)), neighbors, forces=False
            ).energy
            for sign in (1, -1)
        )
        numerical.append(float(up - down) / (2 * step))
    difference = np.abs(np.array(exact) - np.array(numerical))
    return float(difference.max() / np.std(exact))


def main() -> None:
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ensemble", choices=["nve", "npt"])
    parser.add_argument("--ps", type=float, help="100, under NPT 30 when not given; 5 to settle")
    parser.add_argument("--pressure", type=float, default=1.0, help="in bar")
    parser.add_argument("--float32", action="store_true")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", not arguments.float32)
    print(machine())
    ps = arguments.ps or (100.0 if arguments.ensemble == "nve" else 30.0)
    trajectory = simulated(arguments.ensemble, ps, arguments.pressure)
    log, atoms = trajectory.log, trajectory.system.n_atoms
    conserved = log["conserved_eV"].astype(float) / atoms
    drift = slope(log["time_fs"] / 1000, conserved)
    print(f"{atoms} atoms, {ps:g} ps, {log['temperature_K'].mean():.0f} K")
    print(f"drift {1e6 * drift[0]:+.2f} ± {1e6 * drift[1]:.2f} e-6 eV/atom/ps")
    if arguments.ensemble == "nve":
        return
    settled = log["time_fs"] > 5000
    volume, pressure = (log[name][settled] for name in ("volume_A3", "pressure_bar"))
    excess = volume * (pressure - arguments.pressure) / volume.mean()
    fluctuation = -excess * (volume - volume.mean()) * BAR / (BOLTZMANN * TEMPERATURE)
    print("volume {:.1f} ± {:.1f} Å³".format(*mean(volume)) + f", spread {volume.std():.1f}")
    print("pressure by volume minus set point {:+.0f} ± {:.0f} bar".format(*mean(excess)))
    print("fluctuations, 1 expected: {:.2f} ± {:.2f}".format(*mean(fluctuation)))
    print("temperature {:.1f} ± {:.1f} K".format(*mean(log["temperature_K"][settled])))
    print(
        f"strain derivative, largest relative difference {strain_derivatives(trajectory, 500):.1e}"
    )


if __name__ == "__main__":
    main()
