"""A broker that is down, slow, frozen or killed: a client waits no longer than it is asked to, and loses nothing."""

import time
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from desk.kafka.consumer import make_consumer
from desk.kafka.producer import make_producer
from desk.settings.kafka import Kafka

from ..mock_kafka import MockKafka

LIMIT = 30.0
TOPIC = "ticks"
#: How a fault begins, and how it ends.
FAULTS: dict[str, tuple[Callable[[MockKafka], None], Callable[[MockKafka], None]]] = {
    "down": (MockKafka.set_down, MockKafka.set_up),
    "frozen": (MockKafka.freeze, MockKafka.thaw),
    "slow": (lambda mock: mock.set_delay(200), lambda mock: mock.set_delay(0)),
}


def read_all(consumer: Consumer, count: int, longest: float = 1.0) -> list[int]:
    """Returns the offsets of so many records; no call takes much longer than it may."""
    found: list[int] = []
    until = time.monotonic() + LIMIT
    while len(found) < count and time.monotonic() < until:
        before = time.monotonic()
        message = consumer.poll(0.02)
        assert time.monotonic() - before < longest
        if message is not None and message.error() is None:
            found += [m.offset() or 0 for m in [message, *consumer.consume(1000, 0)]]
    return found


@pytest.mark.parametrize("fault", list(FAULTS))
def test_after_a_fault_every_record_comes_once_and_in_order(mock: MockKafka, fault: str) -> None:
    mock.create_topic(TOPIC)
    kafka = Kafka(servers=mock.servers)
    errors: list[KafkaError] = []
    producer, consumer = make_producer(kafka, errors.append), make_consumer(kafka, errors.append)
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    for number in range(500):
        producer.produce(TOPIC, b"%d" % number, partition=0)
    assert producer.flush(LIMIT) == 0 and read_all(consumer, 500) == list(range(500))
    start, end = FAULTS[fault]
    start(mock)
    for number in range(500):
        producer.produce(TOPIC, b"%d" % number, partition=0)
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        before = time.monotonic()
        producer.poll(0)
        message = consumer.poll(0.02)
        assert time.monotonic() - before < 1.0
        if message is not None:
            consumer.seek(TopicPartition(TOPIC, 0, message.offset() or 0))
    end(mock)
    assert producer.flush(LIMIT) == 0
    assert read_all(consumer, 500) == list(range(500, 1000))
    assert not any(error.fatal() for error in errors)
    consumer.close()


def test_a_broker_that_is_killed_stops_no_loop(mock: MockKafka) -> None:
    mock.create_topic(TOPIC)
    errors: list[KafkaError] = []
    consumer = make_consumer(Kafka(servers=mock.servers), errors.append)
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    consumer.poll(0.1)
    mock.kill()
    until = time.monotonic() + LIMIT
    while not any(error.name() in ("_ALL_BROKERS_DOWN", "_TRANSPORT") for error in errors):
        before = time.monotonic()
        consumer.poll(0.02)
        assert time.monotonic() - before < 1.0 and time.monotonic() < until
    before = time.monotonic()
    consumer.close()
    assert time.monotonic() - before < 10.0
