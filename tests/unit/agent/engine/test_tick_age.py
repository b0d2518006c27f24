"""The age of the tick that caused an order: ticks that waited in the kernel, in a ring or behind a gap."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.protocols import itch_layouts as itch
from agent.shm import segment as shm
from agent.shm.ring import Ring

from ..conftest import BOOK, Hand, mold, order
from ..ouch_answers import Exchange, Link, executed, login_accepted, packet, query_answer, udp
from ..stage import Stage
from .itch_feed import Feed

MS = 1_000_000
OTHER = BOOK.replace(b"BTCUSDT", b"ETHUSDT")


def gate(h: Hand) -> tuple[int, int]:
    """Orders refused for their age, and sent."""
    return h.reading.counters["reject_old"], h.reading.counters["orders_sent"]


def test_the_age_is_looked_at_when_the_order_is(hand: Callable[..., Hand]) -> None:
    h = hand(limits={"max_tick_age_ns": 200 * MS})
    h.orders = [order()]
    with h.connect():
        h.tick(time.monotonic_ns() - 201 * MS)
        assert gate(h) == (1, 0)
        h.tick(time.monotonic_ns() - 1 * MS)
        assert gate(h) == (1, 1)
        h.set_limits(max_tick_age_ns=0)
        h.tick(1)
        assert gate(h) == (1, 2)


def test_a_packet_that_waited_behind_a_gap_is_as_old_as_it_is(hand: Callable[..., Hand]) -> None:
    h = hand(limits={"max_tick_age_ns": 200 * MS}, wait_ns=10**9)
    h.orders = [order()]
    now = time.monotonic_ns()
    with h.connect():
        h.engine.handle_datagram(mold(1, BOOK), now)
        h.engine.handle_datagram(mold(3, BOOK), now - 300 * MS)
        h.engine.handle_datagram(mold(4, BOOK), now - 100 * MS)
        h.engine.handle_datagram(mold(2, BOOK), now, 1)
        assert gate(h) == (1, 3)


def test_orders_of_fill_and_timer_rest_on_the_symbols_last_tick(hand: Callable[..., Hand]) -> None:
    h = hand(symbols=(b"BTCUSDT", b"ETHUSDT"), limits={"max_tick_age_ns": 200 * MS})
    h.orders = [order()]
    with h.connect() as peer:
        h.tick()
        h.orders = []
        h.engine.handle_datagram(mold(2, OTHER), time.monotonic_ns() - 300 * MS)
        # Of the symbol whose tick is fresh, of the one whose tick is old.
        h.on_fill = [order(), order(symbol=1)]
        peer.sendall(executed(1, 5))
        h.settle(1)
        assert gate(h) == (1, 2)
        assert h.reading.symbols[1].tick_ns < h.reading.symbols[0].tick_ns <= time.monotonic_ns()


TRADE = b'{"e":"trade","E":1723161257841,"s":"BTCUSDT","t":%d,"p":"50.00","q":"1.0","T":1723161257841,"m":false}'
CROSSED = BOOK.replace(b"100.00000000", b"100.02000000")


@pytest.mark.parametrize("young", [[OTHER], [TRADE % 1], [CROSSED, TRADE % 1]], ids=["other", "trade", "refused"])
def test_what_is_no_quote_of_the_symbol_makes_its_quotes_no_younger(
    hand: Callable[..., Hand], young: list[bytes]
) -> None:
    h = hand(symbols=(b"BTCUSDT", b"ETHUSDT"), limits={"max_tick_age_ns": 200 * MS})
    now = time.monotonic_ns()
    with h.connect():
        h.engine.handle_datagram(mold(1, BOOK), now - 300 * MS)
        h.orders = [order()]
        h.engine.handle_datagram(mold(2, *young), now)
        assert gate(h) == (1, 0)
        h.engine.handle_datagram(mold(2 + len(young), BOOK), now)
        assert gate(h) == (1, 1)


def test_of_itch_the_messages_about_orders_are_what_the_quotes_are_from() -> None:
    f = Feed({"max_tick_age_ns": 10**10}).open()
    with f.hand.connect():
        assert f.try_order() == "sent"
        at = time.monotonic_ns() - 10**10 - MS
        f.hand.engine.handle_datagram(
            mold(f.sequence + 1, itch.encode("D", stock_locate=7, order_reference_number=1)), at
        )
        f.sequence += 1
        # Neither a trade, nor a state of the symbol or the market, nor another symbol's order.
        assert f.try_order() == "old"
        f.quote("MSFT", 999_000, 1_001_000)
        f.hand.orders = [order(100.0, 1)]
        told = f.event("Q") + f.send("Y", "AAPL", reg_sho_action="1") + f.action("MSFT", "P")
        assert len(told) == 4
        f.hand.orders = []
        assert f.hand.counters["orders_sent"] == 1
        f.quote(bid=999_000)
        assert (f.try_order(), f.try_order("MSFT")) == ("sent", "halted")


def test_a_session_begins_without_quotes(hand: Callable[..., Hand]) -> None:
    h = hand(limits={"max_tick_age_ns": 10**10})
    h.orders = [order()]
    with h.connect():
        h.tick()
        h.engine.handle_datagram(mold(2, count=0xFFFF))
        h.engine.handle_datagram(mold(1, TRADE % 1, session=b"SESSION002"))
        assert h.counters["sessions"] == 2 and gate(h) == (1, 1)
        assert (h.events[-1].price, h.events[-1].bid, h.events[-1].ask, h.events[-1].bid_size) == (50 * 10**8, 0, 0, 0)


def test_without_any_tick_an_order_has_none_to_rest_on(hand: Callable[..., Hand]) -> None:
    h = hand(limits={"max_tick_age_ns": 200 * MS})
    h.engine.restore(reference=1, positions=(), open_orders=[(1, 0, 1, 5, 1_000_100, 0, 0, 0, True)], session=b"",
                     sequence=0, over=False, executions=[], contradicted=0, records=0)  # fmt: skip
    h.on_fill = [order()]
    with h.connect() as peer:
        peer.sendall(executed(1, 5))
        h.settle(1)
    assert gate(h) == (1, 0)


class Stalled(Hand):
    """Its strategy stands still once, while the feed goes on."""

    stall: threading.Event | None = None
    go_on: threading.Event | None = None

    def _event(self, state: int, event: int, out: int) -> int:
        if self.stall and self.go_on:
            stall, self.stall = self.stall, None
            stall.set()
            assert self.go_on.wait(20)
        return super()._event(state, event, out)


def play(h: Stalled, send: Callable[[int], object], link: Link) -> None:
    """A tick; one at which the strategy stands still while five come; and, once these are read, one more."""
    link.login()
    link.send(login_accepted("S000000001", 1))
    link.query()
    link.send(query_answer(1))
    until = time.monotonic() + 20
    while h.reading.state != "running":
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(0.05)  # looks that find nothing
    send(1)
    link.order()
    stall, h.go_on = threading.Event(), threading.Event()
    h.stall = stall
    send(2)
    assert stall.wait(20)
    for i in range(3, 8):
        send(i)
    time.sleep(0.5)
    h.go_on.set()
    while h.calls < 7:
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(0.05)
    send(8)
    link.order()
    link.send(packet(b"Z"))


def stop_after(seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    return timer


LIMIT = {"max_tick_age_ns": 300 * MS}


def test_datagrams_that_waited_in_the_kernel_are_old() -> None:
    def script(link: Link) -> None:
        play(h, lambda i: out.send(mold(i, BOOK)), link)

    with udp() as (feed, out), Exchange(script) as exchange:
        h = Stalled(feeds=(feed.fileno(), -1, -1), port=exchange.port, user=b"u", password=b"p", once=True,
                    limits=LIMIT)  # fmt: skip
        h.orders = [order()]
        timer = stop_after(30)
        why, _ = h.engine.run()
        timer.cancel()
        assert feed.getsockopt(socket.SOL_SOCKET, 37) == 0x18  # SO_TIMESTAMPING: the kernel's receive stamps
    assert why == "the exchange ended the session"
    # The order of the tick in hand when the strategy stood still is old, too.
    assert gate(h) == (6, 2)


def test_records_that_waited_in_a_ring_are_old(tmp_path: Path) -> None:
    def script(link: Link) -> None:
        play(h, lambda i: writer.push(mold(i, BOOK)), link)

    path = tmp_path / "ring"
    with Ring.create(path, 1 << 14) as writer, Ring.attach(path, "reader") as reader, Exchange(script) as exchange:
        h = Stalled(port=exchange.port, user=b"u", password=b"p", once=True, limits=LIMIT)
        h.engine.attach_memory(feed=reader)
        h.orders = [order()]
        timer = stop_after(30)
        why, _ = h.engine.run()
        timer.cancel()
    assert why == "the exchange ended the session"
    assert gate(h) == (6, 2)


def test_a_process_that_was_stopped_sends_nothing_at_old_prices(stage: Stage) -> None:
    """SIGSTOP for 2 s in the middle of a session. What the simulator measures from tick to order says it, too."""
    pytest.importorskip("numba")
    stage.strategy("every_tick")
    stage.set(max_tick_age_us="250000")
    child = stage.agent("--once", "--format", "json")

    def stop() -> None:
        until = time.monotonic() + 30
        while shm.read(stage.segment).counters["orders_sent"] < 200:
            assert time.monotonic() < until
            time.sleep(0.01)
        child.send_signal(signal.SIGSTOP)
        time.sleep(2)
        child.send_signal(signal.SIGCONT)

    stopper = threading.Thread(target=stop)
    stopper.start()
    run = stage.exchange("--feed", "generated", "--messages", "4000", "--rate", "1000")
    stopper.join()
    report = json.loads(run.stdout)
    out, _ = child.communicate(timeout=40)
    c = json.loads(out)["counters"]
    assert c["messages"] == 4000 and c["lost"] == 0 and c["kernel_drops"] == 0
    refused = {name: count for name, count in c.items() if name.startswith("reject_") and count}
    assert c["reject_old"] > 500
    # A simulator that gets no CPU for long takes no more orders for a while: others are refused for that.
    assert c["orders_sent"] + sum(refused.values()) == c["book_ticker"], refused
    assert report["tick_to_order_us"]["service"]["max"] < 400_000
