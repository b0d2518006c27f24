"""What hardware a guest has, and the QEMU arguments for it. Pure: no files, no processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from testhost.errors import UsageError

NIC_MODELS = {"vmxnet3": "vmxnet3", "virtio": "virtio-net-pci"}
MAX_NICS = 8  # The image has networkd files for this many.
MAX_NODES = 8
VMXNET3_MAX_QUEUES = 8  # VMXNET3_DEVICE_MAX_TX_QUEUES in the Linux driver.
LOCAL_DISTANCE, REMOTE_DISTANCE = 10, 21  # As ACPI SLIT on a two-socket server.


def driver_queues(nic: str, cpus: int) -> int:
    """Queue pairs that the guest's driver opens on a user network.

    vmxnet3 takes the largest power of two that is at most min(8, online CPUs); virtio has one, since QEMU's user
    network has a single queue and vmxnet3 alone spreads over its own queues.
    """
    return 1 if nic == "virtio" else 1 << (min(cpus, VMXNET3_MAX_QUEUES).bit_length() - 1)


@dataclass(frozen=True)
class Topology:
    """cpus: vCPUs, an equal share per NUMA node. memory: MiB in all, an equal share per node. queues: None = what the
    driver opens by itself. Raises UsageError when the parts do not fit together."""

    cpus: int = 4
    memory: int = 3072
    numa: int = 2
    nic: str = "vmxnet3"
    queues: int | None = None
    nics: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.cpus <= 64:
            raise UsageError(f"--cpus {self.cpus}: allowed is 1 to 64")
        if not 1 <= self.numa <= MAX_NODES:
            raise UsageError(f"--numa {self.numa}: allowed is 1 to {MAX_NODES}")
        if self.cpus % self.numa:
            raise UsageError(f"--cpus {self.cpus} --numa {self.numa}: the CPUs must divide evenly over the nodes")
        if self.memory < 512:
            raise UsageError(f"--memory {self.memory}: the guest needs at least 512 MiB")
        if self.memory % self.numa:
            raise UsageError(f"--memory {self.memory} --numa {self.numa}: the MiB must divide evenly over the nodes")
        if self.nic not in NIC_MODELS:
            raise UsageError(f"--nic {self.nic}: allowed is {', '.join(NIC_MODELS)}")
        if not 1 <= self.nics <= MAX_NICS:
            raise UsageError(f"--nics {self.nics}: allowed is 1 to {MAX_NICS}")
        opened = driver_queues(self.nic, self.cpus)
        if self.queues is None:
            object.__setattr__(self, "queues", opened)
        elif self.queues != opened:
            reason = (
                "a virtio NIC on QEMU's user network has one queue; use --nic vmxnet3"
                if self.nic == "virtio"
                else f"the vmxnet3 driver opens {opened} on {self.cpus} CPUs (a power of two, at most 8 and the CPUs)"
            )
            raise UsageError(f"--queues {self.queues} --nic {self.nic}: {reason}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def machine_args(topology: Topology, accel: str) -> list[str]:
    """The guest's hardware but for disk, network backend and serial line. accel: `kvm` or `tcg`."""
    cores = topology.cpus // topology.numa
    args = ["-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35"]
    if accel == "kvm":
        args += ["-accel", "kvm", "-cpu", "host"]
    else:
        args += ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"]
    args += ["-m", str(topology.memory), "-smp", f"{topology.cpus},sockets={topology.numa},cores={cores},threads=1"]
    for node in range(topology.numa):
        first = node * cores
        args += ["-object", f"memory-backend-ram,id=ram{node},size={topology.memory // topology.numa}M"]
        args += ["-numa", f"node,nodeid={node},cpus={first}-{first + cores - 1},memdev=ram{node}"]
    for a in range(topology.numa):
        for b in range(topology.numa):
            distance = LOCAL_DISTANCE if a == b else REMOTE_DISTANCE
            args += ["-numa", f"dist,src={a},dst={b},val={distance}"]
    return args


def network_args(topology: Topology, port: int, open_network: bool) -> list[str]:
    """User networks: ssh of the first NIC forwarded to `port` on the loopback; nothing else in or out unless open."""
    restrict = "off" if open_network else "on"
    args: list[str] = []
    for nic in range(topology.nics):
        forward = f",hostfwd=tcp:127.0.0.1:{port}-:22" if nic == 0 else ""
        subnet = nic + 2
        args += ["-netdev", f"user,id=net{nic},net=10.0.{subnet}.0/24,restrict={restrict}{forward}"]
        args += ["-device", f"{NIC_MODELS[topology.nic]},netdev=net{nic},mac=52:54:00:12:34:5{nic},romfile="]
    return args


def qemu_args(
    topology: Topology, *, accel: str, grub: str, port: int, open_network: bool, qmp_fd: int, loadvm: str | None
) -> list[str]:
    """The whole argument list after the program's name. Paths of disk, logs and control socket are relative to the
    host's directory, which is QEMU's working directory: a socket's path may have 107 bytes only."""
    args = machine_args(topology, accel)
    args += network_args(topology, port, open_network)
    args += [
        "-drive", "file=disk.qcow2,if=none,id=disk,format=qcow2,cache=unsafe",
        "-device", "virtio-blk-pci,drive=disk",
        "-device", "virtio-rng-pci",
        "-device", "pvpanic-pci",
        "-chardev", "file,id=serial,path=serial.log,append=on",
        "-serial", "chardev:serial",
        "-chardev", f"socket,id=supervisor,fd={qmp_fd}",
        "-mon", "chardev=supervisor,mode=control",
        "-qmp", "unix:control.sock,server=on,wait=off",
        "-rtc", "base=utc,clock=host",
        # The guest's reset ends the process, and the supervisor starts a new one: an in-place reset under TCG keeps
        # the old translations and is much slower. A panicked guest is kept for its message.
        "-action", "reboot=shutdown,panic=pause",
        "-kernel", grub,
    ]  # fmt: skip
    if loadvm is not None:
        args += ["-loadvm", loadvm]
    return args


def snapshot_recipe(topology: Topology, *, accel: str, open_network: bool) -> Sequence[str]:
    """What a saved machine state depends on: the arguments, but for those that differ from host to host."""
    return qemu_args(topology, accel=accel, grub="grub.lnx", port=0, open_network=open_network, qmp_fd=0, loadvm=None)
