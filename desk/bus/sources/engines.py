"""The source "engines": what running engines say of themselves in their segments, which are read and never written.

A segment is read whole at each look: several changes between two looks are one event, with the last value.
"""

import asyncio
import os
import time
from pathlib import Path

from agent import limits
from agent.shm import place
from agent.shm import segment as shm
from agent.shm.segment import Places, Segment, SegmentError
from desk.bus.bus import Bus
from desk.bus.events import EngineState, Event, LimitChanged, MarketData, PositionChanged
from desk.bus.sources.source import Source
from desk.settings.run import EngineSource

#: What an engine is whose segment is not there, and one whose segment is not a readable one.
MISSING, UNREADABLE = "missing", "unreadable"
#: What an engine is that was not ended in order.
_LOST = ("died", "hung")
#: Seconds between two looks for other engines, or at one that is missing.
_LOOK = 1.0


class Engine(Source):
    """One engine, by name or by the path of its segment."""

    def __init__(self, wanted: EngineSource) -> None:
        super().__init__(wanted.name, wanted.interval_ms / 1e3)
        self._look = Look(wanted.name)

    async def run(self, bus: Bus) -> None:
        while True:
            events = self._look.find_events(time.time_ns())
            self.tell(self._look.problem)
            for event in events:
                self.events += 1
                await bus.send(event)
            await asyncio.sleep(max(self.delay, 0 if self._look.found else _LOOK))


class Engines(Source):
    """Every engine of this user's and of the service's directory, also those that come later."""

    def __init__(self, interval_ms: int = 50) -> None:
        super().__init__("engines", interval_ms / 1e3)
        self._looks: dict[Path, Look] = {}

    async def run(self, bus: Bus) -> None:
        next_look = 0.0
        while True:
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + _LOOK
                for path in _list():
                    self._looks.setdefault(path, Look(str(path)))
            for look in self._looks.values():
                for event in look.find_events(time.time_ns()):
                    self.events += 1
                    await bus.send(event)
            await asyncio.sleep(self.delay if self._looks else _LOOK)


class Look:
    """One engine, and what was published of it. wanted: its name, or the path of its segment. found: whether the last
    look has found it; problem: why it has not, or that it does not run any more; "": neither."""

    def __init__(self, wanted: str) -> None:
        self.name = place.name_of(Path(wanted)) if "/" in wanted else wanted
        self.found = False
        self.problem = ""
        self._wanted = wanted
        self._path: Path | None = None
        self._identity = (0, 0)
        self._places: Places | None = None
        self._state = ""
        self._limits: dict[str, int | float] = {}
        self._positions: dict[str, int] = {}
        self._prices: dict[str, tuple[int, int, int, int]] = {}

    def read(self) -> Segment | None:
        """Returns the reading of the segment, without histograms; None where there is none that can be read now."""
        try:
            if self._path is None:
                self._path = shm.find(self._wanted)
            with shm.open_segment(self._path, os.O_RDONLY) as (descriptor, data):
                state = os.fstat(descriptor)
                if self._identity != (state.st_dev, state.st_ino):  # a start has put another one there
                    self._places = shm.locate(data, str(self._path))
                    self._identity = state.st_dev, state.st_ino
                return shm.decode(data, str(self._path), known=self._places, histograms=False)
        except SegmentError as error:
            self.problem = f"{error}; it is waited for"
            return None

    def find_events(self, now: int) -> list[Event]:
        """Returns an event for all that is another than at the look before: state, limits, positions, prices."""
        segment = self.read()
        self.found = segment is not None
        if segment is None:
            there = self._path is not None and os.path.lexists(self._path)
            self._path = self._path if there else None
            return self._set_state(UNREADABLE if there else MISSING, now)
        self.problem = f"{segment.path}: {segment.condition}" if segment.condition in _LOST else ""
        events = self._set_state(segment.condition, now)
        for name, value in limits.from_words(segment.limits).items():
            if (old := self._limits.get(name)) != value:
                self._limits[name] = value
                events.append(LimitChanged(self.name, name, now, old, value))
        for symbol in segment.symbols:
            held = self._positions.get(symbol.name)
            if held != symbol.position:
                self._positions[symbol.name] = symbol.position
                events.append(PositionChanged(self.name, symbol.name, now, held, symbol.position))
            prices = symbol.bid, symbol.bid_size, symbol.ask, symbol.ask_size
            # That there are none any more is said, too: else who has heard the last ones would trade at them.
            if prices != self._prices.get(symbol.name, (0, 0, 0, 0)):
                self._prices[symbol.name] = prices
                events.append(MarketData(self.name, symbol.name, now, *prices))
        return events

    def _set_state(self, state: str, now: int) -> list[Event]:
        old, self._state = self._state, state
        return [] if state == old else [EngineState(self.name, now, old, state)]


def _list() -> list[Path]:
    try:
        return shm.list_all()
    except SegmentError:  # none is here yet
        return []
