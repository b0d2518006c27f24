"""Strangers on the feed's own sockets: what they send is neither traded nor believed, and is counted.

The true feed comes from 127.0.0.1, a stranger from 127.0.0.2; the loop is the engine's own.
"""

import contextlib
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent.config import Feed, Line
from agent.engine.feed_sockets import open_feed, pack_sources

from ..conftest import BOOK, Hand, mold

TRUE, STRANGER = "127.0.0.1", "127.0.0.2"
OTHER = b"SESSION666"
#: A quote that no exchange made: what is bought by it shows in an order's price.
FALSE = BOOK.replace(b"100.0", b"500.0")
END = 0xFFFF


class Trader(Hand):
    """An engine that buys at the offer, at every event."""

    def _event(self, state: int, event: int, out: int) -> int:
        found = super()._event(state, event, out)
        self.orders = [(self.events[-1][_ASK] / 1e8, 1)]
        return self._write(out, self.orders) if found >= 0 else found

    @property
    def offers(self) -> set[float]:
        """The offers that the strategy was shown."""
        return {event[_ASK] / 1e8 for event in self.events}


#: struct agent_event: place of the best offer.
_ASK = 6


class Wire:
    """The feed's sockets, and those that send to them."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.lines, _ = open_feed(feed, 0)
        self.senders: dict[tuple[str, int], socket.socket] = {}

    def send(self, data: bytes, source: str = TRUE, line: int = 0) -> None:
        key = (source, line)
        if key not in self.senders:
            self.senders[key] = sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sender.bind((source, 0))
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(TRUE))
        to = self.lines[line]
        assert to
        self.senders[key].sendto(data, to.getsockname())

    def close(self) -> None:
        for sock in (*self.lines, *self.senders.values()):
            if sock:
                sock.close()


Open = Callable[..., tuple[Trader, Wire]]


@pytest.fixture
def open_wire() -> Iterator[Open]:
    """Opens a feed, and an engine on it that trades."""
    with contextlib.ExitStack() as stack:

        def make(**options: Any) -> tuple[Trader, Wire]:
            feed = Feed(**{"address": TRUE, "port": free_port()} | options)
            wire = Wire(feed)
            stack.callback(wire.close)
            trader = Trader(
                feeds=tuple(line.fileno() if line else -1 for line in wire.lines),
                sources=pack_sources(feed),
                feed_session=feed.session.encode(),
                silence_ns=feed.silence_ms * 1_000_000,
                max_jump=feed.max_jump,
                wait_ns=1_000_000 if feed.b or feed.request else 0,
                limit_ns=100_000_000,
                limits={"max_size": 100},
            )
            stack.enter_context(trader.connect())
            return trader, wire

        yield make


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((TRUE, 0))
        return int(sock.getsockname()[1])


def attack(trader: Trader, script: Callable[[], None], datagrams: int) -> dict[str, int]:
    """Run the engine's loop while the script sends, until so many datagrams were looked at. Returns the counters."""
    failures: list[BaseException] = []

    def play() -> None:
        try:
            script()
            limit = time.monotonic() + 20
            while time.monotonic() < limit:
                c = trader.reading.counters
                if c["datagrams"] + c["wrong_source"] >= datagrams:
                    break
                time.sleep(0.005)
            time.sleep(0.02)  # one too many would be seen, and the counters are copied
        except BaseException as error:
            failures.append(error)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=play)
    thread.start()
    trader.engine.run()
    thread.join()
    assert not failures
    c = trader.reading.counters
    assert c["datagrams"] + c["wrong_source"] == datagrams
    return c


def test_another_session_takes_nobody_off_the_market(open_wire: Open) -> None:
    """Datagrams of another session from any source, beginning at 1, while the true feed goes on."""
    trader, wire = open_wire()

    def script() -> None:
        for i in range(1, 1503):
            wire.send(mold(1000 + i, BOOK))
            wire.send(mold(i, FALSE, session=OTHER), STRANGER)
            if i % 100 == 0:
                time.sleep(0.005)

    c = attack(trader, script, 2 * 1502)
    assert c["messages"] == c["events"] == trader.calls == 1502
    assert trader.offers == {100.01}
    assert (c["sessions"], c["gaps"], c["wrong_session"]) == (1, 0, 1502)
    # Nobody can tell which of two sessions is the true one, so the state says that there are two.
    assert c["lost"] == 1502 and c["feed_contested"] == 1
    assert trader.reading.feed_session == "SESSION001"


def test_a_session_that_is_named_is_the_only_one(open_wire: Open) -> None:
    trader, wire = open_wire(session="SESSION001", silence_ms=100)

    def script() -> None:
        for i in range(1, 51):  # the stranger is first, and there is nobody else for longer than silence_ms
            wire.send(mold(i, FALSE, session=OTHER), STRANGER)
            time.sleep(0.005)
        for i in range(1, 51):
            wire.send(mold(i, BOOK))

    c = attack(trader, script, 100)
    assert c["messages"] == c["events"] == 50 and trader.offers == {100.01}
    assert (c["wrong_session"], c["lost"], c["sessions"], c["feed_contested"]) == (50, 0, 1, 0)


def test_a_stranger_that_came_first_is_left_and_what_was_ignored_is_lost(open_wire: Open) -> None:
    trader, wire = open_wire(silence_ms=200)

    def script() -> None:
        wire.send(mold(1, FALSE, session=OTHER), STRANGER)
        for i in range(1, 101):
            wire.send(mold(i, BOOK))
            time.sleep(0.004)

    c = attack(trader, script, 101)
    assert c["sessions"] == 2 and trader.reading.feed_session == "SESSION001"
    assert c["lost"] == c["wrong_session"] > 10
    assert c["messages"] == 101 - c["wrong_session"] and trader.offers == {500.01, 100.01}


@pytest.mark.parametrize("source", [TRUE, [TRUE, "127.0.0.9"]])
def test_of_a_source_nobody_else_is_heard(open_wire: Open, source: Any) -> None:
    """A stranger who knows session and sequence: forged messages, an end of the session, numbers far ahead."""
    trader, wire = open_wire(source=source, timestamps="kernel")
    forged = [mold(1, FALSE, session=OTHER), mold(2**62, FALSE), b"", b"x" * 30]

    def script() -> None:
        for i in range(1, 101):
            for data in (*forged, mold(i, FALSE), mold(i, count=END), mold(i + 100)):
                wire.send(data, STRANGER)
            wire.send(mold(i, BOOK))

    c = attack(trader, script, 800)
    assert c["wrong_source"] == 700 and c["datagrams"] == c["messages"] == c["events"] == 100
    assert trader.offers == {100.01}
    assert (c["wrong_session"], c["malformed_datagram"], c["lost"], c["end_of_session"], c["heartbeats"]) == (0,) * 5


def test_each_line_has_its_own_source(open_wire: Open) -> None:
    b = Line(address=TRUE, port=free_port(), source="127.0.0.3")
    trader, wire = open_wire(source=TRUE, b=b)

    def script() -> None:
        for i in range(1, 51):
            wire.send(mold(i, FALSE), STRANGER, 0)
            wire.send(mold(i, FALSE), TRUE, 1)  # line A's sender is a stranger on line B
            wire.send(mold(i, BOOK), "127.0.0.3", 1)
            wire.send(mold(i, BOOK), TRUE, 0)

    c = attack(trader, script, 200)
    assert (c["packets_first"], c["packets_second"], c["wrong_source"]) == (50, 50, 100)
    assert c["messages"] == 50 and trader.offers == {100.01}


def test_answers_come_from_the_request_server_alone(open_wire: Open) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((TRUE, 0))
        server.settimeout(10)
        trader, wire = open_wire(request=Line(address=TRUE, port=server.getsockname()[1]))

        def script() -> None:
            wire.send(mold(1, BOOK))
            wire.send(mold(4, BOOK))
            request, asker = server.recvfrom(64)
            assert request == b"SESSION001" + struct.pack(">QH", 2, 2)
            for source in (STRANGER, TRUE):  # from another address, and from another port
                wire.send(mold(2, FALSE, FALSE), source, 2)
            server.sendto(mold(2, BOOK, BOOK), asker)

        c = attack(trader, script, 3)
    assert (c["packets_retransmitted"], c["healed"], c["lost"], c["messages"]) == (1, 2, 0, 4)
    assert trader.offers == {100.01}


def test_numbers_far_ahead_in_our_own_session_are_not_believed(open_wire: Open) -> None:
    trader, wire = open_wire()
    far = (2**62, 2**63 - 1, 2**33, 10**6, 5000)

    def script() -> None:
        for i in range(1, 101):
            wire.send(mold(i, BOOK))
            for number in far:
                wire.send(mold(number, FALSE), STRANGER)
            wire.send(mold(2**62), STRANGER)
            wire.send(mold(2**62, count=END), STRANGER)

    c = attack(trader, script, 100 * (len(far) + 3))
    assert c["messages"] == c["events"] == 100 and trader.offers == {100.01}
    assert (c["far_ahead"], c["gaps"], c["lost"]) == (100 * (len(far) + 2), 0, 0)


def test_of_a_multicast_source_nobody_else_gets_past_the_kernel(open_wire: Open) -> None:
    trader, wire = open_wire(address="239.255.77.11", interface="lo", source=TRUE)

    def script() -> None:
        for i in range(1, 51):
            wire.send(mold(i, FALSE), STRANGER)
            wire.send(mold(i, BOOK))

    c = attack(trader, script, 50)
    assert c["messages"] == 50 and trader.offers == {100.01}
    assert c["wrong_source"] == 0


@pytest.mark.parametrize("address", ["239.255.77.12", "0.0.0.0"])
def test_groups_that_others_joined_do_not_come_in(address: str) -> None:
    """Another program of this host has joined another group, whose packets go to the same port."""
    feed = Feed(address=address, port=free_port(), interface="lo" if address != "0.0.0.0" else "")
    (line, _, _), _ = open_feed(feed, 0)
    assert line
    with line, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        group = "239.255.77.13"
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        member = struct.pack("=4s4si", socket.inet_aton(group), b"\0" * 4, socket.if_nametoindex("lo"))
        other.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        other.bind((group, 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(TRUE))
            sender.sendto(b"x", (group, feed.port or 0))
            time.sleep(0.05)
            with pytest.raises(BlockingIOError):
                line.recv(16)
            own = address if address != "0.0.0.0" else TRUE
            sender.sendto(b"y", (own, feed.port or 0))
            line.settimeout(5)
            assert line.recv(16) == b"y"
