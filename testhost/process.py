"""Naming and ending processes so that one which is not ours is never touched.

A pid is reused; pid and start time together are not, within one boot. See proc_pid_stat(5) and pidfd_open(2).
"""

from __future__ import annotations

import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROC = Path("/proc")


def boot_id(proc: Path = PROC) -> str:
    """Random id of this boot of the machine."""
    return (proc / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def start_time(pid: int, proc: Path = PROC) -> int | None:
    """Start time of a process in clock ticks since boot; None if there is no such process or it is a zombie."""
    try:
        stat = (proc / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The command name in parentheses may contain spaces and parentheses itself.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


@dataclass(frozen=True)
class Process:
    """One process of one boot: pid, start time in clock ticks, boot id."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this pid now."""
        started = start_time(pid)
        return None if started is None else cls(pid, started, boot_id())

    @classmethod
    def from_json(cls, value: Any) -> Process | None:
        """Reads what to_json wrote; None for anything else."""
        try:
            return cls(int(value["pid"]), int(value["started"]), str(value["boot"]))
        except (KeyError, TypeError, ValueError):
            return None

    def to_json(self) -> dict[str, Any]:
        return {"pid": self.pid, "started": self.started, "boot": self.boot}

    def alive(self) -> bool:
        """Whether this very process still runs; another one that got its pid does not count."""
        return self.boot == boot_id() and start_time(self.pid) == self.started

    def end(self, number: int, timeout: float) -> bool:
        """Sends a signal and waits until the process is gone. True if it is gone, also when it was before.

        The pidfd is opened first and the identity checked after, so the signal cannot reach a successor of the pid.
        """
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.alive():
                return True
            signal.pidfd_send_signal(fd, number)
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            return bool(poller.poll(int(timeout * 1000))) or not self.alive()
        except ProcessLookupError:
            return True
        finally:
            os.close(fd)
