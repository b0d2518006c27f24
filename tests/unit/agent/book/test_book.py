"""Order books against a slow, obvious model, with references and sizes that no exchange would send."""

import os
import random
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.exchange.generator import binaryfile, message, session
from agent.protocols import itch_layouts as itch
from tests.compiled import _book

GAP, ORDERS, LEVELS, INCONSISTENT = (
    _book.GAP, _book.EXHAUSTED_ORDERS, _book.EXHAUSTED_LEVELS, _book.INCONSISTENT,
)  # fmt: skip
UNKNOWN, STALE = _book.UNKNOWN, _book.STALE


class Model:
    """What agent/book/order_book.pxd says, with one dict of orders."""

    def __init__(self, symbols: int, orders: int, levels: int) -> None:
        self.symbols, self.room, self.levels = symbols, orders, levels
        self.orders: dict[int, list[Any]] = {}  # reference: [symbol, side, shares, price]
        self.why = [0] * symbols
        self.counters = dict.fromkeys(
            ("used", "high_water", "unknown_reference", "duplicate_reference", "over_execution", "zero_shares",
             "ignored", "marked"), 0
        )  # fmt: skip
        self.last = (0, b"\0")

    def depth(self, symbol: int, side: bytes) -> list[tuple[int, int, int]]:
        found: dict[int, list[int]] = {}
        if not self.why[symbol]:
            for of, on, shares, price in self.orders.values():
                if (of, on) == (symbol, side):
                    level = found.setdefault(price, [0, 0])
                    level[0] += shares
                    level[1] += 1
        return [(p, s, n) for p, (s, n) in sorted(found.items(), reverse=side == b"B")]

    def top(self, symbol: int) -> tuple[int, ...]:
        bids, asks = self.depth(symbol, b"B"), self.depth(symbol, b"S")
        return (bids[0] if bids else (0, 0, 0)) + (asks[0] if asks else (0, 0, 0))

    def mark_stale(self, symbol: int, reason: int) -> None:
        if not self.why[symbol]:
            self.why[symbol] = reason
            self.counters["marked"] += 1
        if reason == ORDERS:
            self.drop(symbol)

    def mark_all_stale(self, reason: int) -> None:
        self.orders.clear()
        for symbol in range(self.symbols):
            self.mark_stale(symbol, reason)

    def drop(self, symbol: int) -> None:
        self.orders = {r: o for r, o in self.orders.items() if o[0] != symbol}

    def clear(self, symbol: int) -> None:
        self.drop(symbol)
        self.why[symbol] = 0

    def clear_all(self) -> None:
        self.orders.clear()
        self.why = [0] * self.symbols

    def count(self, counter: str) -> None:
        self.counters[counter] += 1

    def add(self, symbol: int, reference: int, side: bytes, shares: int, price: int) -> int:
        if self.why[symbol]:
            self.count("ignored")
            return STALE
        if not (shares and price and reference):
            self.count("zero_shares")
            self.mark_stale(symbol, INCONSISTENT)
        elif reference in self.orders:
            self.count("duplicate_reference")
            self.mark_stale(symbol, INCONSISTENT)
        elif len(self.orders) == self.room:
            self.mark_stale(symbol, ORDERS)
        else:
            prices = {p for p, _, _ in self.depth(symbol, side)}
            if price not in prices and len(prices) == self.levels:
                self.mark_stale(symbol, LEVELS)
            else:
                self.orders[reference] = [symbol, side, shares, price]
                self.counters["high_water"] = max(self.counters["high_water"], len(self.orders))
                return symbol
        return STALE

    def take(self, reference: int, shares: int | None) -> int:
        order = self.orders.get(reference)
        if order is None:
            self.count("unknown_reference")
            return UNKNOWN
        self.last = (order[3], order[1])
        symbol, _, held, _ = order
        shares = held if shares is None else shares
        if self.why[symbol]:
            self.count("ignored")
        elif shares > held:
            self.count("over_execution")
            self.mark_stale(symbol, INCONSISTENT)
            return STALE
        order[2] -= shares
        if order[2] <= 0:
            del self.orders[reference]
        return STALE if self.why[symbol] else symbol

    def execute(self, reference: int, shares: int) -> int:
        return self.take(reference, shares)

    def cancel(self, reference: int, shares: int) -> int:
        return self.take(reference, shares)

    def delete(self, reference: int) -> int:
        return self.take(reference, None)

    def replace(self, old: int, new: int, shares: int, price: int) -> int:
        if old not in self.orders:
            self.count("unknown_reference")
            return UNKNOWN
        symbol, side, _, _ = self.orders[old]
        if self.delete(old) == STALE:
            return STALE
        return self.add(symbol, new, side, shares, price)


def compare(book: _book.Books, model: Model) -> None:
    model.counters["used"] = len(model.orders)
    assert book.counters == model.counters
    assert book.orders() == {r: tuple(o) for r, o in model.orders.items()}
    assert book.last == model.last
    for symbol in range(model.symbols):
        assert book.stale(symbol) == model.why[symbol]
        assert book.top(symbol) == model.top(symbol)
        for side in (b"B", b"S"):
            assert book.depth(symbol, side) == model.depth(symbol, side)


def step(book: _book.Books, model: Model, name: str, arguments: tuple[Any, ...]) -> None:
    assert getattr(book, name)(*arguments) == getattr(model, name)(*arguments), (name, arguments)


references = st.one_of(st.integers(1, 8), st.sampled_from([0, 256, 512, 2**63, 2**64 - 1]))
sides = st.sampled_from([b"B", b"S"])
quantities = st.one_of(st.integers(0, 5), st.just(2**32 - 1))
wire_prices = st.one_of(st.integers(0, 6), st.just(2**32 - 1))
symbols_of = st.integers(0, 2)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.tuples(symbols_of, references, sides, quantities, wire_prices)),
        st.tuples(
            st.just("add"), st.tuples(symbols_of, st.integers(1, 8), sides, st.integers(1, 5), st.integers(1, 9))
        ),
        st.tuples(st.just("execute"), st.tuples(references, quantities)),
        st.tuples(st.just("cancel"), st.tuples(references, quantities)),
        st.tuples(st.just("delete"), st.tuples(references)),
        st.tuples(st.just("replace"), st.tuples(references, references, quantities, wire_prices)),
        st.tuples(st.just("clear"), st.tuples(symbols_of)),
        st.tuples(st.just("mark_stale"), st.tuples(symbols_of, st.sampled_from([GAP, LEVELS]))),
        st.tuples(st.just("clear_all"), st.just(())),
        st.tuples(st.just("mark_all_stale"), st.tuples(st.sampled_from([GAP, ORDERS]))),
    ),
    max_size=60,
)


@settings(max_examples=400, deadline=None)
@given(operations=operations, orders=st.integers(0, 6), levels=st.integers(1, 4))
def test_hostile_messages_against_the_model(operations: list[Any], orders: int, levels: int) -> None:
    book, model = _book.Books(3, orders, levels), Model(3, orders, levels)
    for name, arguments in operations:
        step(book, model, name, arguments)
        compare(book, model)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("wide", [False, True])
def test_a_long_day_in_a_small_table(seed: int, wide: bool) -> None:
    """Random flow that keeps the table nearly full: runs of probing that wrap, and deletions in their middle."""
    rng = random.Random(seed)
    book, model = _book.Books(3, 32, 8), Model(3, 32, 8)
    reference, longest = 0, 0
    for i in range(4000):
        known = list(model.orders) or [1]
        choice = rng.random()
        if choice < 0.5 and len(model.orders) < 32:
            reference = rng.randrange(1, 2**64) if wide else reference + 1
            arguments: tuple[Any, ...] = (rng.randrange(3), reference, rng.choice((b"B", b"S")), rng.randrange(1, 9),
                                          rng.randrange(1, 9))  # fmt: skip
            step(book, model, "add", arguments)
        elif choice < 0.7:
            step(book, model, "delete", (rng.choice(known),))
        elif choice < 0.8:
            step(book, model, rng.choice(("execute", "cancel")), (rng.choice(known), rng.choice((0, 1))))
        elif choice < 0.9:
            reference += 1
            step(book, model, "replace", (rng.choice(known), reference, rng.randrange(1, 9), rng.randrange(1, 9)))
        elif choice < 0.905:
            step(book, model, "mark_stale", (rng.randrange(3), ORDERS))
        elif any(model.why):
            step(book, model, "clear", (max(range(3), key=lambda s: model.why[s]),))
        longest = max(longest, book.longest_run)
        if i % 50 == 0:
            compare(book, model)
    compare(book, model)
    assert model.counters["high_water"] == 32 and model.counters["ignored"] < 800
    assert longest < 40, "orders are not spread over the table"


@pytest.mark.parametrize("seed", range(3))
def test_sides_of_many_levels(seed: int) -> None:
    """Levels come and go anywhere in sides deeper than what is looked at or moved at once, also at a side's capacity,
    at prices around the one from which on they have their highest bit."""
    rng = random.Random(seed)
    book, model = _book.Books(2, 256, 40), Model(2, 256, 40)
    deepest = 0
    for reference in range(1, 6000):
        known = list(model.orders) or [1]
        if rng.random() < (0.7 if reference // 1000 % 2 == 0 else 0.3):
            price = 2**31 + (rng.randrange(-20, 20) if rng.random() < 0.9 else -(2**31) + 1)
            step(book, model, "add", (rng.randrange(2), reference, rng.choice((b"B", b"S")), 5, price))
        else:
            step(book, model, "delete", (rng.choice(known),))
        if any(model.why):
            step(book, model, "clear", (max(range(2), key=lambda s: model.why[s]),))
        if reference % 20 == 0:
            deepest = max(deepest, *(len(model.depth(s, side)) for s in range(2) for side in (b"B", b"S")))
            compare(book, model)
    assert deepest > 35, "the sides were not deep"


def test_exhaustion_is_said_and_the_others_go_on() -> None:
    book = _book.Books(2, 4, 2)
    for reference in range(1, 5):
        assert book.add(reference % 2, reference, b"B", 100, 7) == reference % 2
    assert book.add(0, 5, b"B", 1, 7) == STALE
    assert [book.stale(0), book.stale(1)] == [ORDERS, 0]
    assert book.top(0) == (0, 0, 0, 0, 0, 0)
    # Its orders have left the table, so the other symbol has room again.
    assert [book.add(1, 6, b"S", 1, 8), book.add(1, 7, b"S", 1, 9)] == [1, 1]
    assert book.top(1) == (7, 200, 2, 8, 1, 1)
    assert book.add(1, 8, b"S", 1, 10) == STALE
    assert book.stale(1) == ORDERS and book.orders() == {}
    book.clear(1)
    for price in (5, 6):
        assert book.add(1, price, b"B", 1, price) == 1
    assert book.add(1, 4, b"B", 1, 4) == STALE
    assert book.stale(1) == LEVELS and book.counters["marked"] == 3


def test_a_reference_twice_makes_the_book_stale_that_it_came_for() -> None:
    book = _book.Books(2, 8, 8)
    assert book.add(0, 1, b"B", 10, 5) == 0
    assert book.add(1, 1, b"S", 10, 6) == STALE
    assert [book.stale(0), book.stale(1)] == [0, INCONSISTENT]


def test_orders_of_a_stale_book_leave_with_their_messages() -> None:
    book = _book.Books(1, 8, 8)
    for reference in (1, 2, 3):
        book.add(0, reference, b"B", 10, 5)
    book.mark_stale(0, GAP)
    book.mark_stale(0, INCONSISTENT)
    assert book.stale(0) == GAP
    assert [book.delete(1), book.execute(2, 10), book.execute(3, 4), book.cancel(3, 99)] == [STALE] * 4
    assert book.counters["used"] == 0 and book.counters["over_execution"] == 0 and book.counters["ignored"] == 4


def test_last_is_the_resting_order_that_was_changed() -> None:
    book = _book.Books(1, 8, 8)
    book.add(0, 1, b"S", 10, 77)
    book.add(0, 2, b"B", 10, 70)
    book.execute(1, 4)
    assert book.last == (77, b"S")
    book.cancel(2, 4)
    assert book.last == (70, b"B")
    assert book.top(0) == (70, 6, 1, 77, 6, 1)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: _book.Books(0, 1, 1), "symbols 0, orders 1, levels 1: allowed: 1 to 65536"),
        (lambda: _book.Books(65537, 1, 1), "symbols 65537"),
        (lambda: _book.Books(1, 2**32 + 1, 1), "orders 4294967297"),
        (lambda: _book.Books(1, 1, 0), "levels 0"),
        (lambda: _book.Books(2, 1, 1).add(2, 1, b"B", 1, 1), "symbol 2, allowed: 0 to 1"),
        (lambda: _book.Books(2, 1, 1).top(-1), "symbol -1, allowed: 0 to 1"),
        (lambda: _book.Books(2, 1, 1).add(1, 1, b"X", 1, 1), "side: b'X', allowed: b'B', b'S'"),
        (lambda: _book.Books(1, 1, 1).replay(b"\0\1", [1]), "byte 0: cut"),
        (lambda: _book.Books(1, 1, 1).replay(b"\0\1X", [1]), "byte 0: not an ITCH message"),
    ],
)
def test_wrong_arguments(call: Any, error: str) -> None:
    with pytest.raises((ValueError, IndexError), match=error):
        call()


def test_an_itch_day_against_the_model() -> None:
    day = session(11, 12_000, 4)
    locates = [int.from_bytes(m[1:3], "big") for m in day if m[:1] == b"R"]
    book, model = _book.Books(4, 10_000, 200), Model(4, 10_000, 200)
    updates = 0
    for text in day:
        m = itch.decode(text)
        kind, reference = text[:1], m.get("order_reference_number", m.get("original_order_reference_number"))
        symbol = locates.index(m["stock_locate"]) if m["stock_locate"] in locates else -1
        updates += kind in b"AFECXDU"
        if kind in b"AF":
            model.add(symbol, reference, m["buy_sell_indicator"].encode(), m["shares"], m["price"])
        elif kind in b"EC":
            model.execute(reference, m["executed_shares"])
        elif kind == b"X":
            model.cancel(reference, m["cancelled_shares"])
        elif kind == b"D":
            model.delete(reference)
        elif kind == b"U":
            model.replace(reference, m["new_order_reference_number"], m["shares"], m["price"])
    assert book.replay(binaryfile(day), locates)[0] == updates > 9000
    compare(book, model)
    assert all(len(model.depth(s, b"B")) > 1 for s in range(4)), "the test would show little"
    assert book.counters["unknown_reference"] == book.counters["marked"] == 0


def test_a_level_far_from_the_best_is_bounded_work() -> None:
    """At the capacity of a deep side, behind all of its levels. The bound is far above what it takes, and far
    below what a search or a move of more than the one array would."""
    levels, rounds = 4096, 2000
    flow = [message("A", 1, 0, 1, i + 1, "B", 100, "DEEP", 10_000 + i) for i in range(levels - 1)]
    far = [
        text
        for i in range(rounds)
        for text in (
            message("A", 1, 0, 1, 10_000 + i, "B", 100, "DEEP", 5),
            struct.pack(">cHHHIQ", b"D", 1, 0, 0, 1, 10_000 + i),
        )
    ]
    best = float("inf")
    for _ in range(5):
        book = _book.Books(1, levels + 1, levels)
        book.replay(binaryfile(flow), [1])
        count, ns = book.replay(binaryfile(far), [1])
        assert (count, book.counters["marked"], book.top(0)[0]) == (2 * rounds, 0, 10_000 + levels - 2)
        best = min(best, ns / count)
    assert best < 50_000


@pytest.mark.parametrize("stride", [1, 2, 3, 64, 1000, 2**16, 2**20 + 1])
def test_references_at_a_distance_do_not_cluster(stride: int) -> None:
    book = _book.Books(1, 30_000, 4)
    for i in range(30_000):
        assert book.add(0, 1 + i * stride, b"B", 1, 1) == 0
    assert book.longest_run <= 512


def test_a_session_that_begins_with_no_orders_does_not_walk_through_the_table() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    book, size = _book.Books(1, 1 << 22, 8), (2 << 22) * 16  # never touched: calloc() gives it as it is
    before = resident()
    book.clear_all()
    assert resident() - before < size // 8
    book.add(0, 1, b"B", 1, 1)
    book.clear_all()
    assert resident() - before > size // 2 and not book.orders()
