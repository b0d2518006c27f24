#!/usr/bin/python3 -IBS
# SPDX-License-Identifier: Apache-2.0
"""usage: irq_affinity apply|check|watch|restore [PROFILE]

Keep device interrupts on the housekeeping CPUs, and those of named network interfaces on named CPUs, as the section
irq_affinity of PROFILE says. Managed by the role irq_affinity.

  apply    move what is elsewhere. Before the first move, where everything was is saved for `restore`.
  check    only say what apply would do
  watch    apply at the start and after each link that comes up: a driver requests its interrupts anew in ndo_open,
           and they then start wherever the default says
  restore  put everything back to where it was before the first apply, and forget it

Output, one line each: `changed: ...` (apply, restore), `wrong: ...` (check), `kept: ...` for an interrupt that the
kernel does not let go (managed, or per CPU), `failed: ...` for one that cannot go there for another reason,
`missing: ...` for an interface that is not there, `irqbalance: ...` when it runs and does not obey. These are not
errors. Exit status: 0 done; 1 the host could not be read or written; 2 usage,
or a profile that says nothing that could be applied.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import subprocess
import sys
import time
from typing import NamedTuple

# /usr/local/lib/hosttune holds this program, and in host/ the modules of hosttune that it shares with the check.
# Last on the path: nothing of that place may stand for a module of Python.
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from hosttune import output
from hosttune.host import cpulist, irq_plan

PROFILE = "/etc/hosttune/profile.d/irq_affinity.yml"
ROOT = os.environ.get("HOSTTUNE_ROOT", "")
# What keeps irqbalance from the interrupts of queues.
POLICY = "--policyscript=/usr/local/lib/hosttune/irqbalance_policy"
SAVED = "/var/lib/hosttune/irq_affinity/interrupts"
# Interrupts that refused to move since boot, so that check does not call them wrong.
KEPT = "/run/hosttune/irq_affinity/kept"
# Bytes of a file at most: the kernel's have a line of a page, and a process's environment has what execve(2) takes.
MOST_BYTES = 1 << 20
# What a write of an affinity is refused with (`write_irq_affinity` in kernel/irq/proc.c, and the drivers' own).
HELD = "the kernel keeps this interrupt where it is: it is managed, of one CPU, or cannot be moved"
REFUSALS = {
    errno.EIO: HELD,
    errno.EPERM: HELD,  # as of Linux 6.11
    errno.EACCES: "the file cannot be written",
    errno.EINVAL: "none of these CPUs is online, or there is none of this number",
    errno.ENOSPC: "these CPUs have no interrupt vector left",
    errno.EBUSY: "the interrupt is on its way to another CPU already",
}

# linux/rtnetlink.h, linux/netlink.h, linux/if.h
RTMGRP_LINK, RTM_NEWLINK, IFF_UP = 1, 16, 1
NLMSGHDR, IFINFOMSG = struct.Struct("=IHHII"), struct.Struct("=BxHiII")


class ProfileError(Exception):
    """The profile cannot be applied; the message says why."""


class Profile(NamedTuple):
    """The section irq_affinity. `queues` maps an interface to the CPUs of its queues, in turn."""

    housekeeping: frozenset[int]
    irqbalance: str
    queues: dict[str, tuple[int, ...]]


class Interrupt(NamedTuple):
    """An interrupt that somebody handles. `found` is its affinity list, as the kernel shows it."""

    number: int
    actions: str
    found: str


def parse_profile(text: str) -> Profile:
    """Read a profile: comments, then YAML that is JSON too. Raises ProfileError."""
    try:
        lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
        section = json.loads("\n".join(lines))["irq_affinity"]
        housekeeping = frozenset(cpulist.parse_sequence(section.get("housekeeping", "")))
        queues = {name: cpulist.parse_sequence(cpus) for name, cpus in section.get("queues", {}).items()}
        for name in queues:
            irq_plan.check_interface(name)
        irqbalance = str(section.get("irqbalance", "ignore"))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ProfileError(f"not as the role writes it ({type(error).__name__}: {error})") from None
    if not housekeeping:
        raise ProfileError("no housekeeping CPUs")
    if unlisted := [name for name, cpus in queues.items() if not cpus]:
        raise ProfileError(f"no CPUs for the queues of {', '.join(unlisted)}")
    return Profile(housekeeping, irqbalance, queues)


def say(line: str) -> None:
    """Print a line; what an interrupt or interface is called may hold a terminal's orders."""
    print(output.escape(line), flush=True)


def listed(cpus: frozenset[int]) -> str:
    """Return CPUs one by one, `0,1`: how this program writes and shows them."""
    return ",".join(map(str, sorted(cpus)))


# --- the host ---------------------------------------------------------------------------------------------


def text_of(path: str) -> str:
    """Return what is in a file, without waiting for anybody to write it. Raises OSError: EFBIG for over MOST_BYTES."""
    descriptor = os.open(ROOT + path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        data = b""
        while part := os.read(descriptor, 1 << 16):
            data += part
            if len(data) > MOST_BYTES:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), ROOT + path)
    finally:
        os.close(descriptor)
    return data.decode("utf-8", "replace")


def line_of(path: str) -> str:
    """Return the first line of a file, empty if it cannot be read."""
    try:
        return text_of(path).partition("\n")[0].strip()
    except OSError:
        return ""


def list_of(name: str) -> frozenset[int]:
    """Return the CPUs of a list of the kernel's in the CPUs' directory, none if it cannot be read."""
    text = line_of(f"/sys/devices/system/cpu/{name}")
    return cpulist.parse(cpulist.KernelList("" if text == "(null)" else text))


def names_in(path: str) -> list[str]:
    """Return the names in a directory, none if it cannot be read."""
    try:
        return os.listdir(ROOT + path)
    except OSError:
        return []


def write(path: str, text: str) -> None:
    """Replace a small file, and make its directory. Two applies at once do not mix. Raises OSError."""
    os.makedirs(os.path.dirname(ROOT + path), exist_ok=True)
    temporary = f"{ROOT}{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8", errors="replace") as file:
        file.write(text)
    os.replace(temporary, ROOT + path)


def affinity_path(number: int) -> str:
    return f"/proc/irq/{number}/smp_affinity_list"


def numbers() -> list[int]:
    """Return the numbers of all interrupts."""
    return sorted(int(name) for name in names_in("/proc/irq") if name.isdecimal())


def handlers(number: int) -> str:
    """Return who handles an interrupt, empty if nobody does."""
    return line_of(f"/sys/kernel/irq/{number}/actions")


def read_interrupts() -> list[Interrupt]:
    """Return the interrupts that somebody handles; one that is freed meanwhile is left out."""
    used = ((number, actions) for number in numbers() if (actions := handlers(number)))
    read = (Interrupt(number, actions, line_of(affinity_path(number))) for number, actions in used)
    return [interrupt for interrupt in read if interrupt.found]


def device_irqs(interface: str) -> frozenset[int]:
    """Return the interrupts of the device of an interface. A virtio device has them at the PCI device above it."""
    device = f"/sys/class/net/{interface}/device"
    for directory in (device, f"{device}/.."):
        if found := irq_plan.find_device_irqs(names_in(f"{directory}/msi_irqs"), line_of(f"{directory}/irq")):
            return found
    return frozenset()


def irqbalance_process() -> int | None:
    """Return the number of irqbalance's process, None if it does not run."""
    processes = sorted(int(name) for name in names_in("/proc") if name.isdecimal())
    return next(filter(is_irqbalance, processes), None)


def is_irqbalance(process: int) -> bool:
    """Tell whether a process is irqbalance: root's, and of its program or its unit. By its name anybody's could be."""
    try:
        status = text_of(f"/proc/{process}/status")
    except OSError:  # it has ended
        return False
    # All four: of a set-user-ID program that a user started, the real one is that user's.
    if not any(line.split() == ["Uid:", "0", "0", "0", "0"] for line in status.splitlines()):
        return False
    try:
        if irq_plan.is_in_service(text_of(f"/proc/{process}/cgroup"), irq_plan.IRQBALANCE_SERVICE):
            return True
        return os.readlink(f"{ROOT}/proc/{process}/exe").removesuffix(" (deleted)") in irq_plan.IRQBALANCE
    except (OSError, ValueError):  # a thread of the kernel, or it has ended
        return False


# --- what is to be done -----------------------------------------------------------------------------------


def queue_cpus(profile: Profile, interrupts: list[Interrupt]) -> dict[int, int]:
    """Return the CPU of each queue's interrupt. Says which interfaces are missing."""
    actions = {interrupt.number: interrupt.actions for interrupt in interrupts}
    placed: dict[int, int] = {}
    for interface, cpus in profile.queues.items():
        if not os.path.exists(f"{ROOT}/sys/class/net/{interface}"):
            say(f"missing: {interface}: no such network interface")
            continue
        for number in irq_plan.find_queue_irqs(interface, device_irqs(interface), actions):
            placed.setdefault(number, irq_plan.choose_queue_cpu(actions[number], cpus))
    return placed


def apply(profile_path: str, *, write_it: bool) -> None:
    """Move each interrupt that is elsewhere, or only say so. Raises ProfileError and OSError."""
    try:
        text = text_of(profile_path)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        raise ProfileError(f"found more than {MOST_BYTES} bytes, allowed: no more than that") from None
    profile = parse_profile(text)
    if write_it and not os.path.exists(ROOT + SAVED):
        save()
    refused = [] if write_it else line_of(KEPT).split()

    def move(name: str, path: str, value: str, text: str) -> None:
        if not write_it:
            say(f"{'kept' if name in refused else 'wrong'}: {text}")
            return
        try:
            put(path, value)
            say(f"changed: {text}")
        except OSError as error:
            meaning = REFUSALS.get(error.errno or 0, error.strerror)
            kept = meaning == HELD or error.errno == errno.EACCES
            say(f"{'kept' if kept else 'failed'}: {text} ({errno.errorcode.get(error.errno or 0)}: {meaning})")
            if kept:
                refused.append(name)

    default = "/proc/irq/default_smp_affinity"
    found = line_of(default)
    # Within housekeeping it may stay: irqaffinity= may ask for some of these CPUs alone.
    wanted = irq_plan.choose_affinity(cpulist.parse_mask(found), profile.housekeeping, None) if found else None
    if wanted is not None:
        mask = cpulist.show_mask(wanted)
        move("default_smp_affinity", default, mask, f"new interrupts: mask {found} -> {mask}")
    interrupts = read_interrupts()
    queues = queue_cpus(profile, interrupts)
    for number, actions, found in interrupts:
        allowed = cpulist.parse(cpulist.KernelList(found))
        wanted = irq_plan.choose_affinity(allowed, profile.housekeeping, queues.get(number))
        if wanted is not None:
            cpus = listed(wanted)
            move(str(number), affinity_path(number), cpus, f"irq {number} ({actions}): {found} -> {cpus}")
    if write_it:
        write(KEPT, " ".join(refused) + "\n")
    check_irqbalance(profile)


def put(path: str, value: str) -> None:
    """Write a value of the kernel's. Raises OSError."""
    descriptor = os.open(ROOT + path, os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(descriptor, value.encode() + b"\n")
    finally:
        os.close(descriptor)


def check_irqbalance(profile: Profile) -> None:
    """Say if irqbalance runs and does not obey."""
    process = None if profile.irqbalance == "ignore" else irqbalance_process()
    if process is None:
        return
    if profile.irqbalance == "stopped":
        say(f"irqbalance: runs as process {process}, and shall not")
        return
    try:
        environment = text_of(f"/proc/{process}/environ")
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return
    except OSError as error:
        say(f"unknown: irqbalance runs as process {process}, whose environment cannot be read: {error.strerror}")
        return
    command = line_of(f"/proc/{process}/cmdline").split("\0")
    if profile.queues and command != [""] and POLICY not in command:
        say(f"irqbalance: process {process} runs without {POLICY}, and moves the interrupts of queues")
    possible = list_of("possible") or list_of("present")
    wanted = irq_plan.find_banned_cpus(possible, profile.housekeeping)
    if not wanted:
        return
    try:
        banned = irq_plan.read_banned(irq_plan.parse_environ(environment))
    except ValueError as error:
        say(f"irqbalance: process {process}: {error}")
        return
    # Told nothing, irqbalance leaves alone what the kernel keeps free.
    found = banned.cpus if banned else list_of("isolated") | list_of("nohz_full")
    if not wanted <= found:
        why = f" ({banned.fault})" if banned and banned.fault else ""
        shown = f"'{listed(found & possible)}'{why}"
        say(f"irqbalance: process {process} is banned from CPUs {shown}, and shall be from '{listed(wanted)}'")


# --- undoing it -------------------------------------------------------------------------------------------


def save() -> None:
    """Write down where everything is: default MASK, irqbalance runs, NUMBER LIST HANDLERS. Raises OSError."""
    lines = [f"default {line_of('/proc/irq/default_smp_affinity')}"]
    lines += ["irqbalance runs"] if irqbalance_process() is not None else []
    lists = ((number, line_of(affinity_path(number))) for number in numbers())
    lines += [f"{number} {cpus} {handlers(number)}" for number, cpus in lists if cpus]
    write(SAVED, "\n".join(lines) + "\n")


def restore() -> None:
    """Put everything back that :func:`save` wrote down, and forget it. Raises OSError."""
    try:
        lines = text_of(SAVED).splitlines()
    except FileNotFoundError:
        return
    for line in filter(None, lines):
        name, before, actions = (*line.split(None, 2), "", "")[:3]
        if name == "irqbalance":
            say("irqbalance: ran before")
            continue
        # After a reboot the number may be another device's.
        if name != "default" and handlers(int(name)) != actions.strip():
            continue
        path = "/proc/irq/default_smp_affinity" if name == "default" else affinity_path(int(name))
        text = "new interrupts: mask" if name == "default" else f"irq {name} ({actions}):"
        found = line_of(path)
        if found == before:
            continue
        try:
            put(path, before)
            say(f"changed: {text} {found} -> {before}")
        except OSError:  # the kernel kept it before, too
            continue
    for path in (SAVED, KEPT):
        if os.path.exists(ROOT + path):
            os.unlink(ROOT + path)


# --- watching ---------------------------------------------------------------------------------------------


def watch(profile_path: str) -> None:
    """Apply at the start, and whenever the kernel tells of a link that is up, until it is ended. Raises OSError.

    At most one apply per second; a burst of events waits in the socket meanwhile, and whatever it was about, the last
    apply sees its outcome. Each apply is a process of its own, so that profile and program count as they are then.
    Source: rtnetlink(7).
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as events:
        # Before the first apply: what comes up after it is told, what was up before, it sees.
        events.bind((0, RTMGRP_LINK))
        while True:
            done = subprocess.run([os.path.abspath(__file__), "apply", profile_path])
            if done.returncode:
                say(f"failed: apply ended with {done.returncode}")
            wait_for_link(events)
            time.sleep(1)


def wait_for_link(events: socket.socket) -> None:
    """Wait until the kernel tells of a link that is up, or has told more than the socket could hold. Raises OSError."""
    while True:
        try:
            data, (sender, _) = events.recvfrom(1 << 16)
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return
            raise
        if sender == 0 and any(flags & IFF_UP for flags in link_flags(data)):  # 0: the kernel
            return


def link_flags(data: bytes) -> list[int]:
    """Return the flags of the links that RTM_NEWLINK messages in a datagram tell of (struct nlmsghdr, ifinfomsg)."""
    found = []
    while len(data) >= NLMSGHDR.size:
        length, kind = NLMSGHDR.unpack_from(data)[:2]
        if not NLMSGHDR.size <= length <= len(data):
            break
        if kind == RTM_NEWLINK and length >= NLMSGHDR.size + IFINFOMSG.size:
            found.append(IFINFOMSG.unpack_from(data, NLMSGHDR.size)[3])
        data = data[(length + 3) & ~3 :]
    return found


def main(arguments: list[str]) -> int:
    """Run one command. Returns the exit status."""
    command = arguments[0] if arguments else ""
    profile_path = arguments[1] if len(arguments) > 1 else PROFILE
    try:
        if command in ("apply", "check"):
            apply(profile_path, write_it=command == "apply")
        elif command == "watch":
            watch(profile_path)
        elif command == "restore":
            restore()
        else:
            print("usage: irq_affinity apply|check|watch|restore [PROFILE]", file=sys.stderr)
            return 2
    except ProfileError as error:
        print(output.escape(f"{profile_path}: {error}"), file=sys.stderr)
        return 2
    except (OSError, ValueError) as error:
        text = f"{error.filename or command}: {error.strerror}" if isinstance(error, OSError) else error
        print(output.escape(f"irq_affinity: {text}"), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
