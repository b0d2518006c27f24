"""Seeded feeds of quotes and trades: a random walk of each symbol, four quotes to a trade.

The same arguments give the same bytes.
"""

import random
from collections.abc import Callable, Iterator, Sequence

_START_NS = 1_700_000_000_000_000_000
_STEP_NS = 1_000_000
_START_PRICE = 6_000_000  # cents

#: Returns one message: of the random numbers, at a time, of a symbol, at a price in cents, and whether it is a trade.
Writer = Callable[[random.Random, int, str, int, bool], bytes]


class BinanceWriter:
    """Writes bookTicker and trade messages of Binance's combined streams."""

    def __init__(self) -> None:
        self._update_id, self._trade_id = 50_000_000_000, 3_700_000_000

    def __call__(self, rng: random.Random, at: int, symbol: str, price: int, traded: bool) -> bytes:
        stream, at_ms = symbol.lower(), at // 1_000_000
        if traded:
            self._trade_id += 1
            return (
                f'{{"stream":"{stream}@trade","data":{{"e":"trade","E":{at_ms},"s":"{symbol}","t":{self._trade_id},'
                f'"p":"{_format_price(price)}","q":"{_draw_size(rng)}","T":{at_ms},'
                f'"m":{rng.choice(("true", "false"))},"M":true}}}}'
            ).encode()
        self._update_id += rng.randrange(1, 9)
        return (
            f'{{"stream":"{stream}@bookTicker","data":{{"u":{self._update_id},"s":"{symbol}",'
            f'"b":"{_format_price(price)}","B":"{_draw_size(rng)}",'
            f'"a":"{_format_price(price + 1)}","A":"{_draw_size(rng)}"}}}}'
        ).encode()


def write_csv(rng: random.Random, at: int, symbol: str, price: int, traded: bool) -> bytes:
    """Write a CSV tick."""
    if traded:
        return f"{at},{symbol},,,,,{_format_price(price)},{_draw_size(rng)}".encode()
    bid, bid_size = _format_price(price), _draw_size(rng)
    return f"{at},{symbol},{bid},{bid_size},{_format_price(price + 1)},{_draw_size(rng)},,".encode()


def walk_prices(seed: int, count: int, symbols: Sequence[str], write: Writer) -> Iterator[tuple[int, bytes]]:
    """Yields `count` messages, one each millisecond: (time in ns, message)."""
    rng = random.Random(seed)
    prices = dict.fromkeys(symbols, _START_PRICE)
    for i in range(count):
        symbol = symbols[0] if len(symbols) == 1 else rng.choice(symbols)
        price = prices[symbol] = max(100, prices[symbol] + rng.choice((-120, -40, -1, 0, 0, 1, 40, 120)))
        at = _START_NS + i * _STEP_NS
        yield at, write(rng, at, symbol, price, rng.random() < 0.2)


def _format_price(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}000000"


def _draw_size(rng: random.Random) -> str:
    return f"{rng.randrange(0, 20)}.{rng.randrange(100_000):05d}000"
