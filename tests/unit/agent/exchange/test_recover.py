"""What is given again: a market out of its own log, and messages of the feed on request."""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.exchange.errors import ExchangeError
from agent.exchange.state_file import open_state_file
from tests.compiled import _exchange_parts

from .messages import FEED_SESSION, SESSION, enter, prepare, split
from .test_matching import STEPS, SYMBOLS, Disconnect, handle_step


def played(steps: list[Any]) -> _exchange_parts.OrderEntry:
    """A market that these steps went through."""
    market = _exchange_parts.OrderEntry([s.encode().ljust(8) for s in SYMBOLS])
    for step in steps:
        handle_step(market, step, market.last_user_ref_num)
        if isinstance(step, Disconnect):
            market.handle(b"Q")
    return market


def shares(market: _exchange_parts.OrderEntry) -> dict[int, tuple[int, int]]:
    """{UserRefNum: (price, shares left)}"""
    return {number: (price, total - executed) for number, (price, total, executed) in market.open_orders.items()}


@settings(max_examples=300)
@given(STEPS, st.integers(0, 30))
def test_a_market_follows_from_its_log(steps: list[Any], cut: int) -> None:
    """Also from a log of which the last packet was not wholly written."""
    first = played(steps)
    again = _exchange_parts.OrderEntry([])
    again.recover(first.log)
    assert again.log == first.log and shares(again) == shares(first)
    assert (again.last_user_ref_num, again.last_match_number) == (first.last_user_ref_num, first.last_match_number)
    whole = split(first.log)
    partly = _exchange_parts.OrderEntry([])
    partly.recover(first.log[: max(0, len(first.log) - cut)])
    kept = split(partly.log)
    assert kept == whole[: len(kept)]
    assert sum(3 + len(m) for m in kept) <= len(first.log) - min(cut, len(first.log))
    if len(kept) < len(whole):
        assert sum(3 + len(m) for m in whole[: len(kept) + 1]) > len(first.log) - cut


@given(st.binary(max_size=200))
def test_bytes_that_are_no_log_are_survived(data: bytes) -> None:
    market = _exchange_parts.OrderEntry([])
    market.recover(data)
    assert data.startswith(market.log)


def test_a_log_that_does_not_fit_is_told() -> None:
    first = _exchange_parts.OrderEntry([])
    for i in range(1, 10):
        first.handle(enter(i, b"B", 1, "AAPL", 100))
    again = _exchange_parts.OrderEntry([], capacity=200)
    again.recover(first.log)
    assert again.full and again.log == first.log[:134]


# ---------------------------------------------------------------------------------- the state file


def opened(path: Path) -> tuple[bytes, bytes]:
    with contextlib.ExitStack() as stack:
        state = open_state_file(path, SESSION, stack)
        os.fstat(state.descriptor)
    with pytest.raises(OSError):
        os.fstat(state.descriptor)  # the stack has closed it
    return state.session, state.packets


def test_a_state_file_keeps_its_session_and_its_whole_packets(tmp_path: Path) -> None:
    path = tmp_path / "state"
    assert opened(path) == (SESSION, b"")
    with path.open("ab") as file:
        file.write(b"\0\2Sx\0\3Sab\0\4Sa")
    with contextlib.ExitStack() as stack:
        assert open_state_file(path, b"OTHER00000", stack).session == SESSION
    assert path.read_bytes().endswith(b"\0\2Sx\0\3Sab")
    assert opened(path) == (SESSION, b"\0\2Sx\0\3Sab")


@pytest.mark.parametrize("data", [b"HTEXCH1", b"HTEXCH1\nshort", b"something else altogether"])
def test_another_file_is_refused_and_left_alone(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "state"
    path.write_bytes(data)
    with contextlib.ExitStack() as stack, pytest.raises(ExchangeError, match="not a state file"):
        open_state_file(path, SESSION, stack)
    assert path.read_bytes() == data


@pytest.mark.parametrize("name", ["", "missing/state"])
def test_a_state_file_that_cannot_be_opened_is_named(tmp_path: Path, name: str) -> None:
    with contextlib.ExitStack() as stack, pytest.raises(ExchangeError, match=f"--state {tmp_path / name}"):
        open_state_file(tmp_path / name, SESSION, stack)


# ---------------------------------------------------------------------------------- retransmission

MESSAGES = [b"m%d" % i * (1 + 37 * i % 200) for i in range(60)]


@contextlib.contextmanager
def published(count: int) -> Iterator[tuple[_exchange_parts.Feed, tuple[str, int]]]:
    """A feed of MESSAGES, three in a packet, of which so many packets were sent; and where it takes requests."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ends[0], ends[1], socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as request:
        request.bind(("127.0.0.1", 0))
        feed = _exchange_parts.Feed(prepare(MESSAGES, lines=(ends[0].fileno(), -1), per_datagram=3,
                                            request_socket=request.fileno()))  # fmt: skip
        for _ in range(count):
            assert feed.publish()
            ends[1].recv(2048)
        yield feed, request.getsockname()


def expected(sent: int, sequence: int, count: int) -> bytes:
    """The packet that the messages themselves give."""
    body, n = b"", 0
    for m in MESSAGES[max(sequence - 1, 0) : sent]:
        if n == count or 20 + len(body) + 2 + len(m) > 1400:
            break
        body += struct.pack(">H", len(m)) + m
        n += 1
    return FEED_SESSION + struct.pack(">QH", sequence, n) + body if n and sequence > 0 else b""


@given(st.integers(0, 20), st.integers(0, 70), st.integers(0, 70))
def test_what_was_sent_is_sent_again(packets: int, sequence: int, count: int) -> None:
    with published(packets) as (feed, _):
        assert feed.retransmission(sequence, count) == expected(3 * packets, sequence, count)


def test_a_request_is_answered_where_it_came_from() -> None:
    with published(4) as (feed, address), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.connect(address)
        asker.settimeout(5)
        asker.send(FEED_SESSION + struct.pack(">QH", 2, 4))
        feed.answer_request()
        assert asker.recv(2048) == expected(12, 2, 4)
        assert feed.counts["requests"] == 1 and feed.counts["retransmitted"] == 4
        feed.answer_request()  # nothing more has come
        assert feed.counts["requests"] == 1


@pytest.mark.parametrize(
    ("request_packet", "counted"),
    [
        (b"OTHER00001" + struct.pack(">QH", 1, 1), 0),
        (FEED_SESSION + struct.pack(">QH", 1, 1)[:-1], 0),
        (FEED_SESSION + struct.pack(">QHB", 1, 1, 0), 0),
        (FEED_SESSION + struct.pack(">QH", 13, 1), 1),
        (FEED_SESSION + struct.pack(">QH", 0, 1), 1),
        (FEED_SESSION + struct.pack(">QH", 2**64 - 1, 0xFFFF), 1),
        (FEED_SESSION + struct.pack(">QH", 1, 0), 1),
    ],
)
def test_a_request_for_nothing_is_not_answered(request_packet: bytes, counted: int) -> None:
    with published(4) as (feed, address), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.connect(address)
        asker.send(request_packet)
        feed.answer_request()
        asker.setblocking(False)
        with pytest.raises(BlockingIOError):
            asker.recv(2048)
        assert feed.counts["requests"] == counted and feed.counts["retransmitted"] == 0
