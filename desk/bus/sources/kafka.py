"""The source "kafka": the messages of topics, read beside all consumer groups."""

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

from desk.bus.bus import Bus
from desk.bus.events import KafkaMessage
from desk.bus.sources.source import Source
from desk.bus.threads import Worker
from desk.errors import DeskError
from desk.kafka.consumer import make_consumer
from desk.settings.kafka import Kafka
from desk.settings.run import KafkaSource

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

#: Messages that are taken at once, and seconds that the thread waits for the first of them.
_BATCH, _WAIT = 256, 0.2
#: Seconds that brokers have to say which partitions a topic has, and between two questions.
_ANSWER, _AGAIN = 5.0, 1.0


class Topics(Source):
    """Publishes KafkaMessage for each message. The client is called by a thread of its own, since its calls wait."""

    def __init__(self, wanted: KafkaSource, kafka: Kafka) -> None:
        super().__init__(wanted.name, 0)
        self._wanted, self._kafka = wanted, kafka
        self._consumer: Consumer | None = None
        self._thread = Worker(f"kafka {wanted.name}")

    def open(self) -> None:
        self._consumer = make_consumer(self._kafka, on_error=lambda error: self.tell(f"Kafka: {error.str()}"))

    async def run(self, bus: Bus) -> None:
        while not await self._thread.call(self._assign):
            await asyncio.sleep(_AGAIN)
        while True:
            for message in await self._thread.call(self._consume):
                self.events += 1
                await bus.send(self._make_event(message))

    def close(self) -> None:
        # Not while the thread is in the client: then the process ends with it.
        if self._consumer is not None and not self._thread.busy:
            self._consumer.close()

    def _assign(self) -> bool:
        """Take all partitions. Returns whether the brokers have said which there are."""
        from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaException, TopicPartition

        assert self._consumer is not None
        begin = OFFSET_BEGINNING if self._wanted.begin == "first" else OFFSET_END
        partitions = []
        try:
            for topic in self._wanted.topics:
                found = self._consumer.list_topics(topic, timeout=_ANSWER).topics[topic]
                if found.error is not None:
                    self.tell(f"topic {topic}: {found.error.str()}")
                    return False
                partitions += [TopicPartition(topic, number, begin) for number in sorted(found.partitions)]
            self._consumer.assign(partitions)
        except KafkaException as error:
            self.tell(f"Kafka: {error.args[0].str()}")
            return False
        self.tell("")
        return True

    def _consume(self) -> "list[Message]":
        """Returns the next messages: waits for one, and takes what is there. Raises DeskError for a log that does not
        have the next offset any more."""
        from confluent_kafka import KafkaError

        assert self._consumer is not None
        first = self._consumer.poll(_WAIT)
        if first is None:
            return []
        found = []
        for message in itertools.chain([first], self._consumer.consume(_BATCH - 1, 0)):
            if (error := message.error()) is None:
                found.append(message)
            elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
                raise DeskError(f"{message.topic()}[{message.partition()}]: messages are gone: {error.str()}")
            else:
                self.tell(f"Kafka: {error.str()}")
        if found:
            self.tell("")
        return found

    def _make_event(self, message: Any) -> KafkaMessage:
        kind, milliseconds = message.timestamp()
        return KafkaMessage(
            self.name, message.topic(), message.partition(), message.offset(),
            milliseconds * 1_000_000 if kind else 0, message.key(), message.value() or b"",
        )  # fmt: skip
