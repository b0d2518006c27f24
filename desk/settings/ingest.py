"""The table [ingest] of desk.toml: which partitions go into which ring."""

from typing import Annotated, Literal

import msgspec

from agent.shm import place
from desk.settings.address import check_ipv4
from desk.settings.ring_path import name_ring

_Path = Annotated[str, msgspec.Meta(pattern=r"^/[^\0]{1,4000}\Z")]
_Partition = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
#: Partitions of all topics together, each with a ring.
MOST_PARTITIONS = 256


_Schema = Annotated[str, msgspec.Meta(pattern=r"^$|^/[^\0]{1,4000}\Z")]
_Message = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_.]{0,499}\Z")]


class Envelope(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The Protobuf message that holds a message of the feed. schema: path of a FileDescriptorSet, "": the desk's own.
    message: its full name; field: of it, bytes or a string."""

    schema: _Schema = ""
    message: _Message = "desk.v1.Envelope"
    field: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,199}\Z")] = "payload"


class Records(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The Protobuf message that becomes a record of one size. schema: as of Envelope. message: its full name; fields:
    of the record, behind the record's number, as desk.codec has them."""

    schema: _Schema = ""
    message: _Message
    fields: Annotated[list[Annotated[str, msgspec.Meta(max_length=500)]], msgspec.Meta(min_length=1, max_length=500)]


class Topic(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """partitions: of the topic, each into a ring of its own. ring: its path, with {partition} where there are several.
    start: where to begin when nothing has been read: with the oldest record there is, or the next that comes.
    incarnation: tells the topic from one of the same name that was deleted; "": its id, which brokers know since 2.8.
    session: of the packets, for a topic that holds a feed which engines also get by UDP; "": a name of its own.
    format: of the messages, as feed.format of agent.toml; for recordings. envelope: what the messages are in; records:
    what they become, for a worker, instead of packets for an engine. engine: with ingest.group, that of the partition,
    with {partition} where there are several; "": none is killed and resumed."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,249}\Z")]
    ring: _Path
    partitions: Annotated[list[_Partition], msgspec.Meta(min_length=1, max_length=MOST_PARTITIONS)] = msgspec.field(
        default_factory=lambda: [0]
    )
    start: Literal["earliest", "latest"] = "earliest"
    incarnation: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{0,64}\Z")] = ""
    session: Annotated[str, msgspec.Meta(pattern=r"^([A-Za-z0-9]{1,10})?\Z")] = ""
    format: Literal["binance", "itch", "csv"] = "binance"
    envelope: Envelope | None = None
    records: Records | None = None
    engine: Annotated[str, msgspec.Meta(pattern=r"^([A-Za-z0-9/][A-Za-z0-9_.{}/-]{0,4000})?\Z")] = ""

    def __post_init__(self) -> None:
        if len(set(self.partitions)) != len(self.partitions):
            raise ValueError("partitions: found one twice, allowed: each once")
        if len(self.partitions) > 1 and "{partition}" not in self.ring:
            raise ValueError("ring: found one path for several partitions, allowed: a path with {partition} in it")
        if self.session and len(self.partitions) > 1:
            raise ValueError("session: found with several partitions, allowed: with one")

        if len(self.partitions) > 1 and self.engine and "{partition}" not in self.engine:
            raise ValueError("engine: found one name for several partitions, allowed: a name with {partition} in it")
        if self.records and (self.envelope or self.session):
            raise ValueError("records: found with envelope or session, allowed: without; those are of an engine's feed")

    def engine_of(self, partition: int) -> str:
        """Returns the name of a partition's engine, or the path of its segment; "": none."""
        return self.engine.replace("{partition}", str(partition))

    def ring_of(self, partition: int) -> str:
        """Returns the path of a partition's ring."""
        return self.ring.replace("{partition}", str(partition))


class Requests(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """address, port: of the UDP socket that MoldUDP64's requests come to."""

    address: Annotated[str, msgspec.Meta(pattern=r"^[0-9.]{7,15}\Z")] = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)]

    def __post_init__(self) -> None:
        check_ipv4(self.address)


class Ingest(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """name: of the process's counters. capacity: bytes of a ring that is made. batch: records that are taken of a
    partition at once. commit_ms: between two commits. heartbeat_ms: of a feed whose ring is empty, to its engine.
    truncated_ms: how long a log may end before the place that was read, as it does while a leader changes, until it is
    called truncated. requests: the server for messages that engines have missed; None: there is none. group:
    the consumer group says which of the partitions this process has, of those that it can serve."""

    topics: Annotated[list[Topic], msgspec.Meta(min_length=1, max_length=64)]
    name: Annotated[str, msgspec.Meta(pattern=rf"^{place.NAME}\Z")] = "ingest"
    capacity: Annotated[int, msgspec.Meta(ge=65_536, le=1 << 31)] = 1 << 24
    batch: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1_000
    commit_ms: Annotated[int, msgspec.Meta(ge=10, le=60_000)] = 500
    heartbeat_ms: Annotated[int, msgspec.Meta(ge=10, le=60_000)] = 1_000
    truncated_ms: Annotated[int, msgspec.Meta(ge=100, le=600_000)] = 5_000
    requests: Requests | None = None
    group: bool = False

    def __post_init__(self) -> None:
        rings = [name_ring(topic.ring_of(partition)) for topic in self.topics for partition in topic.partitions]
        if len(set(rings)) != len(rings):
            raise ValueError("topics: found one ring for two partitions, allowed: a ring for each")
        if len({topic.name for topic in self.topics}) != len(self.topics):
            raise ValueError("topics: found a name twice, allowed: each once")
        if not self.group and any(topic.engine for topic in self.topics):
            raise ValueError("topics: found engine without group = true, allowed: with it")
        if self.group and any(topic.session for topic in self.topics):
            raise ValueError("topics: found session with group = true, allowed: without")
        if len(rings) > MOST_PARTITIONS:
            raise ValueError(f"topics: found {len(rings)} partitions, allowed: {MOST_PARTITIONS}")
