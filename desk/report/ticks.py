"""The messages that both sides get: quotes of one symbol, as Binance sends them (bookTicker)."""

import random

SYMBOL = "BTCUSDT"
_MIDDLE, _TICK = 60_000.0, 0.01


def make_ticks(count: int, seed: int) -> list[bytes]:
    """Returns so many quotes, a random walk; each moves the best bid and offer. The same for the same seed."""
    rng = random.Random(seed)
    bid = round(_MIDDLE / _TICK)
    found = []
    for number in range(1, count + 1):
        bid += rng.choice((-3, -2, -1, 1, 2, 3))
        found.append(
            b'{"stream":"btcusdt@bookTicker","data":{"u":%d,"s":"%s","b":"%.8f","B":"9.00000000","a":"%.8f",'
            b'"A":"9.00000000"}}' % (number, SYMBOL.encode(), bid * _TICK, (bid + 1) * _TICK)
        )
    return found
