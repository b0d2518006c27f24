"""An order on every book update, buy and sell in turn: no way to trade, but the way to measure
tick-to-order latency with as many samples as there are ticks.
"""

import numpy as np
from numba import carray

from agent.strategy import BOOK, BUY, SCALE, SELL, Strategy

STATE = np.dtype([("size", "i8"), ("seen", "i8")], align=True)


def init(state_p, params_p):  # type: ignore[no-untyped-def]
    carray(state_p, 1)[0].size = carray(params_p, 1)[0].size
    return 0


def on_event(state_p, tick_p, orders_p):  # type: ignore[no-untyped-def]
    state = carray(state_p, 1)[0]
    tick = carray(tick_p, 1)[0]
    if tick.kind != BOOK:
        return 0
    order = carray(orders_p, 1)[0]
    state.seen += 1
    order.symbol = tick.symbol
    order.size = state.size
    if state.seen & 1:
        order.side = BUY
        order.price = tick.ask * SCALE
    else:
        order.side = SELL
        order.price = tick.bid * SCALE
    return 1


STRATEGY = Strategy(on_event, STATE, init)
