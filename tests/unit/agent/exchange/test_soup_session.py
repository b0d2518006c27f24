"""The order entry's connections: logins and what they replay, the link, heartbeats, and what ends them."""

import contextlib
import os
import select
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compiled import _exchange_parts

from .. import soup_client as soup
from .messages import SESSION, enter, events, prepare

SECOND = 1_000_000_000
PROTOCOL, LOGIN_REFUSED, LOG_FULL, STATE_FILE = 3, 6, 7, 8
PACKETS = [soup.packet(b"U", enter(1, b"B", 1, "AAPL", 100)), soup.packet(b"R"), soup.packet(b"+", b"text"),
           soup.packet(b"U", b"Q")]  # fmt: skip
LOGS = [b"a%d" % i * (1 + i % 7) for i in range(12)]


class Served:
    """An exchange's order entry, and clients of it."""

    def __init__(self, stack: contextlib.ExitStack, log: Sequence[bytes] = (), **changes: Any) -> None:
        self.stack = stack
        self.server = stack.enter_context(socket.socket())
        self.server.bind(("127.0.0.1", 0))
        self.server.listen(8)
        self.server.setblocking(False)
        self.session = _exchange_parts.Session(prepare(server=self.server, changes=changes))
        for payload in log:
            self.session.append(payload)

    def connect(self, data: bytes) -> socket.socket:
        client = self.stack.enter_context(socket.create_connection(self.server.getsockname(), timeout=5))
        if data:
            client.sendall(data)
        return client

    def log_in(self, session: str = "", sequence: int = 1, at: int = 1) -> socket.socket:
        client = self.connect(soup.login_request("user", "pass", session, sequence))
        self.settle(at)
        return client

    def settle(self, at: int = 1) -> None:
        """Serve the candidate until it is judged."""
        before = self.session.counts
        for _ in range(1000):
            self.session.serve_candidate(at)
            if self.session.counts != before or self.session.ended is not None:
                return
            select.select([], [], [], 0.001)
        raise AssertionError("the login was not judged")

    def serve(self, client: socket.socket, data: bytes, at: int = 1) -> None:
        client.sendall(data)
        # The kernel's loopback hands the bytes over before sendall returns; a busy machine gets a little more time.
        select.select([self.session.link], [], [], 5)
        self.session.serve_link(at)


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as opened:
        yield opened


def received(client: socket.socket) -> bytes:
    """What has come; b"" also when nothing has."""
    select.select([client], [], [], 0.05)
    client.setblocking(False)
    try:
        return client.recv(1 << 16)
    except BlockingIOError:
        return b""
    finally:
        client.settimeout(5)


@settings(max_examples=60)
@given(st.integers(0, 20), st.sampled_from(["", SESSION.decode(), "OTHER"]))
def test_a_login_is_sent_the_log_from_the_number_it_asks_for(sequence: int, session: str) -> None:
    with contextlib.ExitStack() as stack:
        served = Served(stack, LOGS)
        client = served.log_in(session, sequence)
        if session == "OTHER" or sequence > len(LOGS) + 1:
            assert client.recv(100) == soup.login_rejected(b"S") and client.recv(100) == b""
            assert served.session.counts["logins_refused"] == 1 and served.session.link < 0
            return
        served.session.serve_link(2)
        first = sequence or len(LOGS) + 1
        wanted = soup.login_accepted(SESSION.decode(), first)
        wanted += b"".join(soup.packet(b"S", payload) for payload in LOGS[first - 1 :])
        got = b""
        while len(got) < len(wanted):
            got += client.recv(4096)
        assert got == wanted
        assert served.session.counts["replayed"] == len(LOGS) + 1 - first


@pytest.mark.parametrize(
    ("request_packet", "answer", "ended"),
    [
        (soup.login_request("user", "wrong"), soup.login_rejected(b"A"), LOGIN_REFUSED),
        (soup.login_request("other", "pass"), soup.login_rejected(b"A"), LOGIN_REFUSED),
        (soup.packet(b"L", b"user  pass      " + b" " * 30), soup.login_rejected(b"S"), None),
        (soup.packet(b"R"), b"", None),
        (soup.packet(b"L", b"user"), b"", None),
    ],
)
def test_a_login_that_is_not_one_is_refused(
    stack: contextlib.ExitStack, request_packet: bytes, answer: bytes, ended: int | None
) -> None:
    served = Served(stack, login=(b"user  ", b"pass      "))
    client = served.connect(request_packet)
    for _ in range(200):
        served.session.serve_candidate(1)
        if served.session.candidate < 0:
            break
        select.select([], [], [], 0.005)
    # A close with bytes that were not read resets the connection.
    with contextlib.suppress(ConnectionResetError):
        assert client.recv(100) == answer
    assert served.session.link < 0 and served.session.candidate < 0 and served.session.ended == ended


def test_the_right_login_is_accepted(stack: contextlib.ExitStack) -> None:
    served = Served(stack, login=(b"user  ", b"pass      "))
    client = served.log_in()
    served.session.serve_link(1)
    assert client.recv(100) == soup.login_accepted(SESSION.decode(), 1)


def test_a_login_may_come_byte_by_byte(stack: contextlib.ExitStack) -> None:
    served = Served(stack)
    data = soup.login_request("user", "pass")
    client = served.connect(b"")
    for i in range(len(data)):
        assert served.session.link < 0
        client.sendall(data[i : i + 1])
        served.session.serve_candidate(1)
    if served.session.link < 0:  # the last byte took its time
        served.settle()
    assert served.session.link >= 0 and served.session.counts["logins"] == 1


def test_a_candidate_without_a_login_is_closed_after_five_seconds(stack: contextlib.ExitStack) -> None:
    served = Served(stack)
    client = served.connect(b"")
    while served.session.candidate < 0:
        served.session.serve_candidate(1)
    served.session.serve_candidate(5 * SECOND + 1)
    assert served.session.candidate >= 0
    served.session.serve_candidate(5 * SECOND + 2)
    assert served.session.candidate < 0 and client.recv(10) == b""


def test_a_second_login_takes_over_and_orders_are_cancelled(stack: contextlib.ExitStack) -> None:
    served = Served(stack)
    first = served.log_in()
    served.serve(first, soup.packet(b"U", enter(1, b"B", 5, "AAPL", 100)))
    second = served.log_in(at=2)
    served.session.serve_link(2)
    assert served.session.counts["logins"] == 2 and served.session.counts["disconnects"] == 1
    got = b""
    while len(got) < 33 + 67 + 21:
        got += second.recv(4096)
    # Its login says 1: what became of the first link's order is in the log.
    assert events(got[33:]) == [("accepted", 1, b"B", 5, 100), ("canceled", 1, 5, b"Z")]


def test_answers_may_be_held_and_go_out_together(stack: contextlib.ExitStack) -> None:
    served = Served(stack)
    client = served.log_in()
    served.session.serve_link(1)
    assert len(client.recv(100)) == 33
    served.session.hold_answers(True)
    served.serve(client, soup.packet(b"U", enter(1, b"B", 1, "AAPL", 100)))
    assert received(client) == b""
    served.session.hold_answers(False)
    served.serve(client, soup.packet(b"U", enter(2, b"B", 1, "AAPL", 100)))
    assert len(received(client)) == 2 * 67


@settings(max_examples=40)
@given(st.lists(st.sampled_from(PACKETS), max_size=12), st.lists(st.integers(1, 60), max_size=8))
def test_packets_may_come_in_any_pieces(packets: list[bytes], cuts: list[int]) -> None:
    with contextlib.ExitStack() as stack:
        served = Served(stack)
        client = served.log_in()
        data, place = b"".join(packets), 0
        for size in [*cuts, len(data)]:
            if data[place : place + size]:
                served.serve(client, data[place : place + size])
            place += size
        assert served.session.counts["heartbeats"] == packets.count(soup.packet(b"R"))
        assert served.session.counts["other_packets"] == packets.count(soup.packet(b"+", b"text"))
        assert served.session.ended is None


@pytest.mark.parametrize("data", [b"\0\0", b"\xff\xff\xff"])
def test_what_is_not_the_protocol_ends_the_run(stack: contextlib.ExitStack, data: bytes) -> None:
    served = Served(stack)
    served.serve(served.log_in(), data)
    assert served.session.ended == PROTOCOL and served.session.link < 0


def test_a_logout_is_noted(stack: contextlib.ExitStack) -> None:
    served = Served(stack)
    served.serve(served.log_in(), soup.packet(b"O"))
    assert served.session.counts["logged_out"]


def test_a_link_that_is_idle_gets_heartbeats_and_one_that_is_silent_is_closed(stack: contextlib.ExitStack) -> None:
    served = Served(stack)
    client = served.log_in(at=1)
    served.session.serve_link(1)
    assert len(received(client)) == 33
    # The time of a send is the clock's; that of a login is the caller's.
    served.session.serve_link(14 * SECOND)
    served.session.serve_link(15 * SECOND + 1)
    assert served.session.link >= 0
    served.session.serve_link(15 * SECOND + 2)
    assert served.session.link < 0 and served.session.counts["disconnects"] == 1


def test_a_client_that_goes_away_is_noticed(stack: contextlib.ExitStack) -> None:
    served = Served(stack)
    client = served.log_in()
    client.close()
    select.select([served.session.link], [], [], 5)
    served.session.serve_link(1)
    assert served.session.link < 0 and served.session.ended is None


def test_a_full_log_ends_the_run(stack: contextlib.ExitStack) -> None:
    served = Served(stack, log_capacity=100)
    client = served.log_in()
    served.serve(client, b"".join(soup.packet(b"U", enter(i, b"B", 1, "AAPL", 100)) for i in (1, 2)))
    assert served.session.ended == LOG_FULL and served.session.link < 0


def test_a_state_file_that_cannot_be_written_ends_the_run(stack: contextlib.ExitStack) -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    stack.callback(os.close, descriptor)
    served = Served(stack, state_file=descriptor)
    served.serve(served.log_in(), soup.packet(b"U", enter(1, b"B", 1, "AAPL", 100)))
    assert served.session.ended == STATE_FILE
