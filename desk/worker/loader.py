"""Workers found by name, loaded and initialised, whatever language they are written in.

How a compiled module is found and Python is compiled is agent.strategy's business: strategies and workers differ in
their tables only.
"""

from collections.abc import Sequence
from pathlib import Path

from agent.strategy import find
from agent.strategy.state_memory import allocate_state
from desk.worker import _table
from desk.worker.definition import Loaded, Prepared, Worker, WorkerError

_KIND = find.Kind(
    key="module",
    package="desk.worker.builtin",
    name="WORKER",
    symbol="desk_worker",
    capsule="desk.worker",
    definition=Worker,
    error=WorkerError,
    read_capsule=_table.read_capsule,
)


def include() -> Path:
    """Returns the directory of desk_worker.h and desk_abi.rs, for compilers."""
    import importlib.resources

    return Path(str(importlib.resources.files("desk.worker").joinpath("include", "desk_worker.h"))).parent


def built_in() -> list[str]:
    """Returns the names of the built-in workers that are installed, whatever they are written in, sorted."""
    return find.list_names(_KIND)


def require_built_in(name: str) -> None:
    """Raise WorkerError, as load() does, for a name that could be of a built-in worker alone, and is of none. Nothing
    of a user's own is looked at, which would run it."""
    if not (":" in name or "/" in name or name.endswith(".so")):
        find.find(_KIND, name)


def load(name: str) -> Loaded:
    """Find a worker and make it callable; a Numba worker is compiled, or comes out of the cache.

    name: a built-in worker, MODULE:OBJECT (a Worker, or a capsule "desk.worker"), or the path of a shared object with
    the symbol desk_worker. Returns the worker, not yet initialised. Raises WorkerError when there is no such worker,
    when it does not compile, or when its table is not one of desk_worker.h.
    """
    address, owner = find.find(_KIND, name)
    if isinstance(owner, Worker):
        from desk.worker import compile_numba

        return compile_numba.compile_worker(owner)
    try:
        return Loaded(name, _table.Table.copy_from(address), owner)
    except ValueError as error:
        raise WorkerError(f"module: {name}: {error}") from None


def prepare(loaded: Loaded, parameters: Sequence[float] = ()) -> Prepared:
    """Initialise a worker: zeroed memory for its state, aligned to 64 bytes, and one call of its init().

    parameters: at most 16 numbers, in the worker's own units. Returns what runs it. Raises WorkerError when there are
    more, and when init() returns a negative number.
    """
    if len(parameters) > _table.PARAMETERS:
        raise WorkerError(f"parameters: found {len(parameters)} numbers, allowed: at most {_table.PARAMETERS}")
    state, memory = allocate_state(loaded.table.state_size)
    code = loaded.table.call_init(state, list(parameters))
    if code < 0:
        raise WorkerError(f"worker {loaded.name}: init returned {code}: these parameters are not what it takes")
    return Prepared(state, loaded, memory)
