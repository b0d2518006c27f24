"""Strategies: written in Numba, Cython, Rust or C, loaded and checked here, called by the loop as C functions.

A Numba strategy is one Python function and the layout of its state:

    STRATEGY = Strategy(on_event, [("seen", "i8")])

docs/strategies.md shows it whole, and the other languages. Nothing here imports NumPy or Numba until a Numba
strategy is loaded, nor what only listing or hashing strategies needs, so that a native one starts fast.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from agent.errors import AgentError
from agent.strategy import _table as _strategy

BOOK, TRADE = 1, 2
BUY, SELL = 1, -1
ENTER, REPLACE, CANCEL = 0, 1, 2
ACCEPTED, REPLACED, EXECUTED, CANCELED, REJECTED = 1, 2, 3, 4, 5
#: Prices and sizes of an event times this are in currency and units.
SCALE = 1e-8


def _built_in_files() -> list[Path]:
    """Sources and libraries of agent.strategy.builtin, which an editable build keeps in two places."""
    import importlib.resources

    return [Path(str(f)) for f in importlib.resources.files("agent.strategy.builtin").iterdir()]


def include() -> Path:
    """The directory of agent_strategy.h, for compilers."""
    import importlib.resources

    return Path(str(importlib.resources.files("agent.strategy").joinpath("include", "agent_strategy.h"))).parent


class StrategyError(AgentError):
    """A strategy cannot be found, compiled or initialised."""


class Strategy:
    """A Numba strategy: Python functions over records, and the layout of its state.

    on_event(state, event, orders) -> int: how many of the records in `orders` (8 of them) it filled in, or a
    negative error code. on_fill(state, fill, orders) and on_timer(state, now_ns, orders) do the same;
    init(state, params) -> int prepares the zeroed state: 0, or a negative error code; fini(state) ends it.
    state: a NumPy dtype, or the list of fields for one. The records are those of agent/strategy/types.py.

    Only arithmetic on the records belongs into the functions: nothing may allocate, raise or call Python, and an
    index past the 8 orders or past an array of the state writes over other memory.
    """

    def __init__(
        self,
        on_event: Callable[..., int],
        state: Any,
        init: Callable[..., int] | None = None,
        *,
        on_fill: Callable[..., int] | None = None,
        on_timer: Callable[..., int] | None = None,
        fini: Callable[..., None] | None = None,
    ) -> None:
        if not isinstance(on_event, FunctionType):
            raise TypeError(f"on_event: found {type(on_event).__name__}, allowed: a function")
        self.name = on_event.__module__.rpartition(".")[2]
        self.state = state
        self.functions = {"init": init, "on_event": on_event, "on_fill": on_fill, "on_timer": on_timer, "fini": fini}


class Loaded(NamedTuple):
    """A strategy, ready to be initialised. keep: what has to live as long as its functions are called."""

    name: str
    table: _strategy.Table
    keep: object


class Prepared(NamedTuple):
    """An initialised strategy. table, state: addresses, for the engine; loaded, memory: what they point into."""

    table: int
    state: int
    loaded: Loaded
    memory: bytearray


# ------------------------------------------------------------------------------------------- Numba

# Numba caches a function by its file and name, and forgets what it closes over. So the glue between the C
# pointers and a strategy's records is a file of its own, named by a hash of all that the strategy is made of.
_GLUE = """from numba import carray

def on_event(state, event, orders):
    return inner_on_event(carray(state, 1)[0], carray(event, 1)[0], carray(orders, 8))

def on_fill(state, fill, orders):
    return inner_on_fill(carray(state, 1)[0], carray(fill, 1)[0], carray(orders, 8))

def on_timer(state, now_ns, orders):
    return inner_on_timer(carray(state, 1)[0], now_ns, carray(orders, 8))

def init(state, params):
    return inner_init(carray(state, 1)[0], carray(params, 1)[0])

def fini(state):
    inner_fini(carray(state, 1)[0])
"""


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _digest(strategy: Strategy) -> str:
    """A hash of the strategy's functions, of the functions that they call, and of the constants they use: what Numba
    compiles in. Of NumPy and Numba only the version counts."""
    import hashlib

    digest = hashlib.sha256()
    seen: set[int] = set()

    def add(*words: object) -> None:
        digest.update(repr(words).encode())

    def visit(value: Any, used: set[str]) -> None:
        value = getattr(value, "py_func", value)  # of a function that is compiled by itself
        if id(value) in seen:
            return
        seen.add(id(value))
        home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) or ""
        if str(home).partition(".")[0] in ("numpy", "numba"):
            add(home, getattr(value, "__qualname__", None), getattr(value, "__version__", None))
            if hasattr(value, "tobytes"):
                add(value.tobytes())
        elif isinstance(value, ModuleType):
            for name in sorted(used & vars(value).keys()):
                add(home, name)
                visit(vars(value)[name], used)
        elif isinstance(value, FunctionType):
            for cell, name in zip(value.__closure__ or (), value.__code__.co_freevars, strict=True):
                add(name)
                visit(cell.cell_contents, used)
            for code in _codes(value.__code__):
                constants = [c for c in code.co_consts if not isinstance(c, CodeType)]
                add(code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars)
                for name in code.co_names:
                    if name in value.__globals__:
                        add(name)
                        visit(value.__globals__[name], set(code.co_names))
            add(value.__defaults__)
        elif hasattr(value, "tobytes"):  # an array; its repr() leaves out what is in the middle
            add(str(value.dtype), value.shape, value.tobytes())
        else:
            add(value)

    add(_GLUE, _strategy.layout_hash(), strategy.state)
    for name, function in strategy.functions.items():
        add(name)
        # By itself: the same function may stand in two places.
        seen.clear()
        visit(function, set())
    return digest.hexdigest()[:16]


def _glue(strategy: Strategy) -> dict[str, Any]:
    """The glue's namespace, from a file in Numba's cache directory where there is one."""
    digest = _digest(strategy)
    directory = os.environ.get("NUMBA_CACHE_DIR", "")
    path = Path(directory) / f"{strategy.name}-{digest}.py"
    if directory and not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_suffix(f".{os.getpid()}")
            fresh.write_text(_GLUE)
            fresh.replace(path)
        except OSError:
            pass  # a cache that cannot be written: compiled anew each time, and engine.use_cache said so
    # What comes out of the cache looks its module up by name.
    module = sys.modules[f"agent_glue_{digest}"] = ModuleType(f"agent_glue_{digest}")
    exec(compile(_GLUE, str(path), "exec"), vars(module))
    return vars(module)


def _compile(strategy: Strategy) -> Loaded:
    try:
        import numba
        import numpy as np
        from numba import types
    except ImportError as error:
        raise StrategyError(
            f"strategy {strategy.name}: is compiled by Numba, which is not here ({error}): pip install hosttune[agent]"
        ) from None

    from agent.strategy import types as records

    if records.layout_hash() != _strategy.layout_hash():
        raise StrategyError(
            "agent/strategy/types.py is not of the layout of strategy/include/agent_strategy.h as compiled"
        )
    try:
        state = np.dtype(strategy.state, align=True) if isinstance(strategy.state, list) else np.dtype(strategy.state)
        if state.hasobject or state.names is None:
            raise ValueError(f"found {state}, allowed: fields of numbers")
        record = numba.from_dtype(state)
    except (TypeError, ValueError, NotImplementedError, numba.core.errors.NumbaError) as error:
        raise StrategyError(f"strategy {strategy.name}: state: {error}") from None

    def pointer(dtype: Any) -> Any:
        return types.CPointer(numba.from_dtype(dtype))

    s, order = types.CPointer(record), pointer(records.ORDER)
    signatures = {
        "init": types.int32(s, pointer(records.PARAMS)),
        "on_event": types.int32(s, pointer(records.EVENT), order),
        "on_fill": types.int32(s, pointer(records.FILL), order),
        "on_timer": types.int32(s, types.int64, order),
        "fini": types.void(s),
    }
    space = _glue(strategy)
    cache = os.path.exists(space["on_event"].__code__.co_filename)
    compiled = {}
    for name, function in strategy.functions.items():
        if function is None:
            continue
        space["inner_" + name] = numba.njit(error_model="numpy")(function)
        try:
            try:
                compiled[name] = numba.cfunc(signatures[name], cache=cache, error_model="numpy")(space[name])
            except RuntimeError as error:
                if "no locator" not in str(error):
                    raise
                # The cache can be read but not written, which Numba does not take.
                cache = False
                compiled[name] = numba.cfunc(signatures[name], error_model="numpy")(space[name])
        except Exception as error:  # Numba's own, and whatever else its passes run into
            raise StrategyError(f"strategy {strategy.name}: {name} does not compile: {str(error).strip()}") from None
    addresses = {name: function.address for name, function in compiled.items()}
    try:
        table = _strategy.Table.build(state.itemsize, **addresses)
    except ValueError as error:
        raise StrategyError(f"strategy {strategy.name}: {error}") from None
    return Loaded(strategy.name, table, compiled)


# ------------------------------------------------------------------------------------------- finding


def built_in() -> list[str]:
    """The names of the built-in strategies: those that are here, whatever they are written in."""
    names = {f.name.split(".")[0] for f in _built_in_files() if f.suffix in (".py", ".so")}
    return sorted(n.removeprefix("lib") for n in names if not n.startswith("_"))


def _is_module(name: str) -> bool:
    """Whether this is a built-in strategy in Python or Cython: asked first, since looking through the files is slow."""
    return (
        name.isidentifier()
        and name[0] != "_"
        and importlib.util.find_spec(f"agent.strategy.builtin.{name}") is not None
    )


def _library(name: str, path: Path) -> Loaded:
    import ctypes  # of no use to the others, and slow

    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise StrategyError(f"strategy.name: {name}: {error}") from None
    try:
        symbol = ctypes.c_char.in_dll(library, "agent_strategy")
    except ValueError:
        raise StrategyError(f"strategy.name: {name}: has no symbol agent_strategy") from None
    return Loaded(name, _table(name, ctypes.addressof(symbol)), library)


def _table(name: str, address: int) -> _strategy.Table:
    try:
        return _strategy.Table.at(address)
    except ValueError as error:
        raise StrategyError(f"strategy.name: {name}: {error}") from None


def load(name: str) -> Loaded:
    """The strategy called name: a built-in one, MODULE:OBJECT (a Strategy, or a capsule "agent.strategy"), or the
    path of a shared object with the symbol agent_strategy.

    Raises StrategyError when there is none, when it does not compile, or was built for another layout.
    """
    if "/" in name or name.endswith(".so"):
        return _library(name, Path(name).resolve())
    module, _, attribute = name.partition(":")
    if not attribute and not _is_module(name):
        for library in _built_in_files():
            if library.name == f"lib{name}.so":
                return _library(name, library)
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
    except Exception as error:  # the module is the user's: anything may go wrong in it
        raise StrategyError(f"strategy.name: {name!r}: {type(error).__name__}: {error}") from None
    if isinstance(found, Strategy):
        return _compile(found)
    try:
        address = _strategy.capsule(found)
    except ValueError:
        raise StrategyError(
            f"strategy.name: {name!r} is a {type(found).__name__}; allowed: a Strategy, or a capsule agent.strategy"
        ) from None
    return Loaded(name, _table(name, address), found)


def prepare(
    loaded: Loaded, fast: float, slow: float, size: int, symbols: int = 1, values: Sequence[float] = ()
) -> Prepared:
    """Initialise a fresh, zeroed state, aligned to 64 bytes.

    fast, slow, size, symbols, values: struct agent_params; at most 8 values. Raises StrategyError when there are more,
    and when init() refuses.
    """
    if len(values) > _strategy.VALUES:
        raise StrategyError(f"strategy.values: found {len(values)} numbers, allowed: at most {_strategy.VALUES}")
    memory = bytearray(loaded.table.state_size + 64)
    state = (_strategy.address(memory) + 63) & ~63
    code = loaded.table.init(state, fast, slow, size, symbols, list(values))
    if code < 0:
        raise StrategyError(f"strategy {loaded.name}: init returned {code}")
    return Prepared(loaded.table.address, state, loaded, memory)


def drive(prepared: Prepared, events: bytes) -> list[tuple[int, bytes] | tuple[int, int]]:
    """Call on_event for each struct agent_event in events, without an engine and without a gate: (index of the event,
    bytes of the struct agent_order) for each order, (index, count) for a count that is negative or over 8."""
    return prepared.loaded.table.drive(prepared.state, events)
