"""An idempotent producer: what is sent again after an error is in the topic once, and in order."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from desk.kafka.options import make_client, producer_options
from desk.settings.kafka import Kafka

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Producer


def make_producer(kafka: Kafka, on_error: Callable[["KafkaError"], Any] | None = None, **more: Any) -> "Producer":
    """Returns a producer. on_error: called by poll() and flush() with what happened to the connections, and with a
    fatal error, after which the producer takes nothing more. more: further callbacks, by librdkafka's names (stats_cb).

    produce() raises BufferError where queue.buffering.max.messages wait: then poll(), and try again. A record that is
    not acknowledged within message.timeout.ms is given up, which its on_delivery says. Raises DeskError for settings
    that librdkafka does not take.
    """
    from confluent_kafka import Producer

    callbacks = more if on_error is None else {"error_cb": on_error, **more}
    producer: Producer = make_client(Producer, producer_options(kafka), **callbacks)
    return producer
