"""The module that `desk run` runs: a Python file, and the functions in it that are marked."""

import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from agent.shm import place
from desk.bus.events import EVENTS
from desk.bus.faults import find_line, list_places, show_text
from desk.bus.mark import ATTRIBUTE, Mark, made
from desk.errors import DeskError
from hosttune import files

#: Bytes of a module at most.
_MOST_BYTES = 16 << 20


class Marked(NamedTuple):
    """A function of a module, and one of its marks."""

    function: Callable[..., Any]
    mark: Mark


def load(given: Path) -> list[Marked]:
    """Run a Python file as a module. Returns its marked functions, in the order in which the module has them. Modules
    beside the file are found, behind all that are installed.

    The file, and the directory in which it is, are this user's or root's, and nobody else can write to them or put
    others in their place: it is code (agent.shm.place).

    Raises DeskError: for a file that is not there or not to be trusted, for one that is no Python or raises, with the
    file and line, for one in which no function is marked, and for a function that is marked and not one of the
    module's: it would get nothing.
    """
    try:
        path = files.find_path(given)
        descriptor = place.open_file(Path(path), os.O_RDONLY)
        try:
            source = files.read_bounded(descriptor, _MOST_BYTES, path)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DeskError(f"{place.explain(error, given)} (a module is code)") from None
    before = len(made)
    module = _run(path, source)
    found: list[Marked] = []
    seen: set[int] = set()
    for value in list(vars(module).values()):
        # Its own: a decorator above @on may have made something else than a function of it, such as functools.cache.
        own = getattr(value, "__dict__", {}) if callable(value) and not isinstance(value, type) else {}
        marks = own.get(ATTRIBUTE, ()) if isinstance(own, dict) else ()
        if id(value) not in seen:
            seen.add(id(value))
            found += [Marked(value, mark) for mark in marks if isinstance(mark, Mark)]
    taken = {id(one.mark) for one in found}
    for one in made[before:]:
        if id(one.mark) not in taken:
            raise DeskError(
                f"{one.where}: {one.name} would get nothing: found @on at what is no function of {given} itself, or "
                "not any more; allowed: functions that it defines or imports by name"
            )
    if not found:
        names = ", ".join(sorted(EVENTS))
        raise DeskError(f"{given}: no function is marked, allowed: at least one behind @on(EVENT), of {names}")
    return found


def _run(path: str, source: bytes) -> types.ModuleType:
    stem = Path(path).stem
    # Under its own name, unless that is another module's.
    module = types.ModuleType("desk_module" if stem in sys.modules or stem in sys.stdlib_module_names else stem)
    module.__file__ = path
    sys.modules[module.__name__] = module
    sys.path.append(os.path.dirname(path))
    try:
        exec(compile(source, path, "exec", dont_inherit=True), vars(module))
    except (DeskError, KeyboardInterrupt):
        raise
    except SyntaxError as error:
        where = f"{error.filename}:{error.lineno}" if error.filename and error.lineno else path
        raise DeskError(f"{where}: {type(error).__name__}: {error.msg}") from None
    except BaseException as error:  # the module's own code has run, and may have ended in any way
        raise DeskError(_explain(path, error)) from None
    return module


def _explain(path: str, error: BaseException) -> str:
    """Returns what went wrong in one line: where, what, and the line of the module that led there."""
    text = show_text(error)
    if isinstance(error, SystemExit):
        text = f"the module ends the process (exit code {text})"
    words = f"{find_line(error) or path}: {type(error).__name__}: {text}"
    own = [line for file, line in list_places(error) if file == path]
    begin = f"{path}:{own[0]}" if own else path
    return words if words.startswith(f"{begin}:") else f"{words} (called from {begin})"
