"""An engine on an ITCH feed that is sent message by message, and the specification's codes of states."""

from typing import Any

from agent import strategy
from agent.protocols import itch_layouts as itch

from ..conftest import Event, Hand, mold, order

NAMES = ("AAPL", "MSFT")
LOCATES = {"AAPL": 7, "MSFT": 9}
HOUR = 3_600_000_000_000
#: Nasdaq TotalView-ITCH 5.0, System Event and Stock Trading Action: the code, and what it makes of the state.
MARKETS = {
    "O": strategy.CLOSED, "S": strategy.PRE_MARKET, "Q": strategy.OPEN, "M": strategy.POST_MARKET,
    "E": strategy.CLOSED, "C": strategy.CLOSED,
}  # fmt: skip
ACTIONS = {"T": strategy.TRADING, "Q": strategy.QUOTING, "P": strategy.PAUSED, "H": strategy.HALTED}


class Feed:
    """An engine on an ITCH feed: one message a packet, and what the strategy was told of it."""

    def __init__(self, limits: dict[str, int] | None = None, **options: Any) -> None:
        options = {"feed_format": "itch", "orders": 64, "levels": 16, "start": 1} | options
        self.hand = Hand(symbols=tuple(name.encode() for name in NAMES), limits=limits, **options)
        self.sequence, self.reference, self.now = 0, 0, 4 * HOUR

    def send(self, letter: str, name: str | None = None, **values: Any) -> list[Event]:
        """Returns the events that the message made. name: its stock; the market's messages have none."""
        fields = {field.name for field in itch.LAYOUTS[letter].fields}
        self.now += 1_000
        head: dict[str, Any] = {"timestamp": self.now, "stock_locate": LOCATES[name] if name else 0}
        if "stock" in fields:
            head["stock"] = name
        return self.give(itch.encode(letter, **head | values))

    def give(self, message: bytes) -> list[Event]:
        before = len(self.hand.events)
        self.sequence += 1
        self.hand.engine.handle_datagram(mold(self.sequence, message))
        return self.hand.events[before:]

    def event(self, code: str) -> list[Event]:
        return self.send("S", event_code=code)

    def action(self, name: str, code: str) -> list[Event]:
        return self.send("H", name, trading_state=code)

    def quote(self, name: str = "AAPL", bid: int = 1_000_000, ask: int = 1_000_100, **values: Any) -> None:
        for side, price in (("B", bid), ("S", ask)):
            self.reference += 1
            fields = {"order_reference_number": self.reference, "buy_sell_indicator": side, "shares": 100}
            self.send("A", name, **fields, price=price, **values)

    def open(self, begun: bool = False) -> "Feed":
        """A day as the exchange begins it, until its market is open; each symbol has a bid and an offer."""
        if not begun:
            self.event("O")
        for name in NAMES:
            self.send("R", name)
            self.action(name, "T")
            self.send("Y", name, reg_sho_action="0")
        self.event("S")
        for name in NAMES:
            self.quote(name)
        self.event("Q")
        return self

    def try_order(self, name: str = "AAPL", side: int = 1, size: int = 1) -> str:
        """Returns what became of an order at the next trade of a symbol: "sent", or the reason why it was refused."""
        before = self.hand.reading.counters
        self.hand.orders = [order(100.0, size, side, NAMES.index(name))]
        self.send("P", name, buy_sell_indicator="B", shares=1, price=1_000_000)
        self.hand.orders = []
        after = self.hand.reading.counters
        changed = {n: after[n] - before[n] for n in after if n.startswith(("reject_", "orders_sent"))}
        (found,) = [n for n, count in changed.items() if count]
        assert changed[found] == 1
        return "sent" if found == "orders_sent" else found.removeprefix("reject_")

    def row(self, name: str = "AAPL") -> Any:
        return self.hand.reading.symbols[NAMES.index(name)]
