"""The journal's writer: `python -m agent.writer RING FILE PARENT`, started by the engine."""

import contextlib
import os
import sys
from pathlib import Path


def leave_the_engine(parent: int) -> None:
    """Ordinary priority, and any CPU but the engine's, where the kernel allows it."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    with contextlib.suppress(OSError):
        engine = os.sched_getaffinity(parent)
        every = set(range(os.cpu_count() or 1))
        os.sched_setaffinity(0, every - engine or every)


def main() -> int:
    ring, file, parent = sys.argv[1:]
    leave_the_engine(int(parent))
    from agent import journal  # late: importing it is work, which is not for the engine's CPU either

    return journal.write(Path(ring), Path(file), int(parent))


if __name__ == "__main__":
    sys.exit(main())
