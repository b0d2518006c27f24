"""What an engine makes in shared memory when it starts: its segment and its series of trades."""

import mmap
import os
from pathlib import Path
from typing import Any

from agent.config import Series
from agent.engine.errors import RunError
from agent.shm import _segment, place
from agent.shm import segment as shm


def create_segment(path: Path, size: int) -> tuple[mmap.mmap, shm.Segment | None]:
    """Returns a new segment of `size` zero bytes, mapped and backed by memory, and what the one said that it replaces:
    of an engine that has ended. What is no segment is kept under another name (agent.shm.place).

    Raises RunError when the engine of an existing one still runs, when others than this process's user and root could
    have made or written what is there, and when the file cannot be made.
    """
    old = None
    try:
        old = shm.read(path)
        if old.alive and old.state != "stopped":
            raise RunError(f"engine.name: {path} belongs to a running agent, pid {old.pid}")
    except shm.SegmentError:
        pass
    try:
        descriptor = place.create_file(path, size, _segment.MAGIC)
        try:
            return mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE), old
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RunError(f"engine.shm: {place.explain(error, path)}") from None


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
