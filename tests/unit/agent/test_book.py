"""The order book against dictionaries, step by step, hostile steps included."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent._book import OrderBooks

UNKNOWN, STALE = -1, -2
SYMBOLS = 3


class Model:
    """Every order in one dictionary; levels are summed up anew each time."""

    def __init__(self, orders: int, levels: int) -> None:
        self.room, self.levels = orders, levels
        self.orders: dict[int, list[Any]] = {}
        self.why = [""] * SYMBOLS

    def depth(self, symbol: int, side: str) -> list[tuple[int, int, int]]:
        found: dict[int, list[int]] = {}
        for _, s, d, shares, price in (o for o in self.orders.values()):
            if (s, d) == (symbol, side):
                level = found.setdefault(price, [0, 0])
                level[0] += shares
                level[1] += 1
        return [(p, n, k) for p, (n, k) in sorted(found.items(), reverse=side == "B")]

    def spoil(self, symbol: int, why: str) -> int:
        if not self.why[symbol]:
            self.why[symbol] = why
            self.orders = {r: o for r, o in self.orders.items() if o[1] != symbol}
        return STALE

    def add(self, symbol: int, reference: int, side: str, shares: int, price: int) -> int:
        if self.why[symbol]:
            return STALE
        if shares == 0 or price == 0 or reference == 0 or reference in self.orders:
            return self.spoil(symbol, "inconsistent")
        if len(self.orders) == self.room:
            return self.spoil(symbol, "orders")
        prices = {p for p, _, _ in self.depth(symbol, side)}
        if price not in prices and len(prices) == self.levels:
            return self.spoil(symbol, "levels")
        self.orders[reference] = [reference, symbol, side, shares, price]
        return symbol

    def take(self, reference: int, shares: int | None) -> int:
        order = self.orders.get(reference)
        if order is None:
            return UNKNOWN
        if shares is not None and shares > order[3]:
            return self.spoil(order[1], "inconsistent")
        order[3] -= order[3] if shares is None else shares
        if order[3] == 0:
            del self.orders[reference]
        return int(order[1])

    def replace(self, old: int, new: int, shares: int, price: int) -> int:
        order = self.orders.get(old)
        if order is None:
            return UNKNOWN
        self.take(old, None)
        return self.add(order[1], new, order[2], shares, price)


references = st.integers(0, 40) | st.integers(2**63, 2**63 + 20)
shares = st.integers(0, 5)
prices = st.integers(0, 12) | st.sampled_from((2**32 - 1, 2**31))
step = st.one_of(
    st.tuples(st.just("add"), st.integers(0, SYMBOLS - 1), references, st.sampled_from("BS"), shares, prices),
    st.tuples(st.just("execute"), references, shares),
    st.tuples(st.just("cancel"), references, shares),
    st.tuples(st.just("delete"), references),
    st.tuples(st.just("replace"), references, references, shares, prices),
    st.tuples(st.just("clear"), st.integers(0, SYMBOLS - 1)),
    st.tuples(st.just("mark_stale"), st.integers(0, SYMBOLS - 1)),
)


@given(st.lists(step, max_size=120), st.sampled_from((4, 30, 100)), st.sampled_from((2, 6, 20)))
@settings(max_examples=400, deadline=None)
def test_every_step_agrees_with_the_model(steps: list[tuple[Any, ...]], orders: int, levels: int) -> None:
    books, model = OrderBooks(SYMBOLS, orders, levels), Model(orders, levels)
    for name, *arguments in steps:
        found = getattr(books, name)(*arguments)
        if name == "clear":
            model.orders = {r: o for r, o in model.orders.items() if o[1] != arguments[0]}
            model.why[arguments[0]] = ""
        elif name == "mark_stale":
            model.spoil(arguments[0], "gap")
        else:
            expected = {
                "add": model.add,
                "execute": model.take,
                "cancel": model.take,
                "delete": lambda r: model.take(r, None),
                "replace": model.replace,
            }[name](*arguments)
            assert found == expected, (name, arguments)
        assert books.used == len(model.orders)
        for symbol in range(SYMBOLS):
            assert books.stale(symbol) == model.why[symbol]
            tops = []
            for side in "BS":
                depth = model.depth(symbol, side)
                assert books.depth(symbol, side) == depth
                tops.append(depth[0] if depth else (0, 0, 0))
            assert books.top(symbol) == tuple(tops)


def test_a_table_that_is_used_all_day_stays_whole() -> None:
    """Many times its room of orders come and go."""
    books = OrderBooks(1, 1000, 64)
    live: list[int] = []
    for i in range(1, 200_001):
        assert books.add(0, i * 7919, "B", 1, 1 + i % 60) == 0
        live.append(i * 7919)
        if len(live) > 900:
            assert books.delete(live.pop((i * 31) % len(live))) == 0
    assert books.used == len(live) == 900
    assert sum(n for _, n, _ in books.depth(0, "B")) == 900
    assert all(books.delete(r) == 0 for r in live)
    assert books.top(0) == ((0, 0, 0), (0, 0, 0)) and books.counters["high_water"] == 901


@pytest.mark.parametrize(("orders", "levels", "why"), [(10, 100, "orders"), (100, 10, "levels")])
def test_exhaustion_makes_one_book_stale_and_leaves_the_others(orders: int, levels: int, why: str) -> None:
    books = OrderBooks(2, orders, levels)
    books.add(1, 1000, "S", 5, 77)
    for i in range(1, 20):
        books.add(0, i, "B", 1, i)
    assert (books.stale(0), books.stale(1)) == (why, "")
    assert books.depth(0, "B") == [] and books.used == 1
    assert books.top(1)[1] == (77, 5, 1)
    assert books.add(0, 500, "B", 1, 1) == STALE
    books.clear(0)
    assert books.add(0, 500, "B", 1, 1) == 0


def test_an_execution_names_the_price_of_the_resting_order() -> None:
    books = OrderBooks(1, 10, 10)
    books.add(0, 5, "S", 10, 1234)
    assert books.execute(5, 4) == 0 and books.last_price == 1234
    assert books.top(0)[1] == (1234, 6, 1)


def test_all_books_at_once() -> None:
    books = OrderBooks(SYMBOLS, 100, 10)
    for i in range(30):
        books.add(i % SYMBOLS, 1 + i, "BS"[i % 2], 1, 10 + i % 5)
    books.mark_all_stale()
    assert [books.stale(i) for i in range(SYMBOLS)] == ["gap"] * SYMBOLS and books.used == 0
    books.clear()
    assert [books.stale(i) for i in range(SYMBOLS)] == [""] * SYMBOLS
    assert books.add(0, 1, "B", 1, 1) == 0
