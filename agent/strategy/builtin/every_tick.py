"""An order on every book event, buy and sell in turn: no way to trade, but the way to measure
tick-to-order latency with as many samples as there are ticks.
"""

from agent.strategy import BOOK, BUY, SCALE, SELL, Strategy


def init(state, params):  # type: ignore[no-untyped-def]
    state.size = params.size
    return 0


def on_event(state, event, orders):  # type: ignore[no-untyped-def]
    if event.kind & BOOK == 0:
        return 0
    state.seen += 1
    order = orders[0]
    order.symbol = event.symbol
    order.size = state.size
    order.id = 0
    order.tag = 0
    order.action = 0
    if (state.seen & 1 and event.ask != 0) or event.bid == 0:
        order.side = BUY
        order.price = event.ask * SCALE
    else:
        order.side = SELL
        order.price = event.bid * SCALE
    return 1


STRATEGY = Strategy(on_event, [("size", "i8"), ("seen", "i8")], init)
