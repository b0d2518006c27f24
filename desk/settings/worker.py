"""The tables [worker.NAME] of desk.toml: a compiled function, its rings, and what it is given."""

from typing import Annotated, Literal

import msgspec

from agent.shm import place

_Path = Annotated[str, msgspec.Meta(pattern=r"^/[^\0]{1,4094}\Z")]
#: What a worker may be called: also the name of its counters.
Name = Annotated[str, msgspec.Meta(pattern=rf"^{place.NAME}\Z")]


class Worker(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """module: a built-in worker, MODULE:OBJECT, or the path of a shared object. input: the ring that is read. output:
    the ring of the results, "" for a worker that has none; capacity: bytes of it, where it is made here. batch: records
    of a call at most. parameters: of the module. wait_us: sleep when there is nothing to do. nice: of the process."""

    module: Annotated[str, msgspec.Meta(min_length=1, max_length=4095)]
    input: _Path
    output: _Path | Literal[""] = ""
    capacity: Annotated[int, msgspec.Meta(ge=4096, le=1 << 31)] = 1 << 20
    batch: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 1024
    parameters: Annotated[list[float], msgspec.Meta(max_length=16)] = []
    wait_us: Annotated[int, msgspec.Meta(ge=10, le=100_000)] = 200
    nice: Annotated[int, msgspec.Meta(ge=0, le=19)] = 0
