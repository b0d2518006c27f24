"""Strategies found by name, loaded and initialised, whatever language they are written in.

Nothing here imports NumPy or Numba until a Numba strategy is loaded, nor what only listing or hashing strategies needs,
so that a native one starts fast.
"""

from collections.abc import Sequence
from pathlib import Path

from agent.strategy import _table, find
from agent.strategy.definition import Loaded, Prepared, Strategy, StrategyError
from agent.strategy.state_memory import allocate_state

_KIND = find.Kind(
    key="strategy.name",
    package="agent.strategy.builtin",
    name="STRATEGY",
    symbol="agent_strategy",
    capsule="agent.strategy",
    definition=Strategy,
    error=StrategyError,
    read_capsule=_table.read_capsule,
)


def include() -> Path:
    """Returns the directory of agent_strategy.h and agent_abi.rs, for compilers."""
    import importlib.resources

    return Path(str(importlib.resources.files("agent.strategy").joinpath("include", "agent_strategy.h"))).parent


def built_in() -> list[str]:
    """Returns the names of the built-in strategies that are installed, whatever they are written in, sorted."""
    return find.list_names(_KIND)


def load(name: str) -> Loaded:
    """Find a strategy and make it callable; a Numba strategy is compiled, or comes out of the cache.

    name: a built-in strategy, MODULE:OBJECT (a Strategy, or a capsule "agent.strategy"), or the path of a shared object
    with the symbol agent_strategy. Returns the strategy, not yet initialised. Raises StrategyError when there is no
    such strategy, when it does not compile, or when it was built for another layout of agent_strategy.h.
    """
    address, owner = find.find(_KIND, name)
    if isinstance(owner, Strategy):
        from agent.strategy import compile_numba

        return compile_numba.compile_strategy(owner)
    try:
        return Loaded(name, _table.Table.copy_from(address), owner)
    except ValueError as error:
        raise StrategyError(f"strategy.name: {name}: {error}") from None


def prepare(
    loaded: Loaded, fast: float, slow: float, size: int, symbols: Sequence[str] = ("",), values: Sequence[float] = ()
) -> Prepared:
    """Initialise a strategy: zeroed memory for its state, aligned to 64 bytes, and one call of its init().

    fast, slow: periods in book events; size: whole units; symbols: their names, by index, "" for one that is not known
    yet; values: at most 8 numbers, in the strategy's own units (struct agent_params). Returns the addresses for the
    engine, and what owns them. Raises StrategyError when there are more values, or more or longer names, than struct
    agent_params has room for, and when init() returns a negative number.
    """
    if len(values) > _table.VALUES:
        raise StrategyError(f"strategy.values: found {len(values)} numbers, allowed: at most {_table.VALUES}")
    state, memory = allocate_state(loaded.table.state_size)
    try:
        code = loaded.table.call_init(state, fast, slow, size, [s.encode() for s in symbols], list(values))
    except ValueError as error:
        raise StrategyError(f"strategy.symbols: {error}") from None
    if code < 0:
        raise StrategyError(f"strategy {loaded.name}: init returned {code}")
    return Prepared(loaded.table.address, state, loaded, memory)


def drive(prepared: Prepared, events: bytes) -> list[tuple[int, bytes] | tuple[int, int]]:
    """Call on_event for each struct agent_event in events, without an engine and without a gate.

    Returns (index of the event, bytes of the struct agent_order) for each order, and (index, count) for a count that is
    negative or over 8.
    """
    return prepared.loaded.table.drive(prepared.state, events)
