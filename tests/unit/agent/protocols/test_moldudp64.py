"""MoldUDP64: order, arbitration, gaps, requests, wrong packets; and a slow obvious model."""

import random
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compiled import _sessions
from tests.compiled._sessions import Mold

from .mold_packets import S1, A, B, R, nonzero, numbers, packet, run


def test_a_packet_byte_by_byte() -> None:
    # Session, Sequence Number 258, Message Count 3; messages "ab", "" and "c".
    data = b"NASDAQ  01" + b"\0\0\0\0\0\0\1\2" + b"\0\3" + b"\0\2ab" + b"\0\0" + b"\0\1c"
    mold = Mold()
    assert mold.arrive(data) == ("packet", True)
    assert mold.drain() == [(258, b"ab"), (259, b""), (260, b"c")]
    assert (mold.session, mold.expected, mold.joined_at) == (b"NASDAQ  01", 261, 258)
    assert nonzero(mold) == {"messages": 3, "sessions": 1, "packets_a": 1}


def test_a_request_byte_by_byte() -> None:
    mold = Mold(can_request=True, limit_ns=10)
    mold.arrive(run(1, 1))
    mold.drain()
    mold.arrive(run(260, 1))
    assert mold.timer(0) == ("request", b"SESSION001" + b"\0\0\0\0\0\0\0\2" + b"\1\2")
    assert nonzero(mold)["requested"] == 258


def test_the_largest_datagram_is_held_and_given_out() -> None:
    size = 65507 - 20 - 2
    mold = Mold(_sessions.mold_store_size(33))
    mold.arrive(run(1, 1))
    mold.drain()
    assert mold.arrive(packet(3, bytes(range(256)) * 255 + bytes(size - 65280))) == ("held", False)
    assert mold.slots == (32, 33)
    mold.arrive(run(2, 1))
    out = mold.drain()
    assert [n for n, _ in out] == [2, 3]
    assert out[1][1] == bytes(range(256)) * 255 + bytes(size - 65280)
    assert mold.slots == (0, 33)


def test_the_two_lines_fill_each_other() -> None:
    mold = Mold(wait_ns=100)
    seen = []
    for line, first in ((A, 1), (B, 1), (B, 3), (A, 5), (B, 5), (A, 9), (B, 7), (B, 9)):
        mold.arrive(run(first, 2), line, 0)
        seen += numbers(mold)
    assert seen == list(range(1, 11))
    # 3-4 came by B only; 7-8 by B, after 9-10 of A had been held.
    assert nonzero(mold) == {
        "messages": 10, "duplicates": 6, "gaps": 1, "missing": 2, "healed": 2, "held": 1, "sessions": 1,
        "packets_a": 3, "packets_b": 5,
    }  # fmt: skip
    assert mold.timer(10**12) is None


def test_overlapping_packets_give_each_message_once() -> None:
    mold = Mold(wait_ns=100)
    mold.arrive(run(1, 4))
    assert numbers(mold) == [1, 2, 3, 4]
    assert mold.arrive(run(3, 4)) == ("packet", False)
    assert numbers(mold) == [5, 6]
    assert mold.arrive(run(1, 6)) == ("duplicate", False)
    assert mold.arrive(run(8, 2)) == ("held", False)
    assert mold.arrive(run(8, 2)) == ("duplicate", False)
    assert mold.arrive(run(8, 4)) == ("held", False)  # contains the held one, and replaces it
    assert mold.held_packets == 1
    assert mold.arrive(run(5, 4)) == ("packet", False)
    assert numbers(mold) == [7, 8, 9, 10, 11]
    c = mold.counters
    assert (c["messages"], c["duplicates"]) == (11, 2 + 6 + 2 + 2 + 2 + 1)
    assert (c["missing"], c["healed"]) == (1, 1)


def test_a_gap_waits_is_asked_for_and_given_up() -> None:
    mold = Mold(wait_ns=100, limit_ns=5000, can_request=True, retry_ns=1000, request_limit=3)
    mold.arrive(run(1, 1), A, 0)
    mold.drain()
    mold.arrive(run(10, 1), A, 50)  # 2 to 9 are missing
    assert (mold.gap, mold.timer(149)) == ((2, 10), None)
    assert mold.timer(150) == ("request", S1 + struct.pack(">QH", 2, 3))
    assert mold.timer(1149) is None
    assert mold.timer(1150) == ("request", S1 + struct.pack(">QH", 2, 3))
    # The answer has less than was asked for: the rest is asked for soon, without waiting again.
    mold.arrive(run(2, 2), R, 1200)
    assert numbers(mold) == [2, 3]
    assert mold.timer(1274) is None
    assert mold.timer(1275) == ("request", S1 + struct.pack(">QH", 4, 3))
    mold.arrive(run(4, 3), R, 1300)
    assert numbers(mold) == [4, 5, 6]
    assert mold.timer(1400) == ("request", S1 + struct.pack(">QH", 7, 3))
    # Nothing more comes: given up limit_ns after the last progress.
    asked = [t for t in range(1401, 6300) if mold.timer(t) is not None]
    assert asked == [2400, 3400, 4400, 5400]
    assert mold.timer(6300) == ("lost", 7, 3)
    assert numbers(mold) == [10]
    c = mold.counters
    assert (c["missing"], c["healed"], c["lost"]) == (8, 5, 3)
    assert (c["requests"], c["requested"], c["packets_retransmitted"]) == (8, 24, 2)
    # It comes all the same: too late.
    assert mold.arrive(run(7, 3), R, 9999) == ("duplicate", False)
    assert mold.timer(10**9) is None


def test_without_a_request_server_a_gap_is_given_up_after_the_wait() -> None:
    mold = Mold(wait_ns=100, limit_ns=5000)
    mold.arrive(run(1, 1), A, 0)
    mold.drain()
    mold.arrive(run(3, 1), A, 7)
    assert mold.timer(106) is None
    assert mold.timer(107) == ("lost", 2, 1)
    assert numbers(mold) == [3]
    assert mold.counters["requests"] == 0


def test_no_wait_and_no_request_server_is_lost_at_once() -> None:
    mold = Mold(0)
    mold.arrive(run(5, 1))
    mold.drain()
    assert mold.arrive(run(8, 1)) == ("dropped", False)  # nothing to hold it in
    assert mold.timer(0) == ("lost", 6, 3)
    assert mold.arrive(run(9, 1)) == ("packet", False)
    assert numbers(mold) == [9]


def test_heartbeat_and_end_of_session_show_what_is_missing() -> None:
    mold = Mold(wait_ns=10)
    mold.arrive(run(5, 1))
    mold.drain()
    assert mold.arrive(packet(6), A, 0) == ("heartbeat", False)
    assert mold.gap is None
    assert mold.arrive(packet(8), B, 0) == ("heartbeat", False)
    assert mold.gap == (6, 8)
    assert mold.arrive(packet(9, count=0xFFFF), A, 5) == ("end_of_session", False)
    assert mold.timer(9) is None  # 8 is missing now too, and 6 since time 0
    assert mold.timer(10) == ("lost", 6, 3)
    assert mold.drain() == []
    c = mold.counters
    assert (c["gaps"], c["lost"], c["heartbeats"], c["end_of_session"]) == (2, 3, 2, 1)


def test_a_full_store_drops_and_asks_later() -> None:
    mold = Mold(_sessions.mold_store_size(2), can_request=True, limit_ns=1000, retry_ns=8)
    mold.arrive(run(1, 1))
    mold.drain()
    codes = [mold.arrive(run(n, 1))[0] for n in (3, 5, 7, 9)]
    assert codes == ["held", "held", "dropped", "dropped"]
    seen = []
    for at in range(1, 20):
        what = mold.timer(at)
        assert what is not None and what[0] == "request"
        first, count = struct.unpack(">QH", what[1][10:])
        mold.arrive(run(first, count), R, at)
        seen += numbers(mold)
        if mold.gap is None:
            break
    assert seen == list(range(2, 10))
    c = mold.counters
    assert c["held_dropped"] == 2 and c["lost"] == 0
    assert c["missing"] == c["healed"] == 6  # 2, 4, 6, 8, and the dropped 7 and 9


@pytest.mark.parametrize(
    ("start", "joined", "gap"), [(0, 50, None), (1, 1, (1, 50)), (40, 40, (40, 50)), (50, 50, None)]
)
def test_joining_late(start: int, joined: int, gap: tuple[int, int] | None) -> None:
    mold = Mold(can_request=True, limit_ns=10, start=start)
    mold.arrive(run(50, 2))
    mold.drain()
    assert (mold.joined_at, mold.gap) == (joined, gap)
    if gap:
        assert mold.timer(0) == ("request", S1 + struct.pack(">QH", gap[0], gap[1] - gap[0]))


def test_going_backwards_is_a_duplicate() -> None:
    mold = Mold()
    mold.arrive(run(50, 1))
    mold.drain()
    assert [mold.arrive(run(n, 1))[0] for n in (50, 49, 1)] == ["duplicate"] * 3
    assert mold.counters["duplicates"] == 3


# ------------------------------------------------------------------------------------------- wrong packets


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "short"),
        (packet(1)[:19], "short"),
        (packet(0, b"x"), "bad_sequence"),
        (packet(2**63, b"x"), "bad_sequence"),
        (packet(2**64 - 1, b"x", b"y"), "bad_sequence"),
        (packet(1, b"x") + b"\0", "trailing"),
        (packet(1) + b"\0", "trailing"),
        (packet(1, b"x", count=0), "trailing"),
        (packet(1, b"x", count=0xFFFF), "trailing"),
        (packet(1, b"x", count=2), "overrun"),
        (packet(1, b"xy")[:-1], "overrun"),
        (packet(1, count=1), "overrun"),
        (packet(1, count=1) + b"\0", "overrun"),
        (packet(1, count=3) + b"\xff\xff{", "overrun"),
        (packet(1, count=0xFFFE), "overrun"),
        (packet(1, b"x", count=0xFFFE), "overrun"),
    ],
)
def test_wrong_packets_are_skipped_and_counted(data: bytes, reason: str) -> None:
    mold = Mold()
    mold.arrive(run(1, 1))
    mold.drain()
    assert mold.arrive(data, B) == (reason, False)
    assert mold.drain() == []
    which = "sequence" if reason == "bad_sequence" else reason
    assert nonzero(mold) == {
        "messages": 1, "sessions": 1, "packets_a": 1, "packets_b": 1, "malformed_datagram": 1, f"malformed_{which}": 1,
    }  # fmt: skip
    # Nor does one begin a session.
    assert Mold().arrive(data) == (reason, False)


def test_an_undrained_packet_is_missing_again() -> None:
    mold = Mold(can_request=True, limit_ns=1000)
    mold.arrive(run(1, 4))
    assert mold.next() == (1, b"1")
    assert mold.arrive(run(5, 1)) == ("held", False)
    assert mold.timer(0) == ("request", S1 + struct.pack(">QH", 2, 3))
    mold.arrive(run(2, 3), R)
    assert numbers(mold) == [2, 3, 4, 5]
    assert (mold.counters["missing"], mold.counters["healed"]) == (3, 3)


# ------------------------------------------------------------------------------------------- model


class Model:
    """What a receiver has to give out, with sets."""

    def __init__(self, wait: int, limit: int, can_request: bool, first: int) -> None:
        self.give_up = limit if can_request else wait
        self.expected = self.top = first
        self.have: set[int] = set()
        self.given: list[int] = []
        self.lost: list[int] = []
        self.missed: set[int] = set()  # every number that was ever known and not there
        self.gap_at = -1
        self.since = 0

    def ready(self) -> list[int]:
        out = []
        while self.expected in self.have:
            out.append(self.expected)
            self.expected += 1
        self.given += out
        return out

    def look(self, now: int) -> None:
        self.missed |= {n for n in range(self.expected, self.top) if n not in self.have}
        if self.top <= self.expected:
            self.gap_at = -1
        elif self.gap_at != self.expected:
            self.gap_at, self.since = self.expected, now

    def gap_end(self) -> int:
        return min((n for n in self.have if n > self.expected), default=self.top)

    def arrive(self, first: int, count: int, dropped: bool, now: int) -> list[int]:
        self.top = max(self.top, first + count)
        if not dropped:
            self.have |= set(range(first, first + count))
        out = self.ready()
        self.look(now)
        return out

    def give(self, now: int) -> list[int]:
        end = self.gap_end()
        self.lost += range(self.expected, end)
        self.expected = end
        out = self.ready()
        self.gap_at = -1
        self.look(now)
        return out


EVENTS = st.one_of(
    st.tuples(st.just("packet"), st.integers(1, 60), st.integers(1, 6), st.integers(0, 2)),
    st.tuples(st.just("next"), st.integers(-2, 12), st.integers(1, 6), st.integers(0, 2)),
    st.tuples(st.just("heartbeat"), st.integers(-3, 9), st.just(0), st.integers(0, 1)),
    st.tuples(st.just("end"), st.integers(-3, 9), st.just(0), st.integers(0, 1)),
    st.tuples(st.just("time"), st.integers(1, 60), st.just(0), st.just(0)),
)


@given(
    st.lists(EVENTS, max_size=60),
    st.sampled_from([0, 1, 2, 5, 40]),
    st.integers(0, 20),
    st.integers(0, 50),
    st.booleans(),
    st.sampled_from([0, 1, 5]),
)
@settings(max_examples=300, deadline=None, database=None)
def test_any_interleaving_gives_each_message_once_in_order_or_declares_it_lost(
    events: list[tuple[str, int, int, int]], room: int, wait: int, more: int, can_request: bool, start: int
) -> None:
    mold = Mold(
        _sessions.mold_store_size(room) if room else 0,
        wait_ns=wait, limit_ns=wait + more, can_request=can_request, start=start, retry_ns=8, request_limit=7,
    )  # fmt: skip
    model: Any = None
    now, received, dropped_messages, asked_at = 0, 0, 0, -100

    def tick() -> None:
        nonlocal asked_at
        what = mold.timer(now)
        if model is None or model.gap_at < 0:
            assert what is None
        elif now - model.since >= model.give_up:
            end = model.gap_end()
            assert what == ("lost", model.expected, end - model.expected)
            assert model.give(now) == numbers(mold)
        elif what is not None:
            assert can_request and now > asked_at
            asked_at = now
            first, count = struct.unpack(">QH", what[1][10:])
            assert what[0] == "request" and what[1][:10] == S1
            assert (first, count) == (model.expected, min(7, model.gap_end() - model.expected))

    for kind, value, count, line in events:
        if kind == "time":
            now += value
            tick()
            continue
        first = max(1, mold.top + value) if kind != "packet" else value
        data = {"heartbeat": packet(first), "end": packet(first, count=0xFFFF)}.get(kind) or run(first, count)
        top = mold.top
        what, new = mold.arrive(data, line, now)
        if what == "wrong_session":
            assert model is None and line == R
            continue
        if what == "far":
            assert line == R and first > top  # the request server does not say where the feed is
            continue
        if new:
            assert model is None
            model = Model(wait, wait + more, can_request, start or first)
        received += count
        if what == "dropped":
            dropped_messages += count
        assert numbers(mold) == model.arrive(first, count, what == "dropped", now)
        assert (mold.expected, mold.top) == (model.expected, model.top)
        tick()
    if model is None:
        return
    for _ in range(200):
        now += 1000
        tick()
    assert model.expected == model.top and mold.gap is None and mold.held_packets == 0
    assert sorted(model.given + model.lost) == list(range(mold.joined_at, model.top))
    assert mold.slots[0] == 0
    c = mold.counters
    assert c["messages"] == len(model.given)
    assert c["lost"] == len(model.lost)
    assert received == c["messages"] + c["duplicates"] + dropped_messages
    assert c["missing"] == len(model.missed) == c["healed"] + c["lost"]
    assert c["malformed_datagram"] == 0 and c["sessions"] == 1


def test_two_lossy_lines_and_a_request_server_deliver_a_day() -> None:
    """20,000 messages, both lines lose, double and reorder; requests are answered by what fits."""
    rng = random.Random(5)
    mold = Mold(_sessions.mold_store_size(256), wait_ns=50, limit_ns=10**6, can_request=True, retry_ns=400)
    given: list[int] = []
    arrivals: list[tuple[int, int, int, int]] = []
    for line in (A, B):
        first = 1
        while first <= 20_000:
            count = min(rng.randrange(1, 8), 20_001 - first)
            for _ in range(rng.choice((0, 1, 1, 1, 1, 1, 1, 2))):
                arrivals.append((first * 10 + rng.randrange(200), first, count, line))
            first += count
    arrivals.append((200_500, 20_001, 0, A))
    arrivals.sort()
    mold.arrive(packet(1), A, 0)
    answers: list[tuple[int, int, int]] = []
    now = 0
    for at, first, count, line in [*arrivals, *((200_500 + 10 * i, 0, 0, -1) for i in range(5000))]:
        now = max(now, at)
        if line >= 0:
            mold.arrive(run(first, count) if count else packet(first), line, now)
            given += numbers(mold)
        while answers and answers[0][0] <= now:
            _, asked, n = answers.pop(0)
            mold.arrive(run(asked, min(n, 20)), R, now)
            given += numbers(mold)
        what = mold.timer(now)
        if what is not None:
            assert what[0] == "request"
            if rng.random() < 0.7:  # the request server loses too
                answers.append((now + 100, *struct.unpack(">QH", what[1][10:])))
    assert given == list(range(1, 20_001))
    c = mold.counters
    assert c["lost"] == 0 and c["missing"] == c["healed"] > 100 and c["requests"] > 10
