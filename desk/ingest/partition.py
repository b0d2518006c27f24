"""One partition: its lane into its ring, where its reading is, and what is wrong with it."""

from typing import TYPE_CHECKING, Literal

from desk.ingest import places
from desk.ingest._lane import Lane, explain
from desk.ingest.codec import Codec
from desk.ingest.finder import Found
from desk.ingest.gate import Gate
from desk.ingest.places import Known
from desk.ingest.sessions import TENURE, name_session, name_tenure
from desk.settings.ingest import Topic
from hosttune.output import escape, print_message

if TYPE_CHECKING:
    from confluent_kafka import TopicPartition

#: Errors of a log that does not have the offset: _AUTO_OFFSET_RESET, OFFSET_OUT_OF_RANGE, UNKNOWN_TOPIC_OR_PART,
#: _UNKNOWN_PARTITION, _UNKNOWN_TOPIC, UNKNOWN_TOPIC_ID (rd_kafka_resp_err_t).
_LOST = (-140, 1, 3, -190, -188, 100)
#: Seconds for which the last commit of a member of the group is waited for that may be dead.
HANDOVER = 5.0
#: finds: where its reading begins is being asked; reads: its records are taken; away: another member of
#: the group has it.
State = Literal["finds", "reads", "away"]


class Partition:
    """topic, number: of Kafka; lane: into the ring; codec: of its messages; member: of this process in the group that
    distributes it, "": none does. key: topic and number as (name, number); label: as its counters have it.

    problem: what is wrong with the log, broker_problem: what the brokers say; "": nothing. expired: records that were
    deleted, unread. recreated: how often the topic was made anew. errors: of the lane. begun, committed: the group's
    offset when the reading began, and the one that was committed last; -1: none.
    """

    def __init__(self, topic: Topic, number: int, lane: Lane, codec: Codec, member: str, truncated_s: float) -> None:
        self.topic, self.number, self.lane, self.codec, self.member = topic, number, lane, codec, member
        self.key, self.label = (topic.name, number), f"{topic.name}-{number}"
        self.state: State = "finds"
        self.session = ""
        self.problem = self.broker_problem = ""
        self.expired = self.recreated = self.errors = 0
        self.committed = self.begun = -1
        self.ask_at = 0.0
        self._truncated_s, self._behind_since = truncated_s, 0.0
        self._held_since = 0.0
        self._failed_at = -1
        self.gate = Gate(topic.engine_of(number))
        self.caught_up_at = 0

    def locate(self, found: Found, now: float) -> int | None:
        """Decide where the reading begins, by what the brokers said. Returns the offset, None: not now; the lane has
        been told."""
        of_ring = self.lane.read_place() if self.lane.next < 0 else (self.session.ljust(10).encode(), self.lane.next)
        ring = None if of_ring is None else (of_ring[0].decode("ascii", "replace").rstrip(" "), of_ring[1])
        known = Known(ring, found.committed, *places.read_note(found.note))
        if self.member and places.is_held(known, self._name_whole(found)[:TENURE]):
            self._held_since = self._held_since or now
            if now - self._held_since < HANDOVER:
                self.name(f"handover: who had it has not said how far its reader is: waits for {HANDOVER:g} s")
                return None
        self._held_since = 0.0
        place, session = self._choose(found, known)
        of_packets = session.ljust(10).encode()
        if place.offset is None:
            # A leader that has just become one may not yet know all of the log's end.
            self._behind_since = self._behind_since or now
            if now - self._behind_since >= self._truncated_s:
                self.name(place.problem)
            return None
        self._behind_since = 0.0
        if of_ring is not None and of_ring[0] != of_packets:
            if not self.lane.end_session(of_ring[1], of_ring[0]):
                return None  # the ring is full: later
            self.recreated += place.problem.startswith("topic_recreated")
        self.expired += place.lost
        self.name(place.problem)
        self.session = session
        self.lane.take_error()  # of another place
        self.lane.rename(of_packets)
        self.lane.start(place.offset, of_ring is not None and of_ring != (of_packets, place.offset))
        self.begun, self.committed = (found.committed if known.note == session else -1), -1
        self.state = "reads"
        self.caught_up_at = found.high
        return place.offset

    def _name_whole(self, found: Found) -> str:
        return name_session(*self.key, found.incarnation).decode()

    def _choose(self, found: Found, known: Known) -> tuple[places.Place, str]:
        """Returns where to begin, and the session of what comes."""
        whole = self._name_whole(found)
        if not self.member:
            session = self.topic.session or whole
            return places.choose_place(known, session, found.low, found.high, self.topic.start), session
        start = self.topic.start
        place, goes_on = places.choose_tenure(known, whole[:TENURE], found.low, found.high, start)
        if goes_on and known.ring is not None:
            return place, known.ring[0]
        return place, name_tenure(*self.key, found.incarnation, self.member, place.offset or 0).decode()

    def place(self, left: bool = False) -> "TopicPartition":
        """Returns what is committed: the offset behind what the reader has taken, and the session. left: by the last
        commit, before the partition is let go of."""
        from confluent_kafka import TopicPartition

        return TopicPartition(*self.key, self.lane.find_passed(), metadata=places.write_note(self.session, left))

    def leave(self) -> None:
        """Let go of the partition: what is in the ring stays for its reader, with the end of the session behind it."""
        if self.state == "reads":
            self.lane.end_session(self.lane.next, self.session.ljust(10).encode())
        self.lane.stop()
        self.state, self._held_since = "away", 0.0
        self.problem = self.broker_problem = ""
        self._failed_at = -1

    def has_caught_up(self, high: int | None) -> bool:
        """Returns whether the reader has taken all that the log had when the reading began, and all since."""
        next = self.lane.next
        return high is not None and next >= max(high, self.caught_up_at) and self.lane.find_passed() >= next

    def name(self, problem: str) -> None:
        """Note what is wrong, and print it where it is new."""
        if problem and problem != self.problem:
            print_message(escape(f"desk: ingest: {self.label}: {problem}"))
        self.problem = problem

    def note_broker(self, problem: str) -> None:
        """Note what the brokers say is wrong; "": they answer."""
        if not problem and self._failed_at >= 0:
            return  # no record has come since
        if problem and problem != self.broker_problem:
            print_message(escape(f"desk: ingest: {self.label}: {problem}"))
        self.broker_problem = problem

    def check(self) -> bool:
        """Look at what the lane has met. Returns whether the place has to be found anew."""
        lane = self.lane
        if error := lane.take_error():
            self.errors += 1
            self._failed_at = lane.next
            self.note_broker(explain(error))
            return error in _LOST
        if self._failed_at >= 0 and lane.next > self._failed_at:
            self._failed_at = -1
            self.note_broker("")
        if lane.holes and not self.problem:
            self.name(f"offset_holes: {lane.missing} offsets have no record: a compacted or transactional topic, whose "
                      "holes are gaps to an engine")  # fmt: skip
        if lane.too_long and not self.problem:
            self.name(f"too_long: {lane.too_long} records are longer than a packet holds, and missing to an engine")
        return False

    def is_behind(self, high: int, now: float) -> bool:
        """Returns whether the log has ended before what was read for longer than it may."""
        if self.lane.next <= high:
            self._behind_since = 0.0
            return False
        self._behind_since = self._behind_since or now
        return now - self._behind_since >= self._truncated_s
