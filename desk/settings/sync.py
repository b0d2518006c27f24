"""[sync]: which engines' limits come from Redis, what goes there, and what is done when Redis is lost."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from agent.config import FilePath, Symbol
from agent.limits import LIMITS
from agent.shm import place
from hosttune.refusals import KeyRefused

#: An engine's name, or the absolute path of its segment.
Engine = Annotated[str, msgspec.Meta(pattern=rf"^(?:{place.NAME}|/[^\0]{{1,4000}})\Z")]
#: Engines of one process at most.
MOST_ENGINES = 64
#: Symbols that are read together.
Group = Annotated[list[Symbol], msgspec.Meta(min_length=2, max_length=100)]
Policy = Literal["keep", "tighten", "kill"]

if TYPE_CHECKING:
    Tightened = msgspec.Struct
else:
    #: [sync.tighten]: limits by their names in agent.toml, and kill; those that are not there are left alone.
    Tightened = msgspec.defstruct(
        "Tightened",
        [(name, limit.checked | msgspec.UnsetType, msgspec.UNSET) for name, limit in LIMITS.items()],
        forbid_unknown_fields=True, frozen=True, kw_only=True,
    )  # fmt: skip


class Sync(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """engines: names, or absolute paths of segments. prefix: of all keys. period_ms: of what goes to Redis. refresh_s:
    all is written, and all limits are read, again after so long. expire_s: a value that was not written for so long
    goes; 0: it stays. redis_lost_s: without an answer for so long Redis is lost, and policy is done, with the limits in
    tighten where it is `tighten`. may_resume: a `kill` in Redis that becomes 0 lets orders pass again, where the kill
    switch was set by desk sync. correlated: groups of symbols that desk.sync.reader fetches by one MGET. audit: the
    file with a line for each change (default: desk-sync.audit in the state directory, as the journal's)."""

    engines: Annotated[list[Engine], msgspec.Meta(min_length=1, max_length=MOST_ENGINES)]
    prefix: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,62}:\Z")] = "desk:"
    period_ms: Annotated[int, msgspec.Meta(ge=10, le=10_000)] = 50
    refresh_s: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 5.0
    expire_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 0
    redis_lost_s: Annotated[float, msgspec.Meta(ge=0.5, le=86_400)] = 5.0
    policy: Policy = "keep"
    tighten: Tightened = Tightened()
    may_resume: bool = False
    correlated: Annotated[list[Group], msgspec.Meta(max_length=256)] = []
    audit: FilePath = ""

    def __post_init__(self) -> None:
        names = [name_engine(engine) for engine in self.engines]
        for at, name in enumerate(names):
            if not re.fullmatch(place.NAME, name):
                raise KeyRefused(("engines", at), f"engines[{at}]: found {name!r}, allowed: a segment with such a name "
                              "as engines have")  # fmt: skip
            if name in names[:at]:
                raise KeyRefused(("engines", at), f"engines[{at}]: found {name} again, allowed: each name once")
        symbols = [symbol for group in self.correlated for symbol in group]
        if twice := {symbol for symbol in symbols if symbols.count(symbol) > 1}:
            raise ValueError(f"correlated: found {min(twice)} twice, allowed: each symbol in one group, once")
        if self.policy == "tighten" and not self.tightened:
            raise ValueError("policy: found tighten, allowed: with limits in sync.tighten")
        if 0 < self.expire_s < 2 * self.refresh_s:
            raise ValueError(f"expire_s: found {self.expire_s}, allowed: 0, or at least twice refresh_s"
                f" ({self.refresh_s:g})")  # fmt: skip

    @property
    def tightened(self) -> dict[str, int | float]:
        """The limits in tighten by name."""
        values: dict[str, Any] = msgspec.structs.asdict(self.tighten)
        return {name: value for name, value in values.items() if value is not msgspec.UNSET}


def name_engine(engine: str) -> str:
    """Returns the name of an engine that the configuration names by name or path."""
    return place.name_of(Path(engine)) if engine.startswith("/") else engine
