"""MoldUDP64 beside packets that are not of the feed: other sessions, and forged places of our own.

The last tests are generated: a true line between strangers, and every rule against a plain model.
"""

import itertools
import struct
from typing import NamedTuple

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


# ------------------------------------------------------------------------------------------- generated


class Sent(NamedTuple):
    """One thing that happens on the wire."""

    who: str  # true, stranger, forged
    session: int
    place: int
    count: int
    wait: int  # ns before it


_STEP = st.builds(
    Sent,
    st.sampled_from(["true", "true", "stranger", "stranger", "forged"]),
    st.integers(2, 9),
    st.one_of(st.integers(1, 6), st.integers(1, FARTHEST)),
    st.sampled_from([0, 1, 1, 3, END]),
    st.integers(0, QUIET // 20),
)


@given(st.lists(_STEP, max_size=80), st.sampled_from([0, 1]))
@settings(max_examples=400)
def test_a_true_line_between_strangers_is_read_whole(steps: list[Sent], start: int) -> None:
    """The true line came first, and is never silent for long. Strangers send other sessions, some of them in sequence;
    some send ours at places far ahead, but never four times between two packets of the line."""
    mold = Mold(STORE, start=start)
    mold.arrive(run(1, 1))
    given_out, top, now, forged, since, strangers, places = numbers(mold), 2, 0, 0, 0, 0, dict[int, int]()
    for step in steps:
        now += step.wait
        since += step.wait
        if step.who == "true" or since >= QUIET - QUIET // 20 or forged == 3:
            mold.arrive(run(top, 2), A, now)
            top += 2
            since = forged = 0
        elif step.who == "stranger":
            place = places.get(step.session, 1) if step.place < 4 else min(step.place, FARTHEST - 10)
            data = packet(place, *[b"-"] * (step.count % END), session=b"STRANGER%02d" % step.session,
                          count=step.count)  # fmt: skip
            places[step.session] = place + step.count % END
            strangers += 1
            assert mold.arrive(data, A, now) == ("wrong_session", False)
        else:
            data = packet(min(top + 1001 + step.place, FARTHEST), *[b"-"] * (step.count % END), count=step.count)
            assert mold.arrive(data, A, now) == ("far", False)
            forged += 1
        given_out += numbers(mold)
        assert mold.timer(now) is None
    assert given_out == list(range(1, top))
    c = mold.counters
    assert (c["messages"], c["wrong_session"], c["sessions"]) == (top - 1, strangers, 1)
    assert c["gaps"] == c["duplicates"] == 0 and c["lost"] == c["missing"]


class Run:
    """Packets of a session that is not read."""

    def __init__(self) -> None:
        self.packets, self.next, self.ignored, self.left = 0, 0, 0, False
        self.held: list[int] = []


class Model:
    """Which session is read, by the rules in words; without lines, reordering and requests. Messages are numbers."""

    def __init__(self, reach: int) -> None:
        self.reach = reach
        self.session, self.expected, self.begun, self.ended, self.seen = "", 0, 0, False, 0
        self.leapt, self.far = (
            0,
            [0, 0],
        )  # jumps that were believed; packets far ahead in sequence, the number after them
        self.others: dict[str, Run] = {}
        self.given: list[tuple[str, int]] = []
        self.lost = 0

    def give(self, first: int, last: int) -> None:
        self.given += [(self.session, n) for n in range(max(first, self.expected), last)]
        self.expected = max(self.expected, last)

    def drop_held(self) -> None:
        for other in self.others.values():
            other.ignored += len(other.held)
            other.held = []

    def join(self, session: str, at: int, run: Run) -> None:
        if self.session and session != self.session:
            self.others[self.session] = left = Run()
            left.left, left.next = True, self.expected
        self.others.pop(session, None)
        self.lost += run.ignored
        self.session, self.begun, self.expected = session, at, at
        self.ended, self.leapt, self.far = False, 0, [0, 0]
        self.drop_held()

    def arrive(self, session: str, first: int, count: int, now: int) -> None:
        last = first + count % END
        near = session == self.session and first <= self.expected + 2**32 and last + self.reach >= self.expected
        if not near and not self.replaces(session, first, count, now):
            return
        if near:
            self.drop_held()
        if first > self.expected:
            far = first - self.expected + self.leapt > self.reach
            if far:
                if self.far[0] and first != self.far[1] and 0 <= self.far[1] - last <= self.reach:
                    return
                self.far = [self.far[0] + 1 if first == self.far[1] else 1, last]
                if self.far[0] < 4:
                    return
            self.leapt = 0 if far else self.leapt + first - self.expected
            self.lost += first - self.expected
            self.expected = first
        elif first == self.expected and count % END:
            self.leapt = 0
        self.seen = now
        if first == self.expected:
            self.far = [0, 0]
            self.ended = self.ended or count == END
        if last > self.expected:
            self.ended = False
        self.give(first, last)

    def replaces(self, session: str, first: int, count: int, now: int) -> bool:
        """Whether a packet of another session, or place, is read from now on."""
        if not self.session:
            self.join(session, first, Run())
            return True
        ours, silent, last = session == self.session, now - self.seen >= QUIET, first + count % END
        run = self.others.setdefault(session, Run())
        if self.ended and not ours and not run.left:
            self.join(session, first, run)
            return True
        if count == END:
            return False
        if run.packets and first == run.next:
            run.packets += 1
        elif last <= run.next and (run.next - last <= self.reach if run.packets else run.left and not silent):
            return False
        else:
            run.packets, run.ignored, run.held = 1, 0, []
        run.next = last
        if silent and run.packets >= 4:
            held = run.held
            self.join(session, held[0] if held else first, run)
            self.give(self.expected, first)
            return True
        if silent and count and not any(other.held for other in self.others.values() if other is not run):
            run.held += range(first, last)
        elif not ours or first < self.begun:
            run.ignored += last - first
            if run.packets >= 4:
                self.lost += run.ignored
                run.ignored = 0
        return False


_EVENT = st.tuples(
    st.sampled_from(["one", "one", "two", "six"]),
    st.one_of(st.just(0), st.integers(-3, 3), st.sampled_from([-500, -12, 12, 40, 500, 2**33, 2**40])),
    st.sampled_from([0, 1, 2, END]),
    st.sampled_from([0, 0, 0, SECOND, QUIET]),
)


@given(st.lists(_EVENT, max_size=70), st.sampled_from([5, 20]))
@settings(max_examples=600)
def test_which_session_is_read_agrees_with_a_plain_model(events: list[tuple[str, int, int, int]], reach: int) -> None:
    mold, model, now = Mold(STORE, reach=reach), Model(reach), 0
    names = {"one": b"SESSION001", "two": b"SESSION002", "six": b"SESSION006"}
    next_of = {"one": 1000, "two": 1, "six": 10**6}
    got: list[tuple[str, int]] = []
    for who, offset, count, wait in events:
        now += wait
        first = min(max(next_of[who] + offset, 1), 2**62)
        if offset in (0, 40, -12, 2**40):
            next_of[who] = first + count % END
        data = packet(first, count=END, session=names[who]) if count == END else run(first, count, names[who])
        mold.arrive(data, A, now)
        model.arrive(who, first, count, now)
        while True:
            got += [({names[who]: who for who in names}[mold.session or b""], n) for n in numbers(mold)]
            if mold.timer(now) is None:
                break
        assert mold.session == names.get(model.session)
        assert (mold.expected, mold.counters["lost"]) == (model.expected, model.lost)
        assert got == model.given
