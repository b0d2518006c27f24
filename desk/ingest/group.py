"""Partitions that the consumer group distributes: what is done when one goes, and when one comes.

One that goes: the engine is killed, the ring's reader takes what is in the ring, its offset is committed, the session
is ended; only then is the partition let go of, and another host may have it. One that comes: the engine's gate is
closed, the reading begins where the last host's has ended, and the gate is opened when the reading has reached the
log's end. Sources: KIP-345 (static membership), KIP-429 (cooperative rebalancing), KIP-848.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from desk.errors import DeskError
from desk.ingest.partition import Partition
from desk.settings.kafka import Kafka
from hosttune.output import escape, print_message

if TYPE_CHECKING:
    from confluent_kafka import Consumer, TopicPartition

#: Seconds that a ring's reader has to take what is left, when its partition goes.
_DRAIN = 5.0
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
        if places := [part.place() for part in reading if part.lane.find_passed() > part.begun]:
            try:
                consumer.commit(offsets=places, asynchronous=False)
            except KafkaException as error:
                self._report(error.args[0].str())
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
