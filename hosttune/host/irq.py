"""Interrupts: who they belong to, where they may go, where they went.

Sources: `Documentation/core-api/irq/irq-affinity.rst`, `Documentation/filesystems/proc.rst`
(/proc/interrupts), `Documentation/ABI/testing/sysfs-kernel-irq` and `kernel/irq/{proc,manage}.c` of the Linux kernel.
"""

from __future__ import annotations

import posixpath
import re
from typing import Literal

import msgspec

from hosttune.host import cpu, cpulist, irq_plan
from hosttune.host.root import Fact, Root, make_unreadable
from hosttune.patterns import late_pattern

COUNTERS = "/proc/interrupts"
LOCAL_TIMER = "LOC"
# Of /sys/kernel/debug/irq/irqs/N: who decides where an interrupt goes, and that nobody may.
MANAGED_FLAG, FIXED_FLAGS = "IRQD_AFFINITY_MANAGED", ("IRQD_NO_BALANCING", "IRQD_PER_CPU")
DEBUG = "/sys/kernel/debug/irq/irqs"
# A server with 512 CPUs and several cards has about 10,000 interrupts.
MAX_ROWS = 1 << 15

# Drivers whose queue interrupts the kernel places and moves itself (PCI_IRQ_AFFINITY), by the names
# that they give them. Not nvme0q0, the admin queue.
_MANAGED = late_pattern(
    r"nvme\d+q[1-9]\d*|virtio\d+-(req\.\d+|request|requests\.\d+)|megasas\d+-msix\d+|mpt[23]sas\d+-msix\d+"
    r"|lpfc:\d+|qla2xxx\S*|smartpqi|hpsa\d*-msix\d+|aacraid|hisi_sas\S*|mpi3mr\d+-msix\d+"
)
# Timers that the kernel requests with IRQF_NOBALANCING.
_FIXED = late_pattern(r"timer|cascade|hpet\d+")
_PER_CPU = late_pattern(r"arch_timer|IPI\d*|pmu|arm-pmu|riscv-timer|kvm guest [vp]timer", re.IGNORECASE)
# Numbers below 32 at Arm's interrupt controller are each CPU's own, and so are 1056 to 1119.
_GIC = late_pattern(r"GIC(?:v\d|-\d+)\s+(\d+)\s", re.ASCII)
# Chip, hardware number and flow handler: the last is after a dash, or Level or Edge, which may have one behind it.
_TRIGGER = late_pattern(
    r"(?:^|\s)(?:\S*-(?:edge|level|fasteoi|event|evtchn|virq|ipi|msi|msi-x|simple)|(?:Level|Edge)(?:\s+-\S+)?)"
    r"(?:\s+(\S.*)|\s*)$",
    re.ASCII,
)


class Row(msgspec.Struct, frozen=True):
    """A line of /proc/interrupts: a count for each of the `cpus`, apart by blanks, and what stands after them.

    `whole` tells whether it has a number for each CPU; a line without is of another moment than its head, or no row.
    """

    cpus: tuple[int, ...]
    numbers: str
    description: str
    whole: bool = True

    @property
    def counts(self) -> dict[int, int]:
        """Deliveries by CPU."""
        return {cpu: _parse_count(number) for cpu, number in zip(self.cpus, self.numbers.split(), strict=False)}

    @property
    def counted(self) -> bool:
        """Whether it may have been delivered."""
        return not self.whole or bool(self.numbers.strip("0 "))

    def subtract(self, earlier: Row) -> dict[int, int]:
        """Returns the deliveries since an earlier sample, for each CPU that had any."""
        if self.cpus != earlier.cpus:  # one came or went
            before = earlier.counts
            return {cpu: more for cpu, count in self.counts.items() if (more := count - before.get(cpu, 0))}
        # Texts are compared first: on a large host nearly all are the same.
        pairs = zip(self.cpus, self.numbers.split(), earlier.numbers.split(), strict=False)
        return {cpu: _parse_count(now) - _parse_count(then) for cpu, now, then in pairs if now != then}


class Irq(msgspec.Struct, frozen=True):
    """One device interrupt. `actions` names its handlers, apart by commas; None if that is not known. `managed`: the
    kernel, not user space, decides where it goes; `probably` is a conclusion from the driver's name, where the kernel
    does not tell. `fixed`: nobody moves it."""

    number: int
    actions: str | None
    affinity: Fact[frozenset[int]]
    effective: Fact[frozenset[int]]
    managed: Literal["yes", "no", "probably"] = "no"
    fixed: bool = False

    @property
    def moving(self) -> bool:
        """Whether it goes elsewhere at its next delivery.

        On x86 without interrupt remapping a new affinity waits until the interrupt fires once more, where it
        was (`kernel/irq/migration.c`, irq_move_masked_irq); until then the effective affinity is the old one.
        """
        return bool(self.affinity.value and self.effective.value and not self.affinity.value & self.effective.value)

    @property
    def destination(self) -> Fact[frozenset[int]]:
        """Where it is delivered: the effective affinity, or where there is none what is allowed.

        Unreadable if what is allowed is: whether it moves is not known then.
        """
        if self.moving or self.affinity.state == "unreadable":
            return self.affinity
        if self.effective.value or self.effective.state == "unreadable":
            return self.effective
        return self.affinity


class Interrupts(msgspec.Struct, frozen=True):
    """Device interrupts; `unused` counts those that no driver has requested."""

    irqs: list[Irq]
    unused: int = 0


def _parse_count(number: str) -> int:
    """The kernel's counters have 32 bits, and int() is slow at a text that is no counter."""
    return int(number[:20])


def parse_interrupts(text: str) -> dict[str, Row]:
    """Read /proc/interrupts. Columns are online CPUs, which need not be consecutive. Raises ValueError."""
    rows: dict[str, Row] = {}
    cpus, lines = _split_table(text)
    for name, rest in lines:
        fields = rest.split(None, len(cpus))
        numbers = fields[: len(cpus)]
        if not name.isdigit():  # such as ERR, which has one number
            numbers = [field for field in numbers if field.isdecimal()]
        description = fields[len(cpus)].strip() if len(fields) > len(cpus) else ""
        # One number more than there are CPUs: a CPU came while the kernel wrote the table.
        whole = "".join(numbers).isdecimal() and (not name.isdigit() or len(numbers) == len(cpus))
        whole = whole and not description.partition(" ")[0].isdecimal()
        rows[name] = Row(cpus, " ".join(numbers) if whole else "", description, whole)
    return rows


def reduce_interrupts(text: str) -> str:
    """Returns /proc/interrupts with the rows that a check reads, without the padding. Raises ValueError."""
    cpus, lines = _split_table(text)
    kept = [" ".join(f"CPU{cpu}" for cpu in cpus)]
    for name, rest in lines:
        if name.isdigit() or name == LOCAL_TIMER:
            kept.append(f"{name}: {' '.join(rest.split(None, len(cpus)))}".rstrip())
    return "\n".join([*kept, ""])


def _split_table(text: str) -> tuple[tuple[int, ...], list[tuple[str, str]]]:
    """Returns the CPUs of the columns, and the name of each row and what follows it. Raises ValueError."""
    if text.count("\n") > MAX_ROWS:
        raise ValueError(f"more than {MAX_ROWS} rows")
    lines = text.splitlines()
    cpus = _parse_columns(lines[0] if lines else "")
    if not text.endswith("\n"):
        raise ValueError("its last line is cut off")
    rows = (line.partition(":") for line in lines[1:])
    return cpus, [(name.strip(), rest) for name, colon, rest in rows if colon]


def _parse_columns(line: str) -> tuple[int, ...]:
    columns = line.split(None, cpulist.MAX_CPU + 1)
    if not columns or not all(
        column[:3] == "CPU" and column[3:].isdecimal() and len(column) < 10 for column in columns
    ):
        raise ValueError("the first line of /proc/interrupts does not name CPUs")
    return tuple(int(column[3:]) for column in columns)


def reduce_flags(text: str) -> str:
    """Returns the flags of /sys/kernel/debug/irq/irqs/N that a check reads, as far as they are set."""
    return " ".join(flag for flag in (MANAGED_FLAG, *FIXED_FLAGS) if flag in text)


def reduce_actions(text: str) -> str:
    """Returns the handlers of an interrupt, in one line. Raises ValueError."""
    if len(text) > 4096 or not text.rstrip("\n").isprintable():
        raise ValueError("it is no line of names")
    return text


def read_counts(root: Root) -> Fact[dict[str, Row]]:
    """Returns the counters of /proc/interrupts now."""
    return root.read(COUNTERS).map(parse_interrupts)


def read(root: Root) -> Fact[Interrupts]:
    """Read all device interrupts that a driver uses; interrupts that exist per CPU are left out.

    One that is delivered and cannot be named is among them; one that has never been, and cannot be named, is not.
    """
    rows = read_counts(root)
    if rows.value is None:
        return make_unreadable(rows.source, rows.reason)
    irqs: list[Irq] = []
    lists: dict[str, frozenset[int]] = {}
    flagged = frozenset(root.list(DEBUG).value or ())
    for name, row in rows.value.items():
        if not (name.isascii() and name.isdigit() and len(name) < 10):
            continue
        actions = _read_actions(root, name, row)
        if actions == "" or (actions is None and not row.counted) or _is_per_cpu(row.description, actions or ""):
            continue
        irq = _read_irq(root, int(name), actions, lists, flagged)
        if irq is not None:
            irqs.append(irq)
    directories = root.list("/proc/irq")
    total = sum(name.isdigit() for name in directories.value or [])
    return Fact("value", Interrupts(irqs, max(0, total - len(irqs))), "/proc/irq")


def _read_actions(root: Root, name: str, row: Row) -> str | None:
    """Returns who handles an interrupt, as the kernel says or else as the row does; None if neither tells."""
    fact = root.read(f"/sys/kernel/irq/{name}/actions")
    if fact.value is not None:
        return fact.value.strip()
    return parse_actions(row.description) if row.whole else None


def parse_actions(description: str) -> str | None:
    """Returns the names of the handlers, which follow chip, hardware number and trigger; None if it cannot be told.

    `PCI-MSI 0-edge eth0`, `Hyper-V PCIe MSI 536870913-edge nvme0q1`, `IR-PCI-MSI-edge eth0`, `GICv3 33 Level eth0`. The
    kernel writes two blanks before them, which a text that was copied may have lost.
    """
    if match := _TRIGGER.search(description):
        return (match[1] or "").strip().replace(", ", ",")
    chip, _, rest = re.sub(r"\s{2,}", "\t", description.strip()).rpartition("\t")
    if not rest or (chip and rest.isdecimal()):
        return "" if description else None
    words = description.split(None, 2)
    named = rest if chip else words[2] if len(words) == 3 and words[1].isdecimal() else None
    return None if named is None else named.replace(", ", ",")


def _is_per_cpu(description: str, actions: str) -> bool:
    gic = _GIC.match(description)
    own = gic is not None and (int(gic[1]) < 32 or 1056 <= int(gic[1]) < 1120)
    return own or "percpu" in description or _PER_CPU.fullmatch(actions) is not None


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
    if irq_plan.is_virtual(link.value):
        return Fact("absent", None, path, irq_plan.VIRTUAL)
    for directory in (device, posixpath.dirname(device)):
        msi = root.list(f"{directory}/msi_irqs")
        line = "" if msi.value else root.read(f"{directory}/irq").value
        if numbers := irq_plan.find_device_irqs(msi.value or (), line or ""):
            return Fact("value", numbers, msi.source if msi.value else f"{directory}/irq")
    return make_unreadable(f"{device}/msi_irqs", msi.reason or "no interrupts found at the device")


def _read_irq(
    root: Root, number: int, actions: str | None, lists: dict[str, frozenset[int]], flagged: frozenset[str]
) -> Irq | None:
    def parse(text: str) -> frozenset[int]:
        if not text.endswith("\n"):
            raise ValueError("it is cut off")
        if text not in lists:
            lists[text] = cpu.parse_list(text)
        return lists[text]

    directory = f"/proc/irq/{number}"
    affinity = root.read(f"{directory}/smp_affinity_list").map(parse)
    effective = root.read(f"{directory}/effective_affinity_list").map(parse)
    if affinity.state == effective.state == "absent":
        return None  # freed since /proc/interrupts was read
    if affinity.state == "absent":  # the other is there
        affinity = make_unreadable(affinity.source, "missing")
    flags = root.read(f"{DEBUG}/{number}").value if str(number) in flagged else None
    if flags is not None:
        fixed = any(flag in flags for flag in FIXED_FLAGS)
        return Irq(number, actions, affinity, effective, "yes" if MANAGED_FLAG in flags else "no", fixed)
    first = (actions or "").partition(",")[0].strip()
    managed: Literal["no", "probably"] = "probably" if _MANAGED.fullmatch(first) else "no"
    return Irq(number, actions, affinity, effective, managed, _FIXED.fullmatch(first) is not None)
