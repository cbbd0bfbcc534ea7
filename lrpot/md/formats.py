"""Files that grow by a frame: extended XYZ, NetCDF in the convention of AMBER, and the log."""

import abc
import csv
import importlib.metadata
import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.geometry import cell_to_cellpar
from scipy.io import netcdf_file

from lrpot.errors import InputError, suggestion
from lrpot.files import GrowingFile, replacing
from lrpot.md.constraints import constrain, fixed_components
from lrpot.md.motion import Motion, masses_of
from lrpot.system import System
from lrpot.units import FEMTOSECOND

LOG_FILE = "log.csv"

TRAJECTORY_FILES = {"xyz": "trajectory.xyz", "netcdf": "trajectory.nc"}
"""Of each format."""


class FrameFile(GrowingFile, abc.ABC):
    """A file of frames, all of one system."""

    @abc.abstractmethod
    def write(self, frame: dict[str, Any]) -> None:
        """Append a frame, whole or not at all."""


class LogFile(FrameFile):
    """A table with a row for every frame."""

    def __init__(self, path: Path, size: int, columns: Sequence[str]):
        super().__init__(path, size)
        self.columns = columns
        if size == 0:
            self.append(_row(columns))

    def write(self, frame: dict[str, Any]) -> None:
        """Append a row."""
        self.append(_row([f"{frame[name]:.10g}" for name in self.columns]))


class XyzFile(FrameFile):
    """Extended XYZ from whose frames a simulation can start again.

    Frames hold positions, cell, charges, energy, time and total charge, momenta as ASE reads them,
    and, where there are any, fixed atoms and masses that are not those of the elements.
    """

    def __init__(self, path: Path, size: int, system: System, motion: Motion):
        super().__init__(path, size)
        self.system, self.motion = system, motion

    def write(self, frame: dict[str, Any]) -> None:
        """Append a frame."""
        atoms = atoms_of(self.system, self.motion, frame["positions"], frame.get("cells"))
        atoms.info["time_fs"] = frame["time_fs"]
        atoms.info["potential_energy"] = float(frame["potential_energy_eV"])
        atoms.arrays["momenta"] = self.motion.masses[:, None] * frame["velocities"] / FEMTOSECOND
        if "charges" in frame:
            atoms.arrays["charge"] = frame["charges"]
        text = io.StringIO()
        ase.io.write(text, atoms, format="extxyz")
        self.append(text.getvalue().encode())


def atoms_of(
    system: System, motion: Motion, positions: np.ndarray, cell: np.ndarray | None
) -> ase.Atoms:
    """Atoms of ASE with the constraints, and with masses that are not those of the elements."""
    atoms = ase.Atoms(
        np.asarray(system.numbers),
        positions,
        cell=cell,
        pbc=system.pbc,
        info={"total_charge": float(system.total_charge)},
    )
    constrain(atoms, motion.fixed)
    if not np.array_equal(motion.masses, masses_of(system, None)):
        atoms.arrays["masses"] = motion.masses
    return atoms


def write_minimum(
    path: str | Path,
    system: System,
    energy: float,
    *,
    fixed: np.ndarray | None = None,
    masses: np.ndarray | None = None,
) -> None:
    """Write one structure as extended XYZ, whole or not at all.

    Args:
        path: The file.
        system: Positions, elements, cell and total charge.
        energy: In eV.
        fixed: Booleans [atoms, 3] or [atoms], true for what was not allowed to move.
        masses: [atoms], in amu; written where they are not those of the elements.
    """
    motion = Motion(masses_of(system, masses), fixed_components(fixed, system.n_atoms))
    cell = None if system.cell is None else np.asarray(system.cell)
    atoms = atoms_of(system, motion, np.asarray(system.positions), cell)
    atoms.calc = SinglePointCalculator(atoms, energy=energy)
    with replacing(path) as temporary:
        ase.io.write(temporary, atoms, format="extxyz")


class NetcdfFile(FrameFile):
    """NetCDF 3 as AMBER, MDAnalysis, MDTraj, VMD and ASE read it.

    Positions and velocities are in single precision and in Å and Å/ps; charges, where there are
    any, are one more variable. A frame is some bytes at the end, and one more in the count of
    frames at the beginning of the file.
    """

    def __init__(self, path: Path, size: int, system: System, *, charged: bool):
        self.system, self.charged = system, charged
        nothing = np.zeros((system.n_atoms, 3))
        blank = dict(time_fs=0.0, positions=nothing, velocities=nothing, cells=np.eye(3))
        blank["charges"] = nothing[:, 0]
        # Where its parts begin is told by a file that has a frame, and by none that has not.
        one, two = (self._file_of([blank] * count) for count in (1, 2))
        self._step = len(two) - len(one)
        self._head = one[: -self._step]
        super().__init__(path, size)
        if size == 0:
            self.append(self._head)

    def write(self, frame: dict[str, Any]) -> None:
        """Append a frame."""
        self.append(self._file_of([frame])[len(self._head) :])

    def append(self, piece: bytes) -> None:
        """As in `GrowingFile`, and count the frames."""
        super().append(piece)
        self._count()

    def cut(self, size: int) -> None:
        """As in `GrowingFile`, and count the frames."""
        super().cut(size)
        if size > 0:
            self._count()

    def _count(self) -> None:
        frames = (self.size - len(self._head)) // self._step
        self._file.seek(4)
        self._file.write(struct.pack(">i", frames))
        self._file.seek(self.size)

    def _file_of(self, frames: Sequence[dict[str, Any]]) -> bytes:
        """A whole file."""
        system, content = self.system, io.BytesIO()
        file = netcdf_file(content, "w", version=2)
        attributes = {
            "Conventions": "AMBER",
            "ConventionVersion": "1.0",
            "program": "lrpot",
            # Of one length: a file may be continued by another version.
            "programVersion": f"{importlib.metadata.version('lrpot'):12}",
            "total_charge": float(system.total_charge),
        }
        for name, value in attributes.items():
            setattr(file, name, value)
        sizes = dict(frame=None, spatial=3, atom=system.n_atoms, cell_spatial=3, cell_angular=3)
        for name, size in {**sizes, "label": 5}.items():
            file.createDimension(name, size)

        def variable(name: str, kind: str, dimensions: str, unit: str | None = None) -> Any:
            made = file.createVariable(name, kind, dimensions.split())
            if unit is not None:
                made.units = unit
            return made

        variable("spatial", "c", "spatial")[:] = list("xyz")
        variable("Z", "i4", "atom")[:] = np.asarray(system.numbers)
        wanted = {
            "time": ("f8", "frame", "picosecond"),
            "coordinates": ("f4", "frame atom spatial", "angstrom"),
            "velocities": ("f4", "frame atom spatial", "angstrom/picosecond"),
        }
        if self.charged:
            wanted["charges"] = ("f4", "frame atom", "e")
        variable("cell_spatial", "c", "cell_spatial")[:] = list("abc")
        labels = [list(f"{name:5}") for name in ("alpha", "beta", "gamma")]
        variable("cell_angular", "c", "cell_angular label")[:] = labels
        wanted["cell_lengths"] = ("f8", "frame cell_spatial", "angstrom")
        wanted["cell_angles"] = ("f8", "frame cell_angular", "degree")
        made = {name: variable(name, *settings) for name, settings in wanted.items()}
        for number, frame in enumerate(frames):
            # Open space is a cell of lengths 0.
            cell = [0, 0, 0, 90, 90, 90]
            if system.cell is not None:
                cell = cell_to_cellpar(frame["cells"])
            values = {
                "time": frame["time_fs"] / 1000,
                "coordinates": frame["positions"],
                "velocities": 1000 * frame["velocities"],
                "charges": frame.get("charges"),
                "cell_lengths": cell[:3],
                "cell_angles": cell[3:],
            }
            for name, place in made.items():
                place[number] = values[name]
        file.flush()
        return content.getvalue()


def trajectory_file(
    kind: str, folder: Path, size: int, system: System, motion: Motion, *, charged: bool
) -> FrameFile:
    """Open the trajectory of a format, and forget what it holds beyond `size`."""
    path = folder / TRAJECTORY_FILES[kind]
    if kind == "netcdf":
        return NetcdfFile(path, size, system, charged=charged)
    return XyzFile(path, size, system, motion)


def check_formats(formats: Sequence[str]) -> None:
    """Raise `InputError` unless all are known and none is named twice."""
    for name in formats:
        if name not in TRAJECTORY_FILES:
            raise InputError(f"Unknown format `{name}`. {suggestion(name, TRAJECTORY_FILES)}")
    if len(set(formats)) < len(formats):
        raise InputError(f"A format is named twice in {list(formats)}.")


def read_log(folder: Path) -> dict[str, np.ndarray]:
    """The columns of the log in a folder: the whole simulation, however often interrupted."""
    with (folder / LOG_FILE).open(newline="") as file:
        names, *rows = csv.reader(file)
    values = np.array(rows, dtype=float).reshape(len(rows), len(names))
    return dict(zip(names, values.T, strict=True))


def _row(values: Sequence[str]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(values)
    return text.getvalue().encode()
