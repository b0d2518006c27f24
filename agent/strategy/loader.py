"""Strategies found by name, loaded and initialised, whatever language they are written in.

Nothing here imports NumPy or Numba until a Numba strategy is loaded, nor what only listing or hashing strategies needs,
so that a native one starts fast.
"""

import importlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from agent.strategy import _table
from agent.strategy.definition import Loaded, Prepared, Strategy, StrategyError
from hosttune import files


def _built_in_files() -> list[Path]:
    """Returns the sources and libraries of agent.strategy.builtin, which an editable build keeps in two places."""
    import importlib.resources

    return [Path(str(f)) for f in importlib.resources.files("agent.strategy.builtin").iterdir()]


def include() -> Path:
    """Returns the directory of agent_strategy.h and agent_abi.rs, for compilers."""
    import importlib.resources

    return Path(str(importlib.resources.files("agent.strategy").joinpath("include", "agent_strategy.h"))).parent


def built_in() -> list[str]:
    """Returns the names of the built-in strategies that are installed, whatever they are written in, sorted."""
    names = {f.name.split(".")[0] for f in _built_in_files() if f.suffix in (".py", ".so")}
    return sorted(n.removeprefix("lib") for n in names if not n.startswith("_"))


def _is_built_in_module(name: str) -> bool:
    """Returns whether name is a built-in strategy in Python or Cython: asked first, since listing the files is slow."""
    return (
        name.isidentifier()
        and name[0] != "_"
        and importlib.util.find_spec(f"agent.strategy.builtin.{name}") is not None
    )


def _find_library(name: str) -> Path:
    """Returns the path, without symbolic links, of a shared object that is given by its path. Raises StrategyError
    unless it is this user's or root's, and nobody else can write to it or put another in its place: it is code."""
    from agent.shm import place

    try:
        path = Path(files.find_path(name))
        os.close(place.open_file(path, os.O_RDONLY))
    except OSError as error:
        raise StrategyError(f"strategy.name: {place.explain(error, Path(name))}") from None
    return path


def _load_library(name: str, path: Path) -> Loaded:
    """Returns the strategy in a shared object."""
    import ctypes  # of no use to the others, and slow

    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise StrategyError(f"strategy.name: {name}: {error}") from None
    try:
        symbol = ctypes.c_char.in_dll(library, "agent_strategy")
    except ValueError:
        raise StrategyError(f"strategy.name: {name}: has no symbol agent_strategy") from None
    return Loaded(name, _copy_table(name, ctypes.addressof(symbol)), library)


def _copy_table(name: str, address: int) -> _table.Table:
    """Returns a checked copy of the struct agent_strategy at an address."""
    try:
        return _table.Table.copy_from(address)
    except ValueError as error:
        raise StrategyError(f"strategy.name: {name}: {error}") from None


def load(name: str) -> Loaded:
    """Find a strategy and make it callable; a Numba strategy is compiled, or comes out of the cache.

    name: a built-in strategy, MODULE:OBJECT (a Strategy, or a capsule "agent.strategy"), or the path of a shared object
    with the symbol agent_strategy. Returns the strategy, not yet initialised. Raises StrategyError when there is no
    such strategy, when it does not compile, or when it was built for another layout of agent_strategy.h.
    """
    if "/" in name or name.endswith(".so"):
        return _load_library(name, _find_library(name))
    module, _, attribute = name.partition(":")
    if not attribute and not _is_built_in_module(name):
        for library in _built_in_files():
            if library.name == f"lib{name}.so":
                return _load_library(name, library)
        if name not in built_in():
            missing = " (built where cargo's rustc is installed)" if name == "ema_cross_rust" else ""
            raise StrategyError(
                f"strategy.name: found {name!r}{missing}, allowed: {', '.join(built_in())}, MODULE:OBJECT, or a path"
            )
    if not attribute:
        module, attribute = f"agent.strategy.builtin.{name}", "STRATEGY"
    try:
        # On Python's own path (PYTHONPATH): the working directory is not code.
        found = getattr(importlib.import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise StrategyError(
            f"strategy.name: found {name!r}, allowed: {', '.join(built_in())}, MODULE:OBJECT, or a path ({error})"
        ) from None
    except (Exception, SystemExit) as error:  # the module is the user's: anything may go wrong in it
        raise StrategyError(f"strategy.name: {name!r}: {type(error).__name__}: {error}") from None
    if isinstance(found, Strategy):
        from agent.strategy import compile_numba

        return compile_numba.compile_strategy(found)
    try:
        address = _table.read_capsule(found)
    except ValueError:
        raise StrategyError(
            f"strategy.name: {name!r} is a {type(found).__name__}; allowed: a Strategy, or a capsule agent.strategy"
        ) from None
    return Loaded(name, _copy_table(name, address), found)


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
    memory = bytearray(loaded.table.state_size + 64)
    state = (_table.find_address(memory) + 63) & ~63
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
