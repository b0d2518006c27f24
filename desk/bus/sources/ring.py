"""The source "ring": the records of a ring, whose reader this process becomes. A record is taken off the ring when its
event has been delivered."""

import asyncio
import os
import time
from pathlib import Path

from agent.shm.ring import Ring as SharedRing
from desk.bus.bus import Bus
from desk.bus.events import RingRecord
from desk.bus.sources.source import Source
from desk.settings.run import RingSource

_BATCH = 256
#: Seconds between two looks for a ring that is not there, or whose file may be another one.
_LOOK = 0.5


class Ring(Source):
    """Publishes RingRecord for each record."""

    def __init__(self, wanted: RingSource) -> None:
        super().__init__(wanted.name, wanted.interval_ms / 1e3)
        self._path = Path(wanted.file)
        self._ring: SharedRing | None = None
        self._identity = (0, 0)

    def open(self) -> None:
        if os.path.lexists(self._path):
            self._ring = SharedRing.attach(self._path, "reader")
            self._identity = self._identify()

    def _identify(self) -> tuple[int, int]:
        try:
            state = os.stat(self._path)
        except OSError:
            return (0, 0)
        return state.st_dev, state.st_ino

    async def run(self, bus: Bus) -> None:
        look = time.monotonic() + _LOOK
        while True:
            if self._ring is None:
                self.tell(f"{self._path}: is not there, and is waited for")
                await asyncio.sleep(_LOOK)
                self.open()
                continue
            self.tell("")
            records = self._ring.peek_many(_BATCH)
            now = time.time_ns()
            for record in records:
                self.events += 1
                await bus.send(RingRecord(self.name, now, record))
                self._ring.commit(1)
            if records:
                await asyncio.sleep(0)
                continue
            await asyncio.sleep(self.delay)
            if time.monotonic() > look:
                look = time.monotonic() + _LOOK
                if self._identify() not in (self._identity, (0, 0)):
                    self.close()  # it was made anew

    def close(self) -> None:
        if self._ring is not None:
            self._ring.close()
            self._ring = None
