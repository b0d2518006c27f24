"""Interrupts: who they belong to, where they may go, where they went.

Sources: `Documentation/core-api/irq/irq-affinity.rst`, `Documentation/filesystems/proc.rst`
(/proc/interrupts) and `kernel/irq/{proc,manage}.c` of the Linux kernel.
"""

from __future__ import annotations

import posixpath
import re
from typing import Literal

import msgspec

from hosttune.host import cpu, cpulist, irq_plan
from hosttune.host.root import Fact, Root, make_unreadable

COUNTERS = "/proc/interrupts"
LOCAL_TIMER = "LOC"
MANAGED_FLAG = "IRQD_AFFINITY_MANAGED"
# A server with 512 CPUs and several cards has about 10,000 interrupts.
MAX_ROWS = 1 << 15

# Drivers whose queue interrupts the kernel places and moves itself (PCI_IRQ_AFFINITY), by the names
# that they give them. Not nvme0q0, the admin queue.
_MANAGED = re.compile(
    r"nvme\d+q[1-9]\d*|virtio\d+-(req\.\d+|request|requests\.\d+)|megasas\d+-msix\d+|mpt[23]sas\d+-msix\d+"
    r"|lpfc:\d+|qla2xxx\S*|smartpqi|hpsa\d*-msix\d+|aacraid|hisi_sas\S*|mpi3mr\d+-msix\d+"
)
_PER_CPU = re.compile(r"arch_timer|IPI\d*|pmu|arm-pmu|riscv-timer", re.IGNORECASE)


class Row(msgspec.Struct, frozen=True):
    """A line of /proc/interrupts: counts by CPU, and what stands after them."""

    counts: dict[int, int]
    description: str


class Irq(msgspec.Struct, frozen=True):
    """One device interrupt. `managed`: the kernel, not user space, decides where it goes; `probably` is a
    conclusion from the driver's name, where the kernel does not tell."""

    number: int
    actions: str
    affinity: Fact[frozenset[int]]
    effective: Fact[frozenset[int]]
    managed: Literal["yes", "no", "probably"] = "no"

    @property
    def moving(self) -> bool:
        """Whether it goes elsewhere at its next delivery.

        On x86 without interrupt remapping a new affinity waits until the interrupt fires once more, where it
        was (`kernel/irq/migration.c`, irq_move_masked_irq); until then the effective affinity is the old one.
        """
        return bool(self.affinity.value and self.effective.value and not self.affinity.value & self.effective.value)

    @property
    def destination(self) -> Fact[frozenset[int]]:
        """Where it is delivered: the effective affinity, or where there is none what is allowed."""
        if self.moving:
            return self.affinity
        if self.effective.value or self.effective.state == "unreadable":
            return self.effective
        return self.affinity


class Interrupts(msgspec.Struct, frozen=True):
    """Device interrupts; `unused` counts those that no driver has requested."""

    irqs: list[Irq]
    unused: int = 0


def parse_interrupts(text: str) -> dict[str, Row]:
    """Read /proc/interrupts. Columns are online CPUs, which need not be consecutive. Raises ValueError."""
    lines = text.splitlines()
    cpus = _parse_columns(lines[0] if lines else "")
    if len(lines) > MAX_ROWS:
        raise ValueError(f"{len(lines)} rows; a host has at most {MAX_ROWS}")
    rows: dict[str, Row] = {}
    for line in lines[1:]:
        name, colon, rest = line.partition(":")
        if not colon:
            continue
        fields = rest.split(None, len(cpus))
        numbers = [int(field) for field in fields[: len(cpus)] if field.isdecimal()]
        rows[name.strip()] = Row(
            dict(zip(cpus, numbers, strict=False)),
            fields[len(cpus)].strip() if len(fields) > len(cpus) else "",
        )
    return rows


def reduce_interrupts(text: str) -> str:
    """Returns /proc/interrupts with the rows that a check reads, without the padding. Raises ValueError."""
    rows = parse_interrupts(text)
    cpus = _parse_columns(text.splitlines()[0])
    kept = [" ".join(f"CPU{cpu}" for cpu in cpus)]
    for name, row in rows.items():
        if name.isdigit() or name == LOCAL_TIMER:
            blanks = ["-"] * (len(cpus) - len(row.counts)) if row.description else []
            kept.append(" ".join([f"{name}:", *map(str, row.counts.values()), *blanks, row.description]))
    return "\n".join([*kept, ""])


def _parse_columns(line: str) -> list[int]:
    columns = line.split(None, cpulist.MAX_CPU + 1)
    if not columns or not all(
        column[:3] == "CPU" and column[3:].isdecimal() and len(column) < 10 for column in columns
    ):
        raise ValueError("the first line of /proc/interrupts does not name CPUs")
    return [int(column[3:]) for column in columns]


def reduce_flags(text: str) -> str:
    """Returns the one flag of /sys/kernel/debug/irq/irqs/N that a check reads, if it is set."""
    return MANAGED_FLAG if MANAGED_FLAG in text else ""


def read_counts(root: Root) -> Fact[dict[str, Row]]:
    """Returns the counters of /proc/interrupts now."""
    return root.read(COUNTERS).map(parse_interrupts)


def read(root: Root) -> Fact[Interrupts]:
    """Read all device interrupts that a driver uses; interrupts that exist per CPU are left out."""
    rows = read_counts(root)
    if rows.value is None:
        return make_unreadable(rows.source, rows.reason)
    irqs: list[Irq] = []
    lists: dict[str, frozenset[int]] = {}
    for name, row in rows.value.items():
        if not name.isdigit():
            continue
        actions = parse_actions(row.description)
        if not actions or "percpu" in row.description or _PER_CPU.fullmatch(actions):
            continue
        irq = _read_irq(root, int(name), actions, lists)
        if irq is not None:
            irqs.append(irq)
    directories = root.list("/proc/irq")
    total = sum(name.isdigit() for name in directories.value or [])
    return Fact("value", Interrupts(irqs, max(0, total - len(irqs))), "/proc/irq")


def parse_actions(description: str) -> str:
    """Returns the names of the handlers: what follows chip, hardware number and trigger (`PCI-MSI 0-edge eth0`)."""
    words = description.split(None, 2)
    actions = words[2].strip() if len(words) > 2 else ""
    trigger, _, rest = actions.partition(" ")
    return rest.strip() if trigger in ("Level", "Edge", "None") else actions


def read_default_affinity(root: Root) -> Fact[frozenset[int]]:
    """Returns where new interrupts go."""
    return root.read("/proc/irq/default_smp_affinity").map(cpulist.parse_mask)


def find_queues(root: Root, interface: str) -> Fact[frozenset[int]]:
    """Returns the interrupts that the device behind a network interface has; absent if there is no such interface.

    A virtio card keeps them at the PCI device above its own.
    """
    path = f"/sys/class/net/{interface}"
    names = root.list("/sys/class/net")
    if names.value is not None and interface not in names.value:
        return Fact("absent", None, path, "ENOENT")
    link = root.link(path)
    if link.value is None:
        return make_unreadable(path, link.reason)
    device = posixpath.dirname(posixpath.dirname(posixpath.normpath(f"/sys/class/net/{link.value}")))
    if device.startswith("/sys/devices/virtual"):
        return Fact("absent", None, path, "a virtual interface has no interrupts: name the card below it")
    for directory in (device, posixpath.dirname(device)):
        msi = root.list(f"{directory}/msi_irqs")
        line = "" if msi.value else root.read(f"{directory}/irq").value
        if numbers := irq_plan.find_device_irqs(msi.value or (), line or ""):
            return Fact("value", numbers, msi.source if msi.value else f"{directory}/irq")
    return make_unreadable(f"{device}/msi_irqs", msi.reason or "no interrupts found at the device")


def _read_irq(root: Root, number: int, actions: str, lists: dict[str, frozenset[int]]) -> Irq | None:
    def parse(text: str) -> frozenset[int]:
        if text not in lists:
            lists[text] = cpu.parse_list(text)
        return lists[text]

    directory = f"/proc/irq/{number}"
    affinity = root.read(f"{directory}/smp_affinity_list").map(parse)
    effective = root.read(f"{directory}/effective_affinity_list").map(parse)
    if affinity.state == effective.state == "absent":
        return None  # freed since /proc/interrupts was read
    return Irq(number, actions, affinity, effective, _read_managed(root, number, actions))


def _read_managed(root: Root, number: int, actions: str) -> Literal["yes", "no", "probably"]:
    if not _MANAGED.fullmatch(actions.split(",")[0].strip()):
        return "no"
    flags = root.read(f"/sys/kernel/debug/irq/irqs/{number}").value
    if flags is None:
        return "probably"
    return "yes" if MANAGED_FLAG in flags else "no"
