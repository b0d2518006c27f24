"""A consumer that commits only what it is told to, and that never resets an offset by itself."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from desk.kafka.options import admin_options, consumer_options, make_client
from desk.settings.kafka import Kafka

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError
    from confluent_kafka.admin import AdminClient


def make_consumer(kafka: Kafka, on_error: Callable[["KafkaError"], Any] | None = None, **more: Any) -> "Consumer":
    """Returns a consumer. on_error: called by poll() and consume() with what happened to the connections. more: further
    callbacks, by librdkafka's names. Raises DeskError for settings that librdkafka does not take."""
    from confluent_kafka import Consumer

    callbacks = more if on_error is None else {"error_cb": on_error, **more}
    consumer: Consumer = make_client(Consumer, consumer_options(kafka), **callbacks)
    return consumer


def make_admin(kafka: Kafka) -> "AdminClient":
    """Returns a client that asks about topics. It has to live until its futures have been read. Raises DeskError."""
    from confluent_kafka.admin import AdminClient

    admin: AdminClient = make_client(AdminClient, admin_options(kafka))
    return admin
