"""Decisions about limits: seen by the loop, journaled with who and from what to what, answered, and in force again."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.engine.restore import restore_limits, restore_state
from agent.journal import record
from agent.journal.rebuild import rebuild
from agent.journal.record import LimitRecord, decode
from agent.shm import _segment
from agent.shm.request import Asker, order_writes
from agent.shm.ring import Ring

from ..conftest import Hand

LIMITS = list(_segment.limits())
CONFIGURED = {"kill": 0, "max_size": 100}
ROOT, NOBODY = 0, 0xFFFFFFFF


class Desk:
    """An engine with a journal, whose segment a command writes; killed and started again at will."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count, self.said = folder, 0, b""
        self.left: Any = None
        self.start()

    def start(self) -> list[str]:
        """Start with what the journal says, and with the segment that was left."""
        self.count += 1
        self.ring = Ring.create(self.folder / f"ring{self.count}", 1 << 16, record=record.SIZE)
        self.reader = Ring.attach(self.folder / f"ring{self.count}", "reader")
        self.hand = Hand(limits={"max_size": 100})
        self.hand.engine.attach_memory(journal=self.ring)
        state = rebuild([self.said], 1)
        restore_state(self.hand.engine, state)
        return restore_limits(self.hand.engine, state, self.left, CONFIGURED, "main")

    def kill(self) -> None:
        """The engine and its loop are gone at once; ring and segment stay."""
        self.drain()
        self.left = self.hand.reading
        self.reader.close()
        self.ring.close()

    def drain(self) -> list[LimitRecord]:
        """Returns the decisions that were journaled since."""
        block = bytes(self.reader.peek_block())
        self.reader.commit(len(block) // record.SIZE)
        self.said += block
        return [r for r in decode([block]) if isinstance(r, LimitRecord)]

    def store(self, at: int, value: int) -> None:
        self.hand.segment[at : at + 8] = value.to_bytes(8, "little")

    def write(self, **values: int) -> None:
        for name in order_writes(values, self.hand.reading.limits):
            self.store(_segment.limits()[name].offset, values[name])

    def ask(self, number: int, asker: Asker, **values: int) -> None:
        """What a command writes, in its order."""
        fields = _segment.request_fields()
        for name, value in (("uid", asker.uid), ("login", asker.login), ("begun", number)):
            self.store(fields[name].offset, value)
        self.write(**values)
        self.store(fields["complete"].offset, number)

    def look(self) -> list[tuple[str, int, int, int, int, int]]:
        """Returns what one housekeeping has journaled."""
        self.hand.engine.do_housekeeping()
        return [(r.name, r.old, r.new, r.kind, r.uid, r.login) for r in self.drain()]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    yield Desk(tmp_path)


def test_a_request_is_journaled_with_who_and_answered(desk: Desk) -> None:
    assert desk.look() == []
    desk.ask(7, Asker(0, 1000), max_size=50, kill=1)
    assert desk.look() == [("kill", 0, 1, record.LIMIT_SET, 0, 1000), ("max_size", 100, 50, record.LIMIT_SET, 0, 1000)]
    asked = desk.hand.reading.request
    assert (asked.answered, asked.journaled) == (7, 7)
    assert desk.look() == []
    desk.ask(8, Asker(1000), max_size=100)
    assert desk.look() == [("max_size", 50, 100, record.LIMIT_RESET, 1000, NOBODY)]


def test_a_word_that_no_command_writes_is_journaled_too(desk: Desk) -> None:
    desk.ask(7, Asker(0), max_size=50)
    desk.look()
    desk.write(max_size=49, kill=2**64 - 1)
    assert desk.look() == [
        ("kill", 0, 2**64 - 1, record.LIMIT_SET, NOBODY, NOBODY),
        ("max_size", 50, 49, record.LIMIT_SET, NOBODY, NOBODY),
    ]


def test_a_request_whose_command_died_is_nobodys_after_a_while(desk: Desk) -> None:
    desk.store(_segment.request_fields()["uid"].offset, 55)
    desk.store(_segment.request_fields()["begun"].offset, 9)
    desk.write(max_size=50)
    assert desk.look() == [("max_size", 100, 50, record.LIMIT_SET, 55, 0)]
    assert desk.hand.reading.request.answered == 0
    for _ in range(250):
        assert desk.look() == []
    desk.write(max_size=51)
    assert desk.look() == [("max_size", 50, 51, record.LIMIT_SET, NOBODY, NOBODY)]


def test_a_full_journal_is_in_the_answer(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    small = Ring.create(tmp_path / "small", 4096, record=record.SIZE)
    while small.push(bytes(record.SIZE)):
        pass
    desk.hand.engine.attach_memory(journal=small)
    desk.ask(3, Asker(0), kill=1)
    desk.hand.engine.do_housekeeping()
    asked = desk.hand.reading.request
    assert (asked.answered, asked.journaled) == (3, 0)


def test_decisions_are_in_force_again_and_said(desk: Desk) -> None:
    desk.ask(1, Asker(4242, 4343), max_size=50, kill=1)
    desk.look()
    desk.kill()
    lines = desk.start()
    assert len(lines) == 2
    assert lines[0].startswith("killed by uid 4242, logged in as uid 4343 at 20")
    assert lines[0].endswith("Z: no order passes until `agent resume main`")
    assert lines[1].startswith("limit max_size is 50, set by uid 4242, logged in as uid 4343 at 20")
    assert lines[1].endswith("; agent.toml says 100; `agent limits main --reset max_size` takes agent.toml's")
    now = desk.hand.reading
    assert (now.limits["kill"], now.limits["max_size"], now.configured["max_size"]) == (1, 50, 100)
    assert desk.look() == []
    desk.ask(1, Asker(0), max_size=100, kill=0)
    assert [row[3] for row in desk.look()] == [record.LIMIT_RESET] * 2
    desk.kill()
    assert desk.start() == []


def test_a_kill_that_the_loop_did_not_live_to_see_is_in_force_again(desk: Desk) -> None:
    desk.ask(1, Asker(77), kill=1)
    desk.kill()
    assert desk.said == b""
    (line,) = desk.start()
    assert line.startswith("killed in the last moment of the engine that was here before: no order passes until")
    assert desk.hand.reading.limits["kill"] == 1
    assert desk.look() == [("kill", 0, 1, record.LIMIT_SET, 77, NOBODY)]
    # And so it stays when that segment is lost with the power.
    desk.kill()
    desk.left = None
    desk.start()
    assert desk.hand.reading.limits["kill"] == 1


def test_a_limit_that_the_journal_has_lost_is_named(desk: Desk) -> None:
    """The journal was moved away, and with it who set what."""
    desk.ask(1, Asker(77), max_size=3, max_loss=25_000, kill=1)
    desk.look()
    desk.kill()
    desk.said = b""
    lines = desk.start()
    assert len(lines) == 3 and lines[0].startswith("killed in the last moment of the engine that was here before: ")
    assert lines[1] == (
        "limit max_size was 3 in the engine that was here before, and the journal does not have that: it is 100 now; "
        "`agent limits main --set max_size=3` sets it again"
    )
    assert lines[2].startswith("limit max_loss was 2.5 in the engine that was here before")
    assert "--set max_loss=2.5`" in lines[2] and desk.hand.reading.limits["max_size"] == 100


def test_a_kill_that_comes_while_the_engine_starts_stays(desk: Desk) -> None:
    desk.write(kill=1)
    restore_limits(desk.hand.engine, rebuild([b""], 1), None, CONFIGURED, "main")
    assert desk.hand.reading.limits["kill"] == 1
    assert desk.look() == [("kill", 0, 1, record.LIMIT_SET, NOBODY, NOBODY)]


def test_a_decision_that_agent_toml_says_too_is_none_any_more(desk: Desk) -> None:
    desk.ask(1, Asker(0), max_size=50)
    desk.look()
    desk.kill()
    desk.hand = Hand(limits={"max_size": 50})
    ring = Ring.create(desk.folder / "again", 1 << 16, record=record.SIZE)
    desk.reader = Ring.attach(desk.folder / "again", "reader")
    desk.hand.engine.attach_memory(journal=ring)
    state = rebuild([desk.said], 1)
    restore_state(desk.hand.engine, state)
    assert restore_limits(desk.hand.engine, state, None, {"max_size": 50}, "main") == []
    assert desk.look() == [("max_size", 50, 50, record.LIMIT_RESET, NOBODY, NOBODY)]
    assert rebuild([desk.said], 1).limits == {}


def test_a_limit_that_this_build_does_not_have_is_said(desk: Desk) -> None:
    state = rebuild([b""], 1)
    state.limits["max_moon"] = rebuild_decision(5)
    (line,) = restore_limits(desk.hand.engine, state, None, CONFIGURED, "main")
    assert line.startswith("the journal has a decision about the limit max_moon, which this agent does not have")


def rebuild_decision(value: int) -> Any:
    from agent.journal.rebuild import Decision

    return Decision(value, 0, 0, 0)


WRITES = st.fixed_dictionaries({}, optional={name: st.sampled_from((0, 1, 50, 100, 2**64 - 1)) for name in LIMITS})
STEPS = st.lists(
    st.tuples(st.sampled_from(("ask", "write")), WRITES)
    | st.tuples(st.sampled_from(("look", "kill", "lose")), st.just({})),
    max_size=30,
)


@settings(max_examples=40)
@given(STEPS)
def test_what_was_in_force_is_in_force_after_any_end(tmp_path_factory: pytest.TempPathFactory, steps: Any) -> None:
    """Against a model: what a loop has looked at lasts, a kill lasts from its word on while the segment is there, and
    an order never passes the gate between."""
    desk = Desk(tmp_path_factory.mktemp("desk"))
    lasting, number = dict(CONFIGURED), 0
    for step, values in steps:
        if step == "ask":
            number += 1
            desk.ask(number, Asker(0), **values)
        elif step == "write":
            desk.write(**values)
        elif step == "look":
            desk.look()
            lasting = dict(desk.hand.reading.limits)
        else:
            killed = desk.hand.reading.limits["kill"] or lasting["kill"]
            desk.kill()
            if step == "lose":
                desk.left, killed = None, lasting["kill"]
            desk.start()
            number = 0
            now = {name: value for name, value in desk.hand.reading.limits.items() if name != "kill"}
            assert now == {name: lasting.get(name, 0) for name in now}
            assert bool(desk.hand.reading.limits["kill"]) == bool(killed)
            lasting["kill"] = killed
            if killed:
                desk.hand.orders = [(100.01, 5)]
                desk.hand.tick()
                assert desk.hand.counters.get("orders_sent", 0) == 0 and desk.hand.counters["reject_killed"] == 1


def test_two_threads_of_commands_are_each_answered(tmp_path: Path, hand: Callable[..., Hand]) -> None:
    """Commands hold the file's lock one after the other, so each change is its own asker's."""
    from agent.shm.request import ask_limits

    path = tmp_path / "s"
    path.write_bytes(hand().segment)
    order: list[int] = []

    def ask(uid: int) -> None:
        for _ in range(20):
            with ask_limits(path, {"max_size": uid}, Asker(uid)) as asked:
                order.append(uid)
                words = path.read_bytes()
                at = _segment.request_fields()
                assert words[at["uid"].offset] == uid and words[_segment.limits()["max_size"].offset] == uid
                assert words[at["begun"].offset] == words[at["complete"].offset] == asked.number

    threads = [threading.Thread(target=ask, args=(uid,)) for uid in (3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(order) == [3] * 20 + [4] * 20
