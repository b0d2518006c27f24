"""No order trades with an own open one: against a list of all open orders, and on long lists."""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ..conftest import BOOK, CANCEL, REPLACE, Hand, mold, order
from ..ouch_answers import accepted, canceled, executed, rejected, replaced

SYMBOLS = (b"BTCUSDT", b"ETHUSDT")


class Open:
    """The open orders, by number: [symbol, side, price in 0.0001, leaves]."""

    def __init__(self, hand: Callable[..., Hand]) -> None:
        self.h = hand(symbols=SYMBOLS, limits={"refuse_self_match": 1})
        self.peer = self.h.connect()
        self.orders: dict[int, list[int]] = {}
        self.sent = 0
        self.live: set[int] = set()

    def crosses(self, symbol: int, side: int, price: int) -> bool:
        return any(
            s == symbol and other == -side and side * (price - at) >= 0 for s, other, at, _ in self.orders.values()
        )

    def want(self, item: bytes, symbol: int, side: int, price: int, size: int) -> None:
        """An order of the strategy is sent exactly when it crosses none."""
        before = self.h.reading.counters
        self.h.orders = [item]
        self.h.tick()
        self.h.orders = []
        after = self.h.reading.counters
        found = [after[name] - before[name] for name in ("reject_self_match", "orders_sent", "replaces_sent")]
        refused = self.crosses(symbol, side, price)
        assert (found[0], found[1] + found[2]) == (refused, not refused)
        if not refused:
            self.sent += 1
            self.orders[self.sent] = [symbol, side, price, size]

    def enter(self, symbol: int, side: int, price: int, size: int) -> None:
        self.want(order(price / 10_000, size, side, symbol), symbol, side, price, size)

    def pick(self, number: int) -> int:
        return sorted(self.orders)[number % len(self.orders)] if self.orders else 0

    def replace(self, number: int, price: int, size: int) -> None:
        if not (id := self.pick(number)):
            return
        symbol, side, _, _ = self.orders[id]
        refused, sent = self.crosses(symbol, side, price), self.sent
        self.want(order(price / 10_000, size, action=REPLACE, id=id), symbol, side, price, size)
        assert (self.sent > sent) != refused
        if not refused:
            name = SYMBOLS[symbol]
            self.answer(replaced(id, self.sent, size, price, side=b"B" if side > 0 else b"S", symbol=name))
            self.live.add(self.sent)
            del self.orders[id]

    def answer(self, data: bytes) -> None:
        self.peer.sendall(data)
        self.h.settle(1)

    def execute(self, number: int, units: int) -> None:
        if id := self.pick(number):
            units = min(units, self.orders[id][3])
            self.answer(executed(id, units, self.orders[id][2]))
            self.reduce(id, units)

    def cancel(self, number: int, units: int) -> None:
        if id := self.pick(number):
            units = min(units, self.orders[id][3])
            self.answer(canceled(id, units))
            self.reduce(id, units)

    def reject(self, number: int) -> None:
        if (id := self.pick(number)) and id not in self.live:
            self.answer(rejected(id))
            del self.orders[id]

    def reduce(self, id: int, units: int) -> None:
        self.orders[id][3] -= units
        if not self.orders[id][3]:
            del self.orders[id]


PRICES = st.integers(1, 12).map(lambda n: n * 1_000)
SIDES, NUMBERS, SIZES = st.sampled_from([1, -1]), st.integers(0, 50), st.integers(1, 5)
STEPS = st.lists(
    st.tuples(st.just("enter"), st.integers(0, 1), SIDES, PRICES, SIZES)
    | st.tuples(st.just("enter"), st.integers(0, 1), SIDES, PRICES, SIZES)
    | st.tuples(st.just("replace"), NUMBERS, PRICES, SIZES)
    | st.tuples(st.sampled_from(["execute", "cancel"]), NUMBERS, SIZES)
    | st.tuples(st.just("reject"), NUMBERS),
    max_size=60,
)


@given(STEPS)
@settings(max_examples=150)
def test_an_order_is_refused_exactly_when_it_crosses_an_open_one(steps: list[Any]) -> None:
    found = Open(Hand)
    with found.peer:
        for name, *arguments in steps:
            getattr(found, name)(*arguments)


def test_without_the_limit_it_is_sent(hand: Callable[..., Hand]) -> None:
    h = hand()
    with h.connect():
        h.orders = [order(100.0, 1, -1), order(100.0, 1, 1)]
        h.tick()
        assert h.counters["orders_sent"] == 2
        h.set_limits(refuse_self_match=1)
        h.tick()
        assert (h.counters["orders_sent"], h.counters["reject_self_match"]) == (2, 2)


def test_an_order_whose_cancel_is_under_way_may_still_trade(hand: Callable[..., Hand]) -> None:
    h = hand(limits={"refuse_self_match": 1})
    with h.connect() as peer:
        h.orders = [order(100.0, 1, -1), order(action=CANCEL, id=1, size=0), order(100.0, 1, 1)]
        h.tick()
        assert (h.counters["cancels_sent"], h.counters["reject_self_match"]) == (1, 1)
        peer.sendall(accepted(1, 1, 1_000_000, side=b"S") + canceled(1, 1))
        h.settle(2)
        h.orders = [order(100.0, 1, 1)]
        h.tick()
        assert h.counters["orders_sent"] == 2


def test_the_price_that_the_exchange_accepted_counts(hand: Callable[..., Hand]) -> None:
    h = hand(limits={"refuse_self_match": 1})
    with h.connect() as peer:
        h.orders = [order(100.0, 1, -1)]
        h.tick()
        peer.sendall(accepted(1, 1, 1_000_200, side=b"S"))
        h.settle(1)
        h.orders = [order(100.01, 1, 1), order(100.02, 1, 1)]
        h.tick()
        assert (h.counters["orders_sent"], h.counters["reject_self_match"]) == (2, 1)


def test_restored_orders_are_own_ones(hand: Callable[..., Hand]) -> None:
    h = hand(limits={"refuse_self_match": 1})
    sells = [(id, 0, -1, 5, 1_000_000 + id, 0, 0, 0, True) for id in (7, 9, 4)]
    h.engine.restore(reference=9, positions=(), open_orders=sells, session=b"", sequence=0, over=False, executions=(),
                     contradicted=0, records=0)  # fmt: skip
    with h.connect() as peer:
        peer.sendall(canceled(4, 5))
        h.settle(1)
        h.orders = [order(100.0006, 1, 1), order(100.0007, 1, 1)]
        h.engine.handle_datagram(mold(1, BOOK))
        assert (h.counters["orders_sent"], h.counters["reject_self_match"]) == (1, 1)
