"""One engine: what its limits are to be, requests to its loop, and what the loop has confirmed."""

import time
from collections.abc import Callable, Mapping

import msgspec

from agent import limits
from agent.errors import UsageError
from agent.monitor.control import explain_silence
from agent.shm import segment as shm
from agent.shm.request import Asked, Asker, OpenSegment
from agent.shm.segment import Segment, SegmentError
from desk.sync.tighten import is_tighter
from hosttune.output import escape, print_message

#: Seconds between two looks for a segment that is not there, or is of an engine that has ended.
_LOOK = 0.5
#: Seconds that a loop has for its answer. A loop that goes on later has the limits in force all the same.
_ANSWER = 2.0
#: Requests that are written while none of them is answered: more wait. A kill switch never does.
_MOST_ASKED = 2
#: Seconds between two times that a limit is set again which somebody else has changed.
_AGAIN = 1.0

Number = int | float
#: Called with the engine, what was done, and the change: an audit record.
Audit = Callable[[str, str, Mapping[str, Number], str], None]


class Wish(msgspec.Struct, frozen=True):
    """What a limit is to be, in the user's units, and why: the key in Redis, or the policy. tighten: only where that
    lets fewer orders pass than what is in force."""

    value: Number
    source: str
    tighten: bool = False


class Engine:
    """An engine by name or path. An engine that is missing, hangs or has ended costs the others nothing."""

    def __init__(self, wanted: str, name: str, asker: Asker, audit: Audit, may_resume: bool) -> None:
        self.wanted, self.name, self._asker, self._audit = wanted, name, asker, audit
        self._may_resume = may_resume
        self._wishes: dict[str, Wish] = {}
        self._held: OpenSegment | None = None
        self._runs = False
        self._asked: Asked | None = None
        #: The changes that were asked for and are not answered, each with its source: the answer to the last request is
        #: one to all of them.
        self._stack: list[tuple[dict[str, Number], str]] = []
        self._limit = self._next_look = 0.0
        #: What was confirmed last of each limit, and until when what others write over it is left alone.
        self._done: dict[str, Number] = {}
        self._leave_until = 0.0
        self._unjournaled: set[str] = set()
        self._blocked = False
        self._problem = "not looked for yet"
        #: Whether the kill switch that is on was set by this process.
        self.killed = False
        self._told_kept = False
        self.confirmed = self.unconfirmed = self.again = 0

    @property
    def problem(self) -> str:
        """Why the last wish is not in force, or does not last; "" where all are and do."""
        if self._problem or not self._unjournaled:
            return self._problem
        return f"in force, and not journaled: a restart may forget {', '.join(sorted(self._unjournaled))}"

    @property
    def waits(self) -> bool:
        """Whether the loop has been asked, and has not answered yet, or another command holds the segment."""
        return self._asked is not None or self._blocked

    def wish(self, wishes: Mapping[str, Wish | None]) -> None:
        """Take what limits are to be from now on, and ask for it at once; None: what is in force stays."""
        for limit, wish in wishes.items():
            if self._wishes.get(limit) != wish:
                self._done.pop(limit, None)
            if wish is None:
                self._wishes.pop(limit, None)
            else:
                self._wishes[limit] = wish
        self.act(time.monotonic())

    def look(self, now: float) -> Segment | None:
        """Look at the whole engine, and act(). Returns a reading, None where no engine runs. now: seconds of
        time.monotonic()."""
        segment = self._attach(now)
        if segment is not None:
            self._problem = explain_silence(segment) if segment.condition == "hung" or self._is_late(now) else ""
            self.act(now)
        return segment

    def act(self, now: float) -> None:
        """Look for the loop's answer, and ask it for what is not in force; nothing waits. Of a loop that was seen to
        run by the last look(): what is written to the segment of an engine that has ended since then is in nobody's
        way, and the next look() finds it out."""
        self._blocked = False
        if self._held is None or not self._runs:
            return
        try:
            if self._asked is not None:
                self._look_for_answer(self._asked, now)
            self._ask(self._held, now)
        except (SegmentError, OSError) as error:
            self._lose(str(error))

    def close(self) -> None:
        """Give the segment back. What was asked and not answered is told."""
        self._tell_unconfirmed()
        self._forget()

    def _attach(self, now: float) -> Segment | None:
        """Returns a reading of the running engine's segment, which a start may have replaced."""
        if self._held is not None and not self._held.is_at_path():
            self._lose("its segment was replaced by a start")
            self._next_look = now
        if self._held is None:
            if now < self._next_look:
                return None
            self._next_look = now + _LOOK
            try:
                self._held = OpenSegment(shm.find(self.wanted))
            except SegmentError as error:
                self._problem = str(error)
                return None
        try:
            segment = self._held.read()
            if not segment.trades or segment.state == "starting":
                self._kill_what_does_not_run(self._held, segment)
                self._lose(explain_silence(segment))
                return None
        except (SegmentError, OSError) as error:
            self._lose(str(error))
            return None
        self._runs = True
        return segment

    def _kill_what_does_not_run(self, held: OpenSegment, segment: Segment) -> None:
        """Write the kill switch as `agent kill` does where no loop runs: the next start begins killed. Raises
        SegmentError."""
        wish = self._wishes.get("kill")
        if wish is None or not wish.value or segment.limits["kill"]:
            return
        held.ask(limits.to_words({"kill": 1}), self._asker)
        self.killed = True
        self._audit(self.name, "kill written where no loop runs", {"kill": 1}, wish.source)

    def _ask(self, held: OpenSegment, now: float) -> None:
        """Ask for the limits that are to be and are not."""
        words = held.read_limits()
        if not words["kill"]:
            self.killed = self._told_kept = False
        changes = self._find_changes(limits.from_words(words), now)
        if not changes or (len(self._stack) >= _MOST_ASKED and not changes.get("kill")):
            return
        try:
            wanted = limits.change_words(words, changes)
        except UsageError as error:
            self._problem = str(error)
            return
        if all(words[word] == value for word, value in wanted.items()):
            return  # the same in the gate's own units
        source = ", ".join(sorted({self._wishes[limit].source for limit in changes}))
        asked = held.ask(wanted, self._asker)
        if asked is None:
            self._problem, self._blocked = "another command holds the segment", True
            if changes.get("kill"):
                self.killed = True
                self._audit(self.name, "kill written, not confirmed", {"kill": 1}, source)
            return
        if any(map(self._is_again, changes)):
            self.again += 1
            self._leave_until = now + _AGAIN
        if self._asked is None:
            self._limit = now + _ANSWER
        self._asked = asked
        self._stack.append((changes, source))
        self._audit(self.name, "asked", changes, source)

    def _is_late(self, now: float) -> bool:
        return self._asked is not None and now >= self._limit

    def _find_changes(self, present: Mapping[str, Number], now: float) -> dict[str, Number]:
        """Returns the limits that are to be and are not. A kill switch that this process has not set stays on. What
        somebody else has changed behind a confirmation is set again, but not at once each time: two processes that want
        different values would write without an end."""
        found = {
            limit: wish.value
            for limit, wish in self._wishes.items()
            if (is_tighter(limit, wish.value, present[limit]) if wish.tighten else present[limit] != wish.value)
        }
        if found.get("kill") == 0 and not (self._may_resume and self.killed):
            del found["kill"]
            self._tell_kept()
        if now < self._leave_until and (
            left := [limit for limit in found if limit != "kill" and self._is_again(limit)]
        ):
            self._problem = (
                f"somebody else changes {', '.join(left)} again and again: set again once in {_AGAIN:g} s; another"
                " desk sync?"
            )
            found = {limit: value for limit, value in found.items() if limit not in left}
        return found

    def _tell_kept(self) -> None:
        if self._told_kept:
            return
        self._told_kept = True
        why = "desk sync has not set it since its start" if self._may_resume else "may_resume is false"
        print_message(
            f"desk: sync: {self.name}: {escape(self._wishes['kill'].source)} is 0, and kill stays set: {why};"
            f" agent resume {self.name}"
        )

    def _is_again(self, limit: str) -> bool:
        """Whether the value that a limit is to have was confirmed before."""
        return self._done.get(limit) == self._wishes[limit].value

    def _look_for_answer(self, asked: Asked, now: float) -> None:
        answered, journaled = asked.read()
        if answered:
            self._problem = ""
            while self._stack:
                self._confirm(*self._stack.pop(0), journaled)
        elif now < self._limit:
            return
        else:
            self._problem = "not confirmed" if self._held is None else explain_silence(self._held.read())
            self._tell_unconfirmed()
        self._end_request()

    def _confirm(self, changes: dict[str, Number], source: str, journaled: bool) -> None:
        """Note that the loop has seen a change, where no later one has taken its place before."""
        if any(changes.keys() & later.keys() for later, _ in self._stack):
            self._audit(self.name, "replaced, not confirmed", changes, source)
            return
        self.confirmed += 1
        self._done |= changes
        if "kill" in changes:
            self.killed = bool(changes["kill"])
        if journaled:
            self._unjournaled -= changes.keys()
        else:
            self._unjournaled |= changes.keys()
        self._audit(self.name, "confirmed" if journaled else "confirmed, not journaled", changes, source)

    def _tell_unconfirmed(self) -> None:
        for changes, source in self._stack:
            self.unconfirmed += 1
            self._audit(self.name, "not confirmed", changes, source)

    def _end_request(self) -> None:
        self._asked = None
        self._stack.clear()
        if self._held is not None:
            self._held.release()

    def _lose(self, why: str) -> None:
        self._problem = why
        self._tell_unconfirmed()
        self._forget()

    def _forget(self) -> None:
        self._end_request()
        if self._held is not None:
            self._held.close()
        self._held, self._runs = None, False
        self._done.clear()
        self._unjournaled.clear()
        self._next_look = time.monotonic() + _LOOK
