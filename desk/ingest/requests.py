"""Retransmission: a UDP server that answers MoldUDP64's requests with records of Kafka.

A request for the message with the sequence number s is one for the record with the offset s - 1. It is answered by one
packet, with as many of the messages as fit; the rest is asked for again. What the log does not have is not answered.
Source: Nasdaq "MoldUDP64 Protocol Specification", version 1.00, "Request Packet".
"""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from desk.errors import DeskError
from desk.ingest._lane import MOST_BYTES, find_message, keep
from desk.kafka.consumer import make_consumer
from desk.settings.ingest import Requests
from desk.settings.kafka import Kafka

if TYPE_CHECKING:
    from confluent_kafka import Consumer

_HEADER = struct.Struct(">10sQH")
#: Bytes of an answer, unless one message alone is longer; messages of it; records that are kept for the next one.
_PACKET, _MOST, _KEPT = 1400, 1000, 5000
#: Seconds that the socket and the brokers are waited for.
_TURN, _ANSWER = 0.2, 0.5
_Key = tuple[str, int]


class Server:
    """Answers from a thread of its own. find: the topic and partition with a session, and the number of the field that
    holds its messages (0: none does); None: no session.

    answered, unanswered: requests, counted. Raises DeskError: the socket, the settings of the client.
    """

    def __init__(self, kafka: Kafka, wanted: Requests, find: Callable[[bytes], tuple[_Key, int] | None]) -> None:
        self.answered = self.unanswered = 0
        self._find = find
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.bind((wanted.address, wanted.port))
        except OSError as error:
            self._socket.close()
            raise DeskError(f"ingest.requests {wanted.address}:{wanted.port}: {error.strerror}") from None
        self._socket.settimeout(_TURN)
        self._log = Log(make_consumer(kafka))
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="requests", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, within a second."""
        self._ended = True
        self._thread.join(2 * (_TURN + _ANSWER))
        self._socket.close()

    def _work(self) -> None:
        while not self._ended:
            try:
                request, sender = self._socket.recvfrom(64)
            except TimeoutError:
                continue
            except OSError:  # what a former answer met: its receiver is gone
                continue
            if (answer := self._answer(request)) is None:
                self.unanswered += 1
                continue
            with contextlib.suppress(OSError):
                self._socket.sendto(answer, sender)
                self.answered += 1

    def _answer(self, request: bytes) -> bytes | None:
        """Returns the packet that answers a request, None: nothing does."""
        if len(request) != _HEADER.size:
            return None
        session, sequence, count = _HEADER.unpack(request)
        found = self._find(session)
        if found is None or not 0 < sequence < 1 << 63 or not count:
            return None
        key, field = found
        blocks: list[bytes] = []
        size = _HEADER.size
        for record in self._log.read(key, sequence - 1, min(count, _MOST)):
            value = find_message(record, field)
            if value is None or len(value) > MOST_BYTES or (blocks and size + 2 + len(value) > _PACKET):
                break
            blocks.append(struct.pack(">H", len(value)) + value)
            size += 2 + len(value)
        return _HEADER.pack(session, sequence, len(blocks)) + b"".join(blocks) if blocks else None


class Log:
    """Records of partitions by their offset; those behind the last that was read are kept for the next question."""

    def __init__(self, consumer: "Consumer") -> None:
        self._consumer = consumer
        keep(consumer)
        self._key: _Key | None = None
        self._first = 0
        self._values: list[bytes] = []

    def read(self, key: _Key, offset: int, count: int) -> list[bytes]:
        """Returns the values from an offset on, up to `count`, up to the first offset without a record: none where
        there is none, or the brokers do not give it in time."""
        from confluent_kafka import KafkaException

        if key != self._key or not self._first <= offset < self._first + len(self._values):
            with contextlib.suppress(KafkaException):  # what came before it is an answer
                self._fetch(key, offset, count)
        at = offset - self._first
        return self._values[at : at + count]

    def _fetch(self, key: _Key, offset: int, count: int) -> None:
        from confluent_kafka import TopicPartition

        self._key, self._first, self._values = key, offset, []
        self._consumer.assign([TopicPartition(*key, offset)])
        until = time.monotonic() + _ANSWER
        while len(self._values) < min(count, _KEPT) and time.monotonic() < until:
            first = self._consumer.poll(0.05)
            if first is None:
                if self._values:
                    break
                continue
            for message in [first, *self._consumer.consume(_KEPT, 0)]:
                if message.error() is not None or message.offset() != offset + len(self._values):
                    return
                self._values.append(message.value() or b"")
