"""A guest for the length of a `with` block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from testhost.cache import Cache
from testhost.host import BOOT_TIMEOUT_S, Host, Progress, silent
from testhost.systems import System
from testhost.topology import Topology


@contextmanager
def running(
    name: str,
    *,
    release: str = "bookworm",
    kernel: str = "stock",
    cpus: int = 4,
    memory: int = 3072,
    numa: int = 2,
    nic: str = "vmxnet3",
    queues: int | None = None,
    nics: int = 1,
    accel: str = "auto",
    boot: str = "auto",
    open_network: bool = False,
    timeout: float = BOOT_TIMEOUT_S,
    cache: Cache | None = None,
    progress: Progress = silent,
) -> Iterator[Host]:
    """A host that can be used inside the `with` block and is gone after it, whatever happens. See Host.start."""
    host = Host(cache or Cache(), name)
    topology = Topology(cpus=cpus, memory=memory, numa=numa, nic=nic, queues=queues, nics=nics)
    system = System(release, kernel)
    host.start(topology, system, asked_accel=accel, boot=boot, open_network=open_network, progress=progress)
    try:
        host.wait(timeout)
        yield host
    finally:
        host.stop()
