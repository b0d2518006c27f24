"""What the Protobuf schema says of a topic: the field that holds the messages, or how they become records."""

from typing import NamedTuple

from desk.codec import Decoder
from desk.codec.schema import SchemaError, find_bytes_field, read_descriptor_set
from desk.errors import DeskError
from desk.settings.ingest import Topic


class Codec(NamedTuple):
    """field: number of the field that holds the message, 0: the whole value is it. decoder: None: packets."""

    field: int = 0
    decoder: Decoder | None = None

    @property
    def record_size(self) -> int:
        """Bytes of each record of the ring; 0: they vary."""
        return 0 if self.decoder is None else self.decoder.record_size


def make_codec(topic: Topic) -> Codec:
    """Returns what is done with the values of a topic. Raises DeskError: the schema cannot be read, or has no such
    message or field."""
    try:
        if topic.records is not None:
            records = topic.records
            return Codec(
                0, Decoder(read_descriptor_set(records.schema), records.message, records.fields, numbered=True)
            )
        if topic.envelope is not None:
            envelope = topic.envelope
            return Codec(find_bytes_field(read_descriptor_set(envelope.schema), envelope.message, envelope.field))
    except SchemaError as error:
        raise DeskError(f"ingest.topics: {topic.name}: {error}") from None
    return Codec()
