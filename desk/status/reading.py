"""What is there now, as plain data: engines, rings, the desk's processes and what the kernel says of each.

Each part that cannot be read is a line of its own in `unknown`, and takes nothing else with it. A process may be gone
between any two reads: then there is no usage of it.
"""

import itertools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil

from agent.shm import identity, place
from agent.shm import segment as shm
from agent.shm.ring import Fill, RingError, read_fill
from agent.shm.segment import Segment, SegmentError
from desk import counters
from desk.counters import CountersError, Snapshot
from hosttune.host import cpu
from hosttune.host.root import Live, Root

#: Engines, rings and processes that are looked at, at most of each.
MOST = 256
#: How the names of rings end in the agent's directory.
_RINGS = (place.RING_SUFFIX, ".ring")
_POLICIES = {
    os.SCHED_OTHER: "other",
    os.SCHED_BATCH: "batch",
    os.SCHED_IDLE: "idle",
    os.SCHED_FIFO: "fifo",
    os.SCHED_RR: "rr",
    6: "deadline",  # sched(7), of which os has no name
}


class Wanted(NamedTuple):
    """What a configuration says should be there. processes: names of counters; rings: paths; engines: names, or their
    segments' paths."""

    processes: tuple[str, ...] = ()
    rings: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()


class Usage(msgspec.Struct, frozen=True):
    """What the kernel says of a process. cpu_seconds: since its start; rss: bytes; cpus: where it may run; policy: of
    its scheduling; status: of psutil, such as running, sleeping, stopped."""

    cpu_seconds: float
    rss: int
    threads: int
    cpus: frozenset[int]
    policy: str
    nice: int
    status: str


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One look. at: seconds of CLOCK_MONOTONIC. isolated: CPUs that the kernel keeps free; None: not known. usage: by
    pid, of the processes of the desk and of the engines that are there. unknown: what could not be read. wanted: what a
    configuration says should be there."""

    at: float
    engines: tuple[Segment, ...]
    rings: dict[str, Fill]
    processes: tuple[Snapshot, ...]
    usage: dict[int, Usage]
    isolated: frozenset[int] | None
    unknown: tuple[str, ...]
    wanted: Wanted = Wanted()


def read(at: float, wanted: Wanted, root: Root | None = None) -> Reading:
    """Returns what is there now. root: whose CPUs are looked at; None: this host's."""
    unknown: list[str] = []
    directories = list(dict.fromkeys((place.own_directory(), place.SYSTEM)))
    engines = _read_engines(directories, wanted.engines, unknown)
    processes = _read_processes(directories, wanted.processes, unknown)
    pids = {one.pid: one.start_time for one in engines} | {one.pid: one.start_time for one in processes}
    usage = {pid: found for pid, start in pids.items() if (found := read_usage(pid, start, unknown))}
    return Reading(
        at=at,
        engines=tuple(engines),
        rings=_read_rings(directories, wanted.rings, unknown),
        processes=tuple(processes),
        usage=usage,
        isolated=_read_isolated(root or Live(), unknown),
        unknown=tuple(unknown),
        wanted=wanted,
    )


def is_engine(one: Segment, name: str) -> bool:
    """Returns whether an engine is the one that a configuration has by its name, or by its segment's path."""
    return one.path == name if name.startswith("/") else place.name_of(Path(one.path)) == name


def _read_engines(directories: list[Path], wanted: tuple[str, ...], unknown: list[str]) -> list[Segment]:
    found: list[Segment] = []
    unreadable = len(unknown)
    for directory in directories:
        try:
            names = place.list_segments(directory)
        except FileNotFoundError:
            continue
        except OSError as error:
            unknown.append(place.explain(error, directory))
            continue
        for name in names[:MOST]:
            try:
                found.append(shm.read(directory / name))
            except SegmentError as error:
                unknown.append(f"engine: {error}")
        if len(names) > MOST:
            unknown.append(f"{directory}: {len(names) - MOST} more engines than the {MOST} that are looked at")
    missing = [name for name in wanted if not any(is_engine(one, name) for one in found)]
    if len(unknown) == unreadable:
        unknown += [f"engine {name}: has never run here, and desk.toml has it" for name in missing
                    if not name.startswith("/")]  # fmt: skip
    for path in [name for name in missing if name.startswith("/")]:
        try:
            found.append(shm.read(Path(path)))
        except SegmentError as error:
            unknown.append(f"engine: {error}")
    return found


def _read_processes(directories: list[Path], wanted: Iterable[str], unknown: list[str]) -> list[Snapshot]:
    found: list[Snapshot] = []
    unreadable = 0
    for directory in directories:
        try:
            listed = counters.list_all(directory)
        except CountersError as error:
            unknown.append(str(error))
            unreadable += 1
            continue
        for one in listed[:MOST]:
            if isinstance(one, Snapshot):
                found.append(one)
            else:
                unknown.append(f"desk process: {one}")
        if len(listed) > MOST:
            unknown.append(f"{directory}: {len(listed) - MOST} more processes than the {MOST} that are looked at")
    names = {one.name for one in found}
    if not unreadable:
        unknown += [f"desk process {name}: has never run here, and desk.toml has it" for name in wanted
                    if name not in names]  # fmt: skip
    return found


def _read_rings(directories: list[Path], wanted: Iterable[str], unknown: list[str]) -> dict[str, Fill]:
    given = [Path(path) for path in wanted]
    listed: list[Path] = []
    for directory in directories:
        try:
            descriptor = place.open_directory(directory, reading=True)
        except OSError:
            continue  # said with the engines
        try:
            with os.scandir(descriptor) as entries:
                names = sorted(entry.name for entry in itertools.islice(entries, place.MOST_NAMES))
        finally:
            os.close(descriptor)
        listed += [directory / name for name in names if name.endswith(_RINGS)]
    found = {}
    paths = list(dict.fromkeys([*given, *listed]))
    if len(paths) > MOST:
        unknown.append(f"{len(paths) - MOST} more rings than the {MOST} that are looked at")
    for path in paths[:MOST]:
        try:
            found[str(path)] = read_fill(path)
        except RingError as error:
            if path in given or os.path.lexists(path):  # else it has gone since it was listed
                unknown.append(f"ring: {error}")
    return found


def read_usage(pid: int, start_time: int, unknown: list[str]) -> Usage | None:
    """Returns what the kernel says of a process; None where it is gone, or is another one with its number. start_time:
    in clock ticks after boot."""
    try:
        if pid <= 0 or identity.read_start_time(pid) != start_time:
            return None
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            policy = os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK
            found = Usage(
                cpu_seconds=times.user + times.system,
                rss=process.memory_info().rss,
                threads=process.num_threads(),
                cpus=frozenset(process.cpu_affinity() or ()),
                policy=_POLICIES.get(policy, str(policy)),
                nice=process.nice(),
                status=process.status(),
            )
        # Its number may have become another one's meanwhile.
        return found if identity.read_start_time(pid) == start_time else None
    except (psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
        return None
    except (psutil.Error, OSError) as error:
        unknown.append(f"process {pid}: {error}")
        return None


def _read_isolated(root: Root, unknown: list[str]) -> frozenset[int] | None:
    found = cpu.read(root)
    cpus: frozenset[int] = frozenset()
    for fact in (found.isolated, found.partitioned):
        if fact.state == "unreadable":
            unknown.append(f"isolated CPUs: {fact.source}: {fact.reason}")
            return None
        cpus |= fact.value or frozenset()
    return cpus
