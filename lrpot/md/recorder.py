"""What a simulation leaves in its folder: trajectory, log, and the state to go on from.

All of it belongs together: the state knows how long the files were when it was stored, and what is
beyond that, a half-written frame or whole ones, is written again.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrpot.checkpoint import FILE, read_checkpoint, read_notes, write_checkpoint
from lrpot.errors import InputError
from lrpot.md.formats import LOG_FILE, FrameFile, LogFile, trajectory_file
from lrpot.md.motion import Motion
from lrpot.md.simulation import Simulation, State, capacities
from lrpot.system import System

LAYOUT = 3
"""Of what a folder holds. One of another layout is another simulation."""


class Recorder:
    """The files of one simulation; without a folder it does nothing.

    Args:
        folder: Where the files are.
        system: The system as it is simulated.
        motion: What of it moves, and how heavy it is.
        columns: Columns of the log.
        fingerprint: Of everything that makes the simulation what it is.
        formats: Of the trajectory.
        charged: Whether frames have charges.
        resume: Whether to go on from the state that the folder holds.

    Raises:
        InputError: If the folder holds another simulation, or cannot be written to.
    """

    def __init__(
        self,
        folder: Path | None,
        system: System,
        motion: Motion,
        columns: Sequence[str],
        fingerprint: str,
        *,
        formats: Sequence[str],
        charged: bool,
        resume: bool,
    ):
        self.folder, self.fingerprint = folder, f"{LAYOUT} {fingerprint}"
        self.notes: dict[str, Any] | None = None
        self._files: dict[str, FrameFile] = {}
        if folder is None:
            return
        with self._explaining("Choose another folder."):
            folder.mkdir(parents=True, exist_ok=True)
            self.notes = read_notes(folder) if resume else None
            if self.notes is not None and self.notes.get("fingerprint") != self.fingerprint:
                raise InputError(
                    f"{folder} holds another simulation: its potential, start, settings or seed "
                    "differ, or the version of lrpot. Simulate in another folder, or start over "
                    "with `resume=False` (`--no-resume`), which overwrites it."
                )
            sizes = dict.fromkeys((*formats, LOG_FILE), 0)
            if self.notes is not None:
                if sizes.keys() != self.notes["sizes"].keys():
                    raise InputError(
                        f"{folder} holds a simulation with {', '.join(self.notes['sizes'])}, which "
                        f"cannot go on with {', '.join(sizes)}. Ask for the formats that it has."
                    )
                sizes = self.notes["sizes"]
            else:
                (folder / FILE).unlink(missing_ok=True)
            try:
                for name in formats:
                    self._files[name] = trajectory_file(
                        name, folder, sizes[name], system, motion, charged=charged
                    )
                self._files[LOG_FILE] = LogFile(folder / LOG_FILE, sizes[LOG_FILE], columns)
            except (InputError, OSError):
                self.close()
                raise

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
        """Append one frame to the trajectory and the log, to all files or to none."""
        if self.folder is None:
            return
        before = {name: file.size for name, file in self._files.items()}
        with self._explaining("All is well up to the frame before; make room and go on."):
            try:
                for file in self._files.values():
                    file.write(frame)
            except OSError:
                for name, size in before.items():
                    self._files[name].cut(size)
                raise

    def store(self, simulation: Simulation, state: State, *, step: int, start: float) -> None:
        """Store the state for going on from here; `start` is the first conserved energy."""
        if self.folder is None:
            return
        with self._explaining("The last state that was stored is still there."):
            for file in self._files.values():
                file.sync()
            self.notes = {
                "fingerprint": self.fingerprint,
                "step": step,
                "start": start,
                "sizes": {name: file.size for name, file in self._files.items()},
                "reference": _listed(simulation.reference),
                "allocated": _listed(simulation.allocated),
                "capacities": capacities(state.neighbors),
            }
            write_checkpoint(self.folder, state, self.notes)

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    @contextlib.contextmanager
    def _explaining(self, advice: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"Cannot write to {self.folder}: {error.strerror}. {advice}"
            ) from error


def _listed(box: np.ndarray | None) -> list[list[float]] | None:
    return None if box is None else np.asarray(box, dtype=float).tolist()
