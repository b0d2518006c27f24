"""MoldUDP64 as the engine reads it: sequence, gaps, sessions, and packets that are wrong."""

import random
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ..conftest import BOOK, Hand, mold


def test_messages_are_counted_by_type(hand: Callable[..., Hand]) -> None:
    h = hand()
    trade = b'{"e":"trade","s":"BTCUSDT","t":1,"p":"1","q":"2"}'
    other = BOOK.replace(b"BTCUSDT", b"ETHUSDT")
    packet = mold(1, BOOK, trade, b'{"e":"depthUpdate"}', b'{"id":1}', b"{", b"x", other, b'{"s":"A","b":"1"}', b"")
    h.engine.handle_datagram(packet)
    assert h.counters == {
        "datagrams": 1, "packets_first": 1, "datagram_bytes": len(packet), "messages": 9, "sessions": 1,
        "book_ticker": 2, "trade": 1, "depth_update": 1, "other": 1, "malformed_truncated": 2,
        "malformed_json": 1, "malformed_field": 1,
        "other_symbol": 1, "events": 2,
    }  # fmt: skip
    assert h.calls == 2


def test_gap_duplicate_heartbeat_and_end(hand: Callable[..., Hand]) -> None:
    h = hand()
    h.engine.handle_datagram(mold(5, BOOK))  # joined in the middle: not a gap
    h.engine.handle_datagram(mold(6, BOOK, BOOK))
    h.engine.handle_datagram(mold(7, BOOK, BOOK))  # 7 again, 8 new
    h.engine.handle_datagram(mold(12, BOOK))  # 9, 10, 11 are missing
    h.engine.handle_datagram(mold(15))  # heartbeat: 13, 14 are missing
    h.engine.handle_datagram(mold(15))
    h.engine.handle_datagram(mold(16, count=0xFFFF))  # end of session: 15 is missing
    c = h.counters
    assert (c["gaps"], c["lost"], c["duplicates"], c["messages"]) == (3, 6, 1, 5)
    assert (c["heartbeats"], c["end_of_session"], c["sessions"]) == (2, 1, 1)


def test_a_new_session_starts_its_own_sequence(hand: Callable[..., Hand]) -> None:
    h = hand()
    h.engine.handle_datagram(mold(50, BOOK))
    h.engine.handle_datagram(mold(51, count=0xFFFF))
    h.engine.handle_datagram(mold(1, BOOK, session=b"SESSION002"))
    assert h.counters["sessions"] == 2 and h.reading.feed_session == "SESSION002"
    assert "gaps" not in h.counters and "duplicates" not in h.counters


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        mold(1)[:19],
        mold(0, BOOK),
        mold(1, BOOK) + b"\0",
        mold(1, BOOK, count=2),
        mold(1, BOOK)[:-1],
        mold(1, BOOK) + b"\xff",
        mold(1, count=3) + b"\xff\xff{",
        mold(1, count=0xFFFE),
    ],
)
def test_nothing_of_a_wrong_packet_is_used(hand: Callable[..., Hand], packet: bytes) -> None:
    h = hand()
    h.engine.handle_datagram(packet)
    assert h.counters["malformed_datagram"] == 1
    assert "messages" not in h.counters


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 4)), max_size=30))
@settings(max_examples=200, deadline=None)
def test_counts_agree_with_a_plain_model(packets: list[tuple[int, int]]) -> None:
    h = Hand()
    expected, lost, duplicates, read = None, 0, 0, 0
    for sequence, count in packets:
        h.engine.handle_datagram(mold(sequence, *[BOOK] * count))
        expected = sequence if expected is None else expected
        lost += max(0, sequence - expected)
        expected = max(expected, sequence)
        for place in range(sequence, sequence + count):
            if place < expected:
                duplicates += 1
            else:
                read, expected = read + 1, place + 1
    c = h.reading.counters
    assert (c["lost"], c["duplicates"], c["messages"], c["events"]) == (lost, duplicates, read, read)


def test_hostile_packets_never_crash_and_the_books_balance(hand: Callable[..., Hand]) -> None:
    h, rng = hand(), random.Random(11)
    base = mold(1, BOOK, BOOK, BOOK)
    for _ in range(20_000):
        data = bytearray(base)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        struct.pack_into(">Q", data, 10, rng.randrange(1, 2**20))
        h.engine.handle_datagram(bytes(data[: rng.randrange(len(data) + 1)]))
    c = h.reading.counters
    kinds = ("book_ticker", "trade", "depth_update", "other", "malformed_truncated", "malformed_json",
             "malformed_field", "malformed_number")  # fmt: skip
    assert c["datagrams"] == 20_000
    assert c["messages"] == sum(c[k] for k in kinds)
    assert c["events"] == c["book_ticker"] + c["trade"] - c["other_symbol"]
