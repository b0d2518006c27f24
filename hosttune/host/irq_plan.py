"""Which CPUs an interrupt shall go to: the rules that the role irq_affinity applies and the check judges by.

Sources: `Documentation/core-api/irq/irq-affinity.rst` and `Documentation/networking/scaling.rst` of the Linux kernel;
the names that its network drivers give to their interrupts. Standard library only, and pure: the role installs this
file on hosts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from hosttune.host import cpulist

# Interrupts of a network card that carry no packets.
_CONTROL = re.compile(
    r"(^|[-_:@.])(config|event|async\d*|ctrl|control|misc|mbx|aq|admin|mgmnt|fdir|ptp|cmd|pages|lsc|link)($|[-_:@.])|async"
)
_LAST_NUMBER = re.compile(r"[0-9]+$")


#: Where irqbalance's program may be, and the unit that runs it: a process is irqbalance by one of these, never by name.
IRQBALANCE = ("/usr/sbin/irqbalance", "/usr/bin/irqbalance", "/sbin/irqbalance", "/usr/local/sbin/irqbalance")
IRQBALANCE_SERVICE = "irqbalance.service"
#: The variables that tell irqbalance which CPUs to leave alone.
BANNED_LIST, BANNED_MASK = "IRQBALANCE_BANNED_CPULIST", "IRQBALANCE_BANNED_CPUS"


def is_in_service(cgroup: str, service: str) -> bool:
    """Returns whether /proc/PID/cgroup names the group of a system service, or one below it. Raises ValueError for more
    text than that file has."""
    if len(cgroup) > 1 << 16:
        raise ValueError(f"{len(cgroup)} characters; it has a line for each hierarchy")
    path = f"/system.slice/{service}"
    groups = [line.split(":", 2) for line in cgroup.splitlines()]
    own = [group[2] for group in groups if len(group) == 3 and group[1] in ("", "name=systemd")]
    return any(each == path or each.startswith(f"{path}/") for each in own)


def check_interface(name: str) -> None:
    """Raise ValueError unless `name` can be the name of a network interface (`dev_valid_name` in net/core/dev.c)."""
    if not name or name in (".", "..") or len(name.encode()) > 15 or re.search(r"[/:\s]", name):
        raise ValueError(f"{name!r} is not the name of a network interface")


#: Why a virtual interface cannot have CPUs for its queues.
VIRTUAL = "a virtual interface has no interrupts: name the card below it"


def is_virtual(link: str) -> bool:
    """Returns whether an interface is a bond, a bridge, a VLAN or the like, by its link in /sys/class/net."""
    return "/devices/virtual/" in f"/{link}"


def find_device_irqs(msi_irqs: Iterable[str], irq: str) -> frozenset[int]:
    """Returns the interrupts of a device.

    `msi_irqs` are the names in its sysfs directory of that name, `irq` is the text of its file of that name, which
    counts only where the device has no message-signalled interrupts; "0" and "" mean none.
    """
    numbers = frozenset(int(name) for name in msi_irqs if name.isdecimal())
    if numbers or not irq.strip().isdecimal():
        return numbers
    return frozenset({int(irq)} - {0})


def carries_packets(actions: str, interface: str, alone: bool) -> bool:
    """Returns whether an interrupt of a card is a queue's, by the name that the driver gives it."""
    if alone:
        return True
    return actions != interface and not _CONTROL.search(actions)


def find_queue_irqs(interface: str, device: Collection[int], actions: Mapping[int, str]) -> list[int]:
    """Returns the interrupts of an interface's queues that are in use, in rising order.

    `device` are all interrupts of the card, `actions` the handlers of each interrupt that has any.
    """
    own = sorted(number for number in device if actions.get(number))
    return [number for number in own if carries_packets(actions[number], interface, alone=len(own) == 1)]


def parse_queue_number(actions: str) -> int:
    """Returns the number of a queue, the last of the interrupt's name, 0 if the name has none.

    `eth0-rxtx-3`, `virtio0-input.3` and `mlx5_comp3@pci:0000:01:00.0` are all queue 3.
    """
    match = _LAST_NUMBER.search(actions.partition("@")[0])
    return int(match[0]) if match else 0


def choose_queue_cpu(actions: str, cpus: Sequence[int]) -> int:
    """Returns the CPU of a queue's interrupt: queue N gets the Nth of the CPUs, over and over."""
    return cpus[parse_queue_number(actions) % len(cpus)]


def choose_affinity(found: frozenset[int], housekeeping: frozenset[int], queue: int | None) -> frozenset[int] | None:
    """Returns where an interrupt has to be moved, None if it may stay where it was `found`.

    A queue's interrupt belongs on its CPU, `queue`; any other (None) may be anywhere within housekeeping.
    """
    wanted = housekeeping if queue is None else frozenset({queue})
    stays = found == wanted if queue is not None else bool(found) and found <= housekeeping
    return None if stays else wanted


def find_banned_cpus(possible: frozenset[int], housekeeping: frozenset[int]) -> frozenset[int]:
    """Returns the CPUs that irqbalance has to leave alone."""
    return possible - housekeeping


def parse_environ(text: str) -> dict[str, str]:
    """Returns the variables of /proc/PID/environ; of two of one name the first counts, as for getenv(3)."""
    pairs = (entry.partition("=") for entry in reversed(text.split("\0")))
    return {name: value for name, equals, value in pairs if equals}


def read_banned(environment: Mapping[str, str]) -> cpulist.Banned | None:
    """Returns the CPUs that an environment bans irqbalance from, None if it has no word on it.

    A mask goes before a list, and an empty mask is none. Raises ValueError for an empty list alone: up to 1.9.5 it is
    none, too, and later it bans no CPU.
    """
    if mask := environment.get(BANNED_MASK):
        return cpulist.parse_irqbalance_mask(cpulist.IrqbalanceMask(mask))
    text = environment.get(BANNED_LIST)
    if text == "":
        raise ValueError(f"{BANNED_LIST} is set and empty, which versions of irqbalance read in two ways")
    return None if text is None else cpulist.parse_irqbalance(cpulist.IrqbalanceList(text))
