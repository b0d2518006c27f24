"""What engines hold, as values for Redis: MessagePack, the latest wins, and only what has changed is written."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from agent import limits
from agent.shm.segment import Segment
from desk.redis.link import Command, Link, Refused, explain

#: Commands of one exchange at most.
_MOST = 1000
_OF_SYMBOL = ("bid", "bid_size", "ask", "ask_size", "position", "open_buy", "open_sell", "profit", "tick_ns", "stale",
              "state", "short_sale", "auction")  # fmt: skip


class Outbox:
    """The values that are in Redis, as far as this process has written them. prefix: of all keys; expire_s: a key goes
    that is not written for so long, 0: it stays."""

    def __init__(self, prefix: str, expire_s: int) -> None:
        self._prefix, self._expire = prefix, expire_s
        self._written: dict[str, Any] = {}
        self.values = self.refused = 0
        #: What Redis said of the last value that it refused.
        self.problem = ""

    def forget(self) -> None:
        """Write everything with the next send()."""
        self._written.clear()

    def send(self, link: Link, segments: Mapping[str, Segment | None], stamp_ns: int) -> None:
        """Write what has changed since it was written last, in one pipeline. segments: by engine, None where none runs;
        stamp_ns: CLOCK_REALTIME of the reading. Raises RedisLost: then what was on the way is written again."""
        found = {key: value for name, segment in segments.items() for key, value in self._describe(name, segment)}
        changed = [key for key, value in found.items() if self._written.get(key) != value]
        self.problem = "" if changed else self.problem
        for at in range(0, len(changed), _MOST):
            part = changed[at : at + _MOST]
            answers = link.exchange([self._write(key, found[key], stamp_ns) for key in part])
            for key, answer in zip(part, answers, strict=True):
                if isinstance(answer, Refused):
                    self.refused += 1
                    self.problem = explain(answer)
                    self._written.pop(key, None)
                else:
                    self.values += 1
                    self._written[key] = found[key]

    def _write(self, key: str, value: dict[str, Any], stamp_ns: int) -> Command:
        data = msgspec.msgpack.encode({"stamp_ns": stamp_ns, **value})
        return ("SET", key, data, "EX", self._expire) if self._expire else ("SET", key, data)

    def _describe(self, name: str, segment: Segment | None) -> Iterable[tuple[str, dict[str, Any]]]:
        """Yields the keys of an engine with their values, without the stamp."""
        key = f"{self._prefix}engine:{name}"
        if segment is None:
            yield key, {"engine": name, "state": "not running"}
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
        )
        for symbol in segment.symbols:
            value = {field: getattr(symbol, field) for field in _OF_SYMBOL}
            yield f"{self._prefix}symbol:{name}:{symbol.name}", {"engine": name, "symbol": symbol.name, **value}
