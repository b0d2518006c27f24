"""Seeded ITCH 5.0 trading days: consistent order flow out of a small matching engine, every message type in it.

The same arguments give the same bytes. References are valid, no book is ever crossed, an execution always
takes the first order of the best price, and order and match numbers are unique for the day. A symbol that is halted,
paused, restricted, or stopped by the market-wide circuit breaker has no executions, and goes on before the day does.
"""

import random
import struct
from bisect import insort
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

from agent.protocols import itch_layouts as itch

NAMES = ("AAPL", "MSFT", "BRK.A", "PENNY", "ZVZZT", "INTC", "GOOG", "QQQ")
_START = {"BRK.A": 1_999_000_000, "PENNY": 4_321}  # wire prices; others are drawn
_MPIDS = ("NSDQ", "GSCO", "JPMS", "CDRG")
_SECOND = 1_000_000_000
_SIZES = {1: "s", 2: "H", 4: "I", 8: "Q"}


def _make_struct(layout: itch.Layout) -> struct.Struct:
    text = ">cHH2sI"
    for field in layout.fields[3:]:
        text += f"{field.size}s" if field.kind == "alpha" else _SIZES[field.size]
    return struct.Struct(text)


_STRUCTS = {letter: _make_struct(layout) for letter, layout in itch.LAYOUTS.items()}
_NAMES = {letter: [f.name for f in layout.fields[3:]] for letter, layout in itch.LAYOUTS.items()}
_PADS = {
    letter: [f.size if f.kind == "alpha" else 0 for f in layout.fields[3:]] for letter, layout in itch.LAYOUTS.items()
}


def message(letter: str, locate: int, tracking: int, timestamp: int, *values: Any) -> bytes:
    """Encode a message of the values, in the specification's order: faster than itch.encode, and tested against it."""
    packed = [v.encode().ljust(pad) if pad else v for v, pad in zip(values, _PADS[letter], strict=True)]
    high, low = (timestamp >> 32).to_bytes(2, "big"), timestamp & 0xFFFFFFFF
    return _STRUCTS[letter].pack(letter.encode(), locate, tracking, high, low, *packed)


class _Order:
    __slots__ = ("price", "reference", "shares", "side")

    def __init__(self, reference: int, side: str, shares: int, price: int) -> None:
        self.reference, self.side, self.shares, self.price = reference, side, shares, price


class _Market:
    """One symbol: levels in time priority."""

    def __init__(self, name: str, locate: int, price: int) -> None:
        self.name, self.locate, self.mid = name, locate, price
        self.tick = 1 if price < 10_000 else 100
        self.levels: dict[str, dict[int, OrderedDict[int, _Order]]] = {"B": {}, "S": {}}
        self.prices: dict[str, list[int]] = {"B": [], "S": []}  # sorted so that the best is last
        self.orders: dict[int, _Order] = {}
        self.references: list[int] = []  # also of orders that are not there any more

    def find_best(self, side: str) -> _Order | None:
        if not self.prices[side]:
            return None
        return next(iter(self.levels[side][abs(self.prices[side][-1])].values()))

    def add_order(self, order: _Order) -> None:
        level = self.levels[order.side].get(order.price)
        if level is None:
            level = self.levels[order.side][order.price] = OrderedDict()
            insort(self.prices[order.side], order.price if order.side == "B" else -order.price)
        level[order.reference] = order
        self.orders[order.reference] = order
        self.references.append(order.reference)

    def remove_order(self, order: _Order) -> None:
        level = self.levels[order.side][order.price]
        del level[order.reference], self.orders[order.reference]
        if not level:
            del self.levels[order.side][order.price]
            self.prices[order.side].remove(order.price if order.side == "B" else -order.price)

    def draw_order(self, rng: random.Random) -> _Order | None:
        while self.references:
            place = rng.randrange(len(self.references))
            order = self.orders.get(self.references[place])
            if order is not None:
                return order
            self.references[place] = self.references[-1]
            self.references.pop()
        return None


class _Day:
    def __init__(self, seed: int, names: Sequence[str]) -> None:
        self.rng = random.Random(seed)
        self.now = 3 * 3600 * _SECOND
        self.reference = self.rng.randrange(1, 1000)
        self.match = self.rng.randrange(1, 1000)
        self.printed: list[int] = []
        locates = self.rng.sample(range(1, 12_000), len(names))
        self.markets = [
            _Market(name, locate, _START.get(name, self.rng.randrange(100_000, 5_000_000) // 100 * 100))
            for name, locate in zip(names, locates, strict=True)
        ]

    def encode_next(self, letter: str, market: _Market | None, *values: Any) -> bytes:
        self.now += int(self.rng.expovariate(1 / 20_000)) + 1
        return message(letter, market.locate if market else 0, self.rng.randrange(65536), self.now, *values)

    def draw_reference(self) -> int:
        self.reference += self.rng.randrange(1, 5)
        return self.reference

    def draw_match_number(self) -> int:
        self.match += self.rng.randrange(1, 3)
        self.printed.append(self.match)
        return self.match

    def open_day(self) -> Iterator[bytes]:
        rng = self.rng
        yield self.encode_next("S", None, "O")
        for m in self.markets:
            yield self.encode_next(
                "R", m, m.name, rng.choice("QGSNAPZV "), rng.choice("DN "), 100, rng.choice("YN"), "C",
                rng.choice(("Z", "E", "CB")), rng.choice("PT"), rng.choice("YN "), rng.choice("YN "),
                rng.choice("12 "), rng.choice("YN "), rng.randrange(4), rng.choice("YN"),
            )  # fmt: skip
        for m in self.markets:
            yield self.encode_next("H", m, m.name, "T", "", "")
            yield self.encode_next("Y", m, m.name, "0")
            for mpid in rng.sample(_MPIDS, 2):
                yield self.encode_next("L", m, mpid, m.name, rng.choice("YN"), rng.choice("NPSRL"), rng.choice("AEWSD"))
        yield self.encode_next("V", None, *(rng.randrange(10**11, 5 * 10**11) for _ in range(3)))
        yield self.encode_next("K", None, self.markets[0].name, 34_200, rng.choice("AC"), rng.randrange(2**31))
        yield self.encode_next("S", None, "S")
        self.now = max(self.now, 34_200 * _SECOND)
        for m in self.markets:
            yield self.encode_next("Q", m, rng.randrange(10**6), m.name, m.mid, self.draw_match_number(), "O")
        yield self.encode_next("S", None, "Q")

    def close_day(self) -> Iterator[bytes]:
        self.now = max(self.now, 57_600 * _SECOND)
        yield self.encode_next("S", None, "M")
        for m in self.markets:
            yield self.encode_next("Q", m, self.rng.randrange(10**10), m.name, m.mid, self.draw_match_number(), "C")
        yield self.encode_next("S", None, "E")
        yield self.encode_next("S", None, "C")

    def execute_orders(self, m: _Market, side: str, limit: int, shares: int) -> Iterator[tuple[bytes, int]]:
        """Yields the executions of an order that takes `shares` from `side`: each message, and its shares."""
        while shares:
            order = m.find_best(side)
            if order is None or (order.price < limit if side == "B" else order.price > limit):
                return
            taken = min(shares, order.shares)
            shares -= taken
            order.shares -= taken
            if not order.shares:
                m.remove_order(order)
            if self.rng.random() < 0.15:
                price = max(1, order.price + self.rng.choice((-1, 1)) * m.tick)
                printable = self.rng.choice("YYN")
                yield (
                    self.encode_next("C", m, order.reference, taken, self.draw_match_number(), printable, price),
                    taken,
                )
            else:
                yield self.encode_next("E", m, order.reference, taken, self.draw_match_number()), taken

    def enter_order(self, m: _Market, side: str, price: int, shares: int) -> Iterator[bytes]:
        """A new order: it executes against what it crosses, and what is left of it rests."""
        for text, taken in self.execute_orders(m, "S" if side == "B" else "B", price, shares):
            shares -= taken
            yield text
        if shares:
            order = _Order(self.draw_reference(), side, shares, price)
            m.add_order(order)
            if self.rng.random() < 0.05:
                yield self.encode_next("F", m, order.reference, side, shares, m.name, price, self.rng.choice(_MPIDS))
            else:
                yield self.encode_next("A", m, order.reference, side, shares, m.name, price)

    def draw_price(self, m: _Market, side: str) -> int:
        away = int(self.rng.expovariate(0.35)) * m.tick
        price = m.mid - away if side == "B" else m.mid + m.tick + away
        return min(max(price, m.tick), 2_000_000_000)

    def draw_size(self) -> int:
        return self.rng.choice((100, 100, 100, 200, 500, 1, 37, 1000, self.rng.randrange(1, 5000)))

    def draw_step(self) -> Iterator[bytes]:
        rng = self.rng
        m = rng.choice(self.markets)
        if rng.random() < 0.05:
            m.mid = min(max(m.mid + rng.choice((-2, -1, 1, 2)) * m.tick, 10 * m.tick), 1_999_990_000)
        choice = rng.random()
        order = m.draw_order(rng) if 0.45 <= choice < 0.95 else None
        side = rng.choice("BS")
        if order is None and choice < 0.95:
            yield from self.enter_order(m, side, self.draw_price(m, side), self.draw_size())
        elif choice < 0.75 and order is not None:
            m.remove_order(order)
            yield self.encode_next("D", m, order.reference)
        elif choice < 0.86 and order is not None:
            yield from self.replace_order(m, order)
        elif choice < 0.90 and order is not None:
            if order.shares > 1:
                cancelled = rng.randrange(1, order.shares)
                order.shares -= cancelled
                yield self.encode_next("X", m, order.reference, cancelled)
        elif choice < 0.95:
            best = m.find_best(side)
            if best is not None:
                yield from (text for text, _ in self.execute_orders(m, side, best.price, self.draw_size()))
        elif choice < 0.97:
            yield self.encode_next("P", m, 0, "B", self.draw_size(), m.name, m.mid, self.draw_match_number())
        else:
            yield from self.draw_rare_messages(m)

    def replace_order(self, m: _Market, order: _Order) -> Iterator[bytes]:
        """A replaced order stays on its side of the other best price: in ITCH a Replace does not execute."""
        price = self.draw_price(m, order.side)
        other = m.find_best("S" if order.side == "B" else "B")
        if other is not None:
            price = min(price, other.price - m.tick) if order.side == "B" else max(price, other.price + m.tick)
        if not 0 < price <= 2_000_000_000:
            return
        m.remove_order(order)
        new = _Order(self.draw_reference(), order.side, self.draw_size(), price)
        m.add_order(new)
        yield self.encode_next("U", m, order.reference, new.reference, new.shares, price)

    def draw_rare_messages(self, m: _Market) -> Iterator[bytes]:
        rng = self.rng
        prices = [rng.randrange(2**32) for _ in range(5)]
        letter = rng.choice("BIIIINNOJhWHY")
        if letter == "B":
            yield self.encode_next("B", m, rng.choice(self.printed))
        elif letter == "I":
            yield self.draw_imbalance(m, rng.choice("OCHA"))
        elif letter == "N":
            yield self.encode_next("N", m, m.name, rng.choice("BSAN"))
        elif letter == "O":
            yield self.encode_next("O", m, m.name, rng.choice("NY"), *prices[:3], self.now, *prices[3:])
        elif letter == "J":
            yield from self.pause_symbol(m)
        elif letter == "h":
            market = rng.choice("QBX")
            yield self.encode_next("h", m, m.name, market, "H")
            yield from self.draw_quiet_steps(m)
            yield self.encode_next("h", m, m.name, market, "T")
        elif letter == "W":
            yield from self.breach_level(rng.choice("12"))
        elif letter == "H":
            yield from self.halt_symbol(m, rng.choice(("T1", "T2", "M", "")))
        else:
            yield self.encode_next("Y", m, m.name, rng.choice("12"))
            yield from self.draw_quiet_steps(m)
            yield self.encode_next("Y", m, m.name, "0")

    def draw_imbalance(self, m: _Market, cross: str) -> bytes:
        rng = self.rng
        return self.encode_next(
            "I", m, rng.randrange(2**40), rng.randrange(2**40), rng.choice("BSNOP"), m.name,
            *(rng.randrange(2**32) for _ in range(3)), cross, rng.choice("L123456789ABC "),
        )  # fmt: skip

    def draw_quiet_steps(self, m: _Market) -> Iterator[bytes]:
        """Orders that come and go while nothing is executed."""
        for _ in range(self.rng.randrange(6)):
            order = m.draw_order(self.rng)
            if order is not None and self.rng.random() < 0.5:
                m.remove_order(order)
                yield self.encode_next("D", m, order.reference)
            elif order is not None:
                yield from self.replace_order(m, order)

    def reopen_symbol(self, m: _Market, reason: str) -> Iterator[bytes]:
        """Quotation only, the halt cross, and trading again."""
        yield self.encode_next("H", m, m.name, "Q", "", reason)
        yield self.draw_imbalance(m, "H")
        yield from self.draw_quiet_steps(m)
        yield self.encode_next("Q", m, self.rng.choice((0, 5000)), m.name, m.mid, self.draw_match_number(), "H")
        yield self.encode_next("H", m, m.name, "T", "", reason)

    def halt_symbol(self, m: _Market, reason: str) -> Iterator[bytes]:
        yield self.encode_next("H", m, m.name, "H", "", reason)
        yield from self.draw_quiet_steps(m)
        yield from self.reopen_symbol(m, "T3")

    def pause_symbol(self, m: _Market) -> Iterator[bytes]:
        """A Limit Up-Limit Down pause and its auction collar."""
        away = m.mid // 20 + 1
        yield self.encode_next("H", m, m.name, "P", "", "LUDP")
        yield self.encode_next("J", m, m.name, m.mid, m.mid + away, max(1, m.mid - away), 0)
        yield from self.draw_quiet_steps(m)
        yield from self.reopen_symbol(m, "LUDP")

    def breach_level(self, level: str) -> Iterator[bytes]:
        """The market-wide circuit breaker's level 1 or 2: all symbols are halted, and go on."""
        yield self.encode_next("W", None, level)
        for m in self.markets:
            yield self.encode_next("H", m, m.name, "H", "", f"MWC{level}")
        for m in self.markets:
            yield from self.draw_quiet_steps(m)
        for m in self.markets:
            yield from self.reopen_symbol(m, "MWCQ")


def session(seed: int, messages: int, symbols: int | Sequence[str] = 3) -> list[bytes]:
    """Make one trading day of exactly `messages` ITCH messages. symbols: how many, or their names.

    Returns the messages. Raises ValueError when so few messages cannot hold the opening and the closing.
    """
    if isinstance(symbols, int):
        symbols = [NAMES[i] if i < len(NAMES) else f"S{i}" for i in range(symbols)]
    day = _Day(seed, symbols)
    out = list(day.open_day())
    before_close = messages - len(symbols) - 3
    if before_close < len(out):
        raise ValueError(
            f"messages: found {messages}, for {len(symbols)} symbols at least {len(out) + len(symbols) + 3}"
        )
    while len(out) < before_close:
        out.extend(day.draw_step())
    # What a step overshoots is cut: every prefix of the flow is consistent by itself.
    del out[before_close:]
    out.extend(day.close_day())
    return out


def quotes(seed: int, count: int, symbol: str = "AAPL") -> list[bytes]:
    """Make `count` messages of which each one moves the best bid or offer: an order on either side, then Replaces of
    the one and the other. A random walk of one symbol, with locate code 1. Returns the messages."""
    rng = random.Random(seed)
    mid, reference, references = 1_000_000, 2, {"B": 1, "S": 2}
    prices = {"B": mid - 100, "S": mid + 100}
    out = [message("A", 1, 0, i, i + 1, side, 100, symbol, prices[side]) for i, side in enumerate("BS")]
    for i in range(2, count):
        side = "BS"[i & 1]
        mid = max(100_000, mid + rng.choice((-300, -200, -100, 100, 200, 300)))
        # A cent or two from the middle, on its own side of the other price, and never where it was.
        price = min(mid, prices["S"]) - 100 if side == "B" else max(mid, prices["B"]) + 100
        if price == prices[side]:
            price += -100 if side == "B" else 100
        reference += 1
        out.append(message("U", 1, 0, i * 1_000, references[side], reference, 100 + i % 100, price))
        references[side], prices[side] = reference, price
    return out[:count]


def binaryfile(messages: Sequence[bytes], *, end_of_session: bool = False) -> bytes:
    """Returns the messages as a BinaryFILE."""
    return b"".join(len(m).to_bytes(2, "big") + m for m in messages) + (b"\0\0" if end_of_session else b"")
