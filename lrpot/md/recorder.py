"""What a simulation leaves in its folder: trajectory, log, and the state to go on from.

All three belong together: the state knows how long the two files were when it was stored, and
what is beyond that, a half-written frame or whole ones, is written again.
"""

import contextlib
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np

from lrpot.checkpoint import FILE, read_checkpoint, read_notes, write_checkpoint
from lrpot.errors import InputError
from lrpot.files import GrowingFile
from lrpot.md.simulation import Simulation, State, capacities
from lrpot.system import System

TRAJECTORY, TABLE = "trajectory.xyz", "log.csv"


class Recorder:
    """The files of one simulation; without a folder it does nothing.

    Args:
        folder: Where the files are.
        system: The system as it is simulated.
        columns: Columns of the log.
        fingerprint: Of everything that makes the simulation what it is.
        resume: Whether to go on from the state that the folder holds.

    Raises:
        InputError: If the folder holds another simulation, or cannot be written to.
    """

    def __init__(
        self,
        folder: Path | None,
        system: System,
        columns: Sequence[str],
        fingerprint: str,
        *,
        resume: bool,
    ):
        self.folder, self.system, self.columns = folder, system, columns
        self.fingerprint = fingerprint
        self.notes: dict[str, Any] | None = None
        self._files: list[GrowingFile] = []
        if folder is None:
            return
        with self._explaining("Choose another folder."):
            folder.mkdir(parents=True, exist_ok=True)
            self.notes = read_notes(folder) if resume else None
            if self.notes is not None and self.notes.get("fingerprint") != fingerprint:
                raise InputError(
                    f"{folder} holds another simulation: its potential, start, settings or seed "
                    "differ. Simulate in another folder, or start over with `resume=False` "
                    "(`--no-resume`), which overwrites it."
                )
            sizes = (0, 0) if self.notes is None else self.notes["sizes"]
            if self.notes is None:
                (folder / FILE).unlink(missing_ok=True)
            try:
                for name, size in zip((TRAJECTORY, TABLE), sizes, strict=True):
                    self._files.append(GrowingFile(folder / name, size))
            except InputError:
                self.close()
                raise
            if self.notes is None:
                self._files[1].append(_row(columns))

    def restored(self, simulation: Simulation) -> State:
        """The stored state; the simulation is prepared for its box."""
        assert self.folder is not None
        assert self.notes is not None
        boxes = {
            name: None if self.notes[name] is None else np.array(self.notes[name])
            for name in ("reference", "allocated")
        }
        simulation.prepare(boxes["reference"])
        blank = simulation.blank(boxes["allocated"], self.notes["capacities"])
        return read_checkpoint(self.folder, blank)

    def write(self, frame: dict[str, Any]) -> None:
        """Append one frame to the trajectory and the log, to both or to none."""
        if self.folder is None:
            return
        pieces = _xyz(self.system, frame), _row([f"{frame[name]:.10g}" for name in self.columns])
        before = [file.size for file in self._files]
        with self._explaining("All is well up to the frame before; make room and go on."):
            try:
                for file, piece in zip(self._files, pieces, strict=True):
                    file.append(piece)
            except OSError:
                for file, size in zip(self._files, before, strict=True):
                    file.cut(size)
                raise

    def store(self, simulation: Simulation, state: State, *, step: int, start: float) -> None:
        """Store the state for going on from here; `start` is the first conserved energy."""
        if self.folder is None:
            return
        with self._explaining("The last state that was stored is still there."):
            for file in self._files:
                file.sync()
            self.notes = {
                "fingerprint": self.fingerprint,
                "step": step,
                "start": start,
                "sizes": [file.size for file in self._files],
                "reference": _listed(simulation.reference),
                "allocated": _listed(simulation.allocated),
                "capacities": capacities(state.neighbors),
            }
            write_checkpoint(self.folder, state, self.notes)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    @contextlib.contextmanager
    def _explaining(self, advice: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"Cannot write to {self.folder}: {error.strerror}. {advice}"
            ) from error


def _row(values: Sequence[str]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(values)
    return text.getvalue().encode()


def _xyz(system: System, frame: dict[str, Any]) -> bytes:
    atoms = ase.Atoms(
        np.asarray(system.numbers),
        frame["positions"],
        cell=frame.get("cells"),
        pbc=system.pbc,
        info={
            "time_fs": frame["time_fs"],
            "total_charge": float(system.total_charge),
            "potential_energy": float(frame["potential_energy_eV"]),
        },
    )
    if "charges" in frame:
        atoms.arrays["charge"] = frame["charges"]
    text = io.StringIO()
    ase.io.write(text, atoms, format="extxyz")
    return text.getvalue().encode()


def _listed(box: np.ndarray | None) -> list[list[float]] | None:
    return None if box is None else np.asarray(box, dtype=float).tolist()
