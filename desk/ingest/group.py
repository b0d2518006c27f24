"""Partitions that the consumer group distributes: what is done when one goes, and when one comes.

One that goes: the engine is killed, the ring's reader takes what is in the ring, its offset is committed with a note
that says so, the session is ended; only then is the partition let go of, and another host may have it. A broker that
takes no offset while the group rebalances is told again until it does, and the other host waits for the note. One that
comes: the engine's gate is closed, the reading begins where the last host's has ended, and the gate is opened when the
reading has reached the log's end. Sources: KIP-345 (static membership), KIP-429 (cooperative rebalancing), KIP-848.
"""

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from desk.errors import DeskError
from desk.ingest.partition import Partition
from desk.settings.kafka import Kafka
from hosttune.output import escape, print_message

if TYPE_CHECKING:
    from confluent_kafka import Consumer, TopicPartition

#: Seconds that a ring's reader has to take what is left, when its partition goes; between two attempts to commit how
#: far it is; and after which there is none any more.
_DRAIN, _AGAIN, _GIVE_UP = 5.0, 0.2, 60.0
_Key = tuple[str, int]


class Group:
    """This process as a member. partitions: those that it can serve. report: called with what went wrong.

    Raises DeskError: the member has no name.
    """

    def __init__(
        self, kafka: Kafka, consumer: "Consumer", partitions: dict[_Key, Partition], report: Callable[[str], Any]
    ) -> None:
        if not kafka.member:
            raise DeskError("kafka.member: missing, and required with ingest.group: the shard's name, which keeps its "
                            "partitions while it restarts")  # fmt: skip
        self._consumer, self._partitions, self._report = consumer, partitions, report
        self.assigned = self.revoked = 0
        self._owed: dict[_Key, TopicPartition] = {}
        self._owed_until = self._owed_at = 0.0
        for part in partitions.values():
            part.state = "away"
        topics = sorted({topic for topic, _ in partitions})
        consumer.subscribe(topics, on_assign=self._take, on_revoke=self._give, on_lost=self._lose)

    def _take(self, consumer: "Consumer", given: list["TopicPartition"]) -> None:
        from confluent_kafka import OFFSET_BEGINNING

        for at in given:
            at.offset = OFFSET_BEGINNING  # of none that is paused anything comes
        consumer.incremental_assign(given)
        consumer.pause(given)  # where to begin is asked for first
        for at in given:
            part = self._partitions.get((at.topic, at.partition))
            if part is None:
                print_message(escape(f"desk: ingest: {at.topic}-{at.partition}: given by the group, and not among "
                                     "`partitions`: nobody reads it"))  # fmt: skip
                continue
            self.assigned += 1
            self._owed.pop(part.key, None)
            part.gate.close()
            part.state, part.ask_at = "finds", 0.0

    def _give(self, consumer: "Consumer", gone: list["TopicPartition"]) -> None:
        from confluent_kafka import KafkaException

        parts = [part for at in gone if (part := self._partitions.get((at.topic, at.partition))) is not None]
        for part in parts:
            part.gate.close()
            self.revoked += 1
        until = time.monotonic() + _DRAIN
        reading = [part for part in parts if part.state == "reads"]
        while time.monotonic() < until and any(part.lane.find_passed() < part.lane.next for part in reading):
            time.sleep(0.001)
        if places := [part.place(left=True) for part in reading if part.lane.find_passed() >= 0]:
            try:
                consumer.commit(offsets=places, asynchronous=False)
            except KafkaException as error:
                self._report(error.args[0].str())
                self._owed |= {(at.topic, at.partition): at for at in places}
                self._owed_until = time.monotonic() + _GIVE_UP
        for part in parts:
            part.leave()
        consumer.incremental_unassign(gone)

    def _lose(self, consumer: "Consumer", gone: list["TopicPartition"]) -> None:
        """The group has thought that this member was gone: another one may have the partitions."""
        for at in gone:
            if (part := self._partitions.get((at.topic, at.partition))) is not None:
                part.gate.close()
                part.leave()
                self.revoked += 1
        consumer.incremental_unassign(gone)

    def settle(self, now: float) -> None:
        """Commit again what could not be committed when the partition went."""
        if not self._owed or now < self._owed_at:
            return
        self._owed_at = now + _AGAIN
        if now > self._owed_until:
            self._owed.clear()
            return
        from confluent_kafka import KafkaException

        with contextlib.suppress(KafkaException):
            self._consumer.commit(offsets=list(self._owed.values()), asynchronous=True)

    def note_commit(self, key: _Key) -> None:
        """Note that a partition's offset was committed."""
        self._owed.pop(key, None)

    def begin(self, part: Partition, at: "TopicPartition") -> bool:
        """Have a partition's records come from an offset on. Returns False where the client refuses."""
        from confluent_kafka import KafkaException

        try:
            self._consumer.incremental_unassign([at])  # its place among the group's stays
            part.lane.open_queue()
            self._consumer.incremental_assign([at])
            self._consumer.resume([at])
        except KafkaException as error:
            self._report(error.args[0].str())
            return False
        return True
