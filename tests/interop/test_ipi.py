"""i-PI: its protocol with a server in a thread, and a running i-PI where that is installed."""

import json
import socket
import threading
import uuid
import warnings
from pathlib import Path

import ase
import jax
import numpy as np
import pytest
from ase.build import molecule

import lrpot
from lrpot.descriptors import default_acsf
from lrpot.interop import ipi as adapter
from lrpot.units import BOHR, HARTREE

CELL = np.array([[4.2, 0, 0], [0.7, 4.0, 0], [-0.4, 0.6, 4.4]])


@pytest.fixture(scope="module")
def potential():
    descriptor = default_acsf(("H", "O"), cutoff=3.0, spacing=1.1, shells=1, zetas=(1.0,))
    return lrpot.hdnnp_4g(
        ("H", "O"), descriptor=descriptor, hidden=(4,), accuracy=1e-4, key=jax.random.key(2)
    )


def crystal():
    positions = np.array([[0.1, 0.2, 0.0], [1.0, 0.3, 0.1], [2.1, 2.3, 1.9], [0.2, 1.1, 0.3]])
    return ase.Atoms("OHOH", positions, cell=CELL, pbc=True)


def predicted(potential, atoms, charge):
    return lrpot.predict(potential, lrpot.from_ase(atoms, total_charge=charge))


class Server:
    """i-PI's side of the protocol, on a socket of its own."""

    def __init__(self):
        self.listening = socket.create_server(("localhost", 0))
        self.listening.settimeout(20)
        self.port = self.listening.getsockname()[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listening.close()

    def drive(self, *arguments, **settings):
        """Start a driver in a thread; its answer or error comes from `outcome`."""
        self.outcome = []

        def target():
            try:
                settings.setdefault("timeout", 60.0)
                self.outcome.append(adapter.drive(*arguments, port=self.port, **settings))
            except Exception as error:
                self.outcome.append(error)

        self.thread = threading.Thread(target=target)
        self.thread.start()
        try:
            self.peer, _ = self.listening.accept()
        except TimeoutError:
            raise AssertionError(self.outcome) from None

    def end(self, message="EXIT"):
        self.say(message)
        self.peer.close()
        self.thread.join(60)
        return self.outcome[0]

    def say(self, message):
        self.peer.sendall(message.ljust(12).encode())

    def read(self, size):
        received = b""
        while len(received) < size:
            received += self.peer.recv(size - len(received))
        return received

    def ask(self, positions, cell):
        """Energy, forces, virial and extras, in eV and Å."""
        self.say("STATUS")
        assert self.read(12).rstrip() == b"READY"
        box = cell.T / BOHR  # lattice vectors in columns
        self.say("POSDATA")
        self.peer.sendall(box.tobytes() + np.linalg.inv(box).tobytes())
        self.peer.sendall(np.int32(len(positions)).tobytes() + (positions / BOHR).tobytes())
        self.say("STATUS")
        assert self.read(12).rstrip() == b"HAVEDATA"
        self.say("GETFORCE")
        assert self.read(12).rstrip() == b"FORCEREADY"
        energy = np.frombuffer(self.read(8))[0] * HARTREE
        count = np.frombuffer(self.read(4), np.int32)[0]
        forces = np.frombuffer(self.read(24 * count)).reshape(-1, 3) * HARTREE / BOHR
        virial = np.frombuffer(self.read(72)).reshape(3, 3) * HARTREE
        extras = json.loads(self.read(np.frombuffer(self.read(4), np.int32)[0]))
        return energy, forces, virial, extras


def test_a_driver_answers_in_the_units_of_ipi_while_the_cell_changes(potential):
    atoms = crystal()
    with Server() as server:
        server.drive(potential, atoms, total_charge=1.0)
        server.say("INIT")
        server.peer.sendall(np.int32(0).tobytes() + np.int32(3).tobytes() + b"abc")
        for scale in (1.0, 1.01):
            atoms.set_cell(scale * CELL, scale_atoms=True)
            energy, forces, virial, extras = server.ask(atoms.positions, atoms.cell.array)
            expected = predicted(potential, atoms, 1.0)
            np.testing.assert_allclose(energy, expected.energy, rtol=1e-10)
            np.testing.assert_allclose(forces, expected.forces, atol=1e-9)
            outward = -np.asarray(expected.stress) * atoms.get_volume()
            np.testing.assert_allclose(virial, outward, atol=1e-9)
            np.testing.assert_allclose(extras["charges"], expected.charges, atol=1e-9)
        assert np.abs(outward).max() > 0.1
        assert server.end() == 2


def test_a_molecule_has_no_virial_and_any_cell(potential):
    atoms = molecule("H2O")
    atoms.info["total_charge"] = -1
    with Server() as server:
        server.drive(potential, atoms)
        energy, forces, virial, extras = server.ask(atoms.positions, 100 * np.eye(3))
        expected = predicted(potential, atoms, -1.0)
        np.testing.assert_allclose(energy, expected.energy, rtol=1e-10)
        np.testing.assert_allclose(forces, expected.forces, atol=1e-9)
        np.testing.assert_array_equal(virial, 0)
        np.testing.assert_allclose(extras["dipole"], np.asarray(expected.dipole) / BOHR, atol=1e-9)
        assert server.end() == 1


def test_what_is_not_the_protocol_is_told(potential):
    with Server() as server:
        server.drive(potential, crystal())
        assert "i-PI said 'GET / HTTP/1', which is no message" in str(server.end("GET / HTTP/1"))
    with Server() as server:
        server.drive(potential, crystal())
        server.say("POSDATA")
        server.peer.sendall(np.eye(3).tobytes() * 2 + np.int32(1).tobytes() + bytes(24))
        server.thread.join(60)
        assert "i-PI simulates 1 atoms, but the structure has 4" in str(server.outcome[0])
        server.peer.close()
    with Server() as server:
        server.drive(potential, crystal(), timeout=0.05)
        server.thread.join(60)
        assert "has not said anything for 0.05 s" in str(server.outcome[0])
        server.peer.close()
    with Server() as server:
        server.drive(potential, crystal())
        server.say("POSDATA")
        assert "hung up in the middle of a message" in str(server.end("?"))
    for where in ({"unix": "nobody_is_here"}, {"port": 1}):
        with pytest.raises(lrpot.InputError, match=r"Cannot reach i-PI at .*Start i-PI first"):
            adapter.drive(potential, crystal(), **where)


INPUT = """
<simulation verbosity="quiet">
  <output prefix="run"><properties stride="1" filename="out"> [step] </properties></output>
  <total_steps>100</total_steps>
  <ffsocket name="lrpot" mode="unix" pbc="false"><address>{address}</address></ffsocket>
  <system>
    <initialize nbeads="1">
      <file mode="xyz">start.xyz</file><velocities mode="thermal" units="kelvin">300</velocities>
    </initialize>
    <forces><force forcefield="lrpot"/></forces>
    <motion mode="dynamics"><dynamics mode="nve">
      <timestep units="femtosecond">0.5</timestep>
    </dynamics></motion>
    <ensemble><temperature units="kelvin">300</temperature></ensemble>
  </system>
</simulation>
"""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [crystal, lambda: molecule("H2O")], ids=["crystal", "molecule"])
def test_a_running_ipi_feels_our_forces(potential, make, tmp_path, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripting = pytest.importorskip("ipi.utils.scripting", reason="install `lrpot[ipi]`")
    atoms = make()
    box = atoms.copy()
    box.cell = box.cell if box.pbc.any() else 50 * np.eye(3)
    monkeypatch.chdir(tmp_path)
    a, b, c, alpha, beta, gamma = box.cell.cellpar()
    comment = f"# CELL(abcABC): {a:.12f} {b:.12f} {c:.12f} {alpha:.12f} {beta:.12f} {gamma:.12f}"
    lines = [
        f"{symbol} {x:.12f} {y:.12f} {z:.12f}"
        for symbol, (x, y, z) in zip(atoms.symbols, atoms.positions, strict=True)
    ]
    comment += " positions{angstrom} cell{angstrom}"
    Path("start.xyz").write_text("\n".join([str(len(atoms)), comment, *lines, ""]))
    address = f"lrpot_{uuid.uuid4().hex}"
    answered = []

    def target():
        settings = {"unix": address, "total_charge": 1.0, "timeout": 60.0}
        answered.append(adapter.drive(potential, atoms, **settings))

    simulation = scripting.InteractiveSimulation(INPUT.format(address=address))
    driver = threading.Thread(target=target)
    driver.start()
    totals = []
    for _ in range(6):
        simulation.run(1, write_outputs=False)
        inside = simulation.syslist[0]
        now = atoms.copy()
        now.positions = inside.beads.q[0].reshape(-1, 3) * BOHR
        if now.pbc.any():
            now.cell[:] = inside.cell.h.T * BOHR
        expected = predicted(potential, now, 1.0)
        found = inside.forces.f[0].reshape(-1, 3) * HARTREE / BOHR
        np.testing.assert_allclose(found, expected.forces, rtol=0, atol=1e-8)
        np.testing.assert_allclose(inside.forces.pot * HARTREE, expected.energy, atol=1e-8)
        if now.pbc.any():
            virial = inside.forces.vir * HARTREE
            outward = -np.asarray(expected.stress) * now.get_volume()
            np.testing.assert_allclose(np.triu(virial), np.triu(outward), rtol=0, atol=1e-8)
        totals.append((inside.forces.pot + inside.nm.kin) * HARTREE)
    assert np.ptp(totals) < 1e-3
    simulation.stop()
    driver.join(60)
    assert answered[0] >= 6
