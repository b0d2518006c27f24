"""MoldUDP64 beside packets that are not of the feed: other sessions, and forged places of our own."""

import itertools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compiled import _sessions
from tests.compiled._sessions import Mold

from .mold_packets import END, S1, S2, S3, A, B, R, nonzero, numbers, packet, run

SECOND = 1_000_000_000
#: What the receiver waits for before it leaves a session that did not end.
QUIET = 3 * SECOND
STORE = _sessions.mold_store_size(16)
#: As the specification has them: where a message lies, and where none does.
FARTHEST = 2**63 - 1


def joined(at: int = 50, **options: int) -> Mold:
    """A receiver that has read message `at` of S1 at time 0."""
    mold = Mold(**options)
    mold.arrive(run(at, 1))
    assert numbers(mold) == [at]
    return mold


# ------------------------------------------------------------------------------------------- another session


def test_strangers_that_begin_at_one_do_not_take_the_feed_away() -> None:
    mold, seen = joined(), []
    for i in range(1502):
        assert mold.arrive(run(1 + i, 1, S2), A, i) == ("wrong_session", False)
        assert mold.arrive(run(51 + i, 1), A, i) == ("packet", False)
        seen += numbers(mold)
    assert seen == list(range(51, 51 + 1502)) and mold.session == S1
    c = mold.counters
    assert (c["sessions"], c["wrong_session"], c["gaps"]) == (1, 1502, 0)
    assert mold.contested  # either may be the true one: what is not read counts
    assert c["lost"] == c["missing"] == 1502


def test_single_strangers_are_ignored_and_nothing_is_lost() -> None:
    mold, seen = joined(), []
    for i in range(300):
        session = b"STRANGE%03d" % i
        assert mold.arrive(run(1, 1, session), A, i) == ("wrong_session", False)
        assert mold.arrive(packet(1, session=session, count=END), B, i) == ("wrong_session", False)
        mold.arrive(run(51 + i, 1), A, i)
        seen += numbers(mold)
    assert seen == list(range(51, 351))
    assert nonzero(mold) == {"messages": 301, "wrong_session": 600, "sessions": 1, "packets_a": 601, "packets_b": 300}
    assert not mold.contested


def test_a_stranger_that_came_first_is_left_after_silence_and_what_was_ignored_is_lost() -> None:
    mold = Mold(STORE)
    mold.arrive(run(7, 1, S2), A, 0)
    assert numbers(mold) == [7]
    for i in range(1000):
        assert mold.arrive(run(1 + i, 1), A, i * 1000) == ("wrong_session", False)
    assert mold.drain() == [] and mold.contested and mold.session == S2
    assert mold.counters["lost"] == 1000
    assert mold.arrive(run(1001, 2), A, QUIET - 1) == ("wrong_session", False)
    assert mold.arrive(run(1003, 1), A, QUIET) == ("packet", True)
    assert numbers(mold) == [1003] and mold.session == S1 and not mold.contested
    c = mold.counters
    assert (c["lost"], c["sessions"], c["wrong_session"]) == (1002, 2, 1001)


def test_the_end_of_the_session_lets_another_in_at_once() -> None:
    mold = joined()
    assert mold.arrive(packet(51, count=END)) == ("end_of_session", False)
    assert mold.arrive(run(70, 1, S2)) == ("packet", True)
    assert numbers(mold) == [70]
    assert mold.arrive(run(50, 1)) == ("wrong_session", False)  # a late one of the other line
    assert mold.arrive(packet(71, session=S2, count=END)) == ("end_of_session", False)
    assert mold.arrive(run(51, 1)) == ("wrong_session", False)  # a session that was left, and has ended
    assert mold.arrive(run(1, 1, S3)) == ("packet", True)
    assert numbers(mold) == [1]
    assert mold.counters["lost"] == 0


@pytest.mark.parametrize("forged", [packet(40, count=END), packet(10**6, count=END), packet(FARTHEST, count=END)])
def test_an_end_that_is_not_where_the_feed_is_ends_nothing(forged: bytes) -> None:
    mold = joined()
    mold.arrive(forged)
    assert mold.arrive(run(1, 1, S2)) == ("wrong_session", False)
    assert mold.arrive(run(51, 1)) == ("packet", False)
    assert numbers(mold) == [51]


def test_a_session_that_goes_on_behind_its_end_has_not_ended() -> None:
    mold = joined()
    mold.arrive(packet(51, count=END))
    mold.arrive(run(51, 1))
    assert numbers(mold) == [51]
    assert mold.arrive(run(1, 1, S2)) == ("wrong_session", False)
    # Behind a gap, too.
    mold.arrive(packet(52, count=END))
    mold.arrive(run(54, 1))
    assert mold.arrive(run(2, 1, S2)) == ("wrong_session", False)


def test_the_request_server_neither_ends_a_session_nor_begins_one_nor_says_where_the_feed_is() -> None:
    mold = Mold(STORE, can_request=True, wait_ns=10, limit_ns=1000)
    assert mold.arrive(run(1, 1), R) == ("wrong_session", False)
    mold.arrive(run(1, 1), A)
    mold.drain()
    assert mold.arrive(run(1, 1, S2), R) == ("wrong_session", False)
    assert mold.arrive(packet(2, count=END), R) == ("end_of_session", False)
    assert mold.arrive(run(1, 1, S2), A) == ("wrong_session", False)
    for first in (3, 1000, 10**9, FARTHEST):
        for _ in range(6):
            assert mold.arrive(run(first, 1), R) == ("far", False)
    assert (mold.session, mold.top, mold.gap) == (S1, 2, None)
    # Nor does it show that the session lives.
    for i in range(3):
        mold.arrive(run(1, 1), R, QUIET + i)
        assert mold.arrive(run(5 + i, 1, S2), A, QUIET + i) == ("wrong_session", False)
    assert mold.arrive(run(8, 1, S2), A, QUIET + 3)[1]


def test_after_silence_four_packets_in_sequence_are_another_session_and_none_of_them_is_lost() -> None:
    mold = joined(store=STORE)
    for i in range(3):
        assert mold.arrive(run(1 + 2 * i, 2, S2), A, QUIET + i) == ("wrong_session", False)
        assert mold.arrive(run(1 + 2 * i, 2, S2), B, QUIET + i) == ("wrong_session", False)  # the other line's copy
    assert mold.drain() == []
    assert mold.arrive(packet(7, session=S2), A, QUIET + 3) == ("heartbeat", True)
    assert numbers(mold) == [1, 2, 3, 4, 5, 6]
    c = mold.counters
    assert (c["lost"], c["missing"], c["healed"]) == (0, 0, 0) and mold.slots[0] == 0
    mold.arrive(run(7, 1, S2), A, QUIET + 4)
    assert numbers(mold) == [7]


@pytest.mark.parametrize("start", [0, 1])
def test_without_a_store_what_came_before_a_session_was_believed_is_lost(start: int) -> None:
    mold = Mold(0, start=start)
    mold.arrive(run(1, 1))
    mold.drain()
    for i in range(4):
        mold.arrive(run(11 + i, 1, S2), A, QUIET + i)
    if start:
        assert mold.timer(QUIET + 4) == ("lost", 1, 14)
        assert mold.drain() == []
    else:
        assert numbers(mold) == [14]
    c = mold.counters
    assert c["lost"] == c["missing"] == (14 if start else 3)


def test_packets_held_for_another_session_are_dropped_when_ours_speaks_again() -> None:
    mold = joined(store=STORE)
    for i in range(3):
        mold.arrive(run(1 + i, 1, S2), A, QUIET + i)
    assert mold.slots[0] == 3
    mold.arrive(run(51, 1), A, QUIET + 3)
    assert numbers(mold) == [51]
    assert mold.arrive(run(4, 1, S2), A, QUIET + 4) == ("wrong_session", False)
    mold.arrive(run(53, 1), A, QUIET + 5)  # the store is ours again
    assert mold.slots[0] == 1
    mold.arrive(run(52, 1), A, QUIET + 6)
    assert numbers(mold) == [52, 53] and mold.session == S1


def test_a_resumed_session_is_asked_for_from_its_first_message() -> None:
    mold = Mold(STORE, start=1, can_request=True, limit_ns=SECOND)
    mold.arrive(run(1, 1))
    mold.drain()
    for i in range(4):
        code = mold.arrive(run(5000 + i, 1, S2), A, QUIET + i)
    assert code == ("held", True) and mold.gap == (1, 5000)
    what = mold.timer(QUIET + 5)
    assert what == ("request", S2 + struct.pack(">QH", 1, 1000))


def test_what_a_session_owed_when_it_ended_is_lost() -> None:
    mold = joined(store=STORE, wait_ns=100)
    mold.arrive(run(53, 2))  # 51 and 52 are missing, 53 and 54 held: all will not come any more
    mold.arrive(packet(55, count=END))
    assert mold.arrive(run(1, 1, S2)) == ("packet", True)
    assert numbers(mold) == [1]
    c = mold.counters
    assert (c["sessions"], c["lost"], c["gaps"], mold.held_packets) == (2, 4, 1, 0)
    assert c["missing"] == c["healed"] + c["lost"]
    assert mold.timer(10**9) is None


def test_only_the_wanted_session_is_read() -> None:
    mold = Mold(STORE, wanted=S2)
    for i in range(20):
        assert mold.arrive(run(1 + i, 1), A, i * SECOND) == ("wrong_session", False)
    assert mold.arrive(run(9, 1, S2), A, 20 * SECOND) == ("packet", True)
    assert numbers(mold) == [9]
    mold.arrive(packet(10, session=S2, count=END), A, 20 * SECOND)
    for i in range(20):
        assert mold.arrive(run(1 + i, 1, S3), A, (30 + i) * SECOND) == ("wrong_session", False)
    c = mold.counters
    assert (c["wrong_session"], c["lost"], c["sessions"]) == (40, 0, 1) and not mold.contested


# ------------------------------------------------------------------------------------------- a place of ours far away


@pytest.mark.parametrize("first", [1052, 10**6, 2**33, 2**62, FARTHEST])
@pytest.mark.parametrize("count", [0, 1, END])
def test_a_packet_far_ahead_is_not_believed(first: int, count: int) -> None:
    mold = joined(store=STORE, can_request=True, wait_ns=0, limit_ns=10)
    forged = packet(first, b"x", count=1) if count == 1 else packet(first, count=count)
    for i in range(30):
        if first - 51 - i <= 1000:
            break
        assert mold.arrive(forged, A, i) == ("far", False)
        assert mold.timer(i) is None and mold.gap is None
        mold.arrive(run(51 + i, 1), A, i)
        assert numbers(mold) == [51 + i]
    c = mold.counters
    assert c["far_ahead"] == c["packets_a"] // 2 and (c["lost"], c["missing"], c["requests"]) == (0, 0, 0)


def test_four_in_sequence_are_an_outage() -> None:
    mold = joined(store=STORE, reach=100)
    assert mold.arrive(run(151, 1)) == ("held", False)  # as far as one packet is believed
    assert mold.timer(0) == ("lost", 51, 100)
    assert numbers(mold) == [151]
    far = [mold.arrive(run(n, 1))[0] for n in (1000, 1001, 1002)]
    assert far == ["far"] * 3
    assert mold.arrive(run(152, 1)) == ("packet", False)  # the feed is still there
    mold.drain()
    assert [mold.arrive(run(n, 1))[0] for n in (1000, 5000, 900, 1003)] == ["far"] * 4
    # Four in sequence: there was an outage. The other line's copy is not one of them.
    assert [mold.arrive(*p)[0] for p in ((run(1003, 1), B), (packet(1004), A), (packet(1004), B))] == ["far"] * 3
    assert mold.arrive(run(1004, 1)) == ("held", False)
    assert mold.top == 1005


def test_jumps_that_are_believed_add_up_until_the_feed_goes_on() -> None:
    """A staircase of forged packets, each near enough to the last, leads no further than one of them does."""
    mold, reached = joined(), 0
    for step in range(1, 40):
        if mold.arrive(run(50 + 400 * step, 1), A, step)[0] != "far":
            while mold.timer(step):
                pass
            mold.drain()
            reached = mold.expected
    assert reached == 50 + 800 + 1
    assert mold.counters["lost"] < 1000
    mold = joined()
    for step in range(10):  # with a packet between that follows the last one
        assert mold.arrive(run(mold.expected + 400, 1), A, step)[0] == "dropped" or mold.slots[1]
        while mold.timer(step):
            pass
        mold.drain()
        assert mold.arrive(run(mold.expected, 1), A, step)[0] == "packet"
        mold.drain()


def test_the_first_packet_does_not_say_how_much_was_missed() -> None:
    """The engine wants all from message 1 on; a stranger's first packet is at the end of the numbers."""
    mold = Mold(STORE, start=1, can_request=True, limit_ns=10)
    assert mold.arrive(run(FARTHEST, 1)) == ("far", True)
    assert mold.gap is None and mold.timer(5) is None
    assert mold.arrive(run(1, 1)) == ("packet", False)
    assert numbers(mold) == [1]
    # Four packets of the line say it.
    mold = Mold(STORE, start=1, can_request=True, limit_ns=10)
    assert [mold.arrive(run(5000 + i, 1)) for i in range(4)] == [("far", True), *[("far", False)] * 2, ("held", False)]
    assert mold.gap == (1, 5003)


def test_a_forged_place_at_the_end_of_the_numbers_is_left_after_silence() -> None:
    mold = Mold(STORE)
    mold.arrive(packet(FARTHEST - 5, b"x"), A, 0)
    mold.drain()
    for i in range(100):
        assert mold.arrive(run(50 + i, 1), A, i) == ("duplicate", False)
    c = mold.counters
    assert c["lost"] == 100 and mold.contested
    assert mold.arrive(run(150, 1), A, QUIET) == ("packet", True)
    assert numbers(mold) == [150]


def test_late_packets_far_behind_are_duplicates_and_no_reason_to_go_there() -> None:
    """Line B lags more than max_jump behind line A."""
    mold = Mold(STORE, reach=10)
    seen = []
    for i in range(200):
        mold.arrive(run(100 + i, 1), A, i * SECOND // 10)
        seen += numbers(mold)
        assert mold.arrive(run(50 + i, 1), B, i * SECOND // 10)[0] == "duplicate"
        assert mold.drain() == []
    assert seen == list(range(100, 300))
    c = mold.counters
    assert (c["duplicates"], c["sessions"]) == (200, 1)
    assert c["lost"] == 50  # those before the place where the receiver joined were never given out


@pytest.mark.parametrize("sequence", [0, 2**63, 2**64 - 1])
@pytest.mark.parametrize("session", [S1, S2])
def test_numbers_that_do_not_occur_change_nothing(sequence: int, session: bytes) -> None:
    mold = joined()
    for now in (0, QUIET):
        for count in (0, 1, END):
            data = (
                packet(sequence, b"x", session=session)
                if count == 1
                else packet(sequence, session=session, count=count)
            )
            for _ in range(6):
                assert mold.arrive(data, A, now) == ("bad_sequence", False)
    assert mold.arrive(run(51, 1), A, QUIET) == ("packet", False)


def test_the_last_number_that_occurs_is_not_passed() -> None:
    mold = joined(FARTHEST)
    assert mold.expected == 2**63
    assert mold.arrive(packet(FARTHEST, b"x", b"y")) == ("packet", False)
    assert [n for n, _ in mold.drain()] == [2**63]
    assert mold.arrive(packet(FARTHEST))[0] == "heartbeat"


# ------------------------------------------------------------------------------------------- requests


@given(st.lists(st.tuples(st.integers(0, 60_000), st.integers(1, 3000), st.sampled_from([A, B, R])), max_size=300))
@settings(max_examples=60)
def test_strangers_cannot_make_the_receiver_ask_more_often(packets: list[tuple[int, int, int]]) -> None:
    """Whatever comes, and when: retry_ns / 8 lies between two requests, and none asks for more than 1,000 messages."""
    mold = Mold(STORE, can_request=True, wait_ns=0, limit_ns=SECOND)
    now, asked = 0, []
    for wait, sequence, line in packets:
        now += wait
        mold.arrive(run(sequence, 1), line, now)
        mold.drain()
        what = mold.timer(now)
        if what is not None and what[0] == "request":
            asked.append(now)
            assert struct.unpack(">QH", what[1][10:])[1] <= 1000
    assert all(later - earlier >= 125_000 for earlier, later in itertools.pairwise(asked))
