"""The source "engines": what running engines say of themselves in their segments, which are read and never written.

A segment is read whole at each look: several changes between two looks are one event, with the last value.
"""

import asyncio
import time
from pathlib import Path

from agent import limits
from agent.shm import place
from agent.shm import segment as shm
from agent.shm.segment import Segment, SegmentError
from desk.bus.bus import Bus
from desk.bus.events import EngineState, Event, LimitChanged, MarketData, PositionChanged
from desk.bus.sources.source import Source
from desk.settings.run import EngineSource

MISSING = "missing"
#: Seconds between two looks for other engines, or for one that is missing.
_LOOK = 1.0


class Engine(Source):
    """One engine, by name or by the path of its segment."""

    def __init__(self, wanted: EngineSource) -> None:
        super().__init__(wanted.name, wanted.interval_ms / 1e3)
        self._wanted = wanted.name
        self._seen = Seen(place.name_of(Path(wanted.name)) if "/" in wanted.name else wanted.name)

    async def run(self, bus: Bus) -> None:
        while True:
            found = read(self._wanted)
            for event in self._seen.compare(found, time.time_ns()):
                self.events += 1
                await bus.send(event)
            await asyncio.sleep(self.delay if found else _LOOK)


class Engines(Source):
    """Every engine of this user's and of the service's directory, also those that come later."""

    def __init__(self, interval_ms: int = 50) -> None:
        super().__init__("engines", interval_ms / 1e3)
        self._seen: dict[Path, Seen] = {}

    async def run(self, bus: Bus) -> None:
        look = 0.0
        while True:
            if time.monotonic() >= look:
                look = time.monotonic() + _LOOK
                for path in _list():
                    self._seen.setdefault(path, Seen(place.name_of(path)))
            for path, seen in self._seen.items():
                for event in seen.compare(read(str(path)), time.time_ns()):
                    self.events += 1
                    await bus.send(event)
            await asyncio.sleep(self.delay)


class Seen:
    """What was published of one engine. name: of the source of its events."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._state = ""
        self._limits: dict[str, float] = {}
        self._positions: dict[str, int] = {}
        self._prices: dict[str, tuple[int, int, int, int]] = {}

    def compare(self, found: Segment | None, now: int) -> list[Event]:
        """Returns an event for all that is another than at the look before: state, limits, positions, prices."""
        events: list[Event] = []
        state = found.condition if found else MISSING
        if state != self._state:
            events.append(EngineState(self.name, now, self._state, state))
            self._state = state
        if found is None:
            return events
        for name, value in _read_limits(found).items():
            old = self._limits.get(name)
            if old != value:
                self._limits[name] = value
                events.append(LimitChanged(self.name, name, now, old, value))
        for symbol in found.symbols:
            held = self._positions.get(symbol.name)
            if held != symbol.position:
                self._positions[symbol.name] = symbol.position
                events.append(PositionChanged(self.name, symbol.name, now, held, symbol.position))
            prices = symbol.bid, symbol.bid_size, symbol.ask, symbol.ask_size
            if any(prices) and prices != self._prices.get(symbol.name):
                self._prices[symbol.name] = prices
                events.append(MarketData(self.name, symbol.name, now, *prices))
        return events


def read(wanted: str) -> Segment | None:
    """Returns the reading of an engine's segment; None where there is none that can be read now."""
    try:
        return shm.read(shm.find(wanted))
    except SegmentError:
        return None


def _read_limits(found: Segment) -> dict[str, int | float]:
    try:
        return limits.from_words(found.limits)
    except KeyError:  # an engine of a build that has other limits
        return {}


def _list() -> list[Path]:
    try:
        return shm.list_all()
    except SegmentError:
        return []
