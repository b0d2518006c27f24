"""The journal's writer: a process of its own that appends what is in the journal's ring to the file.

    python -m agent.journal.writer RING FILE PARENT

The engine (process PARENT) starts it. Exit code 0; 1 when the ring cannot be read or the file cannot be written: the
records stay in the ring.
"""

import os
import signal
import sys
import time
from pathlib import Path

from agent.errors import AgentError
from agent.shm.ring import Ring
from hosttune.output import escape, print_message

#: Seconds between two looks at an empty ring. The ring is as safe from the engine's death as the file; the longer, the
#: fewer wake-ups.
_PAUSE = 0.05


def drain(ring: Ring, descriptor: int) -> int:
    """Append what is in the ring to the file, then take it off the ring. Returns how many records it was. Raises
    OSError when the file cannot be written, RingError when the ring is damaged."""
    block = ring.peek_block()
    count = len(block) // ring.record_size
    if count:
        data = memoryview(block)
        while data:
            data = data[os.write(descriptor, data) :]
        os.fdatasync(descriptor)
        ring.commit(count)
    return count


def write(ring_path: Path, path: Path, parent: int) -> None:
    """Drain the ring until SIGTERM and an empty ring, or until the engine (process `parent`) is gone and the ring is
    empty. Raises OSError and RingError as drain(), and when the ring or the file cannot be opened."""
    stop = False

    def request_stop(number: int, frame: object) -> None:
        nonlocal stop
        stop = True

    signal.signal(signal.SIGTERM, request_stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ring = Ring.attach(ring_path, "reader")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        while True:
            if drain(ring, descriptor):
                continue
            if stop or os.getppid() != parent:
                return
            time.sleep(_PAUSE)
    finally:
        os.close(descriptor)


def main() -> int:
    """Run the writer with the arguments of the process. Returns its exit code."""
    ring, file, parent = sys.argv[1:]
    try:
        write(Path(ring), Path(file), int(parent))
    except (AgentError, OSError) as error:
        print_message(escape(f"agent: journal {file}: {getattr(error, 'strerror', None) or error}"))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
