"""The file beside a ring that says how far the ring is: RING.place.

The writer of a ring may be killed at any moment. Which records are in the ring its bytes do not say, since the reader
takes them off; so the writer notes it, in shared memory, before each publication (_lane.pyx has the layout and the
order). The file is of one ring: of the inode that it names.
"""

import contextlib
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from agent.shm import place
from agent.shm.ring import Ring, RingError
from desk.errors import DeskError
from desk.ingest._lane import PLACE_SIZE

SUFFIX = ".place"
_MAGIC = b"HTPLACE1"
_HEAD = struct.Struct("<8sQ")


def explain_strange(ring: Path) -> str:
    """Returns what is said of a ring that has been written to, by whom its place file does not say."""
    return (f"{ring}{SUFFIX}: does not say how far the ring is, which has been written to: end its reader, and remove "
            f"{ring}")  # fmt: skip


@contextlib.contextmanager
def open_ring(path: Path, capacity: int, record: int) -> Iterator[tuple[Ring, mmap.mmap]]:
    """Yields the writer of a ring, which is made where it is missing, and the memory of its place file.

    capacity: bytes, where it is made; record: bytes of each of its records, 0: they vary. Raises DeskError: the ring is
    another one, or cannot be used; or it was written to by a writer that has left no place.
    """
    beside = path.with_name(path.name + SUFFIX)
    try:
        ring = Ring.open_writer(path, capacity, record)
    except RingError as error:
        raise DeskError(str(error)) from None
    with ring:
        if ring.record_size != record:
            raise DeskError(f"{path}: found records of {ring.record_size} bytes (0: of any size), allowed: {record}")
        with _open_place(beside, path, ring) as memory:
            yield ring, memory


@contextlib.contextmanager
def _open_place(path: Path, of: Path, ring: Ring) -> Iterator[mmap.mmap]:
    try:
        inode = os.stat(of, follow_symlinks=False).st_ino
        descriptor = place.open_file(path, os.O_RDWR | os.O_CREAT)
        try:
            os.posix_fallocate(descriptor, 0, PLACE_SIZE)
            memory = mmap.mmap(descriptor, PLACE_SIZE, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DeskError(place.explain(error, path)) from None
    with memory:
        if _HEAD.unpack_from(memory) != (_MAGIC, inode):
            if ring.tail:
                raise DeskError(explain_strange(of))
            memory[:] = _HEAD.pack(_MAGIC, inode) + bytes(PLACE_SIZE - _HEAD.size)
        yield memory
