"""The best bid and offer behind each message of a feed, which the simulator matches orders against.

They are worked out here with Python's own json and dictionaries, not with the agent's parsers, so that a mistake there
is seen.
"""

import heapq
import json
import struct
from typing import NamedTuple

from hosttune.patterns import late_pattern

#: A price or a size: at most 11 digits, and 8 behind the point. Nothing else is made a number of.
_DECIMAL = late_pattern(r"[0-9]{1,11}(?:\.[0-9]{1,8})?\Z")
#: Bytes of the ITCH messages that are about orders, by type.
_LENGTHS = {b"A": 36, b"F": 40, b"E": 31, b"C": 36, b"X": 23, b"D": 19, b"U": 35}


class Prices(NamedTuple):
    """What a message leaves of its symbol's best bid and offer: prices with 4 decimals, 0: none; whole units."""

    symbol: str
    bid: int
    ask: int
    bid_size: int
    ask_size: int


def find_binance_type(message: bytes) -> str:
    """Returns the type of a message by its stream's name or its event field: bookTicker, trade, depthUpdate, other."""
    head = message[:120]
    if b"@bookTicker" in head:
        return "bookTicker"
    if b'"e":"trade"' in head:
        return "trade"
    if b'"e":"depthUpdate"' in head:
        return "depthUpdate"
    if head.startswith(b'{"u":') and b'"B":' in message:
        return "bookTicker"
    return "other"


def read_binance_prices(message: bytes) -> Prices | None:
    """Returns the prices of a bookTicker; None: it is damaged."""
    try:
        data = json.loads(message)
        data = data.get("data", data)
        return _round_prices(data["s"], data["b"], data["B"], data["a"], data["A"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def read_csv_prices(message: bytes) -> Prices | None:
    """Returns the prices of a line with a quote; None: it has none, or is damaged."""
    fields = message.decode("ascii", "replace").split(",")
    if len(fields) < 6 or not fields[2]:
        return None
    try:
        return _round_prices(*fields[1:6])
    except ValueError:
        return None


def _round_prices(symbol: str, bid: str, bid_size: str, ask: str, ask_size: str) -> Prices:
    """Returns prices with 4 decimals, never better than they are, and whole units. Raises TypeError or ValueError."""
    for text in (symbol, bid, bid_size, ask, ask_size):
        if not isinstance(text, str):
            raise TypeError(text)
        if not (text.isprintable() if text is symbol else _DECIMAL.match(text)):
            raise ValueError(text)
    bid_units, bid_size_units, ask_units, ask_size_units = map(_count_units, (bid, bid_size, ask, ask_size))
    return Prices(
        symbol,
        bid_units // 10**4,
        -(-ask_units // 10**4),
        min(bid_size_units // 10**8, 2**32 - 1),
        min(ask_size_units // 10**8, 2**32 - 1),
    )


def _count_units(text: str) -> int:
    """Returns a decimal in units of 1e-8."""
    whole, _, part = text.partition(".")
    return int(whole + part.ljust(8, "0"))


#: ITCH's letters for the sides.
_BUY, _SELL = b"BS"


class ItchBooks:
    """The books of a feed of orders: every order and every level in dictionaries."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.orders: dict[int, list[int]] = {}
        self.levels: dict[tuple[int, int], dict[int, int]] = {}
        # Of each side the prices that had orders, the best one first; those without any are left until they are first.
        self.prices: dict[tuple[int, int], list[int]] = {}

    def _change_level(self, locate: int, side: int, price: int, shares: int) -> None:
        level = self.levels.setdefault((locate, side), {})
        if price not in level:
            heapq.heappush(self.prices.setdefault((locate, side), []), -price if side == _BUY else price)
        level[price] = level.get(price, 0) + shares
        if level[price] <= 0:
            del level[price]

    def _find_best(self, locate: int, side: int) -> tuple[int, int]:
        """Returns the best price of a side and its shares; zeros where there is none."""
        level, prices = self.levels.get((locate, side), {}), self.prices.get((locate, side), [])
        while prices:
            if (price := abs(prices[0])) in level:
                return price, level[price]
            heapq.heappop(prices)
        return 0, 0

    def _reduce_order(self, reference: int, shares: int | None) -> None:
        order = self.orders.get(reference)
        if order is None:
            return
        reduced = order[3] if shares is None else min(shares, order[3])
        order[3] -= reduced
        self._change_level(order[0], order[1], order[2], -reduced)
        if order[3] == 0:
            del self.orders[reference]

    def _add_order(self, reference: int, locate: int, side: int, price: int, shares: int) -> None:
        self.orders[reference] = [locate, side, price, shares]
        self._change_level(locate, side, price, shares)

    def use_message(self, m: bytes) -> Prices | None:
        """Follow an ITCH 5.0 message. Returns the prices that it leaves, where it is about an order."""
        letter, locate = m[:1], int.from_bytes(m[1:3], "big")
        if letter == b"R":
            self.names[locate] = m[11:19].decode("ascii", "replace").rstrip()
        if len(m) != _LENGTHS.get(letter):
            return None
        reference = int.from_bytes(m[11:19], "big")
        if letter in b"AF":
            self.names.setdefault(locate, m[24:32].decode("ascii", "replace").rstrip())
            self._add_order(reference, locate, m[19], int.from_bytes(m[32:36], "big"), int.from_bytes(m[20:24], "big"))
        elif letter in b"ECX":
            self._reduce_order(reference, int.from_bytes(m[19:23], "big"))
        elif letter == b"D":
            self._reduce_order(reference, None)
        elif (old := self.orders.get(reference)) is not None:
            side = old[1]
            self._reduce_order(reference, None)
            shares, price = struct.unpack_from(">II", m, 27)
            self._add_order(int.from_bytes(m[19:27], "big"), locate, side, price, shares)
        (bid, bid_size), (ask, ask_size) = self._find_best(locate, _BUY), self._find_best(locate, _SELL)
        return Prices(self.names.get(locate, ""), bid, ask, bid_size, ask_size)
