"""What the desk expects of any broker: of librdkafka's mock cluster, and of the one that $DESK_KAFKA names."""

import os
import time
import uuid

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from desk.kafka.consumer import make_consumer
from desk.kafka.producer import make_producer
from desk.settings.kafka import Kafka

LIMIT = 30.0


@pytest.fixture
def topic() -> str:
    return f"desk-test-{uuid.uuid4().hex[:12]}"


def produce(servers: str, topic: str, values: list[bytes]) -> None:
    producer = make_producer(Kafka(servers=servers))
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(LIMIT) == 0


def take(consumer: Consumer, count: int) -> list[Message]:
    found: list[Message] = []
    until = time.monotonic() + LIMIT
    while len(found) < count and time.monotonic() < until:
        if (first := consumer.poll(0.1)) is not None:
            found += [first, *consumer.consume(1000, 0)]
    return found


def test_an_offset_and_what_is_written_beside_it_come_back(servers: str, topic: str) -> None:
    produce(servers, topic, [b"%d" % number for number in range(1000)])
    kafka = Kafka(servers=servers, group=topic)
    consumer = make_consumer(kafka)
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = take(consumer, 1000)
    assert [(m.offset(), m.value()) for m in found] == [(n, b"%d" % n) for n in range(1000)]
    consumer.commit(offsets=[TopicPartition(topic, 0, 700, metadata="session-a")], asynchronous=False)
    consumer.close()
    again = make_consumer(kafka)
    (at,) = again.committed([TopicPartition(topic, 0)], timeout=LIMIT)
    assert (at.offset, at.metadata) == (700, "session-a")
    assert again.get_watermark_offsets(TopicPartition(topic, 0), timeout=LIMIT) == (0, 1000)
    again.assign([at])
    assert take(again, 300)[0].offset() == 700
    again.close()


def test_an_offset_that_the_log_does_not_have_is_an_error(servers: str, topic: str) -> None:
    produce(servers, topic, [b"one"])
    consumer = make_consumer(Kafka(servers=servers, group=topic))
    consumer.assign([TopicPartition(topic, 0, 500)])
    (found, *_) = take(consumer, 1)
    error = found.error()
    assert error is not None and error.name() == "_AUTO_OFFSET_RESET"
    consumer.close()


def test_of_two_members_each_has_half_of_the_partitions(servers: str, topic: str) -> None:
    if "DESK_KAFKA" in os.environ:
        from confluent_kafka.admin import NewTopic

        from desk.kafka.consumer import make_admin

        make_admin(Kafka(servers=servers)).create_topics([NewTopic(topic, 4, 1)])[topic].result(LIMIT)
    else:
        produce(servers, topic, [b"one"])
    members = [make_consumer(Kafka(servers=servers, group=topic, session_ms=6_000)) for _ in range(2)]
    for member in members:
        member.subscribe([topic])
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        for member in members:
            member.poll(0.05)
        held = [{one.partition for one in member.assignment()} for member in members]
        if all(held) and len(held[0]) == len(held[1]):
            break
    assert held[0].isdisjoint(held[1]) and len(held[0] | held[1]) == 4
    for member in members:
        member.close()
