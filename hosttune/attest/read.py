"""What the kernel says about one process.

Sources: proc_pid_status(5), proc_pid_smaps(5), proc_pid_timerslack_ns(5), proc_pid_fd(5), proc_pid_fdinfo(5),
`Documentation/power/pm_qos_interface.rst` and `Documentation/admin-guide/devices.txt` of the Linux kernel.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Callable
from itertools import islice
from typing import TypeVar

import msgspec

from hosttune import files
from hosttune.attest.children import Child, read_children
from hosttune.host import limits, limits_lines, process
from hosttune.host.process import Thread
from hosttune.host.root import Fact, Root, make_unreadable
from hosttune.launch import DMA_LATENCY
from hosttune.launch.record import Descriptor, Record
from hosttune.patterns import late_pattern

T = TypeVar("T")

# mm/mlock.c, mlock_fixup(): VM_SPECIAL (VM_IO, VM_DONTEXPAND, VM_PFNMAP, VM_MIXEDMAP), hugetlb and, since Linux 6.11,
# droppable mappings (VM_DROPPABLE: what the vDSO's getrandom() keeps) are never marked locked. Letters in VmFlags:
_NEVER_LOCKED = frozenset({"io", "de", "pf", "mm", "ht", "dp"})
# The other letters that proc_pid_smaps(5) and `fs/proc/task_mmu.c` of Linux 6.18 have: they do not keep from locking.
_LOCKABLE = frozenset({
    "rd", "wr", "ex", "sh", "mr", "mw", "me", "ms", "gd", "gu", "dw", "lo", "lf", "sr", "rr", "dc", "ac", "nr", "sf",
    "ar", "dd", "sd", "hg", "nh", "mg", "bt", "wf", "mt", "um", "uw", "ui", "ss", "sl", "nl",
})  # fmt: skip
# One mapping of smaps: what its head line names, its resident kilobytes and its flags. The kernel writes a line end
# within a name as \012.
_MAPPING = late_pattern(r"^([0-9a-f]+-[0-9a-f]+) \S+ \S+ \S+ \S+ *(.*)\n(?:(?!VmFlags:|Rss:).*\n)*"
                      r"Rss: +(\d+) kB\n(?:(?!VmFlags:).*\n)*VmFlags: ?(.*)$", re.MULTILINE)  # fmt: skip

#: More threads or descriptors than this are not read: a program that makes so many would have attest wait for it.
MOST = 4096
#: Nor are more bytes of smaps, of which the kernel writes about 700 for each mapping; 60,000 of them cost seconds.
MOST_SMAPS = 6 << 20
# A program that starts and ends threads all the time may hide one; so the list has to stay as it is once.
_TRIES = 5


class Memory(msgspec.Struct, frozen=True):
    """Kilobytes. `unlocked` names mappings with resident pages that are not locked, with those kilobytes; `unclear`
    such with a flag that this version does not know, so that the kernel may refuse to lock them."""

    locked: int
    resident: int
    unlocked: list[str]
    unclear: list[str] = []


class OpenFile(msgspec.Struct, frozen=True):
    """A descriptor of the process: where it leads, whether it can be written to, and whether it is a terminal, of which
    `owner` is the user."""

    number: int
    path: str
    writable: bool
    terminal: bool
    owner: int


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """What /proc says about one process.

    `starttime` names it, with its number. `capabilities` are the sets by their names, as bit masks; `rlimits` are
    (soft, hard), -1 for unlimited; `terminal` is the device number of the controlling terminal, 0 for none. `latency`
    are the microseconds that the kernel now grants, None if the process has no longer the descriptor of its request.
    """

    executable: Fact[str]
    starttime: Fact[int]
    threads: Fact[list[Thread]]
    uids: list[int]
    gids: list[int]
    groups: list[int]
    capabilities: Fact[dict[str, int]]
    no_new_privileges: Fact[int]
    umask: Fact[int]
    terminal: Fact[int]
    memory: Fact[Memory]
    rlimits: dict[str, tuple[int, int]]
    timer_slack: Fact[int]
    latency: Fact[int | None]
    descriptors: Fact[list[OpenFile]]
    children: Fact[list[Child]]


class Gone(Exception):
    """The process is not there (any more)."""


def read_process(root: Root, promised: Record) -> Process:
    """Read one process. Raises :class:`Gone` if its files vanish."""
    here = f"/proc/{promised.pid}"
    status = _require_text(root, f"{here}/status")
    rlimits = limits.parse_proc(_require_text(root, f"{here}/limits"))
    stat_line = root.read(f"{here}/stat").map(process.parse_stat)
    known = Fact("value", status, f"{here}/status")
    return Process(
        executable=root.link(f"{here}/exe"),
        starttime=stat_line.map(lambda found: found.start_time),
        threads=_read_threads(root, promised.pid),
        uids=_parse_numbers(status, "Uid"),
        gids=_parse_numbers(status, "Gid"),
        groups=sorted(_parse_numbers(status, "Groups")),
        capabilities=known.map(process.parse_capabilities),
        no_new_privileges=known.map(lambda text: int(process.find_field(text, "NoNewPrivs"))),
        umask=known.map(lambda text: int(process.find_field(text, "Umask"), 8)),
        terminal=stat_line.map(lambda found: found.terminal),
        memory=_read_memory(f"{here}/smaps", status) if promised.memory_locked else Fact("absent"),
        rlimits={name: (_as_rlimit(limit.soft), _as_rlimit(limit.hard)) for name, limit in rlimits.items()},
        timer_slack=root.read(f"{here}/timerslack_ns").map(int),
        latency=_ask(DMA_LATENCY, lambda: _read_latency(promised)),
        descriptors=_ask(f"{here}/fd", lambda: _read_descriptors(f"{here}/fd")),
        children=read_children(
            root, promised.pid, lambda pid: _read_other_memory(root, pid), frozenset(promised.leases)
        ),
    )


def has_descriptor(pid: int, wanted: Descriptor) -> bool:
    """Returns whether a process has this very file open at this number. Raises OSError if it cannot be told."""
    try:
        found = os.stat(f"/proc/{pid}/fd/{wanted.number}")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return (found.st_dev, found.st_ino) == (wanted.device, wanted.inode)


def find_unlocked(smaps: str, ask_refused: Callable[[], frozenset[str]]) -> tuple[list[str], list[str]]:
    """Returns the mappings of /proc/PID/smaps with resident pages and without the `lo` flag, except unlockable ones:
    those that could be locked, and those of which it is not known.

    ask_refused: returns flags of mappings that this kernel refuses to lock; asked only where a flag is not known.
    Raises ValueError for text that holds none: locked memory has flags (Linux 3.8).
    """
    found: list[str] = []
    unclear: list[str] = []
    for addresses, name, resident, letters in _split_mappings(smaps):
        if resident == "0" or "lo" in letters or not _NEVER_LOCKED.isdisjoint(letters):
            continue
        unknown = letters - _LOCKABLE
        shown = f"{name or f'anonymous {addresses}'} ({resident} kB)"
        if not unknown:
            found.append(shown)
        elif unknown.isdisjoint(ask_refused()):
            unclear.append(f"{shown}, {' '.join(sorted(unknown))}")
    return found, unclear


def find_refused(smaps: str) -> frozenset[str]:
    """Returns the flags that only mappings without `lo` have, of a process that has just locked all that it can."""
    kinds = [letters for _, _, _, letters in _split_mappings(smaps)]
    locked = {letter for letters in kinds if "lo" in letters for letter in letters}
    return frozenset(letter for letters in kinds for letter in letters if letter not in locked)


def _split_mappings(smaps: str) -> list[tuple[str, str, str, frozenset[str]]]:
    """Returns addresses, name, resident kilobytes and flags of each mapping. Raises ValueError."""
    mappings = _MAPPING.findall(smaps)
    if not mappings or len(mappings) != smaps.count("\nVmFlags:"):
        raise ValueError("mappings without VmFlags")
    return [(addresses, name, resident, frozenset(flags.split())) for addresses, name, resident, flags in mappings]


def _try_refused() -> frozenset[str]:
    """Lock all memory of a child, and return the flags of what the kernel left out; none where it refuses it all."""
    import ctypes  # late: only a kernel with newer flags needs it

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            if ctypes.CDLL(None).mlockall(1) == 0:  # MCL_CURRENT
                with open("/proc/self/smaps", encoding="utf-8", errors="replace") as smaps:
                    os.write(writer, " ".join(sorted(find_refused(smaps.read()))).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, encoding="ascii") as pipe:
        refused = frozenset(pipe.read().split())
    os.waitpid(child, 0)
    return refused


def _require_text(root: Root, path: str) -> str:
    fact = root.read(path)
    if fact.value is None:
        raise Gone(f"{path}: {fact.reason}")
    return fact.value


def _ask(source: str, read: Callable[[], T]) -> Fact[T]:
    try:
        return Fact("value", read(), source)
    except OSError as error:
        return make_unreadable(source, error.strerror or str(error))


def _read_threads(root: Root, pid: int) -> Fact[list[Thread]]:
    """Returns all threads, unreadable unless they are all: those that were listed before and after are those read."""
    source = f"/proc/{pid}/task"
    for _ in range(_TRIES):
        names = root.list(source)
        if names.value is None:
            return names.drop_value()
        if len(names.value) > MOST:
            return make_unreadable(source, f"more than {MOST:,} threads")
        try:
            threads = process.read_threads(root, pid)
        except ValueError as error:
            return make_unreadable(source, str(error))
        read = {str(thread.tid) for thread in threads}
        if threads and read == set(names.value) == set(root.list(source).value or ()):
            return Fact("value", threads, source)
    return make_unreadable(source, "threads began or ended each time they were read")


def _read_memory(path: str, status: str) -> Fact[Memory]:
    """Returns what smaps says, unreadable for more than MOST_SMAPS bytes."""

    def read_smaps() -> str:
        descriptor = os.open(path, os.O_RDONLY | files.SAFE)
        try:
            return files.read_bounded(descriptor, MOST_SMAPS, path).decode(errors="replace")
        except files.UntrustedFile:
            raise OSError(f"more than {MOST_SMAPS >> 20} MiB, of about 8,000 mappings") from None
        finally:
            os.close(descriptor)

    locked, resident = _parse_kilobytes(status, "VmLck"), _parse_kilobytes(status, "VmRSS")
    return _ask(path, read_smaps).map(lambda text: Memory(locked, resident, *find_unlocked(text, _try_refused)))


def _read_other_memory(root: Root, pid: int) -> Fact[tuple[int, list[str]]]:
    """Returns what is locked of a process, and what is not; absent for one that has ended."""
    status = root.read(f"/proc/{pid}/status")
    if status.value is None:
        return status.drop_value()
    memory = _read_memory(f"/proc/{pid}/smaps", status.value)
    if memory.value is None:
        ended = process.find_field(root.read(f"/proc/{pid}/status").value or "", "State")[:1] in ("", "Z", "X")
        return Fact("absent", None, memory.source, "ENOENT") if ended else memory.drop_value()
    return Fact("value", (memory.value.locked, memory.value.unlocked), memory.source)


def _parse_numbers(status: str, name: str) -> list[int]:
    return [int(word) for word in process.find_field(status, name).split()]


def _parse_kilobytes(status: str, name: str) -> int:
    return int((process.find_field(status, name) or "0 kB").split()[0])


def _as_rlimit(value: int) -> int:
    """Returns a limit as a launch record has it: -1 for unlimited."""
    return -1 if value == limits_lines.UNLIMITED else value


def _read_latency(promised: Record) -> int | None:
    """Returns what the kernel grants to all requests together; reading it asks for nothing. Raises OSError."""
    if promised.cpu_dma_latency is None or not has_descriptor(promised.pid, promised.cpu_dma_latency):
        return None
    descriptor = os.open(DMA_LATENCY, os.O_RDONLY | files.SAFE)
    try:
        (granted,) = struct.unpack("=i", os.read(descriptor, 4))
    finally:
        os.close(descriptor)
    return int(granted)


def _read_descriptors(directory: str) -> list[OpenFile]:
    """Raises OSError, also for more than MOST."""
    with os.scandir(directory) as entries:
        numbers = [int(entry.name) for entry in islice(entries, MOST + 1)]
    if len(numbers) > MOST:
        raise OSError(f"more than {MOST:,} open files")
    found = []
    for number in numbers:
        try:
            path, status = os.readlink(f"{directory}/{number}"), os.stat(f"{directory}/{number}")
            # proc_pid_fd(5): the link's own mode says what the descriptor is open for.
            writable = bool(os.lstat(f"{directory}/{number}").st_mode & stat.S_IWUSR)
        except (FileNotFoundError, ProcessLookupError):
            continue  # closed meanwhile
        terminal = stat.S_ISCHR(status.st_mode) and _is_terminal(status.st_rdev)
        found.append(OpenFile(number, path, writable, terminal, status.st_uid))
    return sorted(found, key=lambda one: one.number)


def _is_terminal(device: int) -> bool:
    """devices.txt: 4 are consoles and serial lines, 5 /dev/tty and /dev/console (5:2 makes new terminals), 136 to 143
    the other ends of those."""
    major, minor = os.major(device), os.minor(device)
    return major == 4 or (major == 5 and minor != 2) or 136 <= major <= 143
