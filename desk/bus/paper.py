"""Executions on paper: an order that crosses the best price is executed there, whole, at once."""

from desk.bus.bus import Bus
from desk.bus.events import Executed, MarketData, OrderReady


class Paper:
    """Publishes Executed, with the source "", for each OrderReady that can trade at the last prices of its symbol. One
    that cannot, or is of no side or no quantity, is forgotten: nothing rests. orders, executed: how many."""

    def __init__(self, bus: Bus) -> None:
        self.orders = self.executed = 0
        self._prices: dict[str, tuple[int, int]] = {}
        bus.subscribe(MarketData, self.keep_prices)
        bus.subscribe(OrderReady, self.execute)

    def keep_prices(self, event: MarketData, bus: Bus) -> None:
        """Keep a symbol's best bid and offer."""
        self._prices[event.symbol] = event.bid, event.ask

    def execute(self, event: OrderReady, bus: Bus) -> None:
        """Execute an order at the other side's best price, where its limit allows that."""
        self.orders += 1
        bid, ask = self._prices.get(event.symbol, (0, 0))
        price = ask if event.side > 0 else bid
        possible = event.side in (1, -1) and event.quantity > 0
        if possible and price and (event.price - price) * event.side >= 0:
            self.executed += 1
            bus.publish(
                Executed("", event.symbol, event.time_ns, event.side, event.quantity, price, event.id)
            )  # fmt: skip
