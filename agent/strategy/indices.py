"""What the source of a Numba strategy writes where it may not: past the end of what an index that is a constant is of,
and to what is the engine's.

Numba checks no index, as C does not. One that is computed cannot be known; a constant can, where the length is one too:
of an order buffer, of an array that is a field of a record, of an array of the module, and of a part of one of these.
Numba does not know C's `const` either.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from agent.strategy import _table

_Shape = tuple[int, ...]
# Expressions of Numba's that take a part of a variable, or the variable itself.
_PARTS = ("getattr", "getitem", "static_getitem", "cast")
_ALLOWED_OF_ENGINE = "to read it: it is the engine's"


class Problem(NamedTuple):
    """A line that does what no strategy may. file, line: of the source; function: its name there; found, allowed: in
    words."""

    file: str
    line: int
    function: str
    found: str
    allowed: str


def find_problems(function: Any, compiled: Any, orders: str, engines: str) -> Iterator[Problem]:
    """Yields a problem for each such index and write in a user's function, and in those that it calls.

    function, compiled: Numba's dispatcher of it, and the result of compiling it here; orders: the name of its argument
    with as many places as an order buffer, engines: of the one that is the engine's, "" for none.
    """
    shapes: dict[str, _Shape] = {orders: (_table.MAX_ORDERS,)} if orders else {}
    return _find_problems(function, compiled, shapes, {engines} - {""}, set())


def list_calls(compiled: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yields (dispatcher, types of the arguments, expression of the intermediate representation) for each call of a
    user's function in one that was compiled here; none in one out of a cache."""
    noted = getattr(compiled, "type_annotation", None)
    types_of = getattr(noted, "typemap", {})
    for expression, signature in getattr(noted, "calltypes", {}).items():
        if getattr(expression, "op", "") == "call":
            called = getattr(types_of.get(expression.func.name), "dispatcher", None)
            if hasattr(called, "targetoptions"):  # not so the body of a `with objmode`
                yield called, signature.args, expression


def _find_problems(
    function: Any, compiled: Any, shapes: dict[str, _Shape], fixed: set[str], seen: set[Any]
) -> Iterator[Problem]:
    code = function.py_func.__code__
    key = (code, *sorted(shapes.items()), *sorted(fixed))
    blocks = getattr(compiled.type_annotation, "blocks", {})
    if key in seen:
        return
    seen.add(key)
    shapes, fixed = dict(shapes), set(fixed)
    for statement in (s for label in sorted(blocks) for s in blocks[label].body):
        _note_shape(statement, compiled.type_annotation.typemap, shapes)
        if _note_fixed(statement, fixed):
            found = f"a write to {statement.target.name.partition('.')[0]}"
            yield Problem(code.co_filename, statement.loc.line, code.co_name, found, _ALLOWED_OF_ENGINE)
        for name, index in _list_indices(statement):
            for length, number in zip(shapes.get(name, ()), index, strict=False):
                if isinstance(number, int) and not -length <= number < length:
                    found, allowed = f"the index {number}", f"an index below {length}"
                    yield Problem(code.co_filename, statement.loc.line, code.co_name, found, allowed)
    for called, arguments, expression in list_calls(compiled):
        names = called.py_func.__code__.co_varnames
        given = [*zip(names, expression.args, strict=False), *expression.kws]
        if its := called.overloads.get(arguments):
            handed = {name: shapes[variable.name] for name, variable in given if variable.name in shapes}
            engines = {name for name, variable in given if variable.name in fixed}
            yield from _find_problems(called, its, handed, engines, seen)


def _note_shape(statement: Any, types_of: dict[str, Any], shapes: dict[str, _Shape]) -> None:
    """Enter the shape of the variable that a statement assigns, where it is known."""
    from numba.core import ir, types

    if not isinstance(statement, ir.Assign):
        return
    name, value = statement.target.name, statement.value
    if isinstance(value, ir.Var) and value.name in shapes:
        shapes[name] = shapes[value.name]
    elif getattr(value, "op", "") == "static_getitem" and value.value.name in shapes:
        shapes[name] = _take_part(shapes[value.value.name], _as_tuple(value.index))
    elif isinstance(types_of.get(name), types.NestedArray):
        shapes[name] = types_of[name].shape
    elif isinstance(value, ir.Global | ir.FreeVar) and isinstance(getattr(value.value, "shape", None), tuple):
        shapes[name] = value.value.shape
    elif not isinstance(value, ir.Arg):
        shapes.pop(name, None)


def _take_part(shape: _Shape, index: tuple[Any, ...]) -> _Shape:
    """Returns the shape of what a constant index takes of an array; () where that is not known."""
    if len(index) > len(shape) or not all(isinstance(one, int | slice) for one in index):
        return ()
    lengths = zip(shape, index, strict=False)
    taken = [len(range(*one.indices(length))) for length, one in lengths if isinstance(one, slice)]
    return (*taken, *shape[len(index) :])


def _note_fixed(statement: Any, fixed: set[str]) -> bool:
    """Enter the variable that a statement assigns among those that are the engine's, if it is one, and returns whether
    the statement writes to one."""
    from numba.core import ir

    if isinstance(statement, ir.SetAttr | ir.SetItem | ir.StaticSetItem):
        return statement.target.name in fixed
    if isinstance(statement, ir.Assign) and not isinstance(statement.value, ir.Arg):
        value = statement.value
        source = value.value if getattr(value, "op", "") in _PARTS else value
        ours = not isinstance(source, ir.Var) or source.name not in fixed
        (fixed.discard if ours else fixed.add)(statement.target.name)
    return False


def _list_indices(statement: Any) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yields (name of the variable, constant indices by dimension) for what a statement indexes."""
    from numba.core import ir

    if isinstance(statement, ir.StaticSetItem):
        yield statement.target.name, _as_tuple(statement.index)
    elif isinstance(statement, ir.Assign) and getattr(statement.value, "op", "") == "static_getitem":
        yield statement.value.value.name, _as_tuple(statement.value.index)


def _as_tuple(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)
