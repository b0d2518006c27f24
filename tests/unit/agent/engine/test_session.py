"""The link to the exchange, over real sockets: login, replay, reconnect, and what was never seen."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ..conftest import BOOK, Hand, mold, order
from ..ouch_answers import (  # fmt: skip
    Exchange,
    Link,
    accepted,
    canceled,
    executed,
    login_accepted,
    packet,
    query_answer,
    udp,
)

SESSION = "S000000001"


@contextlib.contextmanager
def limit(seconds: float = 30) -> Iterator[None]:
    """SIGTERM for the loop, should it still run after so long."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def enter(link: Link, session: str = SESSION, sequence: int = 1, next_id: int = 1) -> tuple[str, int]:
    """Accept a login and answer its Account Query, with nothing to replay."""
    wanted = link.login()
    link.send(login_accepted(session, sequence))
    link.query()
    link.send(query_answer(next_id))
    return wanted


def up(h: Hand) -> None:
    """Until the engine's gate is open: feed and exchange are two sockets, and nothing says which it reads first."""
    until = time.monotonic() + 30
    while h.reading.state != "running":
        assert time.monotonic() < until
        time.sleep(0.001)


def ticks(out: object, count: int, first: int = 1) -> None:
    for i in range(first, first + count):
        out.send(mold(i, BOOK))  # type: ignore[attr-defined]


def run(h: Hand) -> tuple[str, int]:
    with limit():
        why, code = h.engine.run()
    assert "signal" not in why, why
    return why, code


def test_the_gate_opens_behind_the_answer_to_the_query(hand: Callable[..., Hand]) -> None:
    states = []

    def script(link: Link) -> None:
        wanted = link.login()
        assert wanted == ("", 1)
        link.send(login_accepted(SESSION, 1))
        link.query()
        ticks(out, 1)  # too early for an order
        time.sleep(0.05)
        states.append(h.reading.state)
        link.send(query_answer(1))
        up(h)
        states.append(h.reading.state)
        ticks(out, 1, 2)
        assert link.order()[:6] == b"O\0\0\0\1B"
        link.send(accepted(1), packet(b"Z"))

    with udp() as (feed, out), Exchange(script) as exchange:
        h = hand(feeds=(feed.fileno(), -1, -1), port=exchange.port, user=b"u", password=b"p", once=True)
        h.orders = [order()]
        assert run(h) == ("the exchange ended the session", 0)
    assert states == ["connecting", "running"]
    c = h.counters
    assert (c["reject_closed"], c["orders_sent"], c["accepted"], c["logins"]) == (1, 1, 1, 1)
    assert h.reading.state == "stopped"


def test_a_reconnect_resumes_and_learns_what_happened(hand: Callable[..., Hand]) -> None:
    def first(link: Link) -> None:
        enter(link)
        up(h)
        ticks(out, 3)
        assert [link.order()[:5] for _ in range(3)] == [b"O" + i.to_bytes(4, "big") for i in (1, 2, 3)]
        link.send(accepted(1))  # sequence 2: and then the line is cut; order 2 was seen too, order 3 was not

    def second(link: Link) -> None:
        assert link.login() == (SESSION, 3)
        link.send(login_accepted(SESSION, 3))
        link.query()
        link.send(accepted(2), executed(2, 5), canceled(1, 5), query_answer(3))
        up(h)
        open_now.append(h.counters.get("orders_open", 0))
        ticks(out, 1, 4)
        assert link.order()[:5] == b"O\0\0\0\4"
        link.send(accepted(4), packet(b"Z"))

    open_now: list[int] = []
    with udp() as (feed, out), Exchange(first, second) as exchange:
        h = hand(feeds=(feed.fileno(), -1, -1), port=exchange.port, once=True, give_up_after_ns=10**10)
        h.orders = [order()]
        assert run(h)[1] == 0
    c = h.counters
    assert open_now == [0]
    assert (c["connection_lost"], c["logins"], c["orders_never_reached"]) == (1, 2, 1)
    assert (c["accepted"], c["executed"], c["canceled"], c["orders_sent"]) == (3, 1, 1, 4)
    assert h.reading.symbols[0].position == 5


def test_an_answer_to_an_old_query_does_not_open_the_gate(hand: Callable[..., Hand]) -> None:
    def first(link: Link) -> None:
        link.login()
        link.send(login_accepted(SESSION, 1))
        link.query()  # never answered on this connection, but it is in the sequence

    def second(link: Link) -> None:
        assert link.login() == (SESSION, 1)
        link.send(login_accepted(SESSION, 1))
        link.query()
        link.send(query_answer(1))
        time.sleep(0.05)
        states.append(h.reading.state)
        link.send(query_answer(1))
        time.sleep(0.05)
        states.append(h.reading.state)
        link.send(packet(b"Z"))

    states: list[str] = []
    with udp() as (feed, _), Exchange(first, second) as exchange:
        h = hand(feeds=(feed.fileno(), -1, -1), port=exchange.port, once=True, give_up_after_ns=10**10)
        assert run(h)[1] == 0
    assert states == ["connecting", "running"]


def test_a_session_that_is_over_is_followed_by_the_one_that_is_on(hand: Callable[..., Hand]) -> None:
    def first(link: Link) -> None:
        enter(link)
        up(h)
        ticks(out, 1)
        link.order()

    def second(link: Link) -> None:
        assert link.login() == (SESSION, 2)
        link.send(packet(b"J", b"S"))

    def third(link: Link) -> None:
        assert enter(link, "S000000002") == ("", 1)
        up(h)
        ticks(out, 1, 2)
        assert link.order()[:5] == b"O\0\0\0\2"
        link.send(packet(b"Z"))

    with udp() as (feed, out), Exchange(first, second, third) as exchange:
        h = hand(feeds=(feed.fileno(), -1, -1), port=exchange.port, once=True, give_up_after_ns=10**10)
        h.orders = [order()]
        assert run(h)[1] == 0
    assert h.counters["logins"] == 2


@pytest.mark.parametrize(("reason", "why"), [(b"A", "not authorised"), (b"S", "session not available")])
def test_a_refused_login_ends_the_engine(hand: Callable[..., Hand], reason: bytes, why: str) -> None:
    def script(link: Link) -> None:
        link.login()
        link.send(packet(b"J", reason))

    with udp() as (feed, _), Exchange(script) as exchange:
        h = hand(feeds=(feed.fileno(), -1, -1), port=exchange.port)
        text, code = run(h)
    assert code == 1 and why in text


def test_an_exchange_that_stays_away_ends_the_engine(hand: Callable[..., Hand]) -> None:
    def script(link: Link) -> None:
        enter(link)

    with udp() as (feed, _), Exchange(script) as exchange:
        h = hand(feeds=(feed.fileno(), -1, -1), port=exchange.port, give_up_after_ns=300_000_000)
        begun = time.monotonic()
        assert run(h) == ("the connection to the exchange was lost", 4)
        assert time.monotonic() - begun < 5
    assert h.counters["connection_lost"] == 1


@pytest.mark.parametrize("sequence", [0, 3])
def test_a_replay_that_would_leave_a_hole_is_not_accepted(hand: Callable[..., Hand], sequence: int) -> None:
    def first(link: Link) -> None:
        enter(link)

    def second(link: Link) -> None:
        assert link.login() == (SESSION, 2)
        link.send(login_accepted(SESSION, sequence))
        with contextlib.suppress(ConnectionError, AssertionError):
            link.read()

    with udp() as (feed, _), Exchange(first, second) as exchange:
        h = hand(feeds=(feed.fileno(), -1, -1), port=exchange.port, give_up_after_ns=200_000_000)
        assert run(h)[1] == 4
    assert h.counters["exchange_malformed"] == 1


def test_sigterm_cancels_what_is_open_and_waits_for_the_word(hand: Callable[..., Hand]) -> None:
    def script(link: Link) -> None:
        enter(link)
        up(h)
        ticks(out, 2)
        link.order(), link.order()
        link.send(accepted(1), accepted(2))
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)
        assert [link.order() for _ in range(2)] == [b"X" + i.to_bytes(4, "big") + bytes(4) for i in (1, 2)]
        link.send(executed(2, 5), canceled(1, 5))
        assert link.read() == (b"O", b"")

    with udp() as (feed, out), Exchange(script) as exchange:
        h = hand(feeds=(feed.fileno(), -1, -1), port=exchange.port)
        h.orders = [order()]
        with limit():
            assert h.engine.run() == ("stopped by signal 15", 0)
    c = h.counters
    assert (c["cancels_sent"], c["canceled"], c["executed"]) == (2, 1, 1)
    assert "orders_open" not in c
    assert h.reading.symbols[0].position == 5


def test_line_b_fills_what_line_a_lost(hand: Callable[..., Hand]) -> None:
    def script(link: Link) -> None:
        enter(link)
        up(h)
        for i in (1, 2, 3, 5, 6):
            a.send(mold(i, BOOK))
        for i in range(1, 7):
            b.send(mold(i, BOOK))
        for _ in range(6):
            link.order()
        link.send(packet(b"Z"))

    with udp() as (feed_a, a), udp() as (feed_b, b), Exchange(script) as exchange:
        h = hand(feeds=(feed_a.fileno(), feed_b.fileno(), -1), port=exchange.port, once=True, wait_ns=10**9)
        h.orders = [order()]
        assert run(h)[1] == 0
    c = h.counters
    assert c["messages"] == c["events"] == c["orders_sent"] == 6
    assert "lost" not in c


def test_a_signal_ends_the_run_as_soon_as_it_is_announced(hand: Callable[..., Hand]) -> None:
    with udp() as (feed, _):
        h = hand(feeds=(feed.fileno(), -1, -1), port=1)
        with limit():
            assert h.engine.run(lambda: os.kill(os.getpid(), signal.SIGTERM)) == ("stopped by signal 15", 0)


def test_an_announcement_that_fails_ends_the_run_and_gives_the_signals_back(hand: Callable[..., Hand]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with udp() as (feed, _), pytest.raises(ZeroDivisionError):
        hand(feeds=(feed.fileno(), -1, -1), port=1).engine.run(lambda: 1 // 0)
    assert signal.getsignal(signal.SIGTERM) is before
