"""Profit and loss of the day and its limits, against a slow model in decimals; what a restart knows of them."""

import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.journal import _record, record
from agent.journal.rebuild import Today, rebuild
from agent.journal.record import Record

from ..conftest import Hand, mold, order
from ..ouch_answers import accepted, executed

SYMBOLS = (b"BTCUSDT", b"ETHUSDT")
LIMITS = ("max_loss", "max_drawdown", "max_symbol_loss", "max_symbol_drawdown")
DAY = 86_400 * 10**9
#: Of one open order: OUCH's most; and prices by side that no execution is worse than.
MOST = 999_999
LIMITED = {1: 199_999.99, -1: 0.0001}


def quote(h: Hand, symbol: int, bid: Decimal, ask: Decimal) -> None:
    """A tick of a symbol; 0: nobody is there."""
    h.sequence += 1
    sizes = [int(price > 0) for price in (bid, ask)]
    text = (
        f'{{"u":{h.sequence + 1000},"s":"{SYMBOLS[symbol].decode()}","b":"{bid:.8f}","B":"{sizes[0]}",'
        f'"a":"{ask:.8f}","A":"{sizes[1]}"}}'
    )
    h.engine.handle_datagram(mold(h.sequence, text.encode()))


class Model:
    """What docs/agent.md says, in decimals."""

    def __init__(self) -> None:
        zero = Decimal(0)
        self.cash, self.position = [zero, zero], [0, 0]
        self.mark: list[Decimal] = [zero, zero]
        self.book: list[tuple[Decimal, Decimal]] = [(zero, zero), (zero, zero)]
        self.peak, self.total_peak = [zero, zero], zero
        self.limits = dict.fromkeys(LIMITS, zero)
        self.killed, self.kills = False, 0

    def profit(self, symbol: int) -> Decimal:
        return self.cash[symbol] + self.position[symbol] * self.mark[symbol]

    def look(self, symbol: int) -> None:
        """Mark a symbol's position, and hold what that gives against the limits."""
        if position := self.position[symbol]:
            bid, ask = self.book[symbol]
            self.mark[symbol] = (bid if position > 0 else ask) or self.mark[symbol]
        self.peak[symbol] = max(self.peak[symbol], self.profit(symbol))
        self.total_peak = max(self.total_peak, sum(map(self.profit, (0, 1)), Decimal(0)))
        self.check()

    def check(self) -> None:
        losses: dict[str, list[Decimal]] = {
            "max_symbol_loss": [-self.profit(i) for i in (0, 1)],
            "max_symbol_drawdown": [self.peak[i] - self.profit(i) for i in (0, 1)],
            "max_loss": [-sum(map(self.profit, (0, 1)), Decimal(0))],
            "max_drawdown": [self.total_peak - sum(map(self.profit, (0, 1)), Decimal(0))],
        }
        beyond = any(self.limits[name] and max(found) > self.limits[name] for name, found in losses.items())
        self.kills += beyond and not self.killed
        self.killed = self.killed or beyond

    def execute(self, symbol: int, side: int, units: int, price: Decimal) -> None:
        self.cash[symbol] -= side * units * price
        self.position[symbol] += side * units
        self.mark[symbol] = price
        self.look(symbol)


class Desk:
    """An engine and its model, and an exchange at which all that is open was ordered at the start: buys have odd
    numbers, and of each symbol and side there are `orders`."""

    def __init__(self, hand: Callable[..., Hand], orders: int = 1) -> None:
        self.h = hand(symbols=SYMBOLS, limits={"max_size": MOST}, give_up_after_ns=DAY)
        self.model, self.start = Model(), time.monotonic_ns()
        self.left: dict[tuple[int, int], list[list[int]]] = {}
        self.peer, self.matches = self.h.connect(), 0
        self.h.engine.do_housekeeping(self.start)
        number = 0
        for _ in range(orders):
            for symbol in (0, 1):
                self.h.orders = [order(LIMITED[side], MOST, side, symbol) for side in (1, -1)]
                quote(self.h, symbol, Decimal(0), Decimal(0))
                for side in (1, -1):
                    number += 1
                    self.left.setdefault((symbol, side), []).append([number, MOST])
        self.h.orders = []

    def quote(self, symbol: int, bid: Decimal, ask: Decimal) -> None:
        self.model.book[symbol] = bid, ask
        if self.model.position[symbol]:
            self.model.look(symbol)
        quote(self.h, symbol, bid, ask)

    def execute(self, symbol: int, side: int, units: int, price: Decimal) -> None:
        orders = self.left[symbol, side]
        orders[0][1] -= units
        self.model.execute(symbol, side, units, price)
        self.matches += 1
        self.peer.sendall(executed(orders[0][0], units, int(price * 10_000), self.matches))
        self.h.settle(1)
        if orders[0][1] == 0:
            orders.pop(0)

    def limit(self, name: str, value: Decimal) -> None:
        self.model.limits[name] = value
        self.h.set_limits(**{name: int(value * 10_000)})
        self.housekeep()

    def resume(self) -> None:
        self.model.killed = False
        self.h.set_limits(kill=0)
        self.housekeep()

    def housekeep(self) -> None:
        self.model.check()
        self.h.engine.do_housekeeping(self.start)

    @property
    def killed(self) -> int:
        """The limit `kill`, as the engine has it."""
        return self.h.reading.limits["kill"]

    def agree(self) -> None:
        found, model = self.h.reading, self.model
        assert [Decimal(s.profit) / 10**8 for s in found.symbols] == [model.profit(0), model.profit(1)]
        assert [s.position for s in found.symbols] == model.position
        assert (found.limits["kill"], found.counters["loss_kills"]) == (model.killed, model.kills)
        assert bool(found.tripped) == model.killed


PRICES = st.integers(1, 3_000).map(lambda n: Decimal(n) / 10)
QUOTED = st.just(Decimal(0)) | st.integers(1, 300_000).map(lambda n: Decimal(n) / 1_000)
STEPS = st.lists(
    st.tuples(st.just("quote"), st.integers(0, 1), QUOTED, QUOTED)
    | st.tuples(st.just("execute"), st.integers(0, 1), st.sampled_from([1, -1]), st.integers(1, 300), PRICES)
    | st.tuples(st.just("limit"), st.sampled_from(LIMITS), st.integers(0, 30_000).map(Decimal))
    | st.tuples(st.sampled_from(["resume", "housekeep"])),
    max_size=40,
)


@given(STEPS)
@settings(max_examples=150)
def test_kill_is_set_exactly_when_the_model_says(steps: list[Any]) -> None:
    desk = Desk(Hand)
    with desk.peer:
        for name, *arguments in steps:
            if name == "quote":
                bid, ask = sorted(arguments[1:]) if all(arguments[1:]) else arguments[1:]
                arguments[1:] = [bid, ask + Decimal("0.001") if bid == ask and ask else ask]
            getattr(desk, name)(*arguments)
            desk.agree()


@pytest.mark.parametrize("side", [1, -1])
def test_amounts_beyond_64_bits_are_exact(side: int) -> None:
    """The largest price and size of OUCH, so often that cash in units of 1e-8 needs 72 bits; and back to nothing."""
    desk = Desk(Hand, 150)
    price = Decimal("199999.99")
    with desk.peer:
        desk.limit("max_symbol_loss", Decimal(10**14))
        for _ in range(150):
            desk.execute(0, side, MOST, price)
        assert desk.model.cash[0] * 10**8 * -side > 2**71
        assert (desk.killed, desk.h.reading.tripped) == (0, "")
        wide = Decimal("0.01")
        desk.quote(0, *((price, price + wide) if side > 0 else (price - wide, price)))
        desk.agree()
        desk.limit("max_loss", Decimal("1.0"))
        # One of 1e-8 for each unit.
        step = Decimal("0.00000001")
        desk.quote(0, *((price - step, price + wide) if side > 0 else (price - wide, price + step)))
        desk.agree()
        assert desk.killed == 1 and -desk.model.profit(0) == 150 * MOST * step
        assert desk.h.reading.tripped == "max_loss: found 1.5000, allowed: 1.0000"


def test_the_loss_itself_is_not_beyond_its_limit() -> None:
    desk = Desk(Hand)
    with desk.peer:
        desk.limit("max_symbol_loss", Decimal(50))
        desk.quote(0, Decimal(100), Decimal(101))
        desk.execute(0, 1, 10, Decimal(101))
        desk.quote(0, Decimal(96), Decimal(101))
        desk.agree()
        assert desk.killed == 0
        desk.quote(0, Decimal("95.99999999"), Decimal(101))
        desk.agree()
        assert desk.h.reading.tripped == "BTCUSDT: max_symbol_loss: found 50.0000, allowed: 50.0000"


def test_no_order_leaves_on_the_tick_that_is_beyond_the_limit() -> None:
    desk = Desk(Hand)
    with desk.peer:
        desk.limit("max_loss", Decimal(10))
        desk.execute(0, 1, 10, Decimal(100))
        desk.h.orders = [order(98.0, 1, 1)]
        desk.quote(0, Decimal("99"), Decimal("99.5"))
        assert "reject_killed" not in desk.h.counters
        sent = desk.h.counters["orders_sent"]
        desk.quote(0, Decimal("98.9"), Decimal("99.5"))
        assert (desk.h.counters["reject_killed"], desk.h.counters["orders_sent"]) == (1, sent)
        # The open ones are cancelled at the next housekeeping.
        desk.housekeep()
        desk.h.engine.step_session()
        assert desk.h.counters["cancels_sent"] == 5


def test_who_resumes_without_a_wider_limit_is_killed_again() -> None:
    desk = Desk(Hand)
    with desk.peer:
        desk.limit("max_symbol_drawdown", Decimal(5))
        desk.execute(1, -1, 1, Decimal(100))
        desk.execute(1, 1, 1, Decimal(106))  # flat, and no quote will change it
        desk.agree()
        assert desk.killed == 1
        desk.resume()
        desk.agree()
        assert desk.killed == 1 and desk.model.kills == 2
        desk.limit("max_symbol_drawdown", Decimal(7))
        desk.resume()
        desk.agree()
        assert desk.killed == 0 and desk.h.reading.tripped == ""


def test_no_order_leaves_between_a_resume_and_the_loops_next_look() -> None:
    desk = Desk(Hand)
    with desk.peer:
        desk.limit("max_loss", Decimal(10))
        desk.execute(0, 1, 10, Decimal(100))
        desk.quote(0, Decimal(50), Decimal(51))
        sent = desk.h.counters["orders_sent"]
        for look in range(2):
            if look:
                desk.housekeep()
            desk.h.set_limits(kill=0)
            desk.h.orders = [order(98.0, 1, 1, 1)]
            desk.quote(1, Decimal(98), Decimal(99))  # nothing of it changes the loss
            assert (desk.h.counters["reject_killed"], desk.h.counters["orders_sent"]) == (look + 1, sent)
        desk.h.set_limits(max_loss=0)
        desk.housekeep()
        desk.quote(1, Decimal(98), Decimal(99))
        assert desk.h.counters["orders_sent"] == sent + 1


def test_a_stale_book_does_not_mark(hand: Callable[..., Hand]) -> None:
    """A book that lost messages quotes nothing: the last price known counts."""
    desk = Desk(Hand)
    with desk.peer:
        desk.execute(0, 1, 10, Decimal(100))
        desk.quote(0, Decimal(99), Decimal(101))
        desk.quote(0, Decimal(0), Decimal(101))
        desk.agree()
        assert desk.model.profit(0) == -10
        desk.execute(0, 1, 1, Decimal(98))  # of later than the quote, and nobody bids
        desk.agree()
        assert desk.model.profit(0) == -20


def test_a_day_begins_with_what_the_position_last_traded_at() -> None:
    desk = Desk(Hand)
    with desk.peer:
        desk.execute(0, 1, 10, Decimal(100))
        desk.execute(0, -1, 4, Decimal(90))
        desk.execute(1, 1, 1, Decimal(5))
        desk.execute(1, -1, 1, Decimal(9))
        desk.quote(0, Decimal(80), Decimal(81))
        h = desk.h
        assert [s.profit for s in h.reading.symbols] == [(-1000 + 360 + 480) * 10**8, 4 * 10**8]
        h.set_limits(max_orders_per_day=5)
        h.orders = [order(80.0, 1, 1), order(80.0, 1, 1)]
        quote(h, 0, Decimal(80), Decimal(81))
        assert (h.counters["reject_daily"], h.counters["orders_sent"]) == (1, 5)
        h.engine.do_housekeeping(desk.start + DAY)
        assert [s.profit for s in h.reading.symbols] == [-60 * 10**8, 0]
        assert "orders_today" not in h.counters
    with h.connect():
        quote(h, 0, Decimal(80), Decimal(81))
        # A clock that goes back begins no day.
        h.engine.do_housekeeping(desk.start)
        assert (h.counters["orders_today"], h.counters["orders_sent"]) == (2, 7)


def entry(number: int, kind: int, id: int, units: int, side: int, price: Decimal, symbol: int, at: int) -> bytes:
    made = Record(number=number, time_ns=at, exchange_sequence=0, price=int(price * 10_000), tag=0, kind=kind, id=id,
                  original=0, quantity=units, side=side, symbol=symbol)  # fmt: skip
    return _record.pack(msgspec.structs.asdict(made))


TRADES = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([1, -1]), st.integers(1, 300), PRICES, st.integers(0, DAY)),
    max_size=30,
)


@given(TRADES, st.sampled_from(LIMITS), st.integers(1, 10_000).map(Decimal))
@settings(max_examples=100)
def test_a_restart_knows_the_days_orders_profit_and_loss(trades: list[Any], name: str, bound: Decimal) -> None:
    """The journal's executions, on one or several days, add up to what a model of the last day says."""
    first = time.time_ns() // DAY - len(trades)
    model, journal, at, sent = Model(), [], first * DAY, 0
    for i, (symbol, side, units, price, later) in enumerate(trades):
        if (at + later) // DAY > at // DAY:
            sent, model.total_peak = 0, Decimal(0)
            for s in (0, 1):
                model.cash[s], model.peak[s] = -model.position[s] * model.mark[s], Decimal(0)
        at += later
        journal.append(entry(3 * i + 1, record.ENTERED, i + 1, units, side, price, symbol, at))
        journal.append(entry(3 * i + 2, record.ACCEPTED, i + 1, units, side, price, symbol, at))
        journal.append(entry(3 * i + 3, record.EXECUTED, i + 1, units, side, price, symbol, at))
        sent += 1
        model.execute(symbol, side, units, price)
    state = rebuild([b"".join(journal)], 2)
    assert (state.today.orders, state.today.day) == (sent, at // DAY if trades else 0)
    h = Hand(symbols=SYMBOLS)
    h.engine.restore(reference=state.reference, positions=state.positions.items(), open_orders=(), session=b"",
                     sequence=0, over=False, executions=(), contradicted=0, records=state.records,
                     today=state.today)  # fmt: skip
    assert [Decimal(s.profit) / 10**8 for s in h.reading.symbols] == [model.profit(0), model.profit(1)]
    # On the journal's own day, as an engine does that begins within it.
    model.limits[name] = bound
    model.check()
    h.set_limits(**{name: int(bound * 10_000)})
    h.engine.do_housekeeping(time.monotonic_ns() - (time.time_ns() - at) if trades else 0)
    found = h.reading
    assert (found.limits["kill"], found.counters["orders_today"]) == (model.killed, sent)


def test_no_profit_of_a_symbol_that_is_not_there() -> None:
    today = msgspec.convert({"day": 1, "symbols": {2: {"cash": 0, "last": 0, "peak": 0}}}, Today, strict=False)
    with pytest.raises(ValueError, match="profit of symbol 2, allowed: below 2"):
        Hand(symbols=SYMBOLS).engine.restore(reference=0, positions=(), open_orders=(), session=b"", sequence=0,
                                             over=False, executions=(), contradicted=0, records=0,
                                             today=today)  # fmt: skip


def test_an_accepted_order_changes_nothing(hand: Callable[..., Hand]) -> None:
    desk = Desk(hand)
    with desk.peer:
        desk.peer.sendall(accepted(1, MOST, 1_999_999_900))
        desk.h.settle(1)
        desk.agree()
