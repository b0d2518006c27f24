"""Exponential moving averages of the mid price: buy when the fast one crosses above the slow one,
sell when it crosses below. A limit order at the far side of the book, params.size units.

With a period n an average moves by 2 / (n + 1) of the way to each new mid price. No order before
`slow` book updates have been seen.
"""

import numpy as np
from numba import carray

from agent.strategy import BOOK, BUY, SCALE, SELL, Strategy

STATE = np.dtype(
    [("alpha_fast", "f8"), ("alpha_slow", "f8"), ("fast", "f8"), ("slow", "f8"),
     ("warm_up", "i8"), ("seen", "i8"), ("size", "i8"), ("above", "i8")],
    align=True,
)  # fmt: skip


def init(state_p, params_p):  # type: ignore[no-untyped-def]
    state = carray(state_p, 1)[0]
    params = carray(params_p, 1)[0]
    state.alpha_fast = 2.0 / (params.fast + 1.0)
    state.alpha_slow = 2.0 / (params.slow + 1.0)
    state.warm_up = np.int64(params.slow)
    state.size = params.size
    return 0


def on_event(state_p, tick_p, orders_p):  # type: ignore[no-untyped-def]
    state = carray(state_p, 1)[0]
    tick = carray(tick_p, 1)[0]
    if tick.kind != BOOK:
        return 0
    mid = (tick.bid + tick.ask) * (0.5 * SCALE)
    if state.seen == 0:
        state.fast = mid
        state.slow = mid
    state.fast += state.alpha_fast * (mid - state.fast)
    state.slow += state.alpha_slow * (mid - state.slow)
    state.seen += 1
    above = state.above
    if state.fast > state.slow:
        above = 1
    elif state.fast < state.slow:
        above = -1
    crossed = above != state.above
    first = state.above == 0
    state.above = above
    if not crossed or first or state.seen <= state.warm_up:
        return 0
    order = carray(orders_p, 1)[0]
    order.symbol = tick.symbol
    order.size = state.size
    if above > 0:
        order.side = BUY
        order.price = tick.ask * SCALE
    else:
        order.side = SELL
        order.price = tick.bid * SCALE
    return 1


STRATEGY = Strategy(on_event, STATE, init)
