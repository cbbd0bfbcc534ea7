"""Other programs for fixed point charges in a crystal.

Each function prepares a program and returns an evaluation: energy and forces, in e²/Å and e²/Å²,
of positions that were given before, with neighbours that were found before.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from dense import find_pairs

Evaluation = Callable[[], tuple[float, np.ndarray]]


@dataclass(frozen=True)
class Splitting:
    """What a particle-mesh program is told.

    Attributes:
        cutoff: Of the real-space part, in Å.
        alpha: Splitting parameter, in 1/Å: a charge is dressed with the width 1/(√2 α).
        spacing: Largest distance of mesh points, in Å.
        order: Mesh points, along each axis, that a charge is spread over.
    """

    cutoff: float
    alpha: float
    spacing: float
    order: int

    @property
    def smearing(self) -> float:
        """Width of the dress, in Å."""
        return 1 / (math.sqrt(2) * self.alpha)

    def mesh(self, cell: np.ndarray) -> tuple[int, int, int]:
        """Mesh points along each vector of the cell: sizes that suit a Fourier transform."""
        edges = np.linalg.norm(cell, axis=1)
        return tuple(_smooth(math.ceil(edge / self.spacing - 1e-9)) for edge in edges)


def _smooth(size: int) -> int:
    """The next even number without prime factors beyond 7."""
    size += size % 2
    rest = size
    for prime in (2, 3, 5, 7):
        while rest % prime == 0:
            rest //= prime
    return size if rest == 1 else _smooth(size + 2)


def jax_pme(
    positions: np.ndarray, charges: np.ndarray, cell: np.ndarray, splitting: Splitting
) -> Evaluation:
    """P3M of jax-pme, differentiated and compiled as its own calculator does it.

    Its `prepare` would round the mesh up to a power of two; the mesh is given here instead.
    """
    import jax
    import jax.numpy as jnp
    import jaxpme

    jax.config.update("jax_enable_x64", True)
    calculator = jaxpme.P3M(interpolation_nodes=splitting.order)
    pairs = find_pairs(positions, cell, splitting.cutoff, full=False)
    given = [jnp.asarray(array) for array in (pairs.centers, pairs.others, pairs.shifts)]
    # The mesh is told by the shape of an array: its size must be known to the compiler.
    grid = jnp.ones(splitting.mesh(cell))
    evaluate = jax.jit(calculator.energy_forces)
    arguments = (jnp.asarray(charges), jnp.asarray(cell), jnp.asarray(positions), *given, grid)
    return functools.partial(evaluate, *arguments, splitting.smearing)


def torch_pme(
    positions: np.ndarray, charges: np.ndarray, cell: np.ndarray, splitting: Splitting
) -> Evaluation:
    """P3M of torch-pme. Its meshes are powers of two."""
    import torch
    import torchpme

    pairs = find_pairs(positions, cell, splitting.cutoff, full=False)
    # Its spacing is that of the shortest wave: half the wave length, and one point more.
    points = max(2 ** math.ceil(math.log2(size)) for size in splitting.mesh(cell))
    spacing = 2 * np.linalg.norm(cell, axis=1).max() / (points - 1.001)
    calculator = torchpme.P3MCalculator(
        torchpme.CoulombPotential(smearing=splitting.smearing),
        mesh_spacing=spacing,
        interpolation_nodes=splitting.order,
    ).to(dtype=torch.float64)
    charge, box = torch.tensor(charges)[:, None], torch.tensor(cell)
    index = torch.tensor(np.stack([pairs.centers, pairs.others], axis=1))
    shifts = torch.tensor(pairs.shifts.astype(float))
    start = torch.tensor(positions)

    def evaluate():
        moved = start.clone().requires_grad_(True)
        vectors = moved[index[:, 1]] - moved[index[:, 0]] + shifts @ box
        distances = torch.linalg.norm(vectors, dim=1)
        energy = (charge * calculator(charge, box, moved, index, distances)).sum()
        energy.backward()
        return energy.item(), -moved.grad.numpy()

    return evaluate


def nvalchemi(
    positions: np.ndarray, charges: np.ndarray, cell: np.ndarray, splitting: Splitting
) -> Evaluation:
    """Particle-mesh Ewald of nvalchemi-toolkit-ops through its torch bindings.

    All that depends on the cell alone is given to it, as its documentation proposes.
    """
    import torch
    from nvalchemiops.torch.interactions import electrostatics as ops

    pairs = find_pairs(positions, cell, splitting.cutoff)
    ordered = np.argsort(pairs.centers, kind="stable")
    counts = np.bincount(pairs.centers, minlength=len(positions))
    mesh = splitting.mesh(cell)
    box = torch.tensor(cell)[None]
    k_vectors, k_squared = ops.generate_k_vectors_pme(box, mesh)
    frequencies = [torch.fft.fftfreq, torch.fft.fftfreq, torch.fft.rfftfreq]
    moduli = [
        ops.compute_bspline_moduli_1d(
            frequency(size, 1 / size, dtype=torch.float64), size, splitting.order
        )
        for frequency, size in zip(frequencies, mesh, strict=True)
    ]
    given = dict(
        charges=torch.tensor(charges),
        cell=box,
        alpha=torch.tensor([splitting.alpha], dtype=torch.float64),
        mesh_dimensions=mesh,
        spline_order=splitting.order,
        neighbor_list=torch.tensor(
            np.stack([pairs.centers[ordered], pairs.others[ordered]]).astype(np.int32)
        ),
        neighbor_ptr=torch.tensor(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)),
        neighbor_shifts=torch.tensor(pairs.shifts[ordered].astype(np.int32)),
        k_vectors=k_vectors,
        k_squared=k_squared,
        cell_inv_t=torch.linalg.inv(box).transpose(-1, -2).contiguous(),
        volume=torch.linalg.det(box).abs(),
        moduli_x=moduli[0],
        moduli_y=moduli[1],
        moduli_z=moduli[2],
        energy_reduction="system",
    )
    start = torch.tensor(positions)

    def evaluate():
        moved = start.clone().requires_grad_(True)
        energy = ops.particle_mesh_ewald(moved, **given).sum()
        (slope,) = torch.autograd.grad(energy, moved)
        return energy.item(), -slope.numpy()

    return evaluate
