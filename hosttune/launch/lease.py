"""One launched process per CPU: an flock(2) that the process itself holds, so it cannot outlive it.

The lock is on `RUN/lease/cpuN.lock`, through a descriptor that survives exec. Nobody has to clean up: the
kernel releases it with the last process that has the descriptor.
"""

from __future__ import annotations

import fcntl
import os
import time

import msgspec

# A probe by another launch holds the lock for some microseconds.
_PATIENCE = 0.2


class Taken(Exception):
    """Another process has the CPU; the text says which."""


def build_path(run_directory: str, cpu: int) -> str:
    """Returns the file whose lock leases a CPU."""
    return f"{run_directory}/lease/cpu{cpu}.lock"


def read_holder(run_directory: str, cpu: int) -> str | None:
    """Returns who has the CPU, in words, or None. Raises OSError where the lock file cannot be opened."""
    try:
        descriptor = os.open(build_path(run_directory, cpu), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return None if _lock(descriptor, fcntl.LOCK_SH, 0) else _describe_holder(descriptor)
    finally:
        os.close(descriptor)


def acquire(run_directory: str, cpu: int, pid: int, command: list[str]) -> int:
    """Take the CPU for `pid`; returns the descriptor that holds it, inheritable.

    Raises :class:`Taken`, or OSError.
    """
    os.makedirs(f"{run_directory}/lease", mode=0o755, exist_ok=True)
    descriptor = os.open(build_path(run_directory, cpu), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if not _lock(descriptor, fcntl.LOCK_EX, _PATIENCE):
        words = _describe_holder(descriptor)
        os.close(descriptor)
        raise Taken(f"CPU {cpu} is leased to {words}")
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, msgspec.json.encode({"pid": pid, "command": command}), 0)
    os.set_inheritable(descriptor, True)
    return descriptor


def _lock(descriptor: int, kind: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.005)


def _describe_holder(descriptor: int) -> str:
    try:
        entry = msgspec.json.decode(os.pread(descriptor, 1 << 16, 0))
        return f"PID {entry['pid']} ({' '.join(entry['command'])})"
    except (OSError, msgspec.MsgspecError, KeyError, TypeError):
        return "a process that has not said who it is"
