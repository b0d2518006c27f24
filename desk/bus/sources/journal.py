"""The source "journal": the records of an engine's journal, as a second reader of its file."""

import asyncio
from pathlib import Path

from agent import limits
from agent.journal.follow import Follower
from agent.journal.record import EXECUTED, KINDS, LimitRecord, Record
from desk.bus.bus import Bus
from desk.bus.events import Event, Executed, Journaled, LimitChanged
from desk.bus.sources.source import Source
from desk.errors import DeskError
from desk.settings.run import JournalSource

#: Records that are read at once, so that the loop has a turn between.
_BATCH = 256
#: Of a journal's prices (4 decimals) in one of an event's (8 decimals).
_SCALE = 10_000


class Journal(Source):
    """Publishes Journaled for each record, and behind it Executed for an execution; LimitChanged for a decision."""

    def __init__(self, wanted: JournalSource) -> None:
        super().__init__(wanted.name, wanted.interval_ms / 1e3)
        self._wanted = wanted
        self._follower: Follower | None = None

    def open(self) -> None:
        self._follower = Follower(Path(self._wanted.file), 0 if self._wanted.begin == "first" else None)

    async def run(self, bus: Bus) -> None:
        assert self._follower is not None
        while True:
            records = self._follower.read(_BATCH)
            there = self._follower.is_open
            self.tell("" if there else f"{self._wanted.file}: is not there, or empty, and is waited for")
            for record in records:
                for event in make_events(self.name, record, self._follower.symbols):
                    self.events += 1
                    await bus.send(event)
            if not records and not self._wanted.follow:
                if not there:
                    raise DeskError(f"{self._wanted.file}: is not there, or empty")
                return
            await asyncio.sleep(0 if records else self.delay)

    def close(self) -> None:
        if self._follower is not None:
            self._follower.close()


def make_events(source: str, record: Record | LimitRecord, symbols: list[str]) -> list[Event]:
    """Returns the events of one record. symbols: of the journal."""
    if isinstance(record, LimitRecord):
        name, scale = _name_limit(record.name)
        return [LimitChanged(source, name, record.time_ns, record.old / scale, record.new / scale)]
    symbol = symbols[record.symbol] if record.symbol < len(symbols) else ""
    price = record.price * _SCALE
    found: list[Event] = [
        Journaled(
            source,
            record.number,
            record.time_ns,
            KINDS[record.kind],
            symbol,
            record.side,
            record.quantity,
            price,
            record.id,
            record.original,
            record.tag,
            record.exchange_sequence,
        )
    ]
    if record.kind == EXECUTED:
        found.append(Executed(source, symbol, record.time_ns, record.side, record.quantity, price, record.id))
    return found


def _name_limit(word: str) -> tuple[str, int]:
    """Returns the user's word for a word of the segment, and the segment's units in one of the user's."""
    for name, limit in limits.LIMITS.items():
        if limit.word == word:
            return name, limit.scale
    return word, 1
