"""`python -m benchmarks.desk.fair_clock CONFIG`: `desk sync CONFIG`, whose steps are measured by a fair clock: one that
stands still while a thread of the process is ready to run, and others have its CPU. So a step's time on a busy machine
is what the step waits for and works, and not what the machine's other users take: also of a thread that is kept from
running while it holds the interpreter's lock. Source: proc(5), /proc/PID/task/TID/schedstat.
"""

import contextlib
import os
import sys
import time
from pathlib import Path

_TASKS = Path("/proc/self/task")


class FairClock:
    """A clock of this process. On a kernel without schedstat all waiting counts."""

    def __init__(self) -> None:
        self._waited: dict[str, int] = {}

    def monotonic(self) -> float:
        """Returns seconds of CLOCK_MONOTONIC, without those that threads of this process have waited for a CPU."""
        for task in os.listdir(_TASKS):
            with contextlib.suppress(OSError, ValueError, IndexError):  # a thread that has just ended
                self._waited[task] = int((_TASKS / task / "schedstat").read_text().split()[1])
        return time.monotonic() - sum(self._waited.values()) / 1e9


def main() -> int:
    """Run `desk sync`. Returns its exit code."""
    from desk.cli.main import main as desk
    from desk.sync import run

    run.read_clock = FairClock().monotonic
    return desk(["sync", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
