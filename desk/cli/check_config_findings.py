"""`desk check-config`: what keeps processes from starting with a desk.toml, found without starting one.

Each thing is asked of the function that refuses it at the start. No broker and no Redis is asked, no ring is opened,
and no module of the user's own is run.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from agent import toml_text
from desk import config
from desk.config import Config, Problem
from desk.errors import DeskError
from desk.settings.export import Export
from desk.settings.kafka import Kafka
from desk.settings.secret import read_secret
from hosttune.refusals import Key

#: The files of [kafka] that have a secret.
_SECRETS = ("password_file", "key_password_file", "oauth_secret_file")
#: What needs a secret, by librdkafka's keys, and the file of [kafka] that has it where systemd does not hand it over.
_NEEDED = {
    "sasl.username": ("sasl.password", "password_file"),
    "sasl.oauthbearer.client.id": ("sasl.oauthbearer.client.secret", "oauth_secret_file"),
}
#: For a secret that is not known here: no word of librdkafka's, for secrets are taken out of what it says.
_UNKNOWN = "not-known-here"
#: Keys of librdkafka with which a client asks others as it is made: for a ticket of Kerberos, for a token.
_ASKING = ("sasl.kerberos.", "sasl.oauthbearer.method")
#: Any address: brokers are not asked.
_NOWHERE = "127.0.0.1:1"


class Finding(NamedTuple):
    """key: the way to what it is about; words: the line, which begins with the key."""

    key: Key
    words: str


class Unknown(Finding):
    """Something that is not known here: no fault."""


class Findings(NamedTuple):
    """problems: a process does not start; warnings: whether it does is not known here."""

    problems: list[Problem]
    warnings: list[Problem]


def find_problems(path: Path) -> Findings:
    """Returns what is wrong with a desk.toml: with its keys; where they are right, with what they name. Raises
    ConfigError for one that cannot be read, or is not TOML."""
    text, file = toml_text.read_text(path), str(path)
    if problems := config.list_problems(text, file):
        return Findings(problems, [])
    found = list(dict.fromkeys(_list_findings(config.parse(text, file))))
    placed = [(isinstance(one, Unknown), config.locate(text, file, *one)) for one in found]
    return Findings([one for unknown, one in placed if not unknown], [one for unknown, one in placed if unknown])


def _list_findings(found: Config) -> Iterator[Finding]:
    yield from _check_kafka(found)
    yield from _check_topics(found)
    yield from _check_export(found.export)
    yield from _check_workers(found)
    yield from _check_secret(("redis", "password_file"), found.redis.password_file or "")


def _check_kafka(found: Config) -> Iterator[Finding]:
    kafka, clients = found.kafka, _list_clients(found)
    from desk.kafka.options import consumer_options

    if clients and not kafka.servers:
        yield from _try(("kafka", "servers"), lambda: consumer_options(kafka), f" (of {', '.join(clients)})")
    unusable = {}
    for name in _SECRETS:
        if findings := list(_check_secret(("kafka", name), getattr(kafka, name))):
            unusable[name] = ""
            yield from findings
    if not (clients or kafka.librdkafka):
        return
    try:
        import confluent_kafka
    except ImportError as error:
        yield Unknown(("kafka",), f"kafka: librdkafka's keys were not looked at ({error}): pip install hosttune[desk]")
        return
    usable = msgspec.structs.replace(kafka, servers=_NOWHERE, **unusable)
    kinds = set(clients.values()) or {"consumer"}
    if "consumer" in kinds:
        yield from _ask_librdkafka(usable, confluent_kafka.Consumer, lambda: consumer_options(usable))
    if "producer" in kinds:
        yield from _ask_librdkafka(usable, confluent_kafka.Producer, lambda: _producer_options(usable))


def _list_clients(found: Config) -> dict[str, str]:
    """Returns the tables whose processes are clients of the brokers, and what kind of client."""
    clients = {"ingest": "consumer"} if found.ingest else {}
    clients |= {f"run.{name}.kafka": "consumer" for name, run in found.run.items() if run.kafka}
    return clients | {f"worker.{name}.topic": "producer" for name, one in found.worker.items() if one.topic}


def _producer_options(kafka: Kafka) -> dict[str, Any]:
    from desk.kafka.options import producer_options
    from desk.worker.send import IN_ORDER

    return producer_options(kafka) | IN_ORDER


def _ask_librdkafka(kafka: Kafka, kind: Any, make: Callable[[], dict[str, Any]]) -> Iterator[Finding]:
    """Yields what librdkafka does not take, which tells one thing at a time: of clients that know no broker."""
    try:
        options = make()
    except DeskError as error:  # a credential
        yield Finding(("kafka",), str(error))
        return
    yield from _leave_out(kafka, options)
    while words := _try_client(kind, options):
        key = _find_key(kind, options, [key for key in kafka.librdkafka if key in options], words)
        if key is None:
            yield Finding(("kafka", "librdkafka"), f"kafka.librdkafka: {words}")
            return
        yield Finding(("kafka", "librdkafka", key), f'kafka.librdkafka."{key}": {words}')
        del options[key]


def _try_client(kind: Any, options: dict[str, Any]) -> str:
    """Returns why librdkafka makes no client with these settings; "": it makes one."""
    from desk.kafka.options import make_client

    try:
        client = make_client(kind, options)
    except DeskError as error:
        return " ".join(str(error).removeprefix("kafka.librdkafka: ").split())
    if hasattr(client, "close"):
        client.close()
    return ""


def _find_key(kind: Any, options: dict[str, Any], given: list[str], words: str) -> str | None:
    """Returns which of the given keys librdkafka's words are about; None: not one of them alone."""
    if named := [key for key in given if key in words]:
        return max(named, key=len)
    if 'configuration property "' not in words:
        return None
    # Of a key that has another name besides, the words have the other one.
    without = ((key, {name: value for name, value in options.items() if name != key}) for key in given)
    return next((key for key, others in without if _try_client(kind, others) != words), None)


def _leave_out(kafka: Kafka, options: dict[str, Any]) -> Iterator[Finding]:
    """Take out of a client's settings what has it ask others, and what is of no use without a secret that is not known
    here. Yields what is not known."""
    del options["bootstrap.servers"]
    for key, (secret, name) in _NEEDED.items():
        if key in options and secret not in options:
            options[secret] = _UNKNOWN
            if not getattr(kafka, name) and "CREDENTIALS_DIRECTORY" not in os.environ:
                words = "missing, so the secret is a systemd credential, which only the unit can read"
                yield Unknown(("kafka", name), f"kafka.{name}: {words}")
    if "ssl.key.password" not in options or _is_unseen(str(options.get("ssl.key.location", ""))):
        options.pop("ssl.key.location", None)
    protocol = str(options.get("security.protocol", ""))
    if any(key.startswith(_ASKING) for key in options) and protocol.lower().startswith("sasl_"):
        options["security.protocol"] = protocol[len("sasl_") :]


def _check_secret(key: Key, path: str) -> Iterator[Finding]:
    """Yields why a secret's file cannot be used, "" for none: then it is a systemd credential, if anything."""
    if path and _is_unseen(path):
        yield _say_unseen(key, path)
    elif path:
        yield from _try(key, lambda: read_secret(_show(key), path, ""))


def _check_topics(found: Config) -> Iterator[Finding]:
    from desk.ingest.codec import make_codec

    for at, topic in enumerate(found.ingest.topics if found.ingest else ()):
        key, message, fields = ("envelope", topic.envelope, "field") if topic.envelope else \
            ("records", topic.records, "fields")  # fmt: skip
        if message is None:
            continue
        try:
            make_codec(topic)
        except DeskError as error:
            words = str(error).removeprefix(f"ingest.topics: {topic.name}: ")
            yield _blame_schema(("ingest", "topics", at, key), words, message.message, fields, "schema")


def _check_workers(found: Config) -> Iterator[Finding]:
    from desk.worker import loader
    from desk.worker.send import make_encoder

    for name, worker in found.worker.items():
        key = ("worker", name)
        try:
            loader.require_built_in(worker.module)
        except DeskError as error:
            yield Finding((*key, "module"), f"{_show(key)}.{error}")
        if (topic := worker.topic) is not None:
            try:
                make_encoder(topic)
            except DeskError as error:
                words = str(error).removeprefix("topic.descriptor_set: ")
                yield _blame_schema((*key, "topic"), words, topic.message, "fields", "descriptor_set")


def _blame_schema(key: Key, words: str, message: str, fields: str, schema: str) -> Finding:
    """Returns what is wrong with a message of a schema: with its name, or with the key of its fields, or of the file.
    words: those of desk.codec.schema."""
    if words.startswith("message: "):
        part, rest = "message", words.removeprefix("message: ")
    elif words.startswith(f"{message}: "):
        part, rest = fields, words.removeprefix(f"{message}: ").removeprefix(f"{fields}: ")
    else:
        part, rest = schema, words
    return Finding((*key, part), f"{_show((*key, part))}: {rest}")


def _check_export(export: Export) -> Iterator[Finding]:
    names = [name for name in ("certificate", "key", "client_ca") if getattr(export, name)]
    if unseen := [name for name in names if _is_unseen(getattr(export, name))]:
        yield from (_say_unseen(("export", name), getattr(export, name)) for name in unseen)
    elif names:
        from desk.export.server import make_context

        try:
            make_context(export)
        except DeskError as error:
            yield Finding(tuple(str(error).partition(":")[0].split(".")), str(error))


def _is_unseen(path: str) -> bool:
    """Returns whether only another user, whose process it may be for, could say whether a file is right: it is that
    user's, or a systemd credential."""
    try:
        owner = os.stat(path).st_uid
    except PermissionError:
        return True
    except OSError:
        return path.startswith("/run/credentials/")
    return owner != os.geteuid() and (owner != 0 or not os.access(path, os.R_OK))


def _say_unseen(key: Key, path: str) -> Unknown:
    return Unknown(key, f"{_show(key)}: {path}: another user's, or a systemd credential, so it was not read")


def _try(key: Key, check: Callable[[], object], more: str = "") -> Iterator[Finding]:
    """Yields what a check raises, whose message begins with the key."""
    try:
        check()
    except DeskError as error:
        yield Finding(key, f"{error}{more}")


def _show(key: Key) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).lstrip(".")
