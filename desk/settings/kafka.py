"""The table [kafka] of desk.toml: the brokers, the group, and librdkafka's own keys, which are passed on."""

from typing import Annotated, Literal

import msgspec

from desk.settings.secret import SecretFile

#: The systemd credential that holds a secret, where desk.toml names no file.
PASSWORD_CREDENTIAL = "kafka_password"
KEY_PASSWORD_CREDENTIAL = "kafka_key_password"
OAUTH_SECRET_CREDENTIAL = "kafka_oauth_secret"

#: Keys of librdkafka whose value is a secret, and what of [kafka] has the secret instead.
SECRET_KEYS = {
    "sasl.password": f"kafka.password_file, or the credential {PASSWORD_CREDENTIAL}",
    "ssl.key.password": f"kafka.key_password_file, or the credential {KEY_PASSWORD_CREDENTIAL}",
    "sasl.oauthbearer.client.secret": f"kafka.oauth_secret_file, or the credential {OAUTH_SECRET_CREDENTIAL}",
    "ssl.keystore.password": "a key in a PEM file: ssl.key.location and kafka.key_password_file",
    "ssl.key.pem": "the file's path: ssl.key.location",
    "sasl.oauthbearer.config": "OIDC: sasl.oauthbearer.method, and kafka.oauth_secret_file",
    "sasl.oauthbearer.assertion.private.key.pem": "the file's path: sasl.oauthbearer.assertion.private.key.file",
    "sasl.oauthbearer.assertion.private.key.passphrase": "a key without a passphrase, in a file of mode 0600",
}
#: Keys of librdkafka that the desk sets itself, or that make librdkafka run a program or load code; and why.
OWN_KEYS = {
    "bootstrap.servers": "kafka.servers has them",
    "metadata.broker.list": "kafka.servers has them",
    "group.id": "kafka.group has it",
    "group.instance.id": "kafka.member has it",
    "group.protocol": "kafka.protocol has it",
    "partition.assignment.strategy": "partitions move by cooperative-sticky, so that those that stay are not stopped",
    "enable.auto.commit": "an offset is committed when the ring's reader has passed the record",
    "enable.auto.offset.store": "an offset is committed when the ring's reader has passed the record",
    "auto.offset.reset": "an offset that the log does not have is an error; ingest.topics.start says where to begin",
    "enable.partition.eof": "the end of a partition is read from its watermark",
    "enable.idempotence": "a result that is sent again must not be there twice",
    "transactional.id": "a producer's name is the command's own",
    "plugin.library.paths": "it loads code",
    "ssl.engine.location": "it loads code",
    "ssl.providers": "it loads code",
    "sasl.kerberos.kinit.cmd": "it runs a command; renew the ticket by a timer",
}

_Servers = Annotated[str, msgspec.Meta(pattern=r"^$|^[A-Za-z0-9.:\[\]_-]{1,255}(,[A-Za-z0-9.:\[\]_-]{1,255}){0,31}\Z")]
_Value = str | bool | int | float
_Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,200}\Z")]


class Kafka(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """servers: host:port of brokers, by commas. group: the consumer group. member: the name of this process in the
    group, which keeps its partitions while the process restarts (static membership); "": none. protocol: of the group:
    classic, or consumer (KIP-848), where the brokers have it. session_ms: how long a member may be away before its
    partitions go to others; longer than a restart.

    password_file, key_password_file, oauth_secret_file: the secrets of SASL, of the TLS key, of OAuth. librdkafka: its
    keys, as in its CONFIGURATION.md, but for SECRET_KEYS and OWN_KEYS.
    """

    servers: _Servers = ""
    group: _Name = "desk"
    member: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{0,200}\Z")] = ""
    protocol: Literal["classic", "consumer"] = "classic"
    session_ms: Annotated[int, msgspec.Meta(ge=1_000, le=3_600_000)] = 45_000
    password_file: SecretFile | Literal[""] = ""
    key_password_file: SecretFile | Literal[""] = ""
    oauth_secret_file: SecretFile | Literal[""] = ""
    librdkafka: Annotated[dict[str, _Value], msgspec.Meta(max_length=200)] = {}

    def __post_init__(self) -> None:
        for key in self.librdkafka:
            if instead := SECRET_KEYS.get(key):
                raise ValueError(f"librdkafka: found {key}, a secret, allowed: {instead}")
            if why := OWN_KEYS.get(key):
                raise ValueError(f"librdkafka: found {key}, which the desk sets: {why}")
            if key.endswith("_cb"):
                raise ValueError(f"librdkafka: found {key}, allowed: keys of librdkafka's CONFIGURATION.md")
