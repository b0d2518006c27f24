"""The events that the bus carries: small, typed, never changed once they are made.

Prices and sizes are whole numbers in units of 1e-8, as in an engine's segment; quantities are whole units; times are ns
since 1970 (CLOCK_REALTIME). `gc=False`: the garbage collector does not look at them, and they cost a third of a dict.
A class of one's own that is derived from Event is an event as well.
"""

import msgspec


class Event(msgspec.Struct, frozen=True, gc=False):
    """What every event is derived from."""


class MarketData(Event, frozen=True, gc=False):
    """The best prices of a symbol. source: the engine's name, or the source's of the configuration. 0: no such side."""

    source: str
    symbol: str
    time_ns: int
    bid: int
    bid_size: int
    ask: int
    ask_size: int


class Signal(Event, frozen=True, gc=False):
    """What a strategy thinks of a symbol. side: 1 buy, -1 sell. strength: the strategy's own measure."""

    symbol: str
    time_ns: int
    side: int
    strength: float = 1.0


class RiskPassed(Event, frozen=True, gc=False):
    """An order that a risk check lets pass. price: the limit."""

    symbol: str
    time_ns: int
    side: int
    quantity: int
    price: int


class OrderReady(Event, frozen=True, gc=False):
    """An order on paper: it is an event, and no engine or exchange gets it. id: the module's own number."""

    symbol: str
    time_ns: int
    side: int
    quantity: int
    price: int
    id: int = 0


class Executed(Event, frozen=True, gc=False):
    """An execution. source: the engine whose journal has it; "": on paper. id: the order's UserRefNum, or on paper that
    of OrderReady."""

    source: str
    symbol: str
    time_ns: int
    side: int
    quantity: int
    price: int
    id: int


class Journaled(Event, frozen=True, gc=False):
    """A record of an engine's journal (docs/journal.md), each kind but decisions about limits. source: the journal's
    name in the configuration; number: the record's. exchange_sequence, tag, original: as in the record."""

    source: str
    number: int
    time_ns: int
    kind: str
    symbol: str
    side: int
    quantity: int
    price: int
    id: int
    original: int
    tag: int
    exchange_sequence: int


class LimitChanged(Event, frozen=True, gc=False):
    """A risk limit of an engine that has another value. name: as of `agent limits`, in its units; old is None where the
    limit is seen for the first time."""

    source: str
    name: str
    time_ns: int
    old: float | None
    new: float


class PositionChanged(Event, frozen=True, gc=False):
    """An engine's position of a symbol, in whole units; short is negative. old is None where it is seen for the first
    time."""

    source: str
    symbol: str
    time_ns: int
    old: int | None
    new: int


class EngineState(Event, frozen=True, gc=False):
    """What an engine is found to be: one of agent.shm.segment.CONDITIONS, "missing" or "unreadable". old: "" at the
    first look."""

    source: str
    time_ns: int
    old: str
    new: str


class KafkaMessage(Event, frozen=True, gc=False):
    """A message of a topic. time_ns: of the broker or the producer, 0 where there is none; key: None where it has
    none."""

    source: str
    topic: str
    partition: int
    offset: int
    time_ns: int
    key: bytes | None
    data: bytes


class Started(Event, frozen=True, gc=False):
    """The first event: the loop runs, and no source has published yet."""

    time_ns: int


class Stopping(Event, frozen=True, gc=False):
    """The last event that a source or this process publishes: the process was asked to end, or has nothing to do."""

    time_ns: int


class RingRecord(Event, frozen=True, gc=False):
    """A record as it was in a ring."""

    source: str
    time_ns: int
    data: bytes


class SourceEnded(Event, frozen=True, gc=False):
    """A source has nothing more to say. why: "" where that is as it should be, else what went wrong."""

    source: str
    time_ns: int
    why: str


#: By name: those that a module gets without a class of its own.
EVENTS: dict[str, type[Event]] = {kind.__name__: kind for kind in Event.__subclasses__()}
