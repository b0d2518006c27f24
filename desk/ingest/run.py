"""The loop of `desk ingest`: move what is there into the rings, commit what their readers have taken, say how it is."""

import contextlib
import os
import select
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from desk.counters import Counters
from desk.errors import DeskError
from desk.ingest import _lane
from desk.ingest.codec import make_codec
from desk.ingest.finder import Finder, Found
from desk.ingest.group import Group
from desk.ingest.partition import Partition
from desk.ingest.place import explain_strange, open_ring
from desk.ingest.requests import Server
from desk.kafka.consumer import make_consumer
from desk.kafka.lines import Lines
from desk.service import serve
from desk.settings.ingest import Ingest
from desk.settings.kafka import Kafka
from desk.stop import Stop

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, TopicPartition

#: Seconds: that the loop sleeps when nothing comes; while a ring is full; between two looks at what else is due;
#: between two questions about where a partition's reading begins; that the end waits for the brokers; and that the loop
#: waits for one answer, behind an error that says that the consumer knows a topic as it was.
_IDLE, _FULL, _LOOK, _ASK, _END, _REFRESH = 0.02, 0.001, 0.01, 1.0, 1.0, 0.2
_Key = tuple[str, int]


def run(kafka: Kafka, wanted: Ingest) -> None:
    """Run until SIGTERM or SIGINT. Raises DeskError: settings, a secret, a ring, the counters."""
    stop = Stop()
    with contextlib.ExitStack() as held:
        counters = held.enter_context(Counters.open(wanted.name, "ingest"))
        loop = Loop(kafka, wanted, held)
        held.callback(lambda: counters.publish(loop.count(), loop.describe()))  # once it is closed
        parts = ", ".join(f"{topic}-{number}" for topic, number in loop.partitions)
        serve(loop, counters, stop, f"ingest: {parts} of {kafka.servers}")
    stop.raise_interrupt()


def load_library() -> None:
    """Let the lanes find librdkafka, which confluent_kafka has loaded. Raises DeskError."""
    import confluent_kafka  # noqa: F401

    with open("/proc/self/maps") as maps:
        paths = {line.split(None, 5)[5].rstrip("\n") for line in maps if "librdkafka" in line}
    if not paths:
        raise DeskError("librdkafka: confluent_kafka has not loaded it as a library of its own")
    try:
        _lane.load(min(paths))
    except OSError as error:
        raise DeskError(f"librdkafka: {error}") from None


class Loop:
    """Brokers, partitions, and what is due when. held: what is closed at the end, rings among it."""

    def __init__(self, kafka: Kafka, wanted: Ingest, held: contextlib.ExitStack) -> None:
        self._wanted = wanted
        self.broker_errors = self.commit_errors = self.commits = 0
        self.broker = ""
        self._lines = Lines("desk: ingest")
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        held.callback(os.close, self._wake)
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        load_library()
        plugin: dict[str, Any] = {"plugin.library.paths": _lane.__file__, "on_commit": self._note_commit}
        self.consumer: Consumer = make_consumer(kafka, self._note_error, **plugin)
        _lane.keep(self.consumer)
        if not (client := _lane.take_client()):
            raise DeskError("librdkafka: does not load plugins, which desk ingest needs")
        self.partitions: dict[_Key, Partition] = {}
        member = kafka.member if wanted.group else ""
        for topic in wanted.topics:
            for number in topic.partitions:
                codec = make_codec(topic)  # a decoder of its own, with counters of its own
                opened = open_ring(Path(topic.ring_of(number)), wanted.capacity, codec.record_size)
                ring, place = held.enter_context(opened)
                lane = _lane.Lane(client, topic.name, number, ring, place, b" " * 10, wanted.batch, self._wake,
                                  codec.field, codec.decoder)  # fmt: skip
                held.callback(lane.close)
                if not lane.is_known():
                    raise DeskError(explain_strange(Path(topic.ring_of(number))))
                self.partitions[topic.name, number] = Partition(
                    topic, number, lane, codec, member, wanted.truncated_ms / 1000
                )
        self._finder = Finder(kafka, {topic.name: topic.incarnation for topic in wanted.topics})
        self.server = None if wanted.requests is None else Server(kafka, wanted.requests, self._find_key)
        self._assigned: set[_Key] = set()
        self._group: Group | None = None
        if wanted.group:
            self._group = Group(kafka, self.consumer, self.partitions, self._report)
        #: Partitions of which the consumer may still believe what was before: that there is no such topic, say.
        self._stale: set[_Key] = set()
        self._look_at = self._commit_at = self._beat_at = 0.0
        self.longest = 0.0

    def _find_key(self, session: bytes) -> tuple[_Key, int] | None:
        """Returns the partition with a session, and the field of its messages; None: there is none."""
        name = session.decode("ascii", "replace").rstrip(" ")
        parts = (part for part in list(self.partitions.values()) if name and part.session == name)
        return next(((part.key, part.codec.field) for part in parts), None)

    def step(self) -> None:
        """Move what is there; then do what is due; and wait where there was nothing."""
        begun = time.monotonic()
        moved, full = 0, False
        for part in self.partitions.values():
            if part.state == "reads":
                moved += part.lane.move()
                full = full or part.lane.full
        if begun >= self._look_at:
            self._look_at = begun + _LOOK
            self._look(begun)
        self.longest = max(self.longest, time.monotonic() - begun)
        if not moved and self._poll.poll(1000 * (_FULL if full else _IDLE)):
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake)

    def _look(self, now: float) -> None:
        # What it has to say comes by callbacks. A record that comes is of a partition whose queue the lane has lost.
        found = self.consumer.poll(0)
        if found is not None and found.error() is None:
            lost = self.partitions.get((found.topic(), found.partition()))
            if lost is not None and lost.state == "reads":
                lost.errors += 1
                self._find_again(lost)
        while (answer := self._finder.take()) is not None:
            part = self.partitions[answer.key]
            if part.state != "finds":
                continue
            part.ask_at = now + _ASK
            if isinstance(answer, Found):
                part.note_broker("")
                self._begin(part, answer, now)
            else:
                part.note_broker(answer.why)
        for part in self.partitions.values():
            if part.state == "finds":
                if part.ask_at <= now:
                    part.ask_at = float("inf")
                    self._finder.ask(part.key)
            elif part.state == "reads" and part.check():
                self._find_again(part)
                self._stale.add(part.key)
            if part.gate.ours and part.state == "reads" and part.has_caught_up(self._find_high(part.key)):
                part.gate.open()
        if self._group is not None:
            self._group.settle(now)
        if now >= self._commit_at:
            self._commit_at = now + self._wanted.commit_ms / 1000
            self._commit()
            self._check_ends(now)
        if now >= self._beat_at:
            self._beat_at = now + self._wanted.heartbeat_ms / 1000
            for part in self.partitions.values():
                if part.state == "reads":
                    part.lane.beat()

    def _begin(self, part: Partition, found: Found, now: float) -> None:
        offset = part.locate(found, now)
        if offset is None:
            return
        self._refresh(part)
        if self._group is not None:
            if not self._group.begin(part, self._at(part.key, offset)):
                part.state, part.ask_at = "finds", now + _LOOK
            self._commit_at = now  # whom the group asks knows from now on who has it
            return
        self._unassign(part)
        part.lane.open_queue()
        self.consumer.incremental_assign([self._at(part.key, offset)])
        self._assigned.add(part.key)

    def _refresh(self, part: Partition) -> None:
        """Have the consumer ask what the finder's client has just been told, where it may believe something else."""
        from confluent_kafka import KafkaException

        if part.key in self._stale:
            self._stale.discard(part.key)
            with contextlib.suppress(KafkaException):  # then its next error begins anew
                self.consumer.list_topics(part.topic.name, timeout=_REFRESH)

    def _find_again(self, part: Partition) -> None:
        self._unassign(part)
        part.state, part.ask_at = "finds", 0.0

    def _unassign(self, part: Partition) -> None:
        if part.key in self._assigned:
            self._assigned.discard(part.key)
            self.consumer.incremental_unassign([self._at(part.key)])

    @staticmethod
    def _at(key: _Key, *offset: int, **more: Any) -> "TopicPartition":
        from confluent_kafka import TopicPartition

        return TopicPartition(*key, *offset, **more)

    def _commit(self) -> None:
        """Commit what the readers have taken."""
        from confluent_kafka import KafkaException

        moved = [
            (part, passed)
            for part in self.partitions.values()
            if part.state == "reads" and (passed := part.lane.find_passed()) > max(part.committed, part.begun)
        ]
        if not moved:
            return
        try:
            self.consumer.commit(offsets=[part.place() for part, _ in moved], asynchronous=True)
        except KafkaException as error:
            self._note_error(error.args[0])

    def _note_commit(self, error: "KafkaError | None", offsets: list["TopicPartition"]) -> None:
        for at in offsets:
            part = self.partitions.get((at.topic, at.partition))
            if (failed := error or at.error) is not None:
                self.commit_errors += 1
                self.broker = failed.str()
            elif part is not None:
                part.committed = max(part.committed, at.offset)
                self.commits += 1
                if self._group is not None:
                    self._group.note_commit(part.key)

    def _note_error(self, error: "KafkaError") -> None:
        self.broker_errors += 1
        # That all brokers are down follows on the error that says why.
        if not self.broker or error.code() != error._ALL_BROKERS_DOWN:
            self._report(error.str())

    def _report(self, text: str) -> None:
        self.broker = text
        self._lines.say(text)

    def _check_ends(self, now: float) -> None:
        for part in self.partitions.values():
            if part.state == "reads" and (high := self._find_high(part.key)) is not None and part.is_behind(high, now):
                self._find_again(part)

    def _find_high(self, key: _Key) -> int | None:
        """Returns the offset behind a log's last record, as the last answer to a fetch said; None: not known."""
        from confluent_kafka import KafkaException

        with contextlib.suppress(KafkaException, RuntimeError):  # which a consumer that is closed raises
            known = self.consumer.get_watermark_offsets(self._at(key), cached=True)
            if known is not None and known[1] >= 0:
                return int(known[1])
        return None

    def close(self) -> None:
        """Commit what the readers have taken, and let go of the queues; as long as _END at most, and an answer."""
        until = time.monotonic() + _END
        self._commit()
        while self._is_uncommitted() and time.monotonic() < until:
            self.consumer.poll(0.02)
        for part in self.partitions.values():
            part.lane.close()
        if self.server is not None:
            self.server.close()
        self._finder.close()

    def _is_uncommitted(self) -> bool:
        reading = (part for part in self.partitions.values() if part.state == "reads")
        return any(part.lane.find_passed() > max(part.committed, part.begun) for part in reading)

    def count(self) -> dict[str, int | float]:
        """Returns the numbers that are published."""
        found: dict[str, int | float] = {
            "broker_errors": self.broker_errors,
            "commits": self.commits,
            "commit_errors": self.commit_errors,
            "longest_step_seconds": self.longest,
        }
        if self.server is not None:
            found |= {"requests": self.server.answered, "requests_unanswered": self.server.unanswered}
        if self._group is not None:
            found |= {"assigned": self._group.assigned, "revoked": self._group.revoked}
        for key, part in self.partitions.items():
            lane, label = part.lane, f"[{part.label}]"
            found |= {
                f"records{label}": lane.pushed,
                f"repeated{label}": lane.repeated,
                f"too_long{label}": lane.too_long,
                f"refused{label}": lane.refused,
                f"holes{label}": lane.holes,
                f"missing{label}": lane.missing,
                f"expired{label}": part.expired,
                f"recreated{label}": part.recreated,
                f"full{label}": lane.times_full,
                f"errors{label}": part.errors,
                f"away{label}": int(part.state == "away"),
                f"gate_closed{label}": int(part.gate.ours),
                f"stands{label}": int(part.state == "finds"),
                f"problems{label}": int(bool(part.problem)),
                f"offset{label}": max(lane.next, 0),
                f"passed{label}": max(lane.find_passed(), 0),
            }
            if (decoder := part.codec.decoder) is not None:
                seen = decoder.counts
                found |= {f"unknown_fields{label}": seen["unknown"], f"mistyped_fields{label}": seen["mistyped"]}
            if lane.next >= 0 and (high := self._find_high(key)) is not None:
                found[f"lag{label}"] = max(0, high - lane.next)
        return found

    def describe(self) -> dict[str, str]:
        """Returns the texts that are published."""
        problems = [part for part in self.partitions.values() if part.problem or part.broker_problem]
        first = next((f"{part.label}: {part.problem or part.broker_problem}" for part in problems), "")
        return {
            "problem": first,
            "broker": self.broker,
            **{f"session[{part.label}]": part.session for part in self.partitions.values()},
            **{f"ring[{part.label}]": part.topic.ring_of(part.number) for part in self.partitions.values()},
            **{f"problem[{part.label}]": part.problem or part.broker_problem for part in problems},
        }
