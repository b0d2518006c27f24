"""MoldUDP64, generated: a true line between strangers, and which session is read against a plain model."""

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compiled import _sessions
from tests.compiled._sessions import Mold

from .mold_packets import END, A, numbers, packet, run

SECOND = 1_000_000_000
#: What the receiver waits for before it leaves a session that did not end.
QUIET = 3 * SECOND
STORE = _sessions.mold_store_size(16)
FARTHEST = 2**63 - 1


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
        c = mold.counters
        assert (mold.expected, c["lost"]) == (model.expected, model.lost)
        assert c["missing"] == c["healed"] + c["lost"]
        assert got == model.given
