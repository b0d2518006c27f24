"""Where the kernel shows its fair server, and since when.

Source: `kernel/sched/debug.c` of the Linux kernel. Standard library only: the controller's planning of the roles has
it too.
"""

from __future__ import annotations

DIRECTORY = "/sys/kernel/debug/sched/fair_server"
SINCE = (6, 12)


def build_path(cpu: int) -> str:
    """Returns the file with the nanoseconds of each period that ordinary tasks are promised on a CPU, 0 for none."""
    return f"{DIRECTORY}/cpu{cpu}/runtime"
