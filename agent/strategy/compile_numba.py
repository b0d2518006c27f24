"""A module of Python functions, such as a Numba strategy, compiled to C functions, or taken out of the cache directory.

Numba is imported when a strategy is compiled, and not before: a native strategy, and one whose machine code is kept
(machine_code.py), run without it.
"""

import functools
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple, cast

from agent.strategy import _table, machine_code
from agent.strategy.definition import Loaded, Strategy, StrategyError, find_symbol
from hosttune import files

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


class Unit(NamedTuple):
    """What is compiled at a time.

    noun, name: of it, in a message: "strategy", "ema_cross"; state: a NumPy dtype, or the list of fields for one;
    functions: by name, None for one that is left out; glue: the source of the functions that Numba makes C functions
    of, each of which calls inner_NAME, the function itself; layout: what they depend on beside that, told by repr();
    orders: by function, which of its arguments has as many places as an order buffer; engines: by function, which one
    is the engine's, and only read; signatures: returns Numba's
    signatures of the glue's functions, for the record of the state; error: the class of what is raised, with a line for
    each thing that is wrong.
    """

    noun: str
    name: str
    state: Any
    functions: Mapping[str, Any]
    glue: str
    layout: tuple[object, ...]
    orders: Mapping[str, int]
    engines: Mapping[str, int]
    signatures: Callable[[Any], dict[str, Any]]
    error: type[Exception]

    @property
    def title(self) -> str:
        """What a message begins with."""
        return f"{self.noun} {self.name}"


class Compiled(NamedTuple):
    """C functions: their addresses by name, what owns their memory, and the bytes of the state."""

    addresses: dict[str, int]
    owner: object
    state_size: int


#: The modules that decide what is kept in the cache, and how.
_DECIDE = ("forbidden.py", "indices.py", "machine_code.py")


def _nested_codes(code: CodeType) -> Iterator[CodeType]:
    """Yields code, and the code of every function that is defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested_codes(constant)


def _hash_unit(unit: Unit) -> str:
    """Returns a hash, 16 hexadecimal digits, of all that Numba compiles in: the unit's functions, the functions
    that they call, the constants that they use, and the layout of the state; and of what is refused, so that nothing is
    taken out of a cache that was filled before it was. NumPy and Numba count by version only."""
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
            # Numba's cache names a function by its module, and imports that to take it out again.
            add(home, value.__qualname__)
            for cell, name in zip(value.__closure__ or (), value.__code__.co_freevars, strict=True):
                add(name)
                visit(cell.cell_contents, used)
            for code in _nested_codes(value.__code__):
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

    add(
        unit.glue,
        unit.layout,
        unit.state,
        *(Path(__file__).with_name(name).read_bytes() for name in _DECIDE),
    )
    for name, function in unit.functions.items():
        add(name)
        # By itself: the same function may stand in two places.
        seen.clear()
        visit(function, set())
    return digest.hexdigest()[:16]


def _write_glue(glue: str, path: Path, kept: bool) -> dict[str, Any]:
    """Write the glue to a file in Numba's cache directory, if it is to be kept and the file is not there.

    Returns the namespace of the glue's module."""
    if kept and not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            files.replace_file(path, glue.encode(), 0o644)
        except OSError:
            pass  # a cache that cannot be written: compiled anew each time, and use_cache() warned of it
    # What comes out of the cache looks its module up by name.
    name = f"agent_glue_{path.stem.rpartition('-')[2]}"
    module = sys.modules[name] = ModuleType(name)
    exec(compile(glue, str(path), "exec"), vars(module))
    return vars(module)


@functools.cache
def _teach_numba() -> None:
    """Let strategies call find_symbol()."""
    from numba.extending import overload

    @overload(find_symbol)  # type: ignore[untyped-decorator]
    def choose(params: Any, name: bytes) -> int:
        return find_symbol  # type: ignore[return-value]


def _compile_function(unit: Unit, space: dict[str, Any], name: str, signature: Any) -> Any:
    """Returns the Numba callback of one of a unit's functions, out of the cache where the glue's file is.

    space: of the glue's module. Raises ForbiddenError, and whatever Numba's passes run into.
    """
    import numba

    from agent.strategy import forbidden

    _teach_numba()
    function = unit.functions[name]
    inner = space["inner_" + name] = numba.njit(error_model="numpy")(function)
    arguments = dict(enumerate(function.__code__.co_varnames))
    orders, engines = (arguments.get(each.get(name, -1), "") for each in (unit.orders, unit.engines))
    compiler = forbidden.make_compiler(inner, orders, engines)

    def compile_glue(cache: bool) -> Any:
        return numba.cfunc(signature, cache=cache, error_model="numpy", pipeline_class=compiler)(space[name])

    try:
        return compile_glue(cache=os.path.exists(space[name].__code__.co_filename))
    except RuntimeError as error:
        if "no locator" not in str(error):
            raise
        # The cache can be read but not written, which Numba does not take.
        return compile_glue(cache=False)


def _explain(message: str, words: str, glue: str, function: str) -> str:
    """Returns a line for what Numba says in several: the place in the source (that of the function, if Numba names none
    of the user's), the words, and what Numba found there."""
    lines = [line for line in message.splitlines() if line and not line.startswith("Failed in ")]
    places = re.findall(r'^File "([^"]+)", line (\d+):', message, re.MULTILINE)
    # Not that of the glue, which is below a name that no file has, or in the cache.
    users = ((f, line) for f, line in places if os.path.isfile(f) and os.path.realpath(f) != os.path.realpath(glue))
    at = next((f"{os.path.abspath(f)}:{line}: " for f, line in users), function)
    return at + words + (lines[0] if lines else message)


def compile_unit(unit: Unit, build: Callable[[Compiled], Any]) -> Any:
    """Compile the functions of a unit, or take their machine code out of the cache directory, if one is set: as it was
    made whole (machine_code.py), else out of Numba's own cache.

    build: makes of them what is wanted; code is kept when it has. Returns what `build` returns. Raises the unit's error
    when Numba is not installed, when the layout of the state is not one of numbers, when a function does not compile or
    does what none may (forbidden.py), and for a ValueError of `build`.
    Source: Numba's user manual, "Creating C callbacks with @cfunc" and "Notes on Caching".
    """
    directory = os.environ.get("NUMBA_CACHE_DIR", "")
    path = Path(directory) / f"{unit.name}-{_hash_unit(unit)}.py"
    kept = path.with_suffix(".code")
    if directory and (found := machine_code.load(kept)):
        code, size = found
        return _build(unit, build, Compiled(code.addresses, code, size))
    try:
        import numba
        import numpy as np
    except ImportError as error:
        raise unit.error(
            f"{unit.title}: is compiled by Numba, which is not here ({error}): pip install hosttune[agent]"
        ) from None
    try:
        state = np.dtype(unit.state, align=True) if isinstance(unit.state, list) else np.dtype(unit.state)
        if state.hasobject or state.names is None:
            raise ValueError(f"found {state}, allowed: fields of numbers")
        record = numba.from_dtype(state)
    except (TypeError, ValueError, NotImplementedError, numba.core.errors.NumbaError) as error:
        raise unit.error(f"{unit.title}: state: {error}") from None
    compiled = _compile_functions(unit, unit.signatures(record), _write_glue(unit.glue, path, bool(directory)))
    whole = machine_code.make_whole(compiled, state.itemsize)
    addresses = whole[1].addresses if whole else {name: function.address for name, function in compiled.items()}
    built = _build(unit, build, Compiled(addresses, whole[1] if whole else compiled, state.itemsize))
    if whole and directory:
        machine_code.save(kept, whole[0])
    return built


def _build(unit: Unit, build: Callable[[Compiled], Any], compiled: Compiled) -> Any:
    try:
        return build(compiled)
    except ValueError as error:
        raise unit.error(f"{unit.title}: {error}") from None


def _compile_functions(unit: Unit, signatures: dict[str, Any], space: dict[str, Any]) -> dict[str, Any]:
    """Returns the Numba callbacks of a unit's functions by name. Raises the unit's error, with all that is wrong.

    space: of the glue's module."""
    from agent.strategy import forbidden

    compiled, problems = {}, list[str]()
    for name, function in unit.functions.items():
        if function is None:
            continue
        try:
            compiled[name] = _compile_function(unit, space, name, signatures[name])
        except forbidden.ForbiddenError as error:
            problems += [
                f"{p.file}:{p.line}: {unit.title}, {p.function}: found {p.found}; allowed: {p.allowed}"
                for p in error.problems
            ]
        except Exception as error:  # Numba's own, and whatever else its passes run into
            words, glue = f"{unit.title}: {name} does not compile: ", space[name].__code__.co_filename
            source = cast(FunctionType, function).__code__
            at = f"{os.path.abspath(source.co_filename)}:{source.co_firstlineno}: "
            if isinstance(error, KeyError):  # of a record's fields, without a place
                problems.append(f"{at}{words}found the field {error}, which there is not")
            else:
                problems.append(_explain(str(error).strip(), words, glue, at))
    if problems:
        raise unit.error(*dict.fromkeys(problems))
    return compiled


def compile_strategy(strategy: Strategy) -> Loaded:
    """Compile the functions of a Numba strategy, or take their machine code out of the cache directory. Returns the
    strategy, not yet initialised. Raises StrategyError as compile_unit()."""
    return cast(Loaded, compile_unit(_describe_strategy(strategy), functools.partial(_make_table, strategy.name)))


def _make_table(name: str, compiled: Compiled) -> Loaded:
    return Loaded(name, _table.Table.build(compiled.state_size, **compiled.addresses), compiled.owner)


def _describe_strategy(strategy: Strategy) -> Unit:
    return Unit(
        noun="strategy",
        name=strategy.name,
        state=strategy.state,
        functions=strategy.functions,
        glue=_GLUE,
        layout=(_table.layout_hash(),),
        orders={"on_event": 2, "on_fill": 2, "on_timer": 2},
        engines={"init": 1, "on_event": 1, "on_fill": 1},
        signatures=_sign_strategy,
        error=StrategyError,
    )


def _sign_strategy(record: Any) -> dict[str, Any]:
    """Returns Numba's signatures of a strategy's functions, for the record of its state. Raises StrategyError."""
    import numba
    from numba import types

    from agent.strategy import types as structures

    if structures.layout_hash() != _table.layout_hash():
        raise StrategyError(
            "agent/strategy/types.py is not of the layout of strategy/include/agent_strategy.h as compiled"
        )

    def pointer(dtype: Any) -> Any:
        return types.CPointer(numba.from_dtype(dtype))

    s, order = types.CPointer(record), pointer(structures.ORDER)
    return {
        "init": types.int32(s, pointer(structures.PARAMS)),
        "on_event": types.int32(s, pointer(structures.EVENT), order),
        "on_fill": types.int32(s, pointer(structures.FILL), order),
        "on_timer": types.int32(s, types.int64, order),
        "fini": types.void(s),
    }
