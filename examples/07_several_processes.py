"""Train in two processes that share the structures of every update.

Every process runs the same script and calls `lrpot.fit` alike; on a cluster each has GPUs of its
own. `jax.distributed.initialize` brings them together. Here both are on one machine, and started
by a third process that trains alone, to compare. From the command line:

    lrpot train train.toml --coordinator localhost:9876 --processes 2 --process 0 &
    lrpot train train.toml --coordinator localhost:9876 --processes 2 --process 1
"""

import socket
import subprocess
import sys
from importlib import resources

import jax
import numpy as np

import lrpot
from lrpot.descriptors import default_acsf
from lrpot.training import joint_stage

jax.config.update("jax_enable_x64", True)


def train() -> lrpot.Potential:
    """A few epochs on a few carbon chains."""
    data = resources.files("lrpot") / "quickstart_data" / "carbon_train.xyz"
    elements = ("C", "H")
    descriptor = default_acsf(elements, cutoff=4.0, spacing=1.0, shells=1, zetas=(1.0,))
    key = jax.random.key(0)
    potential = lrpot.hdnnp_4g(elements, descriptor=descriptor, hidden=(4,), key=key)
    stages = (joint_stage(epochs=5, batch_size=5),)  # five: one is left over for two processes
    structures = lrpot.read_structures(data)[::20]
    return lrpot.fit(potential, structures, stages=stages, progress=False).potential


if len(sys.argv) > 1:
    coordinator, process = sys.argv[1], int(sys.argv[2])
    jax.distributed.initialize(coordinator, num_processes=2, process_id=process)
    potential = train()
    print(f"Process {process} of {jax.process_count()} sees {jax.device_count()} devices.")
    if process == 0:  # both have the same potential
        lrpot.save("together.lrpot", potential)
else:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    command = [sys.executable, __file__, coordinator]
    workers = [subprocess.Popen([*command, str(process)]) for process in range(2)]
    alone = train()
    assert [worker.wait() for worker in workers] == [0, 0]

    # The same potential, but for the order in which numbers were added.
    together = lrpot.load("together.lrpot")
    pairs = zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True)
    difference = max(np.abs(np.asarray(one) - np.asarray(other)).max() for one, other in pairs)
    print(f"Largest difference of any parameter to one process: {difference:.1e}")
    assert difference < 1e-10
