"""What a launch promised, written down before exec for `hosttune attest` to compare with the kernel.

The launcher keeps an exclusive flock(2) on the record. It is released by the exec itself, or, where memory
has to be locked, by the preloaded library once it is: so whoever gets the lock knows that the program runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import Any

import msgspec

from hosttune.host import process
from hosttune.host.root import Live

FORMAT = 1


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """See docs/launch.md for the meaning of each field. `cpus` is a cpulist; -1 in `rlimits` is unlimited."""

    format: int = FORMAT
    pid: int
    starttime: int
    command: list[str]
    policy: str
    priority: int
    nice: int
    cpus: str
    user: str
    uid: int
    gid: int
    groups: list[int]
    memory_locked: bool
    cpu_dma_latency: bool
    timer_slack_ns: int
    leases: list[str]
    rlimits: dict[str, tuple[int, int]]
    forced: list[str]
    preflight: dict[str, Any]


def read_start_time(pid: int) -> int | None:
    """Read when a process of this host was started, in clock ticks since boot; None if it is gone.

    Raises OSError if the kernel does not tell.
    """
    fact = process.read_start_time(Live(), pid)
    if fact.state == "unreadable":
        raise OSError(f"{fact.source}: {fact.reason}")
    return fact.value


def build_path(run_directory: str, pid: int) -> str:
    """Returns the file of the record of a process."""
    return f"{run_directory}/launch/{pid}.json"


def write(run_directory: str, record: Record) -> int:
    """Write the record under its lock and return the locked descriptor (close-on-exec). Raises OSError."""
    os.makedirs(f"{run_directory}/launch", mode=0o755, exist_ok=True)
    remove_stale(run_directory)
    target = build_path(run_directory, record.pid)
    draft = f"{target}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft)  # left by a launch that was killed here and had the same PID
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.write(descriptor, msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    os.rename(draft, target)
    return descriptor


def load(run_directory: str, pid: int) -> Record | None:
    """Returns the record of this very process, or None where there is none (yet).

    Raises ValueError if there is one that this version does not understand, OSError if it is unreadable.
    """
    try:
        with open(build_path(run_directory, pid), "rb") as file:
            record = msgspec.json.decode(file.read(), type=Record)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise ValueError(f"{build_path(run_directory, pid)}: {error}") from None
    if record.format != FORMAT:
        raise ValueError(f"{build_path(run_directory, pid)}: format {record.format}, this hosttune reads {FORMAT}")
    return record if record.starttime == read_start_time(pid) else None


def is_released(run_directory: str, pid: int) -> bool:
    """Returns whether the launcher's lock on the record is gone, that is, whether the program runs."""
    descriptor = os.open(build_path(run_directory, pid), os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


def remove_stale(run_directory: str) -> None:
    """Remove the records of processes that are gone."""
    for name in os.listdir(f"{run_directory}/launch"):
        pid = name.removesuffix(".json")
        if not pid.isdigit():
            continue
        try:
            gone = load(run_directory, int(pid)) is None
        except (OSError, ValueError):
            gone = read_start_time(int(pid)) is None
        if gone:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{run_directory}/launch/{name}")
