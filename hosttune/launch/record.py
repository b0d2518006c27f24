"""What a launch promised, written down before exec for `hosttune attest` to compare with the kernel.

The file is new, belongs to who launched, and is closed before exec: the program can change nothing in it. Whether the
program runs is not in it, but is the kernel's word: see Record.ready.
"""

from __future__ import annotations

import contextlib
import os
from typing import Annotated

import msgspec

from hosttune import files
from hosttune.host import cpulist
from hosttune.launch.identity import read_start_time
from hosttune.launch.plan import RLIMITS, Policy
from hosttune.launch.run_directory import RECORDS

FORMAT = 2
#: Bytes of a record. The command's words are all that can be long.
LIMIT = 8 << 20
# Records that one launch looks at, to remove those of the dead.
_MOST_STALE = 256

Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Limit = Annotated[int, msgspec.Meta(ge=-1, le=(1 << 63) - 1)]


class Preflight(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The verdict before the launch, and how many findings had which status."""

    verdict: str
    summary: dict[str, Number]


class Descriptor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A descriptor's number, and the file behind it by device and inode number (stat(2))."""

    number: Number
    device: Number
    inode: Number


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See docs/launch.md for the meaning of each field.

    `cpus` is a cpulist; -1 in `rlimits` is unlimited; `capabilities` are the most that each set of proc_pid_status(5)
    may hold, as bit masks. `ready` is a descriptor that the launched process has until the program runs: exec closes
    it, or where memory is to be locked, the preload library.
    """

    format: int = FORMAT
    pid: Annotated[int, msgspec.Meta(ge=1, le=(1 << 31) - 1)]
    starttime: Number
    command: list[str]
    policy: Policy
    priority: Number
    nice: Annotated[int, msgspec.Meta(ge=-20, le=19)]
    cpus: cpulist.KernelList
    user: str
    uid: Number
    gid: Number
    groups: list[Number]
    changes_user: bool
    capabilities: dict[str, Number]
    umask: Annotated[int, msgspec.Meta(ge=0, le=0o777)]
    memory_locked: bool
    cpu_dma_latency: Descriptor | None
    timer_slack_ns: Number
    leases: list[Number]
    rlimits: dict[str, tuple[Limit, Limit]]
    forced: list[str]
    preflight: Preflight
    ready: Descriptor


def build_path(run_directory: str, pid: int) -> str:
    """Returns the file of the record of a process."""
    return f"{run_directory}/{RECORDS}/{pid}.json"


def write(run_directory: str, record: Record) -> None:
    """Write the record, and remove those of the dead. Raises OSError, also for one that is larger than LIMIT."""
    remove_stale(run_directory)
    path = build_path(run_directory, record.pid)
    text = msgspec.json.format(msgspec.json.encode(record)) + b"\n"
    if len(text) > LIMIT:
        raise files.UntrustedFile(path, f"{len(text):,} bytes", f"{LIMIT:,}; the command is too long")
    files.replace_file(path, text, mode=0o644)


def parse(text: bytes, path: str) -> Record:
    """Returns the record that a file holds. Raises ValueError, which names the path, for another format or text."""
    try:
        found = msgspec.json.decode(text, type=_Head).format
        if found != FORMAT:
            raise ValueError(f"format {found}, this hosttune reads {FORMAT}")
        record = msgspec.json.decode(text, type=Record)
        cpulist.parse(record.cpus)
        if unknown := sorted(record.rlimits.keys() - RLIMITS):
            raise ValueError(f"rlimits: {unknown[0]!r} is no resource limit")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from None
    return record


def load(run_directory: str, pid: int) -> Record | None:
    """Returns the record of this very process, or None where there is none (yet).

    Raises ValueError if there is one that this version does not understand, OSError if it is unreadable or could have
    been written by another than root or this user.
    """
    path = build_path(run_directory, pid)
    try:
        record = parse(files.read_file(path, LIMIT), path)
    except FileNotFoundError:
        return None
    if record.pid != pid:
        raise ValueError(f"{path}: it is of process {record.pid}")
    return record if record.starttime == read_start_time(pid) else None


def remove_stale(run_directory: str) -> None:
    """Remove the records of processes that are gone, and drafts of them; of very many, the next launch removes more."""
    directory = f"{run_directory}/{RECORDS}"
    for name in os.listdir(directory)[:_MOST_STALE]:
        pid = name.lstrip(".").partition(".")[0]
        if not pid.isascii() or not pid.isdigit():
            continue
        try:
            own = name == f"{pid}.json"  # and no draft
            gone = read_start_time(int(pid)) is None or (own and load(run_directory, int(pid)) is None)
        except (OSError, ValueError):
            gone = False  # of a living process, and not understood: `hosttune attest` says so
        if gone:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{directory}/{name}")


class _Head(msgspec.Struct):
    format: int
