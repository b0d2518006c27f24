"""Days of an ITCH feed, and sequences of its messages of states against a slow model, which is written from the
specification's tables."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import strategy
from agent.limits import LIMITS
from agent.protocols import itch_layouts as itch

from ..conftest import mold
from .itch_feed import ACTIONS, HOUR, LOCATES, MARKETS, NAMES, Feed

#: What lets orders pass in a state of the symbol, and of the market.
OF_SYMBOL = {
    strategy.UNKNOWN: "allow_unknown", strategy.QUOTING: "allow_quoting", strategy.PAUSED: "allow_paused",
    strategy.HALTED: "allow_halted", strategy.HALTED_HERE: "allow_halted_here",
}  # fmt: skip
OF_MARKET = {
    strategy.UNKNOWN: "allow_unknown", strategy.CLOSED: "allow_closed", strategy.PRE_MARKET: "allow_pre_market",
    strategy.POST_MARKET: "allow_post_market", strategy.ENDED: "allow_closed",
}  # fmt: skip


def test_a_second_day_begins_anew() -> None:
    f = Feed().open()
    with f.hand.connect():
        assert f.try_order() == "sent" and f.hand.events[-1].day == 1
        f.action("AAPL", "H")
        f.send("Y", "MSFT", reg_sho_action="2")
        f.send("h", "MSFT", market_code="Q", operational_halt_action="H")
        f.event("M")
        f.event("E")
        f.event("C")
        f.now = 3 * HOUR
        told = f.event("O")
        assert [(e.kind, e.day, e.state, e.bid, e.ask, e.short_sale) for e in told] == [(4, 2, 0, 0, 0, 0)] * 2
        # The other symbol has the code now, and the references are used again.
        LOCATES.update(AAPL=9, MSFT=7)
        try:
            f.reference = 0
            f.open(begun=True)
            assert (f.try_order(), f.try_order("MSFT")) == ("sent", "sent")
            assert f.hand.counters["day_starts"] == 2 and "books_stale" not in f.hand.counters
        finally:
            LOCATES.update(AAPL=7, MSFT=9)


def test_a_time_that_goes_back_over_midnight_begins_a_day_without_its_first_message() -> None:
    f = Feed().open()
    f.now = 20 * HOUR
    f.quote(bid=990_000, ask=1_010_000)
    f.now = 9 * HOUR
    f.reference = 0
    f.quote()
    assert (f.row().bid, f.row().ask, f.row().stale) == (100 * 10**8, 10_001 * 10**6, 0)
    told = f.hand.events[-1]
    assert f.hand.counters["day_starts"] == 2 and told.day == 2
    assert told.market == told.state == strategy.UNKNOWN


@pytest.mark.parametrize(
    ("letter", "name", "fields", "reason"),
    [
        ("H", "AAPL", {"trading_state": "H"}, "halted"),
        ("h", "AAPL", {"market_code": "Q", "operational_halt_action": "H"}, "halted"),
        ("Y", "AAPL", {"reg_sho_action": "1"}, "short"),
        ("W", None, {"breached_level": "1"}, "halted"),
        ("W", None, {"breached_level": "3"}, "closed_market"),
        ("S", None, {"event_code": "M"}, "closed_market"),
    ],
)
@pytest.mark.parametrize("code", ["", *"SQEC"])
def test_one_wrong_time_ends_nothing_that_stops_orders(
    letter: str, name: str | None, fields: dict[str, str], reason: str, code: str
) -> None:
    f = Feed().open()
    with f.hand.connect():
        f.now = 10 * HOUR
        f.send(letter, name, **fields)
        assert f.try_order(side=-1) == reason
        f.send("S", event_code=code, timestamp=2 * HOUR) if code else f.quote(timestamp=2 * HOUR)
        f.quote()
        assert f.hand.counters["day_starts"] == 2
        assert {f.try_order(side=-1), f.try_order("MSFT")} <= {"closed_market", "halted"}
        # Told again: a restriction is in force still.
        f.event("Q")
        f.action("AAPL", "T")
        assert f.try_order(side=-1) == ("short" if letter == "Y" else "sent")


def test_a_time_that_goes_back_stops_no_feed_that_tells_no_state() -> None:
    f = Feed()
    with f.hand.connect():
        f.now = 20 * HOUR
        f.quote()
        f.now = 9 * HOUR
        f.quote()
        assert f.try_order() == "sent" and f.hand.counters["day_starts"] == 2


def test_a_time_that_no_day_has_begins_none() -> None:
    f = Feed().open()
    before = f.hand.counters["day_starts"]
    f.send("I", "AAPL", imbalance_direction="B", cross_type="C", timestamp=2**48 - 1)
    f.send("I", "AAPL", imbalance_direction="B", cross_type="O")
    f.now -= HOUR // 2
    f.quote(bid=990_000, ask=1_010_000)
    assert f.hand.counters["day_starts"] == before and f.row().bid == 100 * 10**8


def test_a_new_session_begins_one_day_with_its_start_of_messages() -> None:
    f = Feed().open()
    f.action("AAPL", "H")
    f.hand.engine.handle_datagram(mold(f.sequence + 1, count=0xFFFF))
    start = itch.encode("S", event_code="O", timestamp=HOUR)
    f.hand.engine.handle_datagram(mold(1, start, session=b"SESSION002"))
    assert f.hand.counters["day_starts"] == 2 and f.row().state == 0 and f.hand.events[-1].day == 2


class Model:
    """The specification's tables, for two symbols: what is known, and whether an order may go."""

    def __init__(self) -> None:
        self.market, self.breached, self.spun = 0, 0, False
        self.action = dict.fromkeys(NAMES, 0)
        self.stopped = dict.fromkeys(NAMES, False)
        self.restricted = dict.fromkeys(NAMES, False)

    def apply(self, letter: str, name: str, code: str) -> None:
        if letter == "S" and code == "O":
            self.__init__()  # type: ignore[misc]
            self.market = strategy.CLOSED
        elif letter == "S":
            self.market = MARKETS.get(code, strategy.UNKNOWN)
            if code in "SQM":
                self.market = strategy.ENDED if self.breached == 3 else self.market
                self.action = {n: a or strategy.UNKNOWN for n, a in self.action.items()}
        elif letter == "W":
            level = int(code) if code in "123" else 1
            self.breached = max(self.breached, level)
            self.action = dict.fromkeys(NAMES, strategy.HALTED)
            self.market = strategy.ENDED if level == 3 else self.market
        elif letter == "H":
            self.action[name] = ACTIONS.get(code, strategy.UNKNOWN)
        elif letter == "h":
            self.stopped[name] = code != "T"
        elif letter == "Y":
            self.restricted[name] = code != "0"

    def state(self, name: str) -> int:
        if self.stopped[name] and self.action[name] != strategy.HALTED:
            return strategy.HALTED_HERE
        return self.action[name]

    def judge(self, name: str, side: int, allowed: set[str]) -> str:
        if self.market in OF_MARKET and OF_MARKET[self.market] not in allowed:
            return "closed_market"
        if self.state(name) in OF_SYMBOL and OF_SYMBOL[self.state(name)] not in allowed:
            return "halted"
        return "short" if side < 0 and self.restricted[name] and "allow_short" not in allowed else "sent"


CODES = {"S": "OSQMECx", "W": "123x", "H": "THPQx", "h": "HTx", "Y": "012x"}
FIELDS = {"S": "event_code", "W": "breached_level", "H": "trading_state", "h": "operational_halt_action",
          "Y": "reg_sho_action"}  # fmt: skip
STEPS = st.sampled_from("SWHHHhY").flatmap(
    lambda letter: st.tuples(st.just(letter), st.sampled_from(NAMES), st.sampled_from(CODES[letter]))
)
CHOICES = st.sets(st.sampled_from([word for word in LIMITS if word.startswith("allow_")]))


@settings(max_examples=150)
@given(st.lists(STEPS, max_size=25), CHOICES)
def test_sequences_of_states_against_the_specifications_tables(
    steps: list[tuple[str, str, str]], allowed: set[str]
) -> None:
    f, model = Feed(dict.fromkeys(allowed, 1)), Model()
    f.event("O")
    model.apply("S", "", "O")
    with f.hand.connect():
        for letter, name, code in steps:
            f.send(letter, name if letter in "HhY" else None, **{FIELDS[letter]: code}
                   | ({"market_code": "Q"} if letter == "h" else {}))  # fmt: skip
            model.apply(letter, name, code)
            for symbol in NAMES:
                for side in (1, -1):
                    assert f.try_order(symbol, side) == model.judge(symbol, side, allowed)
                told = f.hand.events[-1]
                assert (told.state, told.market, told.breached) == (model.state(symbol), model.market, model.breached)
                assert (told.short_sale == strategy.SHORT_RESTRICTED) == model.restricted[symbol]
