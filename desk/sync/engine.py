"""One engine: what its limits are to be, a request to its loop at a time, and what the loop has confirmed."""

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

#: Seconds between two looks for a segment that is not there, or is of an engine that has ended.
_LOOK = 0.5
#: Seconds that a loop has for its answer. A loop that goes on later has the limits in force all the same.
_ANSWER = 2.0

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
        self._asked: Asked | None = None
        self._changes: dict[str, Number] = {}
        self._source = ""
        self._limit = self._next_look = 0.0
        #: Whether the kill switch that is on was set by this process.
        self.killed = False
        #: Why the last wish is not in force, "" where all are.
        self.problem = "not looked for yet"
        self.confirmed = self.unconfirmed = 0

    def wish(self, wishes: Mapping[str, Wish | None]) -> None:
        """Take what limits are to be from now on; None: what is in force stays."""
        for limit, wish in wishes.items():
            if wish is None:
                self._wishes.pop(limit, None)
            else:
                self._wishes[limit] = wish

    def step(self, now: float) -> Segment | None:
        """Look at the engine, ask its loop for what is not in force, or look for the answer; nothing waits. Returns a
        reading, None where no engine runs. now: seconds of time.monotonic()."""
        segment = self._attach(now)
        if segment is None or self._held is None:
            return None
        try:
            if self._asked is not None:
                self._look_for_answer(self._asked, segment, now)
            elif not self._ask(self._held, segment, now):
                self.problem = explain_silence(segment) if segment.condition == "hung" else ""
        except (SegmentError, OSError) as error:
            self._lose(str(error))
        return segment

    @property
    def waits(self) -> bool:
        """Whether the loop has been asked, and has not answered yet: no other command can ask it meanwhile."""
        return self._asked is not None

    def close(self) -> None:
        """Give the segment back. What was asked and not answered is told."""
        if self._asked is not None:
            self._audit(self.name, "not confirmed", self._changes, self._source)
        self._forget()

    def _attach(self, now: float) -> Segment | None:
        """Returns a reading of the running engine's segment, which a start may have replaced."""
        if self._held is not None and not self._held.is_at_path():
            self._lose("its segment was replaced by a start")
            self._next_look = now  # the new one is there already
        if self._held is None:
            if now < self._next_look:
                return None
            self._next_look = now + _LOOK
            try:
                self._held = OpenSegment(shm.find(self.wanted))
            except SegmentError as error:
                self.problem = str(error)
                return None
        try:
            segment = self._held.read()
        except SegmentError as error:
            self._lose(str(error))
            return None
        if not segment.trades or segment.state == "starting":
            self._lose(explain_silence(segment))
            return None
        return segment

    def _ask(self, held: OpenSegment, segment: Segment, now: float) -> bool:
        """Ask for the limits that are to be and are not. Returns whether there are any."""
        if not segment.limits["kill"]:
            self.killed = False
        changes = self._find_changes(segment)
        if not changes:
            return False
        try:
            words = limits.change_words(segment.limits, changes)
        except UsageError as error:
            self.problem = str(error)
            return True
        if all(segment.limits[word] == value for word, value in words.items()):
            return False  # the same in the gate's own units
        self._changes = changes
        self._source = ", ".join(sorted({self._wishes[limit].source for limit in changes}))
        self._asked = held.ask(words, self._asker)
        if self._asked is None:
            self.problem = "another command holds the segment"
            if changes.get("kill"):
                self.killed = True
                self._audit(self.name, "kill written, not confirmed", changes, self._source)
            return True
        self._limit = now + _ANSWER
        self._audit(self.name, "asked", changes, self._source)
        return True

    def _find_changes(self, segment: Segment) -> dict[str, Number]:
        """Returns the limits that are to be and are not. A kill switch that this process has not set stays on."""
        present = limits.from_words(segment.limits)
        found = {
            limit: wish.value
            for limit, wish in self._wishes.items()
            if (is_tighter(limit, wish.value, present[limit]) if wish.tighten else present[limit] != wish.value)
        }
        if found.get("kill") == 0 and not (self._may_resume and self.killed):
            del found["kill"]
        return found

    def _look_for_answer(self, asked: Asked, segment: Segment, now: float) -> None:
        answered, journaled = asked.read()
        if answered:
            self.confirmed += 1
            if "kill" in self._changes:
                self.killed = bool(self._changes["kill"])
            self._audit(self.name, "confirmed" if journaled else "confirmed, not journaled", self._changes,
                        self._source)  # fmt: skip
            self.problem = "" if journaled else "in force, and not journaled: a restart may forget it"
        elif now < self._limit:
            return
        else:
            self.unconfirmed += 1
            self.problem = explain_silence(segment)
            self._audit(self.name, "not confirmed", self._changes, self._source)
        self._asked = None
        if self._held is not None:
            self._held.release()

    def _lose(self, why: str) -> None:
        self.problem = why
        if self._asked is not None:
            self.unconfirmed += 1
            self._audit(self.name, "not confirmed", self._changes, self._source)
        self._forget()

    def _forget(self) -> None:
        if self._held is not None:
            self._held.release()
            self._held.close()
        self._held = self._asked = None
        self._next_look = time.monotonic() + _LOOK
