"""What the kernel says about one process.

Sources: proc_pid_status(5), proc_pid_smaps(5), proc_pid_timerslack_ns(5), proc_pid_fd(5).
"""

from __future__ import annotations

from functools import reduce
from operator import or_

import msgspec

from hosttune.host import limits, process
from hosttune.host.process import Thread
from hosttune.host.root import Fact, Root

# mm/mlock.c, mlock_fixup(): VM_SPECIAL (VM_IO, VM_DONTEXPAND, VM_PFNMAP, VM_MIXEDMAP) and hugetlb mappings
# are never marked locked. Their letters in VmFlags:
_NEVER_LOCKED = frozenset({"io", "de", "pf", "mm", "ht"})


class Memory(msgspec.Struct, frozen=True):
    """Kilobytes. `unlocked` names mappings with resident pages that are not locked, with those kilobytes."""

    locked: int
    resident: int
    unlocked: list[str]


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """What /proc says about one process.

    `capabilities` is a bit mask of all that it can use: the permitted, effective and ambient sets, or-ed. `rlimits`
    are (soft, hard), -1 for unlimited. `descriptors` are the paths of its open files.
    """

    executable: Fact[str]
    threads: list[Thread]
    uids: list[int]
    gids: list[int]
    groups: list[int]
    capabilities: int
    memory: Fact[Memory]
    rlimits: dict[str, tuple[int, int]]
    timer_slack: Fact[int]
    descriptors: Fact[list[str]]


class Gone(Exception):
    """The process is not there (any more)."""


def read_process(root: Root, pid: int) -> Process:
    """Read one process. Raises :class:`Gone` if its files vanish."""
    here = f"/proc/{pid}"
    status = _require_text(root, f"{here}/status")
    rlimits = limits.parse_proc(_require_text(root, f"{here}/limits"))
    threads = process.read_threads(root, pid)
    if not threads:
        raise Gone(f"{here}/task: no thread can be read")
    return Process(
        executable=root.link(f"{here}/exe"),
        threads=threads,
        uids=_parse_numbers(status, "Uid"),
        gids=_parse_numbers(status, "Gid"),
        groups=sorted(_parse_numbers(status, "Groups")),
        capabilities=reduce(or_, process.parse_capabilities(status).values()),
        memory=root.read(f"{here}/smaps").map(lambda text: _parse_memory(status, text)),
        rlimits={name: (_as_rlimit(limit.soft), _as_rlimit(limit.hard)) for name, limit in rlimits.items()},
        timer_slack=root.read(f"{here}/timerslack_ns").map(int),
        descriptors=_read_descriptors(root, here),
    )


def find_unlocked(smaps: str) -> list[str]:
    """Returns the mappings of /proc/PID/smaps with resident pages and without the `lo` flag, except unlockable ones."""
    found = []
    name, resident = "", 0
    for line in smaps.splitlines():
        key, _, value = line.partition(":")
        if key == "Rss":
            resident = int(value.split()[0])
        elif key == "VmFlags":
            flags = set(value.split())
            if resident and "lo" not in flags and not flags & _NEVER_LOCKED:
                found.append(f"{name} ({resident} kB)")
        elif "-" in key.split(" ", 1)[0]:
            fields = line.split(None, 5)
            name, resident = fields[5] if len(fields) > 5 else f"anonymous {fields[0]}", 0
    return found


def _require_text(root: Root, path: str) -> str:
    fact = root.read(path)
    if fact.value is None:
        raise Gone(f"{path}: {fact.reason}")
    return fact.value


def _parse_memory(status: str, smaps: str) -> Memory:
    return Memory(_parse_kilobytes(status, "VmLck"), _parse_kilobytes(status, "VmRSS"), find_unlocked(smaps))


def _parse_numbers(status: str, name: str) -> list[int]:
    return [int(word) for word in process.find_field(status, name).split()]


def _parse_kilobytes(status: str, name: str) -> int:
    return int((process.find_field(status, name) or "0 kB").split()[0])


def _as_rlimit(value: int) -> int:
    """Returns a limit as a launch record has it: -1 for unlimited."""
    return -1 if value == limits.UNLIMITED else value


def _read_descriptors(root: Root, here: str) -> Fact[list[str]]:
    names = root.list(f"{here}/fd")
    if names.value is None:
        return names
    return Fact("value", [root.link(f"{here}/fd/{name}").value or "" for name in names.value], f"{here}/fd")
