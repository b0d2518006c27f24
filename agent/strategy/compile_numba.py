"""A Numba strategy compiled to the functions of a struct agent_strategy, or taken out of the cache directory.

Numba is imported when a strategy is compiled, and not before: a native strategy, and one whose machine code is kept
(machine_code.py), run without it.
"""

import functools
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, cast

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

#: The modules that decide what is kept in the cache, and how.
_DECIDE = ("forbidden.py", "indices.py", "machine_code.py")


def _nested_codes(code: CodeType) -> Iterator[CodeType]:
    """Yields code, and the code of every function that is defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested_codes(constant)


def _hash_strategy(strategy: Strategy) -> str:
    """Returns a hash, 16 hexadecimal digits, of all that Numba compiles in: the strategy's functions, the functions
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
        _GLUE,
        _table.layout_hash(),
        strategy.state,
        *(Path(__file__).with_name(name).read_bytes() for name in _DECIDE),
    )
    for name, function in strategy.functions.items():
        add(name)
        # By itself: the same function may stand in two places.
        seen.clear()
        visit(function, set())
    return digest.hexdigest()[:16]


def _write_glue(path: Path, kept: bool) -> dict[str, Any]:
    """Write the glue to a file in Numba's cache directory, if it is to be kept and the file is not there.

    Returns the namespace of the glue's module."""
    if kept and not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            files.replace_file(path, _GLUE.encode(), 0o644)
        except OSError:
            pass  # a cache that cannot be written: compiled anew each time, and use_cache() warned of it
    # What comes out of the cache looks its module up by name.
    name = f"agent_glue_{path.stem.rpartition('-')[2]}"
    module = sys.modules[name] = ModuleType(name)
    exec(compile(_GLUE, str(path), "exec"), vars(module))
    return vars(module)


@functools.cache
def _teach_numba() -> None:
    """Let strategies call find_symbol()."""
    from numba.extending import overload

    @overload(find_symbol)  # type: ignore[untyped-decorator]
    def choose(params: Any, name: bytes) -> int:
        return find_symbol  # type: ignore[return-value]


def _compile_function(space: dict[str, Any], name: str, function: Any, signature: Any) -> Any:
    """Returns the Numba callback of one of a strategy's functions, out of the cache where the glue's file is.

    space: of the glue's module. Raises ForbiddenError, and whatever Numba's passes run into.
    """
    import numba

    from agent.strategy import forbidden

    _teach_numba()
    inner = space["inner_" + name] = numba.njit(error_model="numpy")(function)
    arguments = function.__code__.co_varnames
    compiler = forbidden.make_compiler(inner, arguments[2] if name.startswith("on_") and len(arguments) > 2 else "")

    def compile_glue(cache: bool) -> Any:
        return numba.cfunc(signature, cache=cache, error_model="numpy", pipeline_class=compiler)(space[name])

    try:
        return compile_glue(cache=os.path.exists(space[name].__code__.co_filename))
    except RuntimeError as error:
        if "no locator" not in str(error):
            raise
        # The cache can be read but not written, which Numba does not take.
        return compile_glue(cache=False)


def _explain(message: str, words: str, glue: str) -> str:
    """Returns a line for what Numba says in several: the place in the source, the words, and what Numba found there."""
    lines = [line for line in message.splitlines() if line and not line.startswith("Failed in ")]
    places = re.findall(r'^File "([^"]+)", line (\d+):', message, re.MULTILINE)
    # Not that of the glue, which is below a name that no file has, or in the cache.
    at = next((f"{os.path.abspath(f)}:{line}: " for f, line in places if os.path.isfile(f) and f not in glue), "")
    return at + words + (lines[0] if lines else message)


def compile_strategy(strategy: Strategy) -> Loaded:
    """Compile the functions of a Numba strategy, or take their machine code out of the cache directory, if one is set:
    as it was made whole (machine_code.py), else out of Numba's own cache.

    Returns the strategy, not yet initialised. Raises StrategyError when Numba is not installed, when the layout of the
    state is not one of numbers, and when a function does not compile or does what none may (forbidden.py).
    Source: Numba's user manual, "Creating C callbacks with @cfunc" and "Notes on Caching".
    """
    directory = os.environ.get("NUMBA_CACHE_DIR", "")
    path = Path(directory) / f"{strategy.name}-{_hash_strategy(strategy)}.py"
    kept = path.with_suffix(".code")
    if directory and (found := machine_code.load(kept)):
        code, size = found
        return Loaded(strategy.name, _table.Table.build(size, **code.addresses), code)
    try:
        import numba
        import numpy as np
        from numba import types
    except ImportError as error:
        raise StrategyError(
            f"strategy {strategy.name}: is compiled by Numba, which is not here ({error}): pip install hosttune[agent]"
        ) from None

    from agent.strategy import forbidden
    from agent.strategy import types as structures

    if structures.layout_hash() != _table.layout_hash():
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

    s, order = types.CPointer(record), pointer(structures.ORDER)
    signatures = {
        "init": types.int32(s, pointer(structures.PARAMS)),
        "on_event": types.int32(s, pointer(structures.EVENT), order),
        "on_fill": types.int32(s, pointer(structures.FILL), order),
        "on_timer": types.int32(s, types.int64, order),
        "fini": types.void(s),
    }
    space = _write_glue(path, bool(directory))
    compiled, problems = {}, list[str]()
    for name, function in strategy.functions.items():
        if function is None:
            continue
        try:
            compiled[name] = _compile_function(space, name, function, signatures[name])
        except forbidden.ForbiddenError as error:
            problems += [
                f"{p.file}:{p.line}: strategy {strategy.name}, {p.function}: found {p.found}; allowed: {p.allowed}"
                for p in error.problems
            ]
        except Exception as error:  # Numba's own, and whatever else its passes run into
            words, glue = f"strategy {strategy.name}: {name} does not compile: ", space[name].__code__.co_filename
            if isinstance(error, KeyError):  # of a record's fields, without a place
                source = cast(FunctionType, function).__code__
                at = f"{os.path.abspath(source.co_filename)}:{source.co_firstlineno}: "
                problems.append(f"{at}{words}found the field {error}, which there is not")
            else:
                problems.append(_explain(str(error).strip(), words, glue))
    if problems:
        raise StrategyError(*dict.fromkeys(problems))
    whole = machine_code.make_whole(compiled, state.itemsize)
    addresses = whole[1].addresses if whole else {name: function.address for name, function in compiled.items()}
    try:
        table = _table.Table.build(state.itemsize, **addresses)
    except ValueError as error:
        raise StrategyError(f"strategy {strategy.name}: {error}") from None
    if whole and directory:
        machine_code.save(kept, whole[0])
    return Loaded(strategy.name, table, whole[1] if whole else compiled)
