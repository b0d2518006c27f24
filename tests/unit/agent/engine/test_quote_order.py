"""Which quotes become the book and an event: the loop against a slow model, and one case of each reason."""

import ctypes
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.replay import _replay
from agent.shm import segment as shm

from ..conftest import Hand, mold

AGAIN, JITTER_NS = 32, 10_000_000
UNIT = 10**8
START_MS = 1_723_161_255_000
RECEIVED = START_MS * 10**6
SYMBOLS = ("BTCUSDT", "1000PEPEUSDT")
REASONS = ("crossed", "zero_size", "zero_price", "repeated", "backward", "time_backward")


class Quote(NamedTuple):
    symbol: str = "BTCUSDT"
    id: int = 1
    bid: int = 10000
    bid_size: int = 1
    ask: int = 10001
    ask_size: int = 1
    at_ms: int | None = None  # the exchange's time
    received: int = 10**18

    @property
    def sides(self) -> tuple[int, int, int, int]:
        """As a row of the segment has them, for prices in cents."""
        return self.bid * 10**6, self.bid_size * UNIT, self.ask * 10**6, self.ask_size * UNIT

    def as_binance(self) -> bytes:
        time = "" if self.at_ms is None else f',"e":"bookTicker","E":{self.at_ms}'
        return (
            f'{{"s":"{self.symbol}","u":{self.id},"b":"{self.bid / 100:.2f}","B":"{self.bid_size}",'
            f'"a":"{self.ask / 100:.2f}","A":"{self.ask_size}"{time}}}'
        ).encode()

    def as_csv(self, trade: str = "") -> bytes:
        sides = f"{self.bid / 100:.2f},{self.bid_size},{self.ask / 100:.2f},{self.ask_size}"
        return f"{self.at_ms},{self.symbol},{sides}{trade}".encode()


class Model:
    """What the documentation says, one symbol at a time; older: the run of older quotes."""

    def __init__(self, numbered: bool) -> None:
        self.numbered, self.jitter = numbered, JITTER_NS if numbered else 0
        self.last: dict[str, Quote] = {}
        self.latest: dict[str, tuple[int, int]] = {}
        self.older: dict[str, list[Quote]] = {}
        self.counted: Counter[str] = Counter()
        self.taken: list[Quote] = []

    def judge(self, quote: Quote, than: Quote, times: tuple[int, int]) -> str:
        """Returns why a quote is older than another one, of these latest times (exchange, receipt); "": it is not."""
        if self.numbered and quote.id < than.id:
            return "backward"
        exchange_ns = (quote.at_ms or 0) * 10**6
        if (exchange_ns and exchange_ns < times[0] - self.jitter) or quote.received < times[1] - self.jitter:
            return "time_backward"
        return ""

    def refuse(self, quote: Quote) -> str:
        for price, size in ((quote.bid, quote.bid_size), (quote.ask, quote.ask_size)):
            if size and not price:
                return "zero_price"
        for price, size in ((quote.bid, quote.bid_size), (quote.ask, quote.ask_size)):
            if price and not size:
                return "zero_size"
        if quote.ask and quote.bid > quote.ask:
            return "crossed"
        if (last := self.last.get(quote.symbol)) is None:
            return ""
        same = quote.id == last.id if self.numbered else (quote.at_ms, quote.sides) == (last.at_ms, last.sides)
        if same:
            return "repeated"
        reason = self.judge(quote, last, self.latest[quote.symbol])
        return "" if reason and self.restarts(quote) else reason

    def restarts(self, quote: Quote) -> bool:
        run = self.older.setdefault(quote.symbol, [])
        if run and self.numbered and run[-1].id == quote.id:
            return False
        if run and self.judge(quote, run[-1], ((run[-1].at_ms or 0) * 10**6, run[-1].received)):
            run.clear()
        run.append(quote)
        if len(run) < AGAIN:
            return False
        self.latest[quote.symbol] = (0, 0)
        self.counted["restarted"] += 1
        return True

    def use(self, quote: Quote) -> None:
        if reason := self.refuse(quote):
            self.counted[reason] += 1
            return
        exchange, received = self.latest.get(quote.symbol, (0, 0))
        self.latest[quote.symbol] = (max(exchange, (quote.at_ms or 0) * 10**6), max(received, quote.received))
        self.older.pop(quote.symbol, None)
        self.last[quote.symbol] = quote
        self.taken.append(quote)


class Replayed(NamedTuple):
    """What a replay of quotes called and counted."""

    events: list[tuple[int, ...]]
    reading: shm.Segment

    @property
    def counted(self) -> dict[str, int]:
        return counted(self.reading)


def counted(reading: shm.Segment) -> dict[str, int]:
    found = {
        name.removeprefix("refused_"): n for name, n in reading.counters.items() if name.startswith("refused_") and n
    }
    return found | ({"restarted": n} if (n := reading.counters["quotes_restarted"]) else {})


def replay_lines(form: str, lines: list[bytes]) -> Replayed:
    h = Hand()  # its strategy, for another path
    replay = _replay.Replay(
        strategy=ctypes.addressof(h._table), state=ctypes.addressof(h._state), feed_format=form, owner=h,
        symbols=[symbol.encode() for symbol in SYMBOLS],
    )  # fmt: skip
    replay.run(b"".join(lines))
    return Replayed(h.events, shm.decode(replay.segment_bytes, "replay"))


def feed(form: str, quotes: list[Quote]) -> Replayed:
    if form == "binance":
        return replay_lines(form, [b"%d %s\n" % (quote.received, quote.as_binance()) for quote in quotes])
    return replay_lines(form, [quote.as_csv() + b"\n" for quote in quotes])


CONTENTS: list[dict[str, int]] = [
    *[{}] * 12,
    {"bid": 10001},  # locked: taken
    {"bid": 10002},
    {"bid_size": 0},
    {"ask_size": 0},
    {"bid": 0},
    {"ask": 0},
    {"bid": 0, "bid_size": 0},
    {"ask": 0, "ask_size": 0},
    {"bid": 0, "bid_size": 0, "ask": 0, "ask_size": 0},
]


@st.composite
def days(draw: st.DrawFn) -> list[Quote]:
    """Runs of quotes that begin where the last one ended, or at another number or time; of two symbols."""
    quotes: list[Quote] = []
    ids, at_ms, received = dict.fromkeys(SYMBOLS, 1000), START_MS, RECEIVED
    timed = draw(st.booleans())
    for _ in range(draw(st.integers(1, 6))):
        symbol = draw(st.sampled_from(SYMBOLS))
        ids[symbol] += draw(st.sampled_from((0, 0, 0, -1, -20, -900, 10**6)))
        at_ms += draw(st.sampled_from((0, 0, 0, 0, -5, -10, -11, -60_000, 60_000)))
        received += draw(st.sampled_from((0, 0, 0, 0, -(10**7), -(10**7) - 1, -(10**10), 10**10)))
        for _ in range(draw(st.sampled_from((1, 2, 5, AGAIN - 1, AGAIN, AGAIN + 1, 70)))):
            ids[symbol] = max(0, ids[symbol] + draw(st.sampled_from((1, 1, 1, 1, 1, 1, 1, 1, 3, 0, -1))))
            at_ms += draw(st.sampled_from((0, 1, 1)))
            received += draw(st.sampled_from((0, 1000, 10**6)))
            size = draw(st.integers(1, 3))
            given = {"bid_size": size, "ask_size": size} | draw(st.sampled_from(CONTENTS))
            quotes.append(Quote(symbol, ids[symbol], at_ms=at_ms if timed else None, received=received, **given))
    return quotes


def check(form: str, quotes: list[Quote]) -> Counter[str]:
    model = Model(form == "binance")
    for quote in quotes:
        model.use(quote)
    h = feed(form, quotes)
    assert h.counted == dict(model.counted)
    assert [SYMBOLS[event[11]] for event in h.events] == [quote.symbol for quote in model.taken]
    assert [tuple(event[4:8]) for event in h.events] == [quote.sides for quote in model.taken]
    assert [event[2] for event in h.events] == [(quote.at_ms or 0) * 10**6 for quote in model.taken]
    for row in h.reading.symbols:
        sides = model.last[row.name].sides if row.name in model.last else (0, 0, 0, 0)
        assert (row.bid, row.bid_size, row.ask, row.ask_size) == sides
    return model.counted


@given(days())
@settings(max_examples=150)
def test_numbered_quotes_are_judged_as_by_the_model(quotes: list[Quote]) -> None:
    check("binance", quotes)


@given(days())
@settings(max_examples=100)
def test_quotes_without_numbers_are_judged_as_by_the_model(quotes: list[Quote]) -> None:
    """The recording's time of a CSV is the exchange's."""
    check("csv", [quote._replace(at_ms=quote.at_ms or START_MS, received=0) for quote in quotes])


GOOD = Quote(id=50, at_ms=START_MS, received=RECEIVED)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bid": 10002}, "crossed"),
        ({"bid": 10001}, ""),
        ({"bid_size": 0}, "zero_size"),
        ({"ask_size": 0}, "zero_size"),
        ({"ask": 0}, "zero_price"),
        ({"bid": 0, "bid_size": 0}, ""),
        ({"ask": 0, "ask_size": 0}, ""),
        ({"id": 50}, "repeated"),
        ({"id": 50, "bid": 9000}, "repeated"),
        ({"id": 49}, "backward"),
        ({"id": 49, "bid": 10002}, "crossed"),
        ({"at_ms": START_MS - 11}, "time_backward"),
        ({"at_ms": START_MS - 10}, ""),
        ({"at_ms": None}, ""),
        ({"received": RECEIVED - 10**7 - 1}, "time_backward"),
        ({"received": RECEIVED - 10**7}, ""),
    ],
)
def test_one_quote_of_each_kind(change: dict[str, Any], reason: str) -> None:
    second = GOOD._replace(**{"id": 51} | change)
    h = feed("binance", [GOOD, second])
    assert h.counted == ({reason: 1} if reason else {})
    kept = GOOD if reason else second
    row = h.reading.symbols[0]
    assert (row.bid, row.bid_size, row.ask, row.ask_size) == kept.sides and len(h.events) == 2 - bool(reason)
    assert h.reading.counters["book_ticker"] == 2


def test_a_number_is_of_its_symbol_alone() -> None:
    assert feed("binance", [GOOD, GOOD._replace(symbol="1000PEPEUSDT", id=3)]).counted == {}


def test_numbers_that_begin_anew_are_believed_when_they_last() -> None:
    again = [GOOD._replace(id=i) for i in range(1, 41)]
    h = feed("binance", [GOOD, *again])
    assert h.counted == {"backward": AGAIN - 1, "restarted": 1} and len(h.events) == 1 + 40 - (AGAIN - 1)


def test_late_quotes_between_good_ones_never_begin_anew() -> None:
    mixed = [quote for i in range(200) for quote in (GOOD._replace(id=100 + i), GOOD._replace(id=1 + i % 40))]
    assert feed("binance", [GOOD, *mixed]).counted == {"backward": 200}


def test_a_new_feed_session_begins_anew_at_once(hand: Callable[..., Hand]) -> None:
    h = hand()
    h.engine.handle_datagram(mold(1, GOOD.as_binance()), 1)
    h.engine.handle_datagram(mold(2, b"", count=0xFFFF)[:20], 2)  # End of Session
    h.engine.handle_datagram(mold(1, GOOD._replace(id=1).as_binance(), session=b"SESSION002"), 3)
    assert h.reading.counters["sessions"] == 2 and h.calls == 2 and counted(h.reading) == {}


def test_the_trade_of_a_line_whose_quote_is_refused_is_still_a_trade() -> None:
    h = Hand(feed_format="csv")
    h.engine.handle_datagram(mold(1, GOOD.as_csv()), 1)
    h.engine.handle_datagram(mold(2, GOOD._replace(bid=10002).as_csv(",100.00,3")), 2)
    assert counted(h.reading) == {"crossed": 1}
    event = h.events[-1]
    assert (event[10], event[8], event[9]) == (2, 100 * UNIT, 3 * UNIT) and tuple(event[4:8]) == GOOD.sides


def test_a_line_with_a_trade_may_say_the_quote_again() -> None:
    h = Hand(feed_format="csv")
    traded = GOOD.as_csv(",100.00,3")
    for number, line in enumerate([GOOD.as_csv(), GOOD.as_csv(), traded, traded], 1):
        h.engine.handle_datagram(mold(number, line), number)
    assert counted(h.reading) == {"repeated": 1} and [event[10] for event in h.events] == [1, 3, 3]


def trade(id: int, price: str = "100.00", size: str = "1") -> bytes:
    return b'%d {"e":"trade","E":%d,"s":"BTCUSDT","t":%d,"p":"%s","q":"%s","T":%d,"m":true}\n' % (
        RECEIVED, START_MS, id, price.encode(), size.encode(), START_MS)  # fmt: skip


def judge_trades(ids: list[int]) -> tuple[list[int], Counter[str]]:
    """What the documentation says of numbered trades: those that are taken, and the others by their reason."""
    taken: list[int] = []
    older: list[int] = []
    counted: Counter[str] = Counter()
    for id in ids:
        if (taken and id == taken[-1]) or (older and id == older[-1]):
            counted["repeated_trade"] += 1
            continue
        if taken and id < taken[-1]:
            older = [*older, id] if older and id > older[-1] else [id]
            if len(older) < AGAIN:
                counted["backward_trade"] += 1
                continue
        older = []
        taken.append(id)
    return taken, counted


@given(st.lists(st.tuples(st.sampled_from((1, 1, 1, 0, 2, -1, -40, 90)), st.sampled_from((1, 2, 31, 32, 33, 40))),
                max_size=8))  # fmt: skip
@settings(max_examples=150)
def test_numbered_trades_are_judged_as_by_the_model(steps: list[tuple[int, int]]) -> None:
    ids, id = [], 1000
    for step, n in steps:
        id = max(0, id + step)
        for _ in range(n):
            ids.append(id)
            id += 1
    taken, reasons = judge_trades(ids)
    h = replay_lines("binance", [trade(id) for id in ids])
    assert [event[3] for event in h.events] == taken
    assert h.counted == dict(reasons)


@pytest.mark.parametrize(("price", "size"), [("0", "1"), ("0.00000000", "0.00000000"), ("1", "0.0")])
def test_a_trade_without_a_price_or_a_size_is_none(price: str, size: str) -> None:
    h = replay_lines("binance", [trade(1), trade(2, price, size), trade(3)])
    assert [event[3] for event in h.events] == [1, 3] and h.counted == {"zero_trade": 1}
    # A quote in the same line still is an event, without a trade.
    h = replay_lines("csv", [f"{START_MS},BTCUSDT,1,1,2,1,{price},{size}\n".encode()])
    assert [(event[4], event[8], event[9], event[10]) for event in h.events] == [(UNIT, 0, 0, 1)]
    assert h.counted == {"zero_trade": 1}
