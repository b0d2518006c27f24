"""The link to the exchange, over real sockets: login, replay, reconnect, and what was never seen."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ..conftest import BOOK, REPLACE, Hand, mold, order
from ..ouch_answers import (  # fmt: skip
    Exchange,
    Link,
    accepted,
    canceled,
    executed,
    login_accepted,
    packet,
    query_answer,
    rejected,
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
        assert wanted == ("", 0)
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

    def look(link: Link) -> None:
        # Three messages that were missed: 3, 4 and 5.
        assert link.look(SESSION, 6) == (SESSION, 0)

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
    with udp() as (feed, out), Exchange(first, look, second) as exchange:
        h = hand(feeds=(feed.fileno(), -1, -1), port=exchange.port, once=True, give_up_after_ns=10**10)
        h.orders = [order()]
        assert run(h)[1] == 0
    c = h.counters
    assert open_now == [0]
    assert (c["connection_lost"], c["logins"], c["orders_never_reached"]) == (1, 2, 1)
    assert (c["accepted"], c["executed"], c["canceled"], c["orders_sent"]) == (3, 1, 1, 4)
    assert h.reading.symbols[0].position == 5


def test_an_answer_to_an_old_query_does_not_open_the_gate(hand: Callable[..., Hand]) -> None:
    """A standby host without a journal: the session holds another process's orders, and answers that it asked for."""

    def look(link: Link) -> None:
        assert link.look(SESSION, 7) == ("", 0)
        with contextlib.suppress(ConnectionError):
            assert link.sock.recv(1) == b""

    def replay(link: Link) -> None:
        assert link.login() == (SESSION, 1)
        link.send(login_accepted(SESSION, 1))
        link.query()
        link.send(query_answer(1), accepted(1), executed(1, 2), query_answer(2), accepted(2), query_answer(3))
        h.wait(lambda: h.counters.get("exchange_sequence") == 6)
        ticks(out, 1)
        h.wait(lambda: h.counters.get("reject_closed") == 1)
        states.append(h.reading.state)
        link.send(canceled(1, 3), canceled(2, 5), query_answer(3))
        up(h)
        ticks(out, 1, 2)
        assert link.order()[:5] == b"O\0\0\0\3"
        link.send(packet(b"Z"))

    states: list[str] = []
    with udp() as (feed, out), Exchange(look, replay) as exchange:
        h = hand(feeds=(feed.fileno(), -1, -1), port=exchange.port, once=True, give_up_after_ns=10**10)
        h.orders = [order()]
        assert run(h)[1] == 0
    assert states == ["connecting"]
    c = h.counters
    assert (c["orders_adopted"], c["executed"], c["orders_sent"], c["orders_open"], c["logins"]) == (2, 1, 1, 1, 1)
    assert "contradicted" not in c and h.reading.symbols[0].position == 2


def test_an_exchange_that_says_that_there_is_nothing_and_replays_all(hand: Callable[..., Hand]) -> None:
    """The past holds answers to the queries of earlier logins: none of them opens the gate."""

    def replay(link: Link) -> None:
        assert link.login() == ("", 0)
        link.send(login_accepted(SESSION, 1), query_answer(1))
        link.query()
        ticks(out, 1)
        link.send(accepted(1), executed(1, 2), query_answer(2), accepted(2), query_answer(3))
        link.query()  # behind all of it
        h.wait(lambda: h.counters.get("reject_closed") == 1)
        states.append(h.reading.state)
        link.send(canceled(1, 3), canceled(2, 5), query_answer(3))
        link.query()
        states.append(h.reading.state)
        link.send(query_answer(3))
        up(h)
        ticks(out, 1, 2)
        assert link.order()[:5] == b"O\0\0\0\3"
        link.send(packet(b"Z"))

    states: list[str] = []
    with udp() as (feed, out), Exchange(replay) as exchange:
        h = hand(feeds=(feed.fileno(), -1, -1), port=exchange.port, once=True, give_up_after_ns=10**10)
        h.orders = [order()]
        assert run(h)[1] == 0
    assert states == ["connecting", "connecting"]
    c = h.counters
    assert (c["orders_adopted"], c["executed"], c["orders_sent"], c["orders_open"], c["logins"]) == (2, 1, 1, 1, 1)
    assert c["orders_today"] == 3
    assert "contradicted" not in c and h.reading.symbols[0].position == 2


def test_a_last_message_that_comes_again_does_not_hold_the_gate_shut(hand: Callable[..., Hand]) -> None:
    """Where 0 asks for the last message: that one, and its number. Here it is the answer to another's query."""

    def look(link: Link) -> None:
        assert link.look(SESSION, 2) == ("", 0)
        link.send(query_answer(5))

    def replay(link: Link) -> None:
        assert link.login() == (SESSION, 1)
        link.send(login_accepted(SESSION, 1), rejected(4), query_answer(5))
        up(h)
        link.query()
        ticks(out, 1)
        assert link.order()[:5] == b"O\0\0\0\5"
        link.send(query_answer(5), packet(b"Z"))

    with udp() as (feed, out), Exchange(look, replay) as exchange:
        h = hand(feeds=(feed.fileno(), -1, -1), port=exchange.port, once=True, give_up_after_ns=10**10)
        h.orders = [order()]
        assert run(h)[1] == 0
    assert "contradicted" not in h.counters


@pytest.mark.parametrize("told", [True, False])
def test_a_session_that_is_over_is_followed_by_the_one_that_is_on(hand: Callable[..., Hand], told: bool) -> None:
    """Where it ends without a word on an open order, nobody can know the position: no order goes out."""

    def first(link: Link) -> None:
        enter(link)
        up(h)
        ticks(out, 1)
        link.order()
        link.send(accepted(1), *([packet(b"Z")] if told else []))

    def second(link: Link) -> None:
        assert link.login() == (SESSION, 0)
        link.send(packet(b"J", b"S"))

    def third(link: Link) -> None:
        assert enter(link, "S000000002") == ("", 0)
        up(h)
        open_now.append(h.counters.get("orders_open", 0))
        ticks(out, 1, 2)
        if told:
            assert link.order()[:5] == b"O\0\0\0\2"
        else:
            h.wait(lambda: h.counters.get("reject_contradicted") == 1)
            h.set_limits(kill=0)
            h.wait(lambda: "contradicted" not in h.counters)
            ticks(out, 1, 3)
            assert link.order()[:5] == b"O\0\0\0\2"
        link.send(packet(b"Z"))
        os.kill(os.getpid(), signal.SIGTERM)  # nothing else ends an engine that waits for the next session

    open_now: list[int] = []
    with udp() as (feed, out), Exchange(first, second, third) as exchange:
        h = hand(feeds=(feed.fileno(), -1, -1), port=exchange.port, give_up_after_ns=3 * 10**8)
        h.orders = [order()]
        with limit():
            h.engine.run()
    assert (h.counters["logins"], open_now) == (2, [0])
    assert h.counters.get("contradicted_session", 0) == (0 if told else 1)


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


@pytest.mark.parametrize("sequence", [0, 3, 2**63])
def test_a_replay_that_would_leave_a_hole_ends_the_engine(hand: Callable[..., Hand], sequence: int) -> None:
    def first(link: Link) -> None:
        enter(link)

    def look(link: Link) -> None:
        assert link.look(SESSION, 9) == (SESSION, 0)

    def second(link: Link) -> None:
        assert link.login() == (SESSION, 2)
        link.send(login_accepted(SESSION, sequence))
        with contextlib.suppress(ConnectionError, AssertionError):
            link.read()

    with udp() as (feed, _), Exchange(first, look, second) as exchange:
        h = hand(feeds=(feed.fileno(), -1, -1), port=exchange.port, give_up_after_ns=200_000_000)
        why, code = run(h)
    assert (code, "does not send again what was missed" in why) == ((1, True) if sequence < 2**62 else (4, False))
    assert h.counters["exchange_malformed"] == 1 and h.reading.state == "stopped"


def test_a_past_that_the_exchange_refuses_ends_the_engine(hand: Callable[..., Hand]) -> None:
    def look(link: Link) -> None:
        link.look(SESSION, 9)

    def refuse(link: Link) -> None:
        assert link.login() == (SESSION, 1)
        link.send(packet(b"J", b"S"))

    with udp() as (feed, _), Exchange(look, refuse) as exchange:
        h = hand(feeds=(feed.fileno(), -1, -1), port=exchange.port)
        why, code = run(h)
    assert code == 1 and "does not send again what was missed" in why


def test_a_session_that_went_back_ends_the_engine(hand: Callable[..., Hand]) -> None:
    def first(link: Link) -> None:
        enter(link)
        up(h)
        ticks(out, 1)
        link.order()
        link.send(accepted(1))

    def second(link: Link) -> None:
        assert link.look(SESSION, 1) == (SESSION, 0)
        assert link.sock.recv(1) == b""

    with udp() as (feed, out), Exchange(first, second) as exchange:
        h = hand(feeds=(feed.fileno(), -1, -1), port=exchange.port, give_up_after_ns=10**10)
        h.orders = [order()]
        why, code = run(h)
    assert code == 1 and "fewer messages than the journal" in why and len(why) < 128
    assert h.counters["orders_sent"] == 1


def test_a_new_session_has_all_numbers_again(hand: Callable[..., Hand]) -> None:
    def first(link: Link) -> None:
        enter(link, next_id=2**32 - 1)
        up(h)
        ticks(out, 2)
        assert link.order()[:5] == b"O\xff\xff\xff\xff"
        link.send(accepted(2**32 - 1), executed(2**32 - 1, 5))
        h.wait(lambda: h.counters.get("reject_exhausted") == 1 and "orders_open" not in h.counters)
        link.send(packet(b"Z"))

    def second(link: Link) -> None:
        link.login()
        link.send(packet(b"J", b"S"))

    def third(link: Link) -> None:
        enter(link, "S000000002")
        up(h)
        ticks(out, 1, 3)
        assert link.order()[:5] == b"O\0\0\0\1"
        link.send(accepted(1))

    with udp() as (feed, out), Exchange(first, second, third) as exchange:
        h = hand(feeds=(feed.fileno(), -1, -1), port=exchange.port, give_up_after_ns=3 * 10**8)
        h.orders = [order()]
        with limit():
            h.engine.run()
    assert h.counters["orders_sent"] == 2 and "contradicted" not in h.counters


def test_sigterm_cancels_what_is_open_and_waits_for_the_word(hand: Callable[..., Hand]) -> None:
    def script(link: Link) -> None:
        enter(link)
        up(h)
        ticks(out, 2)
        link.order(), link.order()
        link.send(accepted(1), accepted(2))
        h.wait(lambda: h.counters.get("accepted") == 2)
        os.kill(os.getpid(), signal.SIGTERM)
        assert [link.order() for _ in range(2)] == [b"X" + i.to_bytes(4, "big") + bytes(4) for i in (1, 2)]
        # A strategy that enters anew what is gone, and moves what is open.
        h.on_fill = [order(99.0), order(98.0, action=REPLACE, id=1)]
        link.send(executed(2, 5), canceled(1, 5))
        assert link.read() == (b"O", b"")

    with udp() as (feed, out), Exchange(script) as exchange:
        h = hand(feeds=(feed.fileno(), -1, -1), port=exchange.port)
        h.orders = [order()]
        with limit():
            assert h.engine.run() == ("stopped by signal 15", 0)
    c = h.counters
    assert (c["cancels_sent"], c["canceled"], c["executed"]) == (2, 1, 1)
    assert (c["orders_sent"], c["reject_closed"]) == (2, 3)
    assert "orders_open" not in c and "replaces_sent" not in c
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
