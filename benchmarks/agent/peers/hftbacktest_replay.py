"""EMA 10/50 cross over a file of quotes in hftbacktest: its Numba loop, its fastest book and queue model.

    hftbacktest_replay FILE [ROWS]

A row of quotes is two of its depth events, the new best price and the end of the old one, of the same time: it wakes
the strategy once for both. Orders meet its simulated exchange, without latency and fees. Prints {"events", "seconds",
"orders", "version", "depth_events"}: events are rows; seconds are of the loop alone, compiled before on other data.
"""

import json
import sys
import time
from typing import Any

import hftbacktest
import numpy as np
from hftbacktest import GTC, LIMIT, BacktestAsset, ROIVectorMarketDepthBacktest
from hftbacktest.types import BUY_EVENT, DEPTH_EVENT, EXCH_EVENT, LOCAL_EVENT, SELL_EVENT, event_dtype
from numba import njit

#: What prices are multiples of.
TICK = 0.01
_FEED = 2


def depth_events(quotes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Rows of quotes as depth events. The last row comes again, later: hftbacktest ends upon its last event without
    showing it to the strategy."""
    quotes = np.concatenate([quotes, quotes[-1:]])
    quotes["ts"][-1] += 1_000_000
    count = len(quotes)
    events = np.zeros((count, 4), event_dtype)
    wanted = np.zeros((count, 4), bool)
    for column, (side, flag) in enumerate((("bid", BUY_EVENT), ("ask", SELL_EVENT))):
        price, size = quotes[side], quotes[f"{side}_size"]
        new, old = events[:, 2 * column], events[:, 2 * column + 1]
        new["px"], new["qty"], old["px"][1:] = price, size, price[:-1]
        new["ev"] = old["ev"] = flag | DEPTH_EVENT | EXCH_EVENT | LOCAL_EVENT
        moved = price[1:] != price[:-1]
        wanted[1:, 2 * column] = moved | (size[1:] != size[:-1])
        wanted[1:, 2 * column + 1] = moved
    wanted[0, [0, 2]] = wanted[-1, 0] = True
    events["exch_ts"] = events["local_ts"] = quotes["ts"][:, None]
    chosen: np.ndarray[Any, Any] = events[wanted]
    return chosen


@njit
def trade(backtest, fast_period, slow_period):  # type: ignore[no-untyped-def]
    """(rows seen, orders) of the whole of the data."""
    alpha_fast, alpha_slow = 2.0 / (fast_period + 1.0), 2.0 / (slow_period + 1.0)
    fast = slow = 0.0
    seen = above = orders = 0
    while backtest.wait_next_feed(False, 10**15) == _FEED:
        depth = backtest.depth(0)
        mid = (depth.best_bid + depth.best_ask) * 0.5
        if seen == 0:
            fast = slow = mid
        fast += alpha_fast * (mid - fast)
        slow += alpha_slow * (mid - slow)
        seen += 1
        before = above
        if fast > slow:
            above = 1
        elif fast < slow:
            above = -1
        if above == before or before == 0 or seen <= slow_period:
            continue
        orders += 1
        if above > 0:
            backtest.submit_buy_order(0, orders, depth.best_ask, 1.0, GTC, LIMIT, False)
        else:
            backtest.submit_sell_order(0, orders, depth.best_bid, 1.0, GTC, LIMIT, False)
        if orders % 100 == 0:
            backtest.clear_inactive_orders(0)
    return seen, orders


def backtest(events: np.ndarray[Any, Any]) -> Any:
    """One asset with these depth events."""
    return ROIVectorMarketDepthBacktest(
        [
            BacktestAsset()
            .data(events)
            .linear_asset(1.0)
            .constant_order_latency(0, 0)
            .risk_adverse_queue_model()
            .no_partial_fill_exchange()
            .trading_value_fee_model(0, 0)
            .tick_size(TICK)
            .lot_size(1.0)
            .roi_lb(events["px"].min() - 1.0)
            .roi_ub(events["px"].max() + 1.0)
        ]
    )


def main(path: str, rows: int | None = None) -> None:
    quotes = np.load(path)[:rows]
    events = depth_events(quotes)
    small = backtest(depth_events(quotes[:1000]))
    trade(small, 10, 50)
    small.close()
    whole = backtest(events)
    begun = time.perf_counter()
    seen, orders = trade(whole, 10, 50)
    seconds = time.perf_counter() - begun
    whole.close()
    version = hftbacktest.__version__
    print(json.dumps({"events": seen, "seconds": seconds, "orders": orders, "version": version,
                      "depth_events": len(events)}))  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
