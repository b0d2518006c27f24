"""What an engine makes in shared memory when it starts: its segment and its series of trades."""

import mmap
import os
from pathlib import Path
from typing import Any

from agent.config import Series
from agent.engine.errors import RunError
from agent.shm import segment as shm


def create_segment(path: Path, size: int) -> mmap.mmap:
    """Returns a new segment of `size` zero bytes, mapped and backed by memory. One left by an engine that has ended is
    replaced.

    Raises RunError when the engine of an existing one still runs, or the file cannot be made.
    """
    try:
        old = shm.read(path)
        if old.alive and old.state != "stopped":
            raise RunError(f"engine.name: {path} belongs to a running agent, pid {old.pid}")
    except shm.SegmentError:
        pass
    try:
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            os.posix_fallocate(descriptor, 0, size)
            return mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RunError(f"engine.shm: {path}: {error.strerror}") from None


def create_series(wanted: Series, segment: Path, symbols: list[str]) -> Any:
    """Returns the writer of the series, None where the configuration asks for none. segment: the path of the engine's
    segment, which the default path is derived from. Raises RunError."""
    if not wanted.capacity:
        return None
    from agent.shm import series

    path = Path(wanted.path) if wanted.path else segment.with_name(segment.name + shm.SERIES_SUFFIX)
    try:
        return series.create(path, symbols, wanted.capacity)
    except series.SeriesError as error:
        raise RunError(f"series.path: {error}") from None
