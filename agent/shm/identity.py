"""Which process has written a file in shared memory: the kernel's boot, the process id and its start time name it.

Source: proc(5). hosttune.host reads the same from any root, recorded ones too; an agent's start does not wait for it.
"""

import errno
import os
from pathlib import Path


def read_boot_id() -> str:
    """Returns the kernel's random id of this boot, 36 characters."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def read_start_time(pid: int) -> int | None:
    """Returns field 22 of /proc/PID/stat, in clock ticks after boot; None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return int(stat.rpartition(b")")[2].split()[19])


def own() -> tuple[int, int]:
    """Returns the process id of this process, and its start time in clock ticks after boot. Raises OSError where /proc
    does not say: by a time of 0 others would take this process for dead, and its place."""
    pid = os.getpid()
    started = read_start_time(pid)
    if started is None:
        raise OSError(errno.ENOENT, "/proc does not show this process", f"/proc/{pid}/stat")
    return pid, started


def is_alive(boot_id: str, pid: int, start_time: int) -> bool:
    """Returns whether the process still runs: of this boot, with this number and this start time (clock ticks)."""
    return bool(pid) and boot_id == read_boot_id() and read_start_time(pid) == start_time
