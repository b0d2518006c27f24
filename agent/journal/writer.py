"""The journal's writer: a process of its own that appends what is in the journal's ring to the file.

    python -m agent.journal.writer RING FILE PARENT

The engine (process PARENT) starts it. Exit code 0; 1 when the ring cannot be read, when it holds what no engine writes,
or when the file cannot be written: the records stay in the ring.
"""

import os
import signal
import sys
import time
from pathlib import Path

from agent.errors import AgentError
from agent.journal.errors import JournalError
from agent.journal.file import Appender
from agent.journal.rebuild import Sum
from agent.journal.record import SIZE
from agent.shm.ring import Ring
from hosttune.output import escape, print_message

#: Seconds between two looks at an empty ring. The ring is as safe from the engine's death as the file; the longer, the
#: fewer wake-ups.
_PAUSE = 0.05


#: Records from one snapshot to the next, and so those that a restart reads: some hundredths of a second.
EVERY = 1 << 17


class Snapshots:
    """What a journal adds up to while it is appended to, kept beside it now and then. Whatever goes wrong with it costs
    the next start time, and no record: it is said once, and there are no more."""

    def __init__(self, journal: Appender) -> None:
        self._journal = journal
        self._sum: Sum | None = None
        try:
            total, _ = journal.read_snapshot()
            self._kept = total.records if total else 0
            self._sum = journal.add_up(total)
        except Exception as error:
            self._give_up(error)

    def add(self, records: bytes) -> None:
        """Add records that are in the file."""
        if self._sum is None:
            return
        try:
            self._sum.add(records)
            if self._journal.last - self._kept >= EVERY:
                self._journal.write_snapshot(self._sum)
                self._kept = self._journal.last
        except Exception as error:  # the records go on, whatever it is
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._sum = None
        why = str(getattr(error, "strerror", None) or error)
        print_message(
            escape(f"agent: journal {self._journal.path}: no more snapshots, the next start takes longer: {why}")
        )


def drain(ring: Ring, journal: Appender, snapshots: Snapshots | None = None) -> int:
    """Append what is in the ring to the file, then take it off the ring. Returns how many records it was. Raises
    OSError when the file cannot be written, RingError when the ring is damaged, and JournalError for a record that no
    engine writes, which stays in the ring with all behind it."""
    if ring.record_size != SIZE:
        raise JournalError(f"{ring.path}: records of {ring.record_size} bytes, allowed: {SIZE}")
    block = ring.peek_block()
    count = journal.append(block)
    if snapshots and count:
        snapshots.add(bytes(block))
    ring.commit(count)
    return count


def write(ring_path: Path, path: Path, parent: int) -> None:
    """Drain the ring until SIGTERM and an empty ring, or until the engine (process `parent`) is gone and the ring is
    empty. Raises OSError, RingError and JournalError as drain(), and when the ring or the file cannot be opened."""
    stop = False

    def request_stop(number: int, frame: object) -> None:
        nonlocal stop
        stop = True

    signal.signal(signal.SIGTERM, request_stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ring = Ring.attach(ring_path, "reader")
    with Appender(path) as journal:
        snapshots = Snapshots(journal)
        while True:
            if drain(ring, journal, snapshots):
                continue
            if stop or os.getppid() != parent:
                return
            time.sleep(_PAUSE)


def main() -> int:
    """Run the writer with the arguments of the process. Returns its exit code."""
    ring, file, parent = sys.argv[1:]
    try:
        write(Path(ring), Path(file), int(parent))
    except (AgentError, OSError) as error:
        why = str(getattr(error, "strerror", None) or error).removeprefix(f"{file}: ")
        print_message(escape(f"agent: journal {file}: {why}"))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
