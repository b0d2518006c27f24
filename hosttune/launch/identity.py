"""Which process it is: its number and when it was started, which name one process, once, until the next boot."""

from __future__ import annotations

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
    # A first thread that has ended is a zombie too, as long as there are others.
    return None if stat is None or (stat.state in "ZX" and stat.threads <= 1) else stat.start_time


def read_boot() -> str:
    """Returns the kernel's name for this boot (random(4)). Raises OSError."""
    with open(_BOOT, encoding="ascii") as file:
        return file.read().strip()
