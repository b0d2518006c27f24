"""Exponential moving averages of the mid price: buy when the fast one crosses above the slow one,
sell when it crosses below. A limit order at the far side of the book, params.size units; each symbol by itself.

With a period n an average moves by 2 / (n + 1) of the way to each new mid price. No order before
`slow` book events have been seen. The same arithmetic, in the same order, is in ema_cross_cython.pyx and
ema_cross_rust.rs. init() refuses periods that are not from 1 to 1e9.
"""

import numpy as np

from agent.strategy import BOOK, BUY, SCALE, SELL, Strategy

#: Symbols it keeps averages of; events of further ones are not looked at.
SYMBOLS = 256

AVERAGES = np.dtype([("fast", "f8"), ("slow", "f8"), ("seen", "i8"), ("above", "i8")], align=True)
STATE = np.dtype(
    [("alpha_fast", "f8"), ("alpha_slow", "f8"), ("warm_up", "i8"), ("size", "i8"), ("of", AVERAGES, (SYMBOLS,))],
    align=True,
)


def init(state, params):  # type: ignore[no-untyped-def]
    if not (1.0 <= params.fast <= 1e9 and 1.0 <= params.slow <= 1e9):
        return -1
    state.alpha_fast = 2.0 / (params.fast + 1.0)
    state.alpha_slow = 2.0 / (params.slow + 1.0)
    state.warm_up = np.int64(params.slow)
    state.size = params.size
    return 0


def on_event(state, event, orders):  # type: ignore[no-untyped-def]
    if event.kind & BOOK == 0 or event.bid == 0 or event.ask == 0 or event.symbol >= SYMBOLS:
        return 0
    own = state.of[event.symbol]
    mid = (float(event.bid) + float(event.ask)) * (0.5 * SCALE)  # as integers the sum could overflow
    if own.seen == 0:
        own.fast = mid
        own.slow = mid
    own.fast += state.alpha_fast * (mid - own.fast)
    own.slow += state.alpha_slow * (mid - own.slow)
    own.seen += 1
    above = own.above
    if own.fast > own.slow:
        above = 1
    elif own.fast < own.slow:
        above = -1
    before = own.above
    own.above = above
    if above == before or before == 0 or own.seen <= state.warm_up:
        return 0
    order = orders[0]
    order.symbol = event.symbol
    order.size = state.size
    order.id = 0
    order.tag = 0
    order.action = 0
    if above > 0:
        order.side = BUY
        order.price = event.ask * SCALE
    else:
        order.side = SELL
        order.price = event.bid * SCALE
    return 1


STRATEGY = Strategy(on_event, STATE, init)
