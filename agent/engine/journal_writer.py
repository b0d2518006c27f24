"""The journal of `agent run`: its ring, and the writer's process, from start to end."""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.config import Journal
from agent.engine.errors import RunError
from agent.journal import file as journal
from agent.journal import record
from agent.journal.errors import JournalError
from agent.journal.layout import MAGIC, OLD_MAGIC
from agent.journal.rebuild import State, Sum
from agent.journal.writer import EVERY, drain
from agent.shm import place
from hosttune.host import cpulist
from hosttune.host.housekeeping import read_helper_cpus
from hosttune.host.root import Live
from hosttune.output import escape, print_message

#: Seconds for the journal's writer of an engine that was killed to write what is left, and to end.
_WRITER_ENDS = 10.0
#: Seconds for the writer to write what is left when the engine is done.
_WRITER_EMPTIES = 30.0
#: What to do about a ring that an engine left and that cannot be emptied into the file. Nothing does it unasked: what
#: the ring holds may be executions, and the positions would be wrong.
ADVICE = "the journal may lack what is in it: compare the positions with the exchange's, then move it away"


def start_writer(ring: Path, path: Path, held: int) -> int:
    """Start the journal's writer, a process of its own at ordinary priority, on the housekeeping CPUs. All that is done
    from here: with the engine's real-time priority its start would come before the engine's, and what is left to the
    writer itself on the engine's CPU may never get to run.

    ring, path: of the journal's ring and file. held: of journal.hold(), which the writer keeps until it ends.
    Returns the process's number. Raises RunError.
    """
    # What the launcher left open (/dev/cpu_dma_latency) ends with the engine.
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2:
            with contextlib.suppress(OSError):  # the listing's own is closed
                os.set_inheritable(descriptor, False)
    try:
        writer = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", "agent.journal.writer", str(ring), str(path), str(os.getpid())],
            {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "NOTIFY_SOCKET")},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, held, 3),
            ],
            scheduler=(os.SCHED_OTHER, os.sched_param(0)),
        )
    except OSError as error:
        raise RunError(f"journal: its writer could not be started: {error.strerror}") from None
    place_helper(writer, "the journal's writer")
    return writer


def place_helper(process: int, name: str) -> None:
    """Have a helper of this process run on housekeeping CPUs, and say so where that is not possible.

    process: its number. An isolated CPU is another engine's, or will be: what is put there stays there.
    """
    cpus, wrong = read_helper_cpus(Live(), frozenset(os.sched_getaffinity(0)))
    try:
        if cpus:
            os.sched_setaffinity(process, cpus)
    except ProcessLookupError:
        return
    except OSError as error:
        wrong = f"CPUs {cpulist.show(cpus)}: {error.strerror}"
    if wrong:
        where = cpulist.show(frozenset(os.sched_getaffinity(process)))
        print_message(escape(f"agent: {name} runs on CPUs {where}: {wrong}"))


def end_writer(writer: int, seconds: float = _WRITER_EMPTIES) -> None:
    """Ask the journal's writer to empty the ring and to end, and wait for it; kill it after so many seconds."""
    handle = os.pidfd_open(writer)
    os.kill(writer, signal.SIGTERM)
    if not select.select([handle], [], [], seconds)[0]:
        os.kill(writer, signal.SIGKILL)
    os.close(handle)
    os.waitpid(writer, 0)


def drain_ring(ring: Any, path: Path) -> None:
    """Write what is left in the journal's ring to its file. Raises RunError: then it stays in the ring."""
    from agent.shm.ring import RingError

    try:
        with journal.Appender(path) as end:
            while drain(ring, end):
                pass
    except (RingError, JournalError) as error:
        why = str(error).removeprefix(f"{ring.path}: ")
        raise RunError(f"journal: {ring.path}: {why}; {ADVICE}") from None
    except OSError as error:
        raise RunError(f"journal: {path}: {error.strerror}; what it lacks is kept in {ring.path}") from None


def drain_left_ring(ring_path: Path, path: Path, seconds: float = _WRITER_ENDS) -> None:
    """Write what an engine that was killed had said, and its writer had not written, and remove the ring. That writer
    ends by itself, and is waited for. A ring that nobody had begun to write is removed. Raises RunError, RingError and
    OSError; then the ring stays."""
    from agent.shm.ring import Ring, RingHeld

    if is_unwritten(ring_path):
        ring_path.unlink()
        return
    limit = time.monotonic() + seconds
    while True:
        try:
            left = Ring.attach(ring_path, "reader")
            break
        except RingHeld:
            if time.monotonic() > limit:
                raise
            time.sleep(0.01)
    with left:
        drain_ring(left, path)
    ring_path.unlink()


def is_unwritten(ring_path: Path) -> bool:
    """Whether an engine was killed between making its ring and writing the ring's header, or has never been there."""
    descriptor = place.open_file(ring_path, os.O_RDONLY)
    try:
        return not any(os.read(descriptor, 64))
    finally:
        os.close(descriptor)


def recover(path: Path, ring_path: Path, symbols: list[str]) -> State:
    """Returns what the journal at path says, with what is left in the ring. The file is read before: where it cannot be
    believed nothing is taken off the ring. What a lost write has left at the file's end is moved away, and it is said.
    Raises RunError and JournalError."""
    from agent.shm.ring import RingError

    lost, converted = journal.create(path, symbols)
    if lost:
        _say(
            path,
            f"moved the last {lost:,} bytes, of a write that was lost (a power failure?), to {journal.tail_of(path)}",
        )
    if converted:
        _say(path, f"was in the layout before, {OLD_MAGIC.decode()}, and is in {MAGIC.decode()} now")
    total = _add_up(path)
    try:
        if os.path.lexists(ring_path):
            drain_left_ring(ring_path, path)
    except RingError as error:
        raise RunError(f"journal: {error}; {ADVICE}") from None
    except OSError as error:
        raise RunError(f"journal: {place.explain(error, ring_path)}; {ADVICE}") from None
    with journal.Journal(path) as file:
        _archive(file, file.add_up(total))
    return total.state


def _say(path: Path, what: str) -> None:
    print_message(escape(f"agent: {path}: {what}"))


def _add_up(path: Path) -> Sum:
    """Returns what the journal adds up to: its snapshot and the records behind that, or all records where there is no
    snapshot to be believed, which is said. Raises JournalError."""
    with journal.Journal(path) as file:
        total, why = file.read_snapshot()
        if why:
            _say(path, f"the whole file is read, its snapshot is not used: {why}")
        kept = total.records if total else 0
        total = file.add_up(total)
        if total.records - kept >= EVERY:
            try:
                file.write_snapshot(total)
            except OSError as error:
                _say(path, f"no snapshot was written: {error.strerror}")
        return total


def _archive(file: journal.Journal, total: Sum) -> None:
    """Begin a new file where the journal's is long, and say so."""
    if file.size >= journal.ARCHIVE_BYTES:
        try:
            old = file.archive(total)
            _say(file.path, f"begins anew behind record {total.records:,}; those before are in {old}, and not needed")
        except OSError as error:
            _say(file.path, f"has {file.size:,} bytes, and could not be archived: {error.strerror}")


@contextlib.contextmanager
def open_journal(wanted: Journal, name: str, segment: Path, symbols: list[str]) -> Iterator[tuple[Any, State]]:
    """The journal's ring for the engine to write, and what the journal says so far. When the engine is done its writer
    is asked to empty the ring and is waited for.

    name: the engine's, with its shard. segment: the path of its segment, which the ring's is derived from.
    Raises RunError and JournalError of agent.journal.
    """
    from agent.shm.ring import Ring, RingError

    path = journal.path_of(wanted.directory, name)
    ring_path = place.ring_of(segment)
    # The writer of an engine that was killed holds it until it has written what is left.
    with journal.hold(path, _WRITER_ENDS) as held:
        state = recover(path, ring_path, symbols)
        try:
            ring = Ring.create(ring_path, wanted.ring * record.SIZE, record=record.SIZE)
        except RingError as error:
            raise RunError(f"journal: {error}") from None
        try:
            writer = start_writer(ring_path, path, held)
        except BaseException:
            ring.close()
            ring_path.unlink()
            raise
        try:
            yield ring, state
        finally:
            end_writer(writer)
            # systemd stops both at once: the writer may have been the first to go.
            ring.close()
            with Ring.attach(ring_path, "reader") as left:
                drain_ring(left, path)
            ring_path.unlink()
