"""The engine's process: `python -m desk.report.child CPU FILE CONFIG` is `agent run CONFIG --once` on one CPU, which
writes into FILE what only the process itself knows: the collector's pauses, and how much memory it held."""

import atexit
import json
import os
import sys
from pathlib import Path

from agent.cli import main
from desk import pauses
from desk.report.before import read_peak


def run(cpu: int, file: Path, config: str) -> int:
    """Returns the exit code of `agent run`. What is written is [[[begin, length], ...], bytes], times in ns of
    CLOCK_MONOTONIC."""
    os.sched_setaffinity(0, {cpu})
    found: list[tuple[int, int]] = []
    pauses.watch(lambda begun, length, generation: found.append((begun, length)))
    atexit.register(lambda: file.write_text(json.dumps([found, read_peak()])))
    return main(["run", config, "--once"])


if __name__ == "__main__":
    sys.exit(run(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
