"""Which process it is: its number and when it was started, which name one process, once, until the next boot."""

from __future__ import annotations

import os

from hosttune.host import process
from hosttune.host.root import Live

_BOOT = "/proc/sys/kernel/random/boot_id"


def read_start_time(pid: int) -> int | None:
    """Read when a process of this host was started, in clock ticks since boot; None if it has ended.

    One that has ended and whose parent has not yet asked for its exit status has ended too.
    Raises OSError if the kernel does not tell.
    """
    fact = Live().read(f"/proc/{pid}/stat").map(process.parse_stat)
    if fact.state == "unreadable":
        raise OSError(f"{fact.source}: {fact.reason}")
    stat = fact.value
    if stat is None and _exists(pid):
        raise OSError(f"{fact.source}: hidden (proc(5), hidepid)")
    # A first thread that has ended is a zombie too, as long as there are others.
    return None if stat is None or (stat.state in "ZX" and stat.threads <= 1) else stat.start_time


def _exists(pid: int) -> bool:
    """By kill(2), which tells of processes that /proc hides from this user."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def read_boot() -> str:
    """Returns the kernel's name for this boot (random(4)). Raises OSError."""
    with open(_BOOT, encoding="ascii") as file:
        return file.read().strip()
