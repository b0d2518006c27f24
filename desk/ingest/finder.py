"""What only the brokers know of partitions, asked by a thread, so that the loop waits for no answer.

The thread has a client of its own: confluent_kafka lets one call into a client at a time, and the loop's would wait for
as long as the brokers do not answer.

Sources: KIP-516 (topics have ids), which brokers tell since version 2.8.
"""

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, NamedTuple

from desk.ingest._lane import keep
from desk.kafka.consumer import make_admin, make_consumer
from desk.settings.kafka import Kafka

if TYPE_CHECKING:
    from confluent_kafka import Consumer
    from confluent_kafka.admin import AdminClient

#: Seconds that one answer may take.
LIMIT = 2.0
_Key = tuple[str, int]


_UNTOLD = "topic_id: the brokers do not tell it, as those of Kafka 2.8 and later do; name an incarnation"


class _Untold(Exception):
    """The brokers do not tell a topic's id; the message says why."""


class Found(NamedTuple):
    """Of a partition: the topic's incarnation, the offsets of the log's oldest record and of the next one, and what the
    group has committed (< 0: nothing), with the note beside it."""

    key: _Key
    incarnation: str
    low: int
    high: int
    committed: int
    note: str


class NotFound(NamedTuple):
    """What the brokers said instead."""

    key: _Key
    why: str


class Finder:
    """Asks, one partition after the other, from a thread of its own. incarnations: as configured, by topic; "": asked
    for. Raises DeskError: settings of the client."""

    def __init__(self, kafka: Kafka, incarnations: dict[str, str]) -> None:
        self._incarnations = incarnations
        self._consumer: Consumer = make_consumer(kafka)
        keep(self._consumer)
        self._admin: AdminClient | None = make_admin(kafka) if "" in incarnations.values() else None
        if self._admin is not None:
            keep(self._admin)
        self._asked: queue.SimpleQueue[_Key | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Found | NotFound] = queue.SimpleQueue()
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="finder", daemon=True)
        self._thread.start()

    def ask(self, key: _Key) -> None:
        """Ask about a partition; the answer comes by take()."""
        self._asked.put(key)

    def take(self) -> Found | NotFound | None:
        """Returns an answer, None: there is none yet."""
        return None if self._answers.empty() else self._answers.get()

    def close(self) -> bool:
        """End the thread. Returns whether it has ended, which takes as long as the answer that it waits for."""
        self._ended = True
        self._asked.put(None)
        self._thread.join(LIMIT + 2)
        return not self._thread.is_alive()

    def _work(self) -> None:
        from confluent_kafka import KafkaException

        while (key := self._asked.get()) is not None and not self._ended:
            try:
                self._answers.put(self._find(key))
            except (KafkaException, RuntimeError, _Untold) as error:  # RuntimeError: the consumer is closed
                self._answers.put(NotFound(key, explain(error)))

    def _find(self, key: _Key) -> Found | NotFound:
        from confluent_kafka import KafkaException, TopicPartition

        topic, partition = key
        try:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=LIMIT)
        except KafkaException:
            # The client would go on believing that there is no such topic.
            with contextlib.suppress(KafkaException):
                self._consumer.list_topics(topic, timeout=LIMIT / 4)
            raise
        incarnation = self._incarnations[topic]
        if not incarnation and not self._ended:
            incarnation = self._find_id(topic)
        (at,) = self._consumer.committed([TopicPartition(topic, partition)], timeout=LIMIT)
        if at.error is not None:
            return NotFound(key, at.error.str())
        return Found(key, incarnation, low, high, at.offset, at.metadata or "")

    def _find_id(self, topic: str) -> str:
        """Returns a topic's id. Raises _Untold."""
        from confluent_kafka import KafkaException, TopicCollection

        assert self._admin is not None
        (answer,) = self._admin.describe_topics(TopicCollection([topic]), request_timeout=LIMIT).values()
        try:
            found = answer.result(LIMIT + 1).topic_id
        except (KafkaException, TimeoutError) as error:
            raise _Untold(f"{_UNTOLD} ({explain(error)})") from None
        if found is None:
            raise _Untold(_UNTOLD)
        return str(found)


def explain(error: Exception) -> str:
    """Returns what an error says, in one line."""
    from confluent_kafka import KafkaException

    if isinstance(error, KafkaException):
        return str(error.args[0].str())
    return "no answer" if isinstance(error, TimeoutError) else str(error)
