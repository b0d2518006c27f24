"""The risk limits in the user's words and units, once: the keys of [risk] in agent.toml, what `agent limits` shows and
sets, the metrics agent_limit_WORD and the table in docs/agent.md.

In the segment the same limits lie in the units that the gate computes with (AGENT_LIMITS in shm/include/agent_shm.h);
this module converts. What each limit refuses: docs/agent.md, Risk gate.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta

from agent.errors import UsageError

_SECOND = 1_000_000_000  # ns
_MOST_MONEY = 10**14  # of the currency: in the segment's words, 64 bits
_TOGETHER = ("rate_interval_ns", "rate_burst_ns")  # words that hold two limits: a token bucket
_PRICES = 10_000  # of OUCH: prices in one of the currency, of which the first is the lowest


def _limit(low: int, high: int, unit: str, text: str, word: str | None = None, scale: int = 1) -> Meta:
    """Range of the values, their unit, what they bound; the segment's word (None: called as the limit, "": held in
    _TOGETHER), and its units in one of the user's."""
    return Meta(ge=low, le=high, description=text, extra={"unit": unit, "word": word, "scale": scale})


def _money(text: str) -> Meta:
    return _limit(0, _MOST_MONEY, "currency", f"{text}; 0: no limit", scale=10_000)


def _loss(text: str) -> Meta:
    return _money(f"{text}; beyond it `kill` is set")


def _switch(text: str) -> Meta:
    return _limit(0, 1, "switch", f"1: {text}")


def _allow(text: str) -> Meta:
    return _switch(f"orders pass {text}")


class Risk(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """[risk] of agent.toml: the limits as they are at the start; `agent limits` changes them while the engine runs."""

    max_size: Annotated[int, _limit(1, 999_999, "whole units", "size of one order")]
    max_orders_per_second: Annotated[
        int, _limit(1, 10_000_000, "orders", "orders in a second, on the ticks' clock", "")
    ]
    burst: Annotated[
        int, _limit(0, 10_000_000, "orders", "orders that may go at once; 0: as many as `max_orders_per_second`", "")
    ] = 0
    max_notional: Annotated[float, _money("price x size of one order")] = 0.0
    collar: Annotated[
        float,
        _limit(0, 10, "share of the price",
               "how far beyond the far side of the book an order may be, 0.05 for 5 %; 0: no limit", "collar_ppm",
               1_000_000),
    ] = 0.0  # fmt: skip
    max_position: Annotated[
        int,
        _limit(0, 1 << 40, "whole units", "position of a symbol, long or short, open orders included; 0: no limit"),
    ] = 0
    max_open_orders: Annotated[int, _limit(0, 65_536, "orders", "open orders of all symbols; 0: no limit")] = 0
    duplicate_ms: Annotated[
        int,
        _limit(0, 60_000, "milliseconds",
               "no order that repeats one of the last 8 of its symbol and side within; 0: no limit", "duplicate_ns",
               1_000_000),
    ] = 0  # fmt: skip
    max_tick_age_us: Annotated[
        int,
        _limit(0, 60_000_000, "microseconds",
               "age of the tick that caused an order, from its arrival at the host; 0: no limit", "max_tick_age_ns",
               1_000),
    ] = 0  # fmt: skip
    max_orders_per_day: Annotated[
        int, _limit(0, (1 << 32) - 1, "orders", "new orders and replaces of a day (UTC); 0: no limit")
    ] = 0
    refuse_self_match: Annotated[int, _switch("no order that could trade with an open one of this engine")] = 0
    max_loss: Annotated[float, _loss("loss of all symbols today")] = 0.0
    max_drawdown: Annotated[float, _loss("loss of all symbols from the day's best")] = 0.0
    max_symbol_loss: Annotated[float, _loss("loss of one symbol today")] = 0.0
    max_symbol_drawdown: Annotated[float, _loss("loss of one symbol from its day's best")] = 0.0
    allow_unknown: Annotated[int, _allow("while the state of the symbol or the market is not known")] = 0
    allow_quoting: Annotated[int, _allow("in a quotation-only period, before a halt's or an IPO's cross")] = 0
    allow_paused: Annotated[int, _allow("in a Limit Up-Limit Down pause")] = 0
    allow_halted: Annotated[int, _allow("while the symbol is halted")] = 0
    allow_halted_here: Annotated[int, _allow("in an operational halt of this market alone")] = 0
    allow_closed: Annotated[int, _allow("outside of the system hours, and after level 3 of the circuit breaker")] = 0
    allow_pre_market: Annotated[int, _allow("in system hours before the market hours")] = 0
    allow_post_market: Annotated[int, _allow("in system hours after the market hours")] = 0
    allow_locked: Annotated[int, _allow("while the symbol's bid is its offer")] = 0
    allow_crossed: Annotated[int, _allow("while the symbol's bid is above its offer")] = 0
    allow_short: Annotated[
        int, _switch("sales beyond the position pass while Reg SHO's short sale price test is in effect")
    ] = 0

    def find_conflicts(self, size: int) -> list[str]:
        """Returns a sentence for each limit that no order of size (strategy.size, whole units) can pass, each with both
        keys."""
        found = []
        if size > self.max_size:
            found.append(f"strategy.size: found {size}, allowed: at most risk.max_size ({self.max_size})")
        if 0 < self.max_position < size:
            found.append(f"strategy.size: found {size}, allowed: at most risk.max_position ({self.max_position})")
        if 0 < self.max_notional * _PRICES < size:
            found.append(
                f"risk.max_notional: found {self.max_notional:g}, allowed: at least {size / _PRICES:g}, "
                f"strategy.size ({size}) at the lowest price"
            )
        return found

    @property
    def words(self) -> dict[str, int]:
        """All of them by the names and in the units of AGENT_LIMITS."""
        return to_words(msgspec.structs.asdict(self))


#: Not of the configuration: an engine starts without.
_KILL = Annotated[int, _switch("no order passes, and open ones are cancelled")]


class Limit(msgspec.Struct, frozen=True):
    """One limit. kind: int or float, of its values; unit and text: of people; word and scale: its word in AGENT_LIMITS
    and that word's units in one of the user's, "" for those two that are held in _TOGETHER."""

    kind: type
    checked: Any  # kind with its range, as msgspec.convert() wants it
    unit: str
    text: str
    low: int
    high: int
    word: str
    scale: int

    @property
    def words(self) -> tuple[str, ...]:
        """The words of AGENT_LIMITS that hold it."""
        return (self.word,) if self.word else _TOGETHER

    def from_word(self, value: int) -> int | float:
        """Returns a value of its word in the user's units."""
        return value / self.scale if self.kind is float else value // self.scale


def _describe(name: str, checked: Any) -> Limit:
    kind, meta = get_args(checked)
    unit, word, scale = (meta.extra[key] for key in ("unit", "word", "scale"))
    return Limit(kind, checked, unit, meta.description, meta.ge, meta.le, name if word is None else word, scale)


#: All limits that can be set while an engine runs, by the user's word.
LIMITS: dict[str, Limit] = {
    name: _describe(name, checked)
    for name, checked in [("kill", _KILL), *((f.name, f.type) for f in msgspec.structs.fields(Risk))]
}


def to_words(values: Mapping[str, int | float]) -> dict[str, int]:
    """Returns the limits in values (in the user's words and units) by the names and in the units of AGENT_LIMITS.
    max_orders_per_second and burst only together. A limit below the word's unit is that unit: 0 would be no limit."""
    found = {limit.word: max(round(values[name] * limit.scale), int(values[name] > 0)) for name, limit in LIMITS.items()
             if limit.word and name in values}  # fmt: skip
    if rate := int(values.get("max_orders_per_second", 0)):
        # A token bucket as a virtual schedule: what an order costs, and what may be ahead.
        found["rate_interval_ns"] = _SECOND // rate
        found["rate_burst_ns"] = found["rate_interval_ns"] * int(values.get("burst") or rate)
    return found


def from_words(words: Mapping[str, int]) -> dict[str, int | float]:
    """Returns all limits in the user's words and units from those of AGENT_LIMITS.

    A burst of a second's worth is shown as the orders that it is. The gate counts whole nanoseconds for an order: over
    31,622 orders a second several rates are one limit, and one of them is shown.
    """
    found: dict[str, int | float] = {}
    for name, limit in LIMITS.items():
        if limit.word:
            found[name] = limit.from_word(words[limit.word])
        elif name == "burst":
            found[name] = words["rate_burst_ns"] // interval if (interval := words["rate_interval_ns"]) else 0
        else:
            found[name] = _find_rate(words["rate_interval_ns"], words["rate_burst_ns"])
    return found


def _find_rate(interval: int, burst: int) -> int:
    """Returns orders in a second, from ns for one and ns for a burst: the burst's number of orders if that is one of
    those rates whose interval this is. 0: no limit."""
    if not interval:
        return 0
    orders = burst // interval
    return orders if orders and _SECOND // orders == interval else _SECOND // interval


def change_words(words: Mapping[str, int], changes: Mapping[str, int | float]) -> dict[str, int]:
    """Returns what to write, by the names and in the units of AGENT_LIMITS, for changes in the user's words and units.
    words: the limits as they are. A burst that is a second's worth stays one when the rate alone changes. Raises
    UsageError for a burst without a rate."""
    changes = dict(changes)
    if "max_orders_per_second" in changes or "burst" in changes:
        now = from_words(words)
        same = now["burst"] == now["max_orders_per_second"]
        changes.setdefault("burst", 0 if same else now["burst"])
        if not changes.setdefault("max_orders_per_second", now["max_orders_per_second"]):
            raise UsageError(f"burst: found {changes['burst']}, allowed: with max_orders_per_second, which is not set")
    return to_words(changes)


def _require_limit(option: str, word: str) -> None:
    """Raise UsageError unless an option names a limit."""
    if word not in LIMITS:
        from hosttune.config_errors import allow_names  # late, as below: few commands have a use for it

        raise UsageError(f"{option}: unknown limit {word}; {allow_names(word, LIMITS)}")


def parse_setting(text: str) -> tuple[str, int | float]:
    """Returns (word, value) of `LIMIT=NUMBER`, with the value as TOML has it. Raises UsageError for what agent.toml
    would be refused for."""
    import tomllib

    word, equals, right = (part.strip() for part in text.partition("="))
    if not equals:
        raise UsageError(f"--set: found {text!r}; wanted LIMIT=NUMBER")
    _require_limit("--set", word)
    try:
        table = tomllib.loads(f"value = {right}")
    except (ValueError, RecursionError):  # not TOML, a number of thousands of digits, lists in lists in lists
        table = {}
    value = table["value"] if len(table) == 1 else right
    try:
        found: int | float = msgspec.convert(value, LIMITS[word].checked)
    except msgspec.ValidationError as error:
        from hosttune.config_errors import explain

        raise UsageError(explain(error, LIMITS[word].checked, value, lambda key: "--set", name=word)) from None
    return word, found


def parse_name(text: str, changes: Mapping[str, int | float]) -> str:
    """Returns the limit that `--reset LIMIT` names. changes: what `--set` names beside it. Raises UsageError."""
    word = text.strip()
    _require_limit("--reset", word)
    if word in changes:
        raise UsageError(f"--reset: found {word}, allowed: a limit that --set does not name")
    return word


def reset_words(configured: Mapping[str, int], names: Iterable[str]) -> dict[str, int]:
    """Returns what to write so that limits are again as agent.toml has them (configured, by the names and in the units
    of AGENT_LIMITS). max_orders_per_second and burst go together."""
    return {word: configured[word] for name in names for word in LIMITS[name].words}


def find_changes(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """Returns the limits that differ between two readings of AGENT_LIMITS, each with its words there."""
    old, new = from_words(before), from_words(after)
    return {name: limit.words for name, limit in LIMITS.items() if old[name] != new[name]}


def show_changes(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Returns a line for each limit that differs: what it was, and what it is."""
    old, new = from_words(before), from_words(after)
    return [f"{name}: {show_value(old[name])} -> {show_value(new[name])} {LIMITS[name].unit}"
            for name in find_changes(before, after)]  # fmt: skip


def show_word(word: str, value: int) -> tuple[str, str]:
    """Returns the name and the value of a word of AGENT_LIMITS for people: in the user's word and units where there is
    one for it alone."""
    for name, limit in LIMITS.items():
        if limit.word == word:
            return name, show_value(limit.from_word(value))
    return word, show_value(value)


def show_value(value: float) -> str:
    """Returns a limit's value for people: thousands apart, no decimals that say nothing."""
    return f"{value:,.15g}"


def as_text(words: Mapping[str, int]) -> str:
    """Returns a line for each limit, in the user's words and units, from those of AGENT_LIMITS."""
    return "".join(
        f"{name:<22}{show_value(value):>20}  {LIMITS[name].unit}\n" for name, value in from_words(words).items()
    )
