"""Orders and executions: the compiled market against a slow one in Python, which knows only the fill rule."""

from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compiled import _exchange_parts

from .messages import DAY, IMMEDIATE_OR_CANCEL, Event, cancel, enter, events, replace

SYMBOLS = ("AAPL", "MSFT")
UNKNOWN = "GOOG"


class Enter(NamedTuple):
    side: bytes
    quantity: int
    symbol: str
    price: int
    tif: bytes


class Replace(NamedTuple):
    order: int  # which of the UserRefNums so far
    quantity: int
    price: int


class Cancel(NamedTuple):
    order: int
    quantity: int


class Quote(NamedTuple):
    symbol: int
    bid: int
    ask: int
    bid_size: int
    ask_size: int


class Disconnect(NamedTuple):
    pass


PRICES = st.integers(95, 105)
STEPS = st.lists(
    st.one_of(
        st.builds(Enter, st.sampled_from([b"B", b"S", b"T", b"E"]), st.integers(0, 6),
                  st.sampled_from([*SYMBOLS, UNKNOWN]), PRICES, st.sampled_from([DAY, IMMEDIATE_OR_CANCEL])),
        st.builds(Replace, st.integers(0, 30), st.integers(0, 8), PRICES),
        st.builds(Cancel, st.integers(0, 30), st.integers(0, 6)),
        st.builds(Quote, st.integers(0, 1), st.one_of(st.just(0), PRICES), st.one_of(st.just(0), PRICES),
                  st.integers(0, 8), st.integers(0, 8)),
        st.builds(Disconnect),
    ),
    max_size=40,
)  # fmt: skip


class Order:
    def __init__(self, number: int, side: bytes, total: int, symbol: str, price: int) -> None:
        self.number, self.side, self.total, self.symbol, self.price = number, side, total, symbol, price
        self.executed = 0

    @property
    def open(self) -> int:
        return self.total - self.executed


class Model:
    """Open orders in one list, the newest first; every order is tried at every quote."""

    def __init__(self, executes: bool) -> None:
        self.executes = executes
        self.orders: list[Order] = []
        self.quotes = {symbol: [0, 0, 0, 0] for symbol in SYMBOLS}
        self.events: list[Event] = []
        self.last = 0

    def find(self, number: int) -> Order | None:
        return next((o for o in self.orders if o.number == number), None)

    def execute(self, order: Order) -> None:
        quote = self.quotes.get(order.symbol)
        if quote is None or not self.executes:
            return
        bid, ask = quote[:2]
        price, size = (ask, 3) if order.side == b"B" else (bid, 2)
        crosses = price != 0 and (order.price >= price if order.side == b"B" else order.price <= price)
        shares = min(order.open, quote[size])
        if crosses and shares:
            quote[size] -= shares
            order.executed += shares
            self.events.append(("executed", order.number, shares, price))
            if not order.open:
                self.orders.remove(order)

    def cancel(self, order: Order, reason: bytes) -> None:
        self.events.append(("canceled", order.number, order.open, reason))
        self.orders.remove(order)

    def step(self, step: Any, number: int) -> None:
        """number: the order's UserRefNum, or the one of the order that it is about."""
        if isinstance(step, Enter):
            self.last += 1
            if not step.quantity:
                self.events.append(("rejected", self.last))
                return
            order = Order(self.last, b"B" if step.side == b"B" else b"S", step.quantity, step.symbol, step.price)
            self.events.append(("accepted", order.number, step.side, step.quantity, step.price))
            self.orders.insert(0, order)
            self.execute(order)
            if order.open and step.tif == IMMEDIATE_OR_CANCEL:
                self.cancel(order, b"I")
        elif isinstance(step, Replace) and (old := self.find(number)):
            if not step.quantity or step.quantity <= old.executed:
                self.cancel(old, b"U")
                return
            self.orders.remove(old)
            self.last += 1
            order = Order(self.last, old.side, step.quantity, old.symbol, step.price)
            order.executed = old.executed
            self.events.append(("replaced", old.number, order.number, order.side, order.open, order.price))
            self.orders.insert(0, order)
            self.execute(order)
        elif isinstance(step, Cancel) and (old := self.find(number)) and step.quantity < old.total:
            if step.quantity <= old.executed:
                self.cancel(old, b"U")
            else:
                self.events.append(("canceled", old.number, old.total - step.quantity, b"U"))
                old.total = step.quantity
        elif isinstance(step, Quote):
            self.quotes[SYMBOLS[step.symbol]] = list(step[1:])
            for order in list(self.orders):
                if order.symbol == SYMBOLS[step.symbol]:
                    self.execute(order)
        elif isinstance(step, Disconnect):
            for order in sorted(self.orders, key=lambda o: o.number):
                self.cancel(order, b"Z")


def handle_step(market: _exchange_parts.OrderEntry, step: Any, last: int) -> int:
    """Have the simulator take a step. last: the last UserRefNum. Returns the order that the step is about, 0: none."""
    number = 1 + step.order % (last or 1) if isinstance(step, (Replace, Cancel)) else 0
    if isinstance(step, Enter):
        market.handle(enter(last + 1, step.side, step.quantity, step.symbol, step.price, step.tif))
    elif isinstance(step, Replace):
        market.handle(replace(number, last + 1, step.quantity, step.price))
    elif isinstance(step, Cancel):
        market.handle(cancel(number, step.quantity))
    elif isinstance(step, Quote):
        market.set_best_prices(*step)
    else:
        market.cancel_all()
    return number


@settings(max_examples=400)
@given(STEPS, st.booleans())
def test_it_does_what_the_fill_rule_says(steps: list[Any], executes: bool) -> None:
    market = _exchange_parts.OrderEntry([s.encode().ljust(8) for s in SYMBOLS], executes=executes)
    model = Model(executes)
    for step in steps:
        model.step(step, handle_step(market, step, model.last))
        assert market.open_orders == {o.number: (o.price, o.total, o.executed) for o in model.orders}
        assert market.last_user_ref_num == model.last
    assert events(market.log) == model.events


def test_match_numbers_and_reference_numbers_count_up() -> None:
    market = _exchange_parts.OrderEntry([b"AAPL    "])
    market.set_best_prices(0, 100, 101, 5, 5)
    for i in range(1, 4):
        market.handle(enter(i, b"B", 1, "AAPL", 101))
    assert market.last_match_number == market.counts["executions"] == 3


def test_it_knows_a_symbol_by_all_its_characters() -> None:
    market = _exchange_parts.OrderEntry([b"AAPL    ", b"AAPLW   "])
    market.set_best_prices(0, 0, 100, 0, 5)
    market.handle(enter(1, b"B", 1, "AAPLW", 100))
    assert [e[0] for e in events(market.log)] == ["accepted"]
    market.set_best_prices(1, 0, 100, 0, 5)
    assert [e[0] for e in events(market.log)] == ["accepted", "executed"]


def test_a_market_that_memory_does_not_hold_is_an_error() -> None:
    with pytest.raises(MemoryError):
        _exchange_parts.OrderEntry([], 1 << 62)
