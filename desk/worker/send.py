"""Results out of their ring to a topic: at least once, in order, each with the sequence of its record as the key.

A result stays in the ring until a broker has acknowledged it. So brokers that are away stop nothing but this: results
wait in the ring, and where the ring is full the worker waits, and its records stay in the input. What was sent and not
acknowledged when the process ended, or when sending failed, is sent again.
"""

import contextlib
import struct
import time
from collections import deque
from typing import TYPE_CHECKING

from agent.shm.ring import Ring
from desk.codec import Encoder
from desk.codec.schema import SchemaError, read_descriptor_set
from desk.errors import DeskError
from desk.kafka.producer import make_producer
from desk.settings.kafka import Kafka
from desk.settings.worker import Topic

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer

#: What a producer of results needs: in a partition none comes before one of a lower sequence, but for those that were
#: there already. A message waits for as long as it takes, and what a broker has refused ends the producer before the
#: next message is sent.
IN_ORDER = {
    "message.timeout.ms": 0,
    "max.in.flight.requests.per.connection": 1,
    "enable.gapless.guarantee": True,
}
#: Seconds before what failed is sent again.
_BACKOFF = 1.0
#: Seconds that the end waits for acknowledgements.
_LAST = 2.0


class _Sent:
    """A message that was handed to the producer. records: results in it; done: acknowledged."""

    __slots__ = ("done", "records")

    def __init__(self, records: int) -> None:
        self.records, self.done = records, False


class Sender:
    """The reader of a worker's output ring, and the producer of what it reads. Of the thread that runs the worker.

    Raises DeskError for a message that a result cannot be, and for settings that librdkafka does not take.
    """

    def __init__(self, kafka: Kafka, topic: Topic, ring: Ring) -> None:
        self._kafka, self._topic, self._ring = kafka, topic, ring
        self._encoder = _make_fitting_encoder(topic, ring.record_size)
        self._waiting: deque[_Sent] = deque()
        self._failed = ""
        self._retry_at = 0.0
        #: So far: results sent, again or not; acknowledged; failures. Now: results sent and not acknowledged; what went
        #: wrong since the last acknowledgement.
        self.sent = self.acknowledged = self.failures = self.in_flight = 0
        self.problem = ""
        self._producer = self._make_producer()

    def _make_producer(self) -> "Producer":
        return make_producer(self._kafka, self._note_error, **IN_ORDER)

    def _note_error(self, error: "KafkaError") -> None:
        self.problem = error.str()
        if error.fatal():
            self._failed = error.str()

    def step(self) -> None:
        """Take acknowledged results off the ring, and send those that came since. Never waits for a broker."""
        self._poll(0)
        self._commit()
        if self._failed:
            self._restart()
        elif time.monotonic() >= self._retry_at:
            self._send()

    def is_waiting(self) -> bool:
        """Returns whether results wait for a broker, or to be sent."""
        return self._ring.used > 0

    def _poll(self, timeout: float) -> None:
        """Have the producer say what became of messages. A fatal error is kept for _restart()."""
        from confluent_kafka import KafkaException

        try:
            self._producer.poll(timeout)
        except KafkaException as error:
            self._failed = error.args[0].str()

    def _send(self) -> None:
        size = self._ring.record_size
        if self.in_flight >= self._topic.in_flight or self._ring.used <= self.in_flight * size:
            return
        block = memoryview(self._ring.peek_block())[self.in_flight * size :]
        block = block[: (self._topic.in_flight - self.in_flight) * size]
        batch = self._topic.batch if self._encoder is not None and self._encoder.many else 1
        with contextlib.suppress(BufferError):  # the producer has no room: later
            if batch > 1:
                for at in range(0, len(block), batch * size):
                    part = block[at : at + batch * size]
                    self._produce(part, self._encoder.encode_many(part)[0], len(part) // size)  # type: ignore[union-attr]
                return
            values = [block[at : at + size].tobytes() for at in range(0, len(block), size)] if self._encoder is None \
                else self._encoder.encode_many(block)  # fmt: skip
            for at, value in enumerate(values):
                self._produce(block[at * size :], value, 1)

    def _produce(self, first: memoryview, value: bytes, records: int) -> None:
        """Hand a message to the producer; first: begins with the result that gives the message its key. Raises
        BufferError where the producer has no room."""
        from confluent_kafka import KafkaException

        sent = _Sent(records)

        def note(error: "KafkaError | None", message: "Message") -> None:
            if error is None:
                sent.done = True
            else:
                self._failed = self._failed or error.str()

        key = b"%d" % struct.unpack_from("<Q", first)[0]
        try:
            self._producer.produce(self._topic.name, value, key, on_delivery=note)
        except KafkaException as error:
            self._failed = error.args[0].str()
            raise BufferError from None
        self._waiting.append(sent)
        self.in_flight += records
        self.sent += records

    def _commit(self) -> None:
        """Take off the ring what is acknowledged, up to the first result that is not."""
        records = 0
        while self._waiting and self._waiting[0].done:
            records += self._waiting.popleft().records
        if not records:
            return
        self.in_flight -= records
        self.acknowledged += records
        self.problem = ""
        while records and (block := self._ring.peek_block()):  # twice where the ring's end is between them
            found = min(records, len(block) // self._ring.record_size)
            self._ring.commit(found)
            records -= found

    def _restart(self) -> None:
        """Give up what is in flight, which stays in the ring, and send it again a while later, by another producer."""
        self.failures += 1
        self.problem, self._failed = self._failed, ""
        self._producer.purge()
        self._poll(0)
        self._commit()
        self._waiting.clear()
        self.in_flight, self._failed = 0, ""
        self._producer = self._make_producer()
        self._retry_at = time.monotonic() + _BACKOFF

    def close(self) -> None:
        """Send what there is, and wait for acknowledgements, for _LAST seconds at most; the rest stays in the ring."""
        limit = time.monotonic() + _LAST
        while time.monotonic() < limit:
            self.step()
            if not self._ring.used or self._failed or self.problem:
                break
            self._poll(0.01)
        self._commit()
        self._producer.purge()


def make_encoder(topic: Topic) -> Encoder | None:
    """Returns what makes messages of results; None: results go as they are. Raises DeskError: the schema cannot be
    read, or has no such message or field."""
    if not topic.message:
        return None
    try:
        schema = read_descriptor_set(topic.descriptor_set)
    except SchemaError as error:
        raise DeskError(f"topic.descriptor_set: {error}") from None
    return Encoder(schema, topic.message, topic.fields)


def _make_fitting_encoder(topic: Topic, size: int) -> Encoder | None:
    """Returns make_encoder()'s, for results of `size` bytes. Raises DeskError."""
    encoder = make_encoder(topic)
    if encoder is not None and encoder.record_size != size:
        raise DeskError(
            f"topic.fields: found {len(topic.fields)}, of 8 bytes each, allowed: those of a result of {size} bytes"
        )
    return encoder
