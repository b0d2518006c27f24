"""EMA 10/50 cross over a file of quotes in nautilus_trader's BacktestEngine, with its own averages.

    nautilus_replay FILE [ROWS]

Each row is a QuoteTick. A market order on each cross goes through its risk engine to its simulated exchange, which
fills it; accounts and positions are kept. It logs nothing and analyses nothing afterwards. Prints {"events",
"seconds", "orders", "version"}; seconds are of the engine's run alone.
"""

import json
import sys
import time
from typing import Any

import nautilus_trader
import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig, RiskEngineConfig
from nautilus_trader.indicators import ExponentialMovingAverage
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import QuoteTick
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide, PriceType
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import Equity
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

VENUE = Venue("SIMULATOR")
SYMBOL = Symbol("AAPL")
ID = InstrumentId(SYMBOL, VENUE)


class EmaCross(Strategy):  # type: ignore[misc]
    """An order each time that the averages cross, after as many ticks as the slow one is of."""

    def __init__(self, fast: int, slow: int) -> None:
        super().__init__()
        self.fast = ExponentialMovingAverage(fast, PriceType.MID)
        self.slow = ExponentialMovingAverage(slow, PriceType.MID)
        self.warm_up = slow
        self.seen = 0
        self.orders = 0
        self.above = 0
        self.one = Quantity.from_int(1)

    def on_start(self) -> None:
        self.register_indicator_for_quote_ticks(ID, self.fast)
        self.register_indicator_for_quote_ticks(ID, self.slow)
        self.subscribe_quote_ticks(ID)

    def on_quote_tick(self, tick: QuoteTick) -> None:
        self.seen += 1
        before = self.above
        if self.fast.value > self.slow.value:
            self.above = 1
        elif self.fast.value < self.slow.value:
            self.above = -1
        if self.above == before or before == 0 or self.seen <= self.warm_up:
            return
        self.orders += 1
        side = OrderSide.BUY if self.above > 0 else OrderSide.SELL
        self.submit_order(self.order_factory.market(ID, side, self.one))


def ticks(quotes: np.ndarray[Any, Any]) -> list[QuoteTick]:
    """Rows of quotes in its own form; prices have 2 decimals."""
    return [
        QuoteTick(
            instrument_id=ID,
            bid_price=Price(bid, 2),
            ask_price=Price(ask, 2),
            bid_size=Quantity(bid_size, 0),
            ask_size=Quantity(ask_size, 0),
            ts_event=ts,
            ts_init=ts,
        )
        for ts, bid, bid_size, ask, ask_size in quotes.tolist()
    ]


def main(path: str, rows: int | None = None) -> None:
    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggingConfig(bypass_logging=True),
            risk_engine=RiskEngineConfig(max_order_submit_rate="1000000/00:00:01"),
            run_analysis=False,
        )
    )
    engine.add_venue(VENUE, OmsType.NETTING, AccountType.MARGIN, [Money(10**9, USD)], base_currency=USD)
    engine.add_instrument(
        Equity(
            instrument_id=ID,
            raw_symbol=SYMBOL,
            currency=USD,
            price_precision=2,
            price_increment=Price(0.01, 2),
            lot_size=Quantity.from_int(1),
            ts_event=0,
            ts_init=0,
        )
    )
    engine.add_data(ticks(np.load(path)[:rows]))
    strategy = EmaCross(10, 50)
    engine.add_strategy(strategy)
    begun = time.perf_counter()
    engine.run()
    seconds = time.perf_counter() - begun
    filled = engine.cache.orders_closed_count()
    if filled != strategy.orders:
        raise SystemExit(f"{filled} of {strategy.orders} orders were filled")
    print(json.dumps({"events": strategy.seen, "seconds": seconds, "orders": strategy.orders,
                      "version": nautilus_trader.__version__}))  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
