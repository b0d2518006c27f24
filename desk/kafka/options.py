"""librdkafka's settings: the desk's defaults, over them those of [kafka.librdkafka], over them what the desk needs.

Source: librdkafka's CONFIGURATION.md, version 2.16.
"""

from collections.abc import Collection, Mapping
from typing import Any

from desk.errors import DeskError
from desk.kafka.lines import Lines
from desk.settings.kafka import KEY_PASSWORD_CREDENTIAL, OAUTH_SECRET_CREDENTIAL, PASSWORD_CREDENTIAL, Kafka
from desk.settings.secret import read_secret

#: Of every client: milliseconds that nothing waits longer than.
_COMMON: dict[str, Any] = {
    "client.id": "desk",
    "socket.timeout.ms": 10_000,
    "socket.connection.setup.timeout.ms": 5_000,
    "socket.keepalive.enable": True,
    "socket.nagle.disable": True,
    "reconnect.backoff.ms": 100,
    "reconnect.backoff.max.ms": 500,
    "retry.backoff.ms": 50,
    "retry.backoff.max.ms": 500,
    "topic.metadata.refresh.interval.ms": 10_000,
    "log.connection.close": False,
}
#: By default a client stops fetching for a second (fetch.queue.backoff.ms) where 100,000 records wait.
_CONSUMER: dict[str, Any] = {
    "queued.min.messages": 1_000_000,
    "queued.max.messages.kbytes": 65_536,
    "fetch.queue.backoff.ms": 5,
    "fetch.wait.max.ms": 5,
    "fetch.error.backoff.ms": 50,
    "max.poll.interval.ms": 300_000,
    "check.crcs": True,
    "allow.auto.create.topics": False,
}
#: Of the levels that confluent_kafka hands over, which are those of Python's logging.
_WARNING = 30
_PRODUCER: dict[str, Any] = {
    "linger.ms": 1,
    "request.timeout.ms": 5_000,
    "message.timeout.ms": 30_000,
    "queue.buffering.max.messages": 100_000,
    "queue.buffering.max.kbytes": 65_536,
}


#: What librdkafka warns of at each start, of a setting that the desk chose.
_EXPERIMENTAL = "enable.gapless.guarantee is experimental"


class Printer:
    """What librdkafka calls instead of a logger."""

    def __init__(self) -> None:
        self._lines = Lines("librdkafka")

    def log(self, level: int, text: str, *values: object) -> None:
        """Print a warning."""
        said = text % values
        if level >= _WARNING and _EXPERIMENTAL not in said:
            self._lines.say(said)


def consumer_options(kafka: Kafka) -> dict[str, Any]:
    """Returns the settings of a consumer. Raises DeskError: no server is named, or a secret cannot be read."""
    own: dict[str, Any] = {
        "group.id": kafka.group,
        "group.protocol": kafka.protocol,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": False,
    }
    defaults = _COMMON | _CONSUMER
    if kafka.member:
        own["group.instance.id"] = kafka.member
    if kafka.protocol == "classic":  # of KIP-848 the broker decides these
        own["partition.assignment.strategy"] = "cooperative-sticky"
        own["session.timeout.ms"] = kafka.session_ms
        defaults["heartbeat.interval.ms"] = max(1, min(3_000, kafka.session_ms // 3))
    return _join(kafka, defaults, own)


def producer_options(kafka: Kafka) -> dict[str, Any]:
    """Returns the settings of an idempotent producer. Raises DeskError as consumer_options()."""
    return _join(kafka, _COMMON | _PRODUCER, {"enable.idempotence": True})


def admin_options(kafka: Kafka) -> dict[str, Any]:
    """Returns the settings of a client that asks about topics. Raises DeskError as consumer_options()."""
    return _join(kafka, dict(_COMMON), {}, _CONSUMER.keys() | _PRODUCER.keys())


def _join(kafka: Kafka, defaults: dict[str, Any], own: dict[str, Any], others: Collection[str] = ()) -> dict[str, Any]:
    if not kafka.servers:
        raise DeskError("kafka.servers: missing, and required here: host:port of a broker")
    given = {key: value for key, value in kafka.librdkafka.items() if key not in others}
    return defaults | given | own | read_secrets(kafka) | {"bootstrap.servers": kafka.servers}


def read_secrets(kafka: Kafka) -> dict[str, str]:
    """Returns the secrets, by librdkafka's key. Raises DeskError for one that cannot be read."""
    wanted = {
        "sasl.password": ("kafka.password_file", kafka.password_file, PASSWORD_CREDENTIAL),
        "ssl.key.password": ("kafka.key_password_file", kafka.key_password_file, KEY_PASSWORD_CREDENTIAL),
        "sasl.oauthbearer.client.secret": ("kafka.oauth_secret_file", kafka.oauth_secret_file, OAUTH_SECRET_CREDENTIAL),
    }
    found = {key: read_secret(*how) for key, how in wanted.items()}
    return {key: secret for key, secret in found.items() if secret is not None}


def make_client(kind: Any, options: dict[str, Any], **more: Any) -> Any:
    """Returns a client of confluent_kafka. Raises DeskError for a setting that librdkafka does not take; the
    message has no secret in it."""
    from confluent_kafka import KafkaException

    try:
        return kind(options | more, logger=Printer())
    except (KafkaException, TypeError, ValueError) as error:
        said = error.args[0].str() if isinstance(error, KafkaException) else str(error)
        raise DeskError(f"kafka.librdkafka: {hide_secrets(said, options)}") from None


def hide_secrets(text: str, options: Mapping[str, Any]) -> str:
    """Returns text without the secrets that are among the settings."""
    from desk.settings.kafka import SECRET_KEYS

    for key in SECRET_KEYS:
        if secret := options.get(key):
            text = text.replace(str(secret), "***")
    return text
