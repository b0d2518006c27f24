"""Rings in memory of this process, and their files patched."""

from pathlib import Path
from typing import Any

from agent.shm import _ring

#: Offsets in a ring's header.
TAIL, HEAD, BOOT_ID = 128, 256, 32


def memory(capacity: int, record: int = 0) -> bytearray:
    found = bytearray(_ring.HEADER_SIZE + capacity)
    _ring.initialise(memoryview(found)[: _ring.HEADER_SIZE], capacity, record, b"boot")
    return found


def handle(ring: Any, writer: bool) -> _ring.Handle:
    found = _ring.Handle(ring, writer)
    found.attach(1, 1, False)
    return found


def patch(path: Path, offset: int, value: int | bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(value if isinstance(value, bytes) else value.to_bytes(8, "little"))
