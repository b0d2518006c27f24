"""The tables [run.NAME] of desk.toml: what `desk run` gives a module's handlers, and how long things may take."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from agent.shm import place

_Path = Annotated[str, Meta(pattern=r"^/[^\0]{1,4094}\Z")]
#: What a module's table, or one of its sources, is called.
Name = Annotated[str, Meta(pattern=rf"^{place.NAME}\Z")]
_Topic = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,249}\Z")]


class EngineSource(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A running engine, by name or by the path of its segment, which is looked at every interval_ms: state, limits,
    positions, best prices."""

    name: Annotated[str, Meta(pattern=rf"^({place.NAME}|/[^\0]{{1,4094}})\Z")]
    interval_ms: Annotated[int, Meta(ge=5, le=60_000)] = 50


class JournalSource(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """An engine's journal. begin: at its first record, or behind the last one that there is at the start. follow: go on
    with the records that come, or end at the last one."""

    name: Name
    file: _Path
    begin: Literal["first", "end"] = "end"
    follow: bool = True
    interval_ms: Annotated[int, Meta(ge=1, le=60_000)] = 20


class RingSource(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A ring, whose only reader this process is."""

    name: Name
    file: _Path
    interval_ms: Annotated[int, Meta(ge=1, le=60_000)] = 1


class KafkaSource(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Topics of the brokers in [kafka]: all partitions that there are at the start. No group is joined and no offset
    committed, so nothing is taken from another consumer. begin: at the first message, or behind the last one."""

    name: Name
    topics: Annotated[tuple[_Topic, ...], Meta(min_length=1, max_length=64)]
    begin: Literal["first", "end"] = "end"


class Run(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """[run.NAME], of the module NAME.py. Where it names no source, every engine of this user and of the service is one.

    loop: the event loop; auto: uvloop where it is installed. blocked_ms: for how long a handler may hold the loop up
    before it is named. on_error: what an exception of a handler does to the others. drain_s: how long those events may
    take, at the end, that wait for a slow subscriber. paper_fills: orders are executed on paper.
    """

    loop: Literal["auto", "asyncio", "uvloop"] = "auto"
    blocked_ms: Annotated[int, Meta(ge=5, le=60_000)] = 100
    on_error: Literal["continue", "stop"] = "continue"
    drain_s: Annotated[float, Meta(ge=0, le=60)] = 2.0
    paper_fills: bool = False
    engines: Annotated[tuple[EngineSource, ...], Meta(max_length=256)] = ()
    journals: Annotated[tuple[JournalSource, ...], Meta(max_length=256)] = ()
    rings: Annotated[tuple[RingSource, ...], Meta(max_length=256)] = ()
    kafka: Annotated[tuple[KafkaSource, ...], Meta(max_length=64)] = ()

    def __post_init__(self) -> None:
        groups: tuple[tuple[EngineSource | JournalSource | RingSource | KafkaSource, ...], ...]
        groups = (self.engines, self.journals, self.rings, self.kafka)
        names = [one.name for group in groups for one in group]
        for at, name in enumerate(names):
            if name in names[:at]:
                raise ValueError(f"found two sources that are called {name}, allowed: a name each")
