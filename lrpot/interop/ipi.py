"""i-PI: forces for path integrals, replica exchange and more, over its socket [litman:24].

i-PI moves the nuclei and asks over a socket, in atomic units, for energy, forces and virial. One
driver answers one question at a time; start several for the beads of a path.
"""

import json
import socket
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.stress import voigt_6_to_full_3x3_stress

from lrpot.errors import InputError
from lrpot.interop.ase import Calculator
from lrpot.potential import Potential
from lrpot.units import BOHR, HARTREE

HEADER = 12
"""Bytes of a message."""

SOCKETS = "/tmp/ipi_"
"""What i-PI puts before the name of a unix socket (its `sockets_prefix`)."""


def left_to_ipi(atoms: ase.Atoms) -> list[str]:
    """Sentences about what these atoms say of their motion, which i-PI does not hear of."""
    words = []
    if atoms.constraints:
        names = sorted({type(one).__name__ for one in atoms.constraints})
        words.append(
            f"i-PI moves the atoms and knows nothing of the constraints of the structure "
            f"({', '.join(names)}): fix atoms with <fixatoms> in its input."
        )
    if atoms.has("masses"):
        words.append("Masses are those of i-PI's input; those of the structure are not used.")
    if atoms.has("momenta") and atoms.get_momenta().any():
        words.append("Velocities are those of i-PI's input; those of the structure are not used.")
    return words


def drive(
    potential: Potential,
    atoms: ase.Atoms,
    *,
    unix: str | None = None,
    host: str = "localhost",
    port: int = 31415,
    total_charge: float | None = None,
    skin: float = 0.5,
    timeout: float | None = 600.0,
) -> int:
    """Answer i-PI until it ends; returns the number of questions answered.

    Positions and cell come from i-PI, also when the cell changes; elements, boundaries and the
    order of the atoms are those of `atoms`. Along directions without periodicity the cell of i-PI
    is ignored. Charges and dipole are sent along as extras. i-PI moves the atoms: constraints,
    masses and velocities of `atoms` are not used (`left_to_ipi` says which there are).

    Args:
        potential: The potential.
        atoms: Elements, boundaries and total charge; its positions do not matter.
        unix: Name of a unix socket, as in i-PI's `<address>`, or its whole path; an internet
            socket when not given.
        host, port: Of the internet socket.
        total_charge: In e; by default that of the atoms, as in `lrpot.Calculator`.
        skin: Of the neighbour list, in Å.
        timeout: How long to wait for i-PI, in seconds; `None` for ever.

    Raises:
        InputError: If nobody listens, i-PI simulates another number of atoms, or it says something
            that is not its protocol.
    """
    calculator = Calculator(potential, total_charge=total_charge, skin=skin)
    with _connected(unix, host, port, timeout) as connection:
        return _Driver(connection, atoms.copy(), calculator).answer()


class _Driver:
    """One conversation with i-PI."""

    def __init__(self, connection: socket.socket, atoms: ase.Atoms, calculator: Calculator):
        self.connection, self.atoms, self.calculator = connection, atoms, calculator
        self.answer_is_ready, self.answered = False, 0

    def answer(self) -> int:
        """Until i-PI says EXIT or hangs up."""
        while (message := self._receive(HEADER).rstrip().decode("ascii", "replace")) != "EXIT":
            if message == "":
                break
            if message == "STATUS":
                self._say("HAVEDATA" if self.answer_is_ready else "READY")
            elif message == "INIT":
                self._receive(4)
                self._receive(self._integer())
            elif message == "POSDATA":
                self._evaluate()
            elif message == "GETFORCE" and self.answer_is_ready:
                self._send_forces()
            else:
                raise InputError(
                    f"i-PI said {message!r}, which is no message of its protocol here. Is it i-PI "
                    "that listens at this address?"
                )
        return self.answered

    def _evaluate(self) -> None:
        atoms = self.atoms
        # Lattice vectors are columns there, and the inverse follows from them.
        cell = self._numbers(9).reshape(3, 3).T * BOHR
        self._numbers(9)
        count = self._integer()
        positions = self._numbers(3 * count).reshape(-1, 3) * BOHR
        if count != len(atoms):
            raise InputError(
                f"i-PI simulates {count} atoms, but the structure has {len(atoms)}. Give both the "
                "same atoms in the same order."
            )
        if atoms.pbc.any():
            atoms.set_cell(cell)
        atoms.positions[:] = positions
        self.calculator.calculate(atoms)
        self.answer_is_ready = True

    def _send_forces(self) -> None:
        results, virial = self.calculator.results, np.zeros((3, 3))
        if "stress" in results:
            stress = voigt_6_to_full_3x3_stress(results["stress"])
            virial = -self.atoms.get_volume() * stress
        extras: dict[str, Any] = {}
        if "charges" in results:
            dipole = results["dipole"] / BOHR
            extras = {"charges": results["charges"].tolist(), "dipole": dipole.tolist()}
        text = json.dumps(extras).encode()
        self._say("FORCEREADY")
        self.connection.sendall(
            np.float64(results["energy"] / HARTREE).tobytes()
            + np.int32(len(self.atoms)).tobytes()
            + (results["forces"] * (BOHR / HARTREE)).astype(np.float64).tobytes()
            + (virial.T / HARTREE).astype(np.float64).tobytes()
            + np.int32(len(text)).tobytes()
            + text
        )
        self.answer_is_ready, self.answered = False, self.answered + 1

    def _say(self, message: str) -> None:
        self.connection.sendall(message.ljust(HEADER).encode())

    def _numbers(self, count: int) -> np.ndarray:
        return np.frombuffer(self._receive(8 * count), dtype=np.float64)

    def _integer(self) -> int:
        return int(np.frombuffer(self._receive(4), dtype=np.int32)[0])

    def _receive(self, size: int) -> bytes:
        """So many bytes; none when i-PI has hung up between two messages."""
        received = b""
        while len(received) < size:
            try:
                piece = self.connection.recv(size - len(received))
            except TimeoutError:
                wait = self.connection.gettimeout()
                raise InputError(
                    f"i-PI has not said anything for {wait:g} s. Look at its output, or allow a "
                    "longer `timeout`."
                ) from None
            except ConnectionError:
                piece = b""
            if not piece:
                if received or size != HEADER:
                    raise InputError("i-PI hung up in the middle of a message. Look at its output.")
                break
            received += piece
        return received


def _connected(unix: str | None, host: str, port: int, timeout: float | None) -> socket.socket:
    """A socket that i-PI listens at."""
    path = unix if unix is None or Path(unix).is_absolute() else f"{SOCKETS}{unix}"
    name = path or f"{host}:{port}"
    connection = socket.socket(socket.AF_INET if path is None else socket.AF_UNIX)
    connection.settimeout(timeout)
    try:
        connection.connect((host, port) if path is None else path)
    except OSError as error:
        connection.close()
        raise InputError(
            f"Cannot reach i-PI at {name}: {error.strerror or error}. Start i-PI first, with "
            '<ffsocket mode="unix"> or <ffsocket mode="inet"> and this address.'
        ) from None
    return connection
