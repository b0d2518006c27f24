"""One launched process per CPU: `RUN/lease/cpuN.json` names the process that has it, for as long as that one lives.

Only root, or who launched without being root, can write, read or lock what is there. Nothing of a lease goes down to
the program, so the program can neither give it back nor pass it on, and nobody has to clean up: the lease of a process
that has ended is none.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Annotated

import msgspec

from hosttune import files
from hosttune.launch.identity import read_boot, read_start_time
from hosttune.launch.run_directory import LEASES
from hosttune.output import escape

# Another launch has the guard for less than a millisecond.
_PATIENCE = 1.0
_LIMIT = 4096
_SHOWN = 200


class Taken(Exception):
    """Another process has the CPU; the text says which."""


class Holder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A process, once: `pid`, `starttime` in clock ticks since boot, and `boot`; `namespace` is the inode of its PID
    namespace, in which `pid` counts. `command` says in words what it runs."""

    pid: Annotated[int, msgspec.Meta(ge=1)]
    starttime: int
    boot: str
    namespace: int
    command: str

    def __str__(self) -> str:
        return f"PID {self.pid} ({escape(self.command[:_SHOWN])})"


def describe_own(command: list[str]) -> Holder:
    """Returns this process as the holder of a lease. Raises OSError."""
    pid = os.getpid()
    started = read_start_time(pid)
    assert started is not None
    words = escape(" ".join(command))
    return Holder(pid, started, read_boot(), _read_namespace(), words if len(words) <= _SHOWN else f"{words[:_SHOWN]}…")


def build_path(run_directory: str, cpu: int) -> str:
    """Returns the file that says who has a CPU."""
    return f"{run_directory}/{LEASES}/cpu{cpu}.json"


def read_holder(run_directory: str, cpu: int) -> Holder | None:
    """Returns the living process that has the CPU, or None.

    Raises OSError where the file cannot be read or believed, ValueError where it is not understood.
    """
    path = build_path(run_directory, cpu)
    try:
        holder = msgspec.json.decode(files.read_file(path, _LIMIT, hidden=True), type=Holder)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"{path}: {error}; if no launched process is on CPU {cpu}, remove it") from None
    if holder.boot != read_boot():
        return None
    # A number of another namespace names another process here, or none.
    if holder.namespace == _read_namespace() and read_start_time(holder.pid) != holder.starttime:
        return None
    return holder


def acquire(run_directory: str, cpu: int, holder: Holder) -> None:
    """Take the CPU for a process. Raises :class:`Taken`, and OSError or ValueError as read_holder()."""
    with _guard(run_directory):
        other = read_holder(run_directory, cpu)
        if other is not None and other != holder:
            raise Taken(f"CPU {cpu} is leased to {other}")
        files.replace_file(build_path(run_directory, cpu), msgspec.json.encode(holder))


@contextlib.contextmanager
def _guard(run_directory: str) -> Iterator[None]:
    """Let one launch at a time look and take. The lock is on a file that nobody else can open."""
    path = f"{run_directory}/{LEASES}/guard"
    with contextlib.ExitStack() as opened:
        directory = files.open_directory(os.path.dirname(path))
        opened.callback(os.close, directory)
        try:
            descriptor = files.open_file("guard", os.O_RDONLY | os.O_CREAT, hidden=True, directory=directory)
        except OSError as error:
            error.filename = path
            raise
        opened.callback(os.close, descriptor)
        try:
            files.lock_file(descriptor, _PATIENCE)
        except BlockingIOError:
            raise Taken(f"another launch is about to take a CPU; it holds {path}") from None
        for name in os.listdir(directory):
            if name.startswith("."):  # a draft of a launch that was killed here
                os.unlink(name, dir_fd=directory)
        yield


def _read_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino
