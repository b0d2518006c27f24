"""What engines hold, as values for Redis: MessagePack, the latest wins, and only what has changed is written."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from agent import limits
from agent.shm.segment import Segment, now_ns
from desk.redis.link import Command, Link, Refused, Talk
from desk.redis.words import explain
from desk.sync.keys import engine_key, symbol_key

#: Commands of one exchange at most.
_MOST = 500
_OF_SYMBOL = ("bid", "bid_size", "ask", "ask_size", "position", "open_buy", "open_sell", "profit", "tick_ns",
              "stale", "state", "short_sale", "auction")  # fmt: skip
Value = dict[str, Any]


class Outbox:
    """The values that are in Redis, as far as this process has written them. prefix: of all keys; expire_s: a key goes
    that is not written for so long, 0: it stays."""

    def __init__(self, prefix: str, expire_s: int) -> None:
        self._prefix, self._expire = prefix, expire_s
        self._written: dict[str, Value] = {}
        self._sending = False
        self.values = self.refused = 0
        #: What Redis said of the last value that it refused.
        self.problem = ""

    def begin_connection(self) -> None:
        """Know nothing of the connection before."""
        self._sending = False
        self.forget()

    def forget(self) -> None:
        """Write everything with the next send()."""
        self._written.clear()

    def send(self, link: Link, segments: Mapping[str, Segment | None], stamp_ns: int) -> None:
        """Write what has changed since it was written last, unless the last writing is not at its end: the latest wins.
        segments: by engine, None where none runs; stamp_ns: CLOCK_REALTIME of the reading. Raises RedisLost."""
        if self._sending:
            return
        now = now_ns()
        found = {key: (value, age) for name, segment in segments.items()
                 for key, value, age in self._describe(name, segment, now)}  # fmt: skip
        changed = [key for key, (value, _) in found.items() if self._written.get(key) != value]
        self.problem = "" if changed else self.problem
        if changed:
            self._sending = True
            link.begin(self._write_all(changed, found, stamp_ns))

    def _write_all(self, changed: list[str], found: Mapping[str, tuple[Value, Value]], stamp_ns: int) -> Talk:
        for at in range(0, len(changed), _MOST):
            part = changed[at : at + _MOST]
            answers = yield [self._write(key, *found[key], stamp_ns) for key in part]
            for key, answer in zip(part, answers, strict=True):
                if isinstance(answer, Refused):
                    self.refused += 1
                    self.problem = explain(answer)
                    self._written.pop(key, None)
                else:
                    self.values += 1
                    self._written[key] = found[key][0]
        self._sending = False

    def _write(self, key: str, value: Value, age: Value, stamp_ns: int) -> Command:
        data = msgspec.msgpack.encode({"stamp_ns": stamp_ns, **age, **value})
        return ("SET", key, data, "EX", self._expire) if self._expire else ("SET", key, data)

    def _describe(self, name: str, segment: Segment | None, now: int) -> Iterable[tuple[str, Value, Value]]:
        """Yields the keys of an engine with their values, and with the ages, of which a change alone is none. now: as
        the engine's clock has it, CLOCK_MONOTONIC ns."""
        key = engine_key(self._prefix, name)
        if segment is None:
            yield key, {"engine": name, "state": "not running"}, {}
            return
        counters = segment.counters
        yield (
            key,
            {
                "engine": name,
                "state": segment.condition,
                "tripped": segment.tripped,
                "orders_open": counters["orders_open"],
                "orders_sent": counters["orders_sent"],
                "lost": counters["lost"],
                "limits": limits.from_words(segment.limits),
            },
            {"heartbeat_age_ns": segment.heartbeat_age_ns},
        )
        for symbol in segment.symbols:
            value = {field: getattr(symbol, field) for field in _OF_SYMBOL}
            known = symbol.tick_ns and segment.heartbeat_age_ns is not None  # else it is the clock of another boot
            age = {"tick_age_ns": max(0, now - symbol.tick_ns) if known else None}
            yield symbol_key(self._prefix, name, symbol.name), {"engine": name, "symbol": symbol.name, **value}, age
