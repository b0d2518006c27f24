"""Messages of quotes and trades as the simulator reads and writes them, one entry of MESSAGES per feed format.

They are read with Python's own json, str and Decimal and not with the agent's parsers, so that a mistake in those is
seen. The formats are those of agent.protocols.formats; one that has no entry here can be replayed but not simulated.
"""

import json
import random
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

#: Symbol, bid, ask (4 decimals), bid size, ask size (whole units): what a message leaves as a symbol's best prices.
Mark = tuple[str, int, int, int, int]


class Walk:
    """One step of a generated random walk: what the next message is to say.

    at: ns since 1970; price: cents; quotes, trades: the last numbers given; rng: for sizes.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.at = 0
        self.symbol = ""
        self.price = 0
        self.quotes, self.trades = 50_000_000_000, 3_700_000_000

    def draw_size(self) -> str:
        """Returns a size of 0 to 20 units, as text with 8 decimals."""
        return f"{self.rng.randrange(0, 20)}.{self.rng.randrange(100_000):05d}000"


class Messages(NamedTuple):
    """How the simulator reads and writes the messages of a feed format.

    tell_type: a message's type, for the report. read_mark: the best bid and offer that it leaves, None for a message of
    none. write_quote, write_trade: a message. opening: what every message begins with. refuse: why a line of a
    recording is not a message of the feed, "" for one that is. read_time: the time that a message has in itself, in ns,
    None for one without (formats framed as "lines").
    """

    tell_type: Callable[[bytes], str]
    read_mark: Callable[[bytes], Mark | None]
    write_quote: Callable[[Walk], bytes]
    write_trade: Callable[[Walk], bytes]
    opening: bytes = b""
    refuse: Callable[[bytes], str] = lambda message: ""
    read_time: Callable[[bytes], int | None] = lambda message: None


def round_mark(symbol: str, bid: str, bid_size: str, ask: str, ask_size: str) -> Mark:
    """Returns prices with 4 decimals, never better than they are, and whole units. Raises ArithmeticError for text that
    is no number."""
    return (
        symbol,
        int(Decimal(bid) * 10_000),
        -int(-(Decimal(ask) * 10_000) // 1),
        min(int(Decimal(bid_size)), 2**32 - 1),
        min(int(Decimal(ask_size)), 2**32 - 1),
    )


def _write_price(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}000000"


# --------------------------------------------------------------------------------------------- Binance


def _tell_binance_type(message: bytes) -> str:
    """By the stream's name or the event field: bookTicker, trade, depthUpdate, other."""
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


def _read_binance_mark(message: bytes) -> Mark | None:
    if _tell_binance_type(message) != "bookTicker":
        return None
    try:
        data = json.loads(message)
        data = data.get("data", data)
        return round_mark(data["s"], data["b"], data["B"], data["a"], data["A"])
    except (ValueError, KeyError, TypeError, ArithmeticError):
        return None


def _write_binance_quote(walk: Walk) -> bytes:
    walk.quotes += walk.rng.randrange(1, 9)
    return (
        f'{{"stream":"{walk.symbol.lower()}@bookTicker","data":{{"u":{walk.quotes},"s":"{walk.symbol}",'
        f'"b":"{_write_price(walk.price)}","B":"{walk.draw_size()}",'
        f'"a":"{_write_price(walk.price + 1)}","A":"{walk.draw_size()}"}}}}'
    ).encode()


def _write_binance_trade(walk: Walk) -> bytes:
    walk.trades += 1
    return (
        f'{{"stream":"{walk.symbol.lower()}@trade","data":{{"e":"trade","E":{walk.at // 1_000_000},'
        f'"s":"{walk.symbol}","t":{walk.trades},"p":"{_write_price(walk.price)}","q":"{walk.draw_size()}",'
        f'"T":{walk.at // 1_000_000},"m":{walk.rng.choice(("true", "false"))},"M":true}}}}'
    ).encode()


# --------------------------------------------------------------------------------------------- CSV ticks


def _read_csv_mark(message: bytes) -> Mark | None:
    fields = message.decode("ascii", "replace").split(",")
    if len(fields) < 6 or not fields[2]:
        return None
    try:
        return round_mark(*fields[1:6])
    except ArithmeticError:
        return None


def _read_csv_time(message: bytes) -> int | None:
    stamp, comma, _ = message.partition(b",")
    return int(stamp) if comma and stamp.isdigit() else None


def _write_csv_quote(walk: Walk) -> bytes:
    bid, bid_size = _write_price(walk.price), walk.draw_size()
    ask, ask_size = _write_price(walk.price + 1), walk.draw_size()
    return f"{walk.at},{walk.symbol},{bid},{bid_size},{ask},{ask_size},,".encode()


def _write_csv_trade(walk: Walk) -> bytes:
    return f"{walk.at},{walk.symbol},,,,,{_write_price(walk.price)},{walk.draw_size()}".encode()


#: By the name of the feed format.
MESSAGES = {
    "binance": Messages(
        _tell_binance_type,
        _read_binance_mark,
        _write_binance_quote,
        _write_binance_trade,
        opening=b"{",
        refuse=lambda message: "REST snapshot" if message.startswith(b'{"lastUpdateId"') else "",
    ),
    "csv": Messages(
        lambda message: "line", _read_csv_mark, _write_csv_quote, _write_csv_trade, read_time=_read_csv_time
    ),
}
