"""What the kernel says about one process.

Sources: proc_pid_stat(5), proc_pid_status(5), proc_pid_smaps(5).
"""

from __future__ import annotations

import msgspec

from hosttune.host import cpulist
from hosttune.host.root import Fact, Root
from hosttune.host.sched import POLICY_NAMES

# mm/mlock.c, mlock_fixup(): VM_SPECIAL (VM_IO, VM_DONTEXPAND, VM_PFNMAP, VM_MIXEDMAP) and hugetlb mappings
# are never marked locked. Their letters in VmFlags:
_NEVER_LOCKED = frozenset({"io", "de", "pf", "mm", "ht"})
_LIMIT_NAMES = {
    "cpu": "Max cpu time",
    "fsize": "Max file size",
    "data": "Max data size",
    "stack": "Max stack size",
    "core": "Max core file size",
    "rss": "Max resident set",
    "nproc": "Max processes",
    "nofile": "Max open files",
    "memlock": "Max locked memory",
    "as": "Max address space",
    "sigpending": "Max pending signals",
    "msgqueue": "Max msgqueue size",
    "nice": "Max nice priority",
    "rtprio": "Max realtime priority",
    "rttime": "Max realtime timeout",
}


class Thread(msgspec.Struct, frozen=True):
    tid: int
    name: str
    policy: str
    priority: int
    nice: int
    cpus: frozenset[int]


class Memory(msgspec.Struct, frozen=True):
    """Kilobytes. `unlocked` names mappings with resident pages that are not locked, with those kilobytes."""

    locked: int
    resident: int
    unlocked: list[str]


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """What /proc says about one process. `capabilities` are its effective and permitted sets, or-ed."""

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


def read(root: Root, pid: int) -> Process:
    """Read one process. Raises :class:`Gone` if its files vanish."""
    here = f"/proc/{pid}"
    status = _lines(root, f"{here}/status")
    return Process(
        executable=root.link(f"{here}/exe"),
        threads=_threads(root, here),
        uids=[int(word) for word in status["Uid"].split()],
        gids=[int(word) for word in status["Gid"].split()],
        groups=sorted(int(word) for word in status["Groups"].split()),
        capabilities=int(status["CapEff"], 16) | int(status["CapPrm"], 16) | int(status.get("CapAmb", "0"), 16),
        memory=root.read(f"{here}/smaps").map(
            lambda text: Memory(_kilobytes(status, "VmLck"), _kilobytes(status, "VmRSS"), unlocked(text))
        ),
        rlimits=_rlimits(root, here),
        timer_slack=root.read(f"{here}/timerslack_ns").map(int),
        descriptors=_descriptors(root, here),
    )


def unlocked(smaps: str) -> list[str]:
    """Mappings of /proc/PID/smaps with resident pages and without the `lo` flag, except unlockable ones."""
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


def _text(root: Root, path: str) -> str:
    fact = root.read(path)
    if fact.value is None:
        raise Gone(f"{path}: {fact.reason}")
    return fact.value


def _lines(root: Root, path: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in _text(root, path).splitlines())
    return {name: value.strip() for name, _, value in pairs}


def _kilobytes(status: dict[str, str], name: str) -> int:
    return int(status.get(name, "0 kB").split()[0])


def _threads(root: Root, here: str) -> list[Thread]:
    threads = []
    for tid in sorted(int(name) for name in root.list(f"{here}/task").value or []):
        stat = root.read(f"{here}/task/{tid}/stat").value
        status = root.read(f"{here}/task/{tid}/status").value
        if stat is None or status is None:
            continue  # a thread that ended meanwhile
        head, _, tail = stat.rpartition(")")
        fields = tail.split()
        allowed = next(line.split()[1] for line in status.splitlines() if line.startswith("Cpus_allowed_list"))
        threads.append(
            Thread(
                tid,
                head.partition("(")[2],
                POLICY_NAMES.get(int(fields[38]), fields[38]),
                int(fields[37]),
                int(fields[16]),
                cpulist.parse(allowed),
            )
        )
    if not threads:
        raise Gone(f"{here}/task: no thread can be read")
    return threads


def _rlimits(root: Root, here: str) -> dict[str, tuple[int, int]]:
    text = _text(root, f"{here}/limits")
    limits = {}
    for name, title in _LIMIT_NAMES.items():
        for line in text.splitlines():
            if line.startswith(title):
                soft, hard = (-1 if word == "unlimited" else int(word) for word in line[len(title) :].split()[:2])
                limits[name] = (soft, hard)
    return limits


def _descriptors(root: Root, here: str) -> Fact[list[str]]:
    names = root.list(f"{here}/fd")
    if names.value is None:
        return names
    return Fact("value", [root.link(f"{here}/fd/{name}").value or "" for name in names.value], f"{here}/fd")
