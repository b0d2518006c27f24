"""Halts, auctions, restrictions and the circuit breaker: what an ITCH feed tells becomes the state in every event, and
what the gate lets pass."""

from typing import Any

import pytest

from agent import strategy
from agent.protocols import itch_layouts as itch

from ..conftest import Hand, mold, order
from .itch_feed import ACTIONS, HOUR, MARKETS, Feed


@pytest.mark.parametrize("code", "THPQ")
def test_a_trading_action_stops_orders_of_its_symbol_alone_and_t_lets_them_pass(code: str) -> None:
    f = Feed().open()
    with f.hand.connect():
        assert f.try_order() == "sent"
        told = f.action("AAPL", code)
        assert [(e.kind, e.symbol, e.state) for e in told] == ([(4, 0, ACTIONS[code])] if code != "T" else [])
        assert told == [] or (told[0].bid, told[0].ask, told[0].price) == (100 * 10**8, 10_001 * 10**6, 0)
        assert f.try_order() == ("sent" if code == "T" else "halted")
        assert f.hand.events[-1].state == f.row().state == ACTIONS[code]
        assert f.try_order("MSFT") == "sent"
        f.action("AAPL", "T")
        assert f.try_order() == "sent"


@pytest.mark.parametrize("code", [c for c in map(chr, range(256)) if c not in ACTIONS])
def test_a_trading_action_of_no_code_is_malformed_and_the_symbol_is_not_traded(code: str) -> None:
    f = Feed().open()
    with f.hand.connect():
        assert [e.state for e in f.action("AAPL", code)] == [strategy.UNKNOWN]
        assert f.hand.counters["malformed_field"] == 1
        assert (f.try_order(), f.try_order("MSFT")) == ("halted", "sent")
        f.action("AAPL", "T")
        assert f.try_order() == "sent"


@pytest.mark.parametrize("code", "SQMEC")
def test_the_hours_of_the_market(code: str) -> None:
    f = Feed().open()
    with f.hand.connect():
        told = f.event(code)
        assert [(e.kind, e.symbol, e.market) for e in told] == [(4, 0, MARKETS[code]), (4, 1, MARKETS[code])]
        assert f.try_order() == f.try_order("MSFT") == ("sent" if code == "Q" else "closed_market")
        assert f.hand.counters["market"] == MARKETS[code]
        f.event("Q")
        assert f.try_order() == "sent"


@pytest.mark.parametrize("code", [c for c in map(chr, range(256)) if c not in MARKETS])
def test_a_system_event_of_no_code_leaves_a_market_that_nobody_knows(code: str) -> None:
    f = Feed().open()
    with f.hand.connect():
        assert [e.market for e in f.event(code)] == [strategy.UNKNOWN] * 2
        assert f.hand.counters["malformed_field"] == 1
        assert f.try_order() == "closed_market"
        f.event("Q")
        assert f.try_order() == "sent"


@pytest.mark.parametrize("market", "QBX")
@pytest.mark.parametrize("ours", "QBX")
def test_an_operational_halt_is_of_one_market(market: str, ours: str) -> None:
    f = Feed(market_code=ours.encode()).open()
    halt = {"market_code": market, "operational_halt_action": "H"}
    with f.hand.connect():
        assert [e.state for e in f.send("h", "AAPL", **halt)] == [strategy.HALTED_HERE] * (market == ours)
        assert f.try_order() == ("halted" if market == ours else "sent")
        # It does not end with a halt of all markets, nor this one with it.
        f.action("AAPL", "H")
        f.send("h", "AAPL", **halt | {"operational_halt_action": "T"})
        assert f.try_order() == "halted" and f.row().state == strategy.HALTED
        f.send("h", "AAPL", **halt)
        f.action("AAPL", "T")
        assert f.try_order() == ("halted" if market == ours else "sent")
        f.send("h", "AAPL", **halt | {"operational_halt_action": "T"})
        assert f.try_order() == "sent"


def test_an_operational_halt_of_no_code_stops_what_is_ours() -> None:
    f = Feed().open()
    with f.hand.connect():
        f.send("h", "AAPL", market_code="Z", operational_halt_action="H")
        assert f.try_order() == "sent"
        f.send("h", "AAPL", market_code="Q", operational_halt_action="x")
        assert f.try_order() == "halted" and f.hand.counters["malformed_field"] == 2


@pytest.mark.parametrize("code", "012x")
def test_under_the_price_test_nothing_is_sold_short(code: str) -> None:
    f = Feed().open()
    with f.hand.connect():
        f.hand.engine.restore(reference=0, positions=[(0, 5)], open_orders=[], session=b"", sequence=0, over=False,
                              executions=[], contradicted=0, records=0)  # fmt: skip
        told = f.send("Y", "AAPL", reg_sho_action=code)
        restricted = code != "0"
        assert [e.short_sale for e in told] == [strategy.SHORT_RESTRICTED] * restricted
        assert f.hand.counters.get("malformed_field", 0) == (code == "x")
        assert f.try_order(side=1, size=50) == "sent"
        assert f.try_order(side=-1, size=6) == ("short" if restricted else "sent")
        assert f.try_order(side=-1, size=5) == "sent"
        assert f.try_order(side=-1, size=1) == ("short" if restricted else "sent")
        assert f.try_order("MSFT", side=-1) == "sent"
        f.hand.set_limits(allow_short=1)
        assert f.try_order(side=-1, size=50) == "sent"


@pytest.mark.parametrize("level", "12")
def test_a_breached_level_halts_all_symbols_until_each_is_released(level: str) -> None:
    f = Feed().open()
    with f.hand.connect():
        told = f.send("W", breached_level=level)
        assert [(e.symbol, e.state, e.breached) for e in told] == [(i, strategy.HALTED, int(level)) for i in (0, 1)]
        assert f.try_order() == f.try_order("MSFT") == "halted"
        f.action("MSFT", "H")
        f.action("AAPL", "T")
        assert (f.try_order(), f.try_order("MSFT")) == ("sent", "halted")
        f.action("MSFT", "Q")
        assert f.try_order("MSFT") == "halted"
        f.action("MSFT", "T")
        assert f.try_order("MSFT") == "sent" and f.hand.events[-1].breached == int(level)


def test_level_3_ends_the_day_and_the_next_day_knows_nothing_of_it() -> None:
    f = Feed().open()
    with f.hand.connect():
        assert [e.market for e in f.send("W", breached_level="3")] == [strategy.ENDED] * 2
        f.action("AAPL", "T")
        for code in "QM":
            f.event(code)
            assert f.try_order() == "closed_market" and f.hand.events[-1].market == strategy.ENDED
        f.event("C")
        assert f.hand.counters["market"] == strategy.CLOSED and f.hand.counters["market_breached"] == 3
        f.open()
        assert f.try_order() == "sent" and f.hand.events[-1].breached == 0


def test_a_breach_of_no_level_halts_all_symbols() -> None:
    f = Feed().open()
    with f.hand.connect():
        assert [e.state for e in f.send("W", breached_level="0")] == [strategy.HALTED] * 2
        assert f.try_order() == "halted" and f.hand.counters["malformed_field"] == 1


def test_a_book_that_is_locked_or_crossed_is_not_traded() -> None:
    f = Feed().open()
    with f.hand.connect():
        for price in (1_000_100, 1_000_200):
            f.reference += 1
            f.send("A", "AAPL", order_reference_number=f.reference, buy_sell_indicator="B", shares=1, price=price)
            assert f.try_order() == "crossed" and f.try_order("MSFT") == "sent"
            f.hand.set_limits(**{"allow_locked": 1} if price == 1_000_100 else {"allow_crossed": 1})
            assert f.try_order() == "sent"
        f.hand.set_limits(allow_crossed=0)
        assert f.try_order() == "crossed"
        f.send("D", "AAPL", order_reference_number=f.reference)
        assert f.try_order() == "sent"
        f.hand.set_limits(allow_locked=0)
        assert f.try_order() == "crossed"
        f.send("D", "AAPL", order_reference_number=f.reference - 1)
        assert f.try_order() == "sent"


def test_a_book_with_one_side_is_not_crossed() -> None:
    f = Feed().open()
    with f.hand.connect():
        f.send("D", "AAPL", order_reference_number=2)
        assert (f.row().bid > 0, f.row().ask) == (True, 0) and f.try_order() == "sent"


def test_an_auction_is_told_until_its_cross() -> None:
    f = Feed().open()
    told = f.send("I", "AAPL", imbalance_direction="B", cross_type="C")
    assert [(e.kind, chr(e.auction)) for e in told] == [(4, "C")]
    assert f.send("I", "AAPL", imbalance_direction="S", cross_type="C") == []
    (cross,) = f.send("Q", "AAPL", cross_type="C", shares=500, cross_price=1_000_000, match_number=77)
    assert (cross.kind, chr(cross.auction), cross.size, cross.exchange_id) == (6, "C", 500 * 10**8, 77)
    assert f.row().auction == 0
    # Without a share there is no trade.
    (cross,) = f.send("Q", "AAPL", cross_type="O", cross_price=1_000_000)
    assert (cross.kind, cross.price, cross.size) == (4, 0, 0)
    (cross,) = f.send("Q", "AAPL", cross_type="O", shares=2**64 - 1, cross_price=1)
    assert 0 < cross.size < 2**63


def test_the_collar_of_a_pause_is_told_until_the_symbol_trades_again() -> None:
    f = Feed().open()
    f.action("AAPL", "P")
    (told,) = f.send("J", "AAPL", lower_auction_collar_price=950_000, upper_auction_collar_price=1_050_000)
    assert (told.state, told.collar_low, told.collar_high) == (strategy.PAUSED, 95 * 10**8, 105 * 10**8)
    assert (f.row().collar_low, f.row().collar_high, chr(f.row().auction)) == (95 * 10**8, 105 * 10**8, "H")
    (told,) = f.action("AAPL", "Q")
    assert (told.state, told.collar_high) == (strategy.QUOTING, 105 * 10**8)
    (told,) = f.action("AAPL", "T")
    assert (told.collar_low, told.collar_high, told.auction) == (0, 0, 0)


def test_executions_of_a_cross_are_no_trades_and_broken_trades_are_counted() -> None:
    f = Feed().open()
    done = {"order_reference_number": 1, "executed_shares": 1, "execution_price": 1}
    assert [e.kind for e in f.send("C", "AAPL", printable="N", **done)] == [1]
    assert [e.kind for e in f.send("C", "AAPL", printable="Y", **done)] == [3]
    assert f.send("B", "AAPL", match_number=1) == [] and f.hand.counters["trades_broken"] == 1


def test_orders_stay_in_the_book_during_a_halt_and_replaces_are_refused_and_cancels_pass() -> None:
    f = Feed().open()
    with f.hand.connect():
        assert f.try_order() == "sent"
        f.action("AAPL", "H")
        assert (f.row().bid, f.row().ask) == (100 * 10**8, 10_001 * 10**6)
        f.send("D", "AAPL", order_reference_number=1)
        assert f.row().bid == 0
        f.hand.orders = [order(99.0, 1, action=1, id=1), order(size=0, action=2, id=1)]
        f.send("P", "AAPL", buy_sell_indicator="B", shares=1, price=1)
        assert {n: f.hand.counters.get(n) for n in ("reject_halted", "replaces_sent", "cancels_sent")} == {
            "reject_halted": 1, "replaces_sent": None, "cancels_sent": 1,
        }  # fmt: skip


def test_a_symbol_that_was_left_out_before_the_system_hours_is_not_traded() -> None:
    f = Feed()
    f.event("O")
    f.send("R", "AAPL")
    f.send("R", "MSFT")
    f.action("AAPL", "T")
    with f.hand.connect():
        f.quote()
        f.quote("MSFT")
        f.event("S")
        f.event("Q")
        assert (f.try_order(), f.try_order("MSFT")) == ("sent", "halted")
        assert f.row("MSFT").state == strategy.UNKNOWN
        f.action("MSFT", "T")
        assert f.try_order("MSFT") == "sent"


def test_a_feed_that_tells_no_state_is_traded() -> None:
    f = Feed()
    with f.hand.connect():
        f.quote()
        assert f.try_order() == "sent"
        e = f.hand.events[-1]
        assert (e.state, e.market, e.short_sale, e.day) == (0, 0, 0, 1)


def test_who_joins_in_the_middle_knows_no_state_until_it_is_told() -> None:
    f = Feed(start=0)
    f.sequence = 100
    with f.hand.connect():
        f.quote()
        assert f.try_order() == "closed_market"
        assert (f.hand.events[-1].state, f.hand.events[-1].market) == (strategy.UNKNOWN, strategy.UNKNOWN)
        f.event("Q")
        assert f.try_order() == "halted"
        f.action("AAPL", "T")
        assert f.try_order() == "sent"
    f = Feed({"allow_unknown": 1}, start=0)
    f.sequence = 100
    with f.hand.connect():
        f.quote()
        assert f.try_order() == "sent"


def test_what_was_lost_may_have_been_a_halt() -> None:
    f = Feed().open()
    f.sequence += 3
    f.send("P", "AAPL", buy_sell_indicator="B", shares=1, price=1)
    assert [(s.state, s.stale) for s in f.hand.reading.symbols] == [(strategy.UNKNOWN, 1)] * 2
    assert f.hand.counters["market"] == strategy.UNKNOWN


def test_a_quoting_period_update_names_its_stock_and_has_no_code_of_its_own() -> None:
    f = Feed().open()
    with f.hand.connect():
        for stock in ("OTHER", "MSFT", "AAPL"):
            f.send("K", stock=stock, ipo_quotation_release_qualifier="A")
        f.send("H", "MSFT", trading_state="H")
        assert [e.market for e in f.event("M")] == [strategy.POST_MARKET] * 2
        f.event("Q")
        assert (f.try_order(), f.try_order("MSFT")) == ("sent", "halted")


def test_a_state_that_a_retransmission_brought_is_told_at_the_next_housekeeping() -> None:
    f = Feed(wait_ns=HOUR, limit_ns=HOUR).open()
    halt = itch.encode("H", stock_locate=7, stock="AAPL", trading_state="H", timestamp=f.now)
    trade = itch.encode("P", stock_locate=7, stock="AAPL", buy_sell_indicator="B", shares=1, price=1, timestamp=f.now)
    calls = f.hand.calls
    f.hand.engine.handle_datagram(mold(f.sequence + 2, trade))
    f.hand.engine.handle_datagram(mold(f.sequence + 1, halt), line=2)
    assert f.hand.events[calls:] == []
    f.hand.engine.do_housekeeping()
    assert {e.symbol: e.state for e in f.hand.events[calls:] if e.kind == 4} == {
        0: strategy.HALTED,
        1: strategy.TRADING,
    }
    calls = f.hand.calls
    f.hand.engine.do_housekeeping()
    assert f.hand.calls == calls


def test_feeds_of_quotes_tell_no_state_and_are_checked_for_locked_quotes() -> None:
    h = Hand()
    with h.connect():
        for bid, reason in (("100.00", "orders_sent"), ("100.01", "reject_crossed")):
            h.sequence += 1
            h.orders = [order()]
            quote = b'{"u":%d,"s":"BTCUSDT","b":"%s","B":"1","a":"100.01","A":"1"}' % (h.sequence, bid.encode())
            before = h.counters.get(reason, 0)
            h.engine.handle_datagram(mold(h.sequence, quote))
            assert h.counters[reason] == before + 1
    assert {(e.state, e.market, e.day) for e in h.events} == {(0, 0, 0)}


#: What each message makes of a symbol where it cannot be believed, and what its orders are refused for; a sale, of Y.
DISTRUSTED: list[tuple[str, dict[str, str], int, str]] = [
    ("H", {"trading_state": "T"}, strategy.UNKNOWN, "halted"),
    ("h", {"market_code": "Q", "operational_halt_action": "T"}, strategy.HALTED_HERE, "halted"),
    ("Y", {"reg_sho_action": "0"}, strategy.TRADING, "short"),
]


@pytest.mark.parametrize(("letter", "fields", "state", "reason"), DISTRUSTED)
@pytest.mark.parametrize("locate", ["AAPL", "MSFT", "XYZ"])
def test_a_message_under_the_code_of_another_stock_is_believed_of_neither(
    letter: str, fields: dict[str, str], state: int, reason: str, locate: str
) -> None:
    f = Feed().open()
    f.send("R", "AAPL", stock="XYZ", stock_locate=20)
    with f.hand.connect():
        f.send(letter, "AAPL", stock_locate={"AAPL": 7, "MSFT": 9, "XYZ": 20}[locate], **fields)
        told = {"AAPL": set(), "MSFT": {"AAPL", "MSFT"}, "XYZ": {"AAPL"}}[locate]
        assert f.hand.counters.get("malformed_symbol", 0) == (locate != "AAPL")
        for name in ("AAPL", "MSFT"):
            assert f.row(name).state == (state if name in told else strategy.TRADING)
            assert f.try_order(name, side=-1) == (reason if name in told else "sent")


@pytest.mark.parametrize("letter", "AF")
@pytest.mark.parametrize("stock", ["MSFT", "XYZ", "aapl", "", "AAPL.X"])
def test_an_order_under_the_code_of_another_stock_is_in_no_book(letter: str, stock: str) -> None:
    f = Feed().open()
    with f.hand.connect():
        f.send(letter, "AAPL", stock=stock, order_reference_number=500, buy_sell_indicator="B", shares=1, price=1)
        assert f.hand.counters["malformed_symbol"] == 1
        assert (f.row("AAPL").stale, f.row("MSFT").stale) == (4, 4 * (stock == "MSFT"))


@pytest.mark.parametrize("letter", "AF")
def test_an_order_under_the_code_of_a_stock_that_is_not_ours_is_in_no_book(letter: str) -> None:
    f = Feed().open()
    with f.hand.connect():
        f.send("R", "AAPL", stock="XYZ", stock_locate=20)
        fields = {"stock_locate": 20, "buy_sell_indicator": "B", "shares": 1, "price": 1}
        f.send(letter, "AAPL", stock="ABC", order_reference_number=500, **fields)
        assert (f.try_order(), f.hand.counters["other_symbol"]) == ("sent", 2)
        f.send(letter, "AAPL", order_reference_number=501, **fields)
        assert f.hand.counters["malformed_symbol"] == 1
        assert (f.row("AAPL").stale, f.row("MSFT").stale, f.try_order("MSFT")) == (4, 0, "sent")


#: By name: the Stock Directory messages of a day after those of AAPL (7) and MSFT (9), and the books that are stale.
LISTED: dict[str, tuple[list[tuple[str, int]], set[str]]] = {
    "the same again": ([("AAPL", 7), ("MSFT", 9)], set()),
    "others": ([("XYZ", 20), ("ABC", 21), ("XYZ", 20)], set()),
    "a code to another stock": ([("XYZ", 7)], {"AAPL"}),
    "a code to another one of ours": ([("MSFT", 7)], {"AAPL", "MSFT"}),
    "a second code": ([("AAPL", 20)], {"AAPL"}),
    "a code that another stock had": ([("XYZ", 20), ("AAPL", 20)], {"AAPL"}),
    "to and fro": ([("XYZ", 7), ("AAPL", 7)], {"AAPL"}),
}


@pytest.mark.parametrize("said", LISTED)
def test_a_stock_and_its_code_are_each_others_alone_as_long_as_the_day_lasts(said: str) -> None:
    f = Feed().open()
    with f.hand.connect():
        for stock, code in LISTED[said][0]:
            f.send("R", "AAPL", stock=stock, stock_locate=code)
        for name in ("AAPL", "MSFT"):
            assert f.row(name).stale == 4 * (name in LISTED[said][1])
        f.open()
        assert (f.try_order(), f.try_order("MSFT")) == ("sent", "sent")


def test_another_code_that_an_order_gives_a_stock_makes_its_book_stale() -> None:
    f = Feed().open()
    with f.hand.connect():
        f.send("A", "AAPL", stock_locate=20, order_reference_number=500, buy_sell_indicator="B", shares=1, price=1)
        assert (f.row("AAPL").stale, f.row("MSFT").stale, f.try_order("MSFT")) == (4, 0, "sent")


@pytest.mark.parametrize("letter", "PQ")
def test_a_trade_under_the_code_of_another_stock_is_none(letter: str) -> None:
    f = Feed().open()
    fields = {"buy_sell_indicator": "B", "price": 1} if letter == "P" else {"cross_price": 1, "cross_type": "O"}
    assert f.send(letter, "AAPL", stock="MSFT", shares=1, **fields) == []
    assert f.hand.counters["malformed_symbol"] == 1


@pytest.mark.parametrize(("letter", "fields", "state", "reason"), DISTRUSTED)
@pytest.mark.parametrize("change", [-16, -5, -1, 1])
def test_a_message_of_another_length_is_not_believed(
    letter: str, fields: dict[str, str], state: int, reason: str, change: int
) -> None:
    f = Feed().open()
    message = itch.encode(letter, stock_locate=7, stock="AAPL", timestamp=10 * HOUR, **fields)
    with f.hand.connect():
        f.give(message[:change] if change < 0 else message + b"T" * change)
        assert f.hand.counters[f"malformed_{'truncated' if change < 0 else 'oversized'}"] == 1
        assert (f.row().state, f.row("MSFT").state) == (state, strategy.TRADING)
        assert (f.try_order(side=-1), f.try_order("MSFT", side=-1)) == (reason, "sent")


def test_a_system_event_of_another_length_leaves_a_market_that_nobody_knows() -> None:
    f = Feed().open()
    with f.hand.connect():
        f.give(itch.encode("S", event_code="Q", timestamp=10 * HOUR)[:-1])
        assert f.try_order() == "closed_market"


@pytest.mark.parametrize(
    ("letter", "fields"),
    [
        ("P", {"shares": 0, "price": 1}),
        ("P", {"shares": 1, "price": 0}),
        ("E", {"executed_shares": 0}),
        ("C", {"executed_shares": 0, "execution_price": 1}),
        ("C", {"executed_shares": 1, "execution_price": 0}),
        ("Q", {"shares": 1, "cross_price": 0}),
    ],
)
def test_a_trade_without_a_price_or_shares_is_none(letter: str, fields: dict[str, int]) -> None:
    f = Feed().open()
    words: dict[str, Any] = {"P": {"buy_sell_indicator": "B"}, "C": {"printable": "Y"}, "Q": {"cross_type": "O"}}.get(
        letter, {}
    )
    if letter in "EC":
        words = words | {"order_reference_number": 1}
    told = f.send(letter, "AAPL", **words, **fields)
    assert all(event.kind & strategy.TRADE == 0 and event.price == event.size == 0 for event in told)
    assert f.hand.counters["refused_zero_trade"] == 1
    assert f.row().bid_size == (99 if fields.get("executed_shares") else 100) * 10**8
