"""The tables [worker.NAME] of desk.toml: a compiled function, its rings, and what it is given."""

from typing import Annotated, Literal

import msgspec

from agent.shm import place
from desk.settings.ring_path import name_ring

_Path = Annotated[str, msgspec.Meta(pattern=r"^/[^\0]{1,4094}\Z")]
_Field = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,254}\Z")]
#: What a worker may be called: also the name of its counters.
Name = Annotated[str, msgspec.Meta(pattern=rf"^{place.NAME}\Z")]


class Topic(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Where the results go from their ring. name: of the topic. message: the full name of the Protobuf message that
    each result becomes; "": a result goes as it is in the ring. fields: of the message, one for each 8 bytes of a
    result. descriptor_set: the file that has the message; "": it is one of the desk's own (desk.proto). A message whose
    only field is a repeated one holds many results, at most `batch`; in_flight: results that wait for the brokers'
    answer at most."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,249}\Z")]
    message: Annotated[str, msgspec.Meta(pattern=r"^([A-Za-z_][A-Za-z0-9_.]{0,510})?\Z")] = ""
    fields: Annotated[list[_Field], msgspec.Meta(max_length=512)] = []
    descriptor_set: _Path | Literal[""] = ""
    batch: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 500
    in_flight: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 50_000

    def __post_init__(self) -> None:
        if bool(self.message) != bool(self.fields):
            raise ValueError("message, fields: found one of them, allowed: both, or none for results as they are")
        if self.descriptor_set and not self.message:
            raise ValueError("descriptor_set: found without a message of it")


class Worker(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """module: a built-in worker, MODULE:OBJECT, or the path of a shared object. input: the ring that is read. output:
    the ring of the results, "" for a worker that has none; capacity: bytes of it, where it is made here. topic: where
    the results go from that ring; without it, another process reads the ring. batch: records of a call at most.
    parameters: of the module. wait_us: sleep when there is nothing to do. nice: of the process."""

    module: Annotated[str, msgspec.Meta(min_length=1, max_length=4095)]
    input: _Path
    output: _Path | Literal[""] = ""
    capacity: Annotated[int, msgspec.Meta(ge=4096, le=1 << 31)] = 1 << 20
    topic: Topic | None = None
    batch: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 1024
    parameters: Annotated[list[float], msgspec.Meta(max_length=16)] = []
    wait_us: Annotated[int, msgspec.Meta(ge=10, le=100_000)] = 200
    nice: Annotated[int, msgspec.Meta(ge=0, le=19)] = 0

    def __post_init__(self) -> None:
        if self.topic is not None and not self.output:
            raise ValueError("output: missing, and required with a topic: the ring in which results wait for it")
        if self.output and name_ring(self.output) == name_ring(self.input):
            raise ValueError(f"output: found {self.output}, which is input too, allowed: another ring than input's")
