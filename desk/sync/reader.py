"""Reading what engines hold from Redis, for a program that trades or watches: correlated symbols ride in the same MGET,
and every value carries its age.

    reader = Reader(settings.redis, settings.sync)
    quote = reader.read("main", "AAPL")          # one MGET: AAPL, and all that [sync] correlated names with it
    quote.value["position"], quote.age, quote.tick_age
    reader.read("main", "MSFT", most_age=0.1)    # from memory, where MSFT came with AAPL at most 0.1 s ago
"""

import time
from typing import Any

import msgspec

from desk.redis.link import Link, RedisLost, Refused
from desk.redis.words import explain
from desk.settings.redis import Redis
from desk.settings.sync import Sync
from desk.sync.keys import symbol_key

#: Bytes of a value at most.
_MOST_BYTES = 4096


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine holds of a symbol. value: as docs/desk_sync.md lists it; None: there is no such key, or it holds
    something else. age: seconds since the engine was read, by the two hosts' CLOCK_REALTIME, at least since it was
    fetched; tick_age: seconds since the symbol's last tick, None: none is known. since: seconds of time.monotonic()
    when it was fetched."""

    value: dict[str, Any] | None
    age: float | None
    tick_age: float | None
    since: float


class Reader:
    """A connection to Redis of its own, which is made again where it is lost. Of one thread at a time."""

    def __init__(self, redis: Redis, sync: Sync) -> None:
        self._prefix = sync.prefix
        self._link = Link(redis, "desk-reader")
        self._groups = {symbol: group for group in sync.correlated for symbol in group}
        self._held: dict[tuple[str, str], Held] = {}

    def read(self, engine: str, symbol: str, most_age: float = 0.0) -> Held:
        """Returns what an engine holds of a symbol. most_age: what was fetched at most so many seconds ago is taken
        from memory. Raises RedisLost, after connect_timeout_ms and some times read_timeout_ms; the lookup of a name has
        no bound."""
        now = time.monotonic()
        held = self._held.get((engine, symbol))
        if held is None or now - held.since > most_age:
            self._fetch(engine, self._groups.get(symbol, [symbol]))
            return self._held[engine, symbol]
        return _age(held, now - held.since)

    def close(self) -> None:
        """Close the connection; what was fetched is forgotten."""
        self._link.close()
        self._held.clear()

    def _fetch(self, engine: str, symbols: list[str]) -> None:
        if not self._link.connected:
            self._link.connect()
        (answer,) = self._link.exchange([("MGET", *(symbol_key(self._prefix, engine, symbol) for symbol in symbols))])
        if isinstance(answer, Refused):
            raise RedisLost(f"redis refused to read: {explain(answer)}")
        if not isinstance(answer, list) or len(answer) != len(symbols):
            raise RedisLost("redis: MGET has an answer of another type")
        now, stamp = time.monotonic(), time.time_ns()
        for symbol, raw in zip(symbols, answer, strict=True):
            self._held[engine, symbol] = _decode(raw, now, stamp)


def _decode(raw: Any, now: float, stamp_ns: int) -> Held:
    """Returns a value from the bytes of its key; stamp_ns: CLOCK_REALTIME."""
    nothing = Held(value=None, age=None, tick_age=None, since=now)
    if not isinstance(raw, bytes) or len(raw) > _MOST_BYTES:
        return nothing
    try:
        value = msgspec.msgpack.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return nothing
    written, tick = value.get("stamp_ns"), value.get("tick_age_ns")
    if not isinstance(written, int):
        return nothing
    age = max(0.0, (stamp_ns - written) / 1e9)  # a clock that was set back makes no value younger than now
    return Held(value=value, age=age, tick_age=tick / 1e9 + age if isinstance(tick, int) else None, since=now)


def _age(held: Held, seconds: float) -> Held:
    """Returns a value as it is so many seconds later."""
    return msgspec.structs.replace(
        held,
        age=None if held.age is None else held.age + seconds,
        tick_age=None if held.tick_age is None else held.tick_age + seconds,
    )
