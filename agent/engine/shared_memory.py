"""What an engine makes in shared memory when it starts: its segment and its series of trades."""

import contextlib
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.config import Series
from agent.engine.errors import RunError
from agent.shm import _segment, place
from agent.shm import segment as shm


def refuse_running(path: Path) -> None:
    """Raise RunError where the engine of the segment at path still runs."""
    with contextlib.suppress(shm.SegmentError):
        old = shm.read(path)
        if old.alive and old.state != "stopped":
            raise RunError(f"engine.name: {path} belongs to a running agent, pid {old.pid}")


class NewSegment:
    """A new segment, which lies beside its path until put_in_place(): until then what an engine left there stays, since
    a start that fails is to lose nothing of it. memory: mapped."""

    def __init__(self, path: Path, draft: Path, memory: mmap.mmap) -> None:
        self.path, self.memory, self._draft = path, memory, draft

    def put_in_place(self) -> tuple[shm.Segment | None, bool]:
        """Put the segment at its path, with the kill switch on where that of the one there is.

        Returns what that one says, of an engine that has ended, as it was when it was replaced (a command that writes
        it later writes the new one as well); None: there is none that can be read; and whether there is one that this
        agent cannot read, of another version, say: its switch may be on, and counts as on. What is no segment is kept
        under another name (agent.shm.place). Raises RunError as create_segment().
        """
        with _named(self.path), contextlib.ExitStack() as held:
            old = None
            with contextlib.suppress(FileNotFoundError):
                old = place.open_file(self.path, os.O_RDONLY)
                held.callback(os.close, old)
            left, unread = _read_left(old)
            refuse_running(self.path)
            if unread or (left and left.limits["kill"]):
                at = _segment.limits()["kill"].offset
                self.memory[at : at + 8] = (1).to_bytes(8, "little")
            place.put_in_place(self._draft, self.path, _segment.MAGIC)
            return _read_left(old)


def _read_left(descriptor: int | None) -> tuple[shm.Segment | None, bool]:
    """Returns as put_in_place(). descriptor: of what is at the segment's path, None: nothing. Raises OSError."""
    if descriptor is None:
        return None, False
    data = os.pread(descriptor, shm.MOST_BYTES + 1, 0)
    try:
        return shm.decode(data, "segment"), False
    except shm.SegmentError:
        return None, data.startswith(_segment.MAGIC)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"engine.shm: {place.explain(error, path)}") from None


@contextlib.contextmanager
def create_segment(path: Path, size: int) -> Iterator[NewSegment]:
    """Yields a new segment of `size` zero bytes, mapped and backed by memory; its file is removed at the end unless it
    was put in its place.

    Raises RunError when the engine of an existing one still runs, when others than this process's user and root could
    have made or written what is there, and when the file cannot be made.
    """
    draft = path.with_name(f".{path.name}.new")
    refuse_running(path)
    with _named(path):
        with contextlib.suppress(FileNotFoundError):
            os.close(place.open_file(path, os.O_RDONLY))
        descriptor = place.create_file(draft, size, _segment.MAGIC)
    try:
        with _named(path):
            try:
                memory = mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
            finally:
                os.close(descriptor)
        yield NewSegment(path, draft, memory)
    finally:
        draft.unlink(missing_ok=True)


def create_series(wanted: Series, segment: Path, symbols: list[str]) -> Any:
    """Returns the writer of the series, None where the configuration asks for none. segment: the path of the engine's
    segment, which the default path is derived from. Raises RunError."""
    if not wanted.capacity:
        return None
    from agent.shm import series

    path = Path(wanted.path) if wanted.path else place.series_of(segment)
    try:
        return series.create(path, symbols, wanted.capacity)
    except series.SeriesError as error:
        raise RunError(f"series.path: {error}") from None
