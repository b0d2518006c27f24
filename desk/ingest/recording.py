"""A partition's records as a file that `agent replay` reads (docs/protocols.md has the formats of recordings)."""

import os
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from agent.protocols import formats
from desk.errors import DeskError
from desk.ingest._lane import find_message
from desk.ingest.codec import make_codec
from desk.ingest.finder import LIMIT, explain
from desk.kafka.consumer import make_consumer
from desk.settings.ingest import Topic
from desk.settings.kafka import Kafka

if TYPE_CHECKING:
    from confluent_kafka import Consumer

#: Seconds without a record, after which the brokers are said not to answer; bytes of a BinaryFILE's message at most.
_PATIENCE, _MOST = 10.0, 0xFFFF


class Written(NamedTuple):
    """records: written; first, end: the offsets of the log's oldest record and of the next one, when it was begun;
    missing: offsets without a record; refused: records that the format has no room for."""

    records: int
    first: int
    end: int
    missing: int
    refused: int


def record(kafka: Kafka, topic: Topic, partition: int, path: Path) -> Written:
    """Write the records that a partition has now into a new file.

    The file has its name once it is whole: a recording that was cut short would pass for one. Returns what was written.
    Raises DeskError: the file is there or cannot be written, the brokers do not answer; then no file is left.
    """
    from confluent_kafka import KafkaException, TopicPartition

    field = make_codec(topic).field
    consumer = make_consumer(kafka, None, **{"enable.partition.eof": True})
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(8).hex()}")
    try:
        if os.path.lexists(path):
            raise FileExistsError
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        consumer.close()
        raise DeskError(f"{path}: is there already, and is not replaced: name another file, or remove it") from None
    except OSError as error:
        consumer.close()
        raise DeskError(f"{path}: {error.strerror}") from None
    try:
        with open(descriptor, "wb", buffering=1 << 20) as file:
            first, end = consumer.get_watermark_offsets(TopicPartition(topic.name, partition), timeout=5 * LIMIT)
            consumer.assign([TopicPartition(topic.name, partition, first)])
            written = _write(consumer, file, (formats.find(topic.format), field), first, end)
            file.flush()
            os.fsync(descriptor)
        os.link(draft, path)  # not in place of a file that came meanwhile
        return written
    except BaseException as error:
        if isinstance(error, KafkaException):
            raise DeskError(f"{topic.name}-{partition}: {explain(error)}") from None
        if isinstance(error, OSError):
            raise DeskError(f"{path}: {error.strerror}") from None
        raise
    finally:
        draft.unlink(missing_ok=True)
        consumer.close()


def _write(consumer: "Consumer", file: BinaryIO, how: tuple[formats.Format, int], first: int, end: int) -> Written:
    form, field = how
    file.write(form.header.encode() + b"\n" if form.header else b"")
    records = missing = refused = 0
    at, heard = first, time.monotonic()
    while at < end:
        message = consumer.poll(0.1)
        if message is None:
            if time.monotonic() - heard > _PATIENCE:
                raise DeskError(f"offset {at}: no record came within {_PATIENCE:g} s, and the log ends at {end}")
            continue
        heard = time.monotonic()
        for each in [message, *consumer.consume(10_000, 0)]:
            if (error := each.error()) is not None and error.name() == "_PARTITION_EOF":
                missing += end - at  # without a record: the end of a transaction
                at = end
                break
            if error is not None:
                raise DeskError(f"offset {at}: {error.str()}")
            offset, value = each.offset() or 0, find_message(each.value() or b"", field)
            if offset >= end:
                at = end
                break
            missing += offset - at
            at = offset + 1
            if value is None or (framed := _frame(form, value, each.timestamp()[1])) is None:
                refused += 1
            else:
                file.write(framed)
                records += 1
    return Written(records, first, end, missing, refused)


def _frame(form: formats.Format, value: bytes, milliseconds: int) -> bytes | None:
    """Returns a message as it stands in a recording, None for one that cannot."""
    if form.framing == "binaryfile":
        return struct.pack(">H", len(value)) + value if 0 < len(value) <= _MOST else None
    if not value or b"\n" in value or b"\r" in value:
        return None
    return b"%d %s\n" % (max(milliseconds, 0), value) if form.framing == "stamped lines" else value + b"\n"
