"""`@on(EVENT)`: which function of a module gets which events."""

import inspect
import sys
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

from desk.bus.events import EVENTS, Event
from desk.errors import DeskError

Policy = Literal["drop_oldest", "drop_newest", "block"]
POLICIES: tuple[Policy, ...] = ("drop_oldest", "drop_newest", "block")
#: Events that may wait at one slow subscriber, at most.
MOST_WAITING = 1_000_000
#: The attribute of a function that is marked.
ATTRIBUTE = "__desk_marks__"
_Function = TypeVar("_Function", bound=Callable[..., Any])


class Mark(NamedTuple):
    """One subscription: the event's class, how many may wait (0: the function is called at once), and what becomes of
    those that find no place."""

    kind: type[Event]
    queue: int = 0
    policy: Policy = "drop_oldest"


class Made(NamedTuple):
    """A mark that was made, of which function, and FILE:LINE."""

    mark: Mark
    name: str
    where: str


#: Of this process, in their order: a mark that no module's functions have gets nothing, and load() says so.
made: list[Made] = []


def on(kind: type[Event], *, queue: int = 0, policy: Policy = "drop_oldest") -> Callable[[_Function], _Function]:
    """Returns a decorator of a function `f(event, bus)` that gets every event of exactly this class.

    queue: 0, and the function is called at once, on the loop, before publish() returns. Above 0 it is a slow
    subscriber: so many events may wait for it. Then an `async def` runs as a task of the loop, another function in a
    thread of its own. policy: at a full queue "drop_oldest" and "drop_newest" lose an event, and count it; "block"
    stops all delivery and every source until there is a place, and loses nothing.

    Raises DeskError, with the file and line of the decorator, for what is no event, queue or policy, and for a function
    that cannot be called so.
    """
    where = f"{_name_caller()}: @on"
    check_mark(Mark(kind, queue, policy), where)

    def mark(function: _Function) -> _Function:
        check_function(function, queue, where)
        one = Mark(kind, queue, policy)
        setattr(function, ATTRIBUTE, (one, *getattr(function, ATTRIBUTE, ())))
        made.append(Made(one, getattr(function, "__qualname__", type(function).__qualname__), where))
        return function

    return mark


def check_mark(mark: Mark, where: str) -> None:
    """Raise DeskError, which begins with `where`, for what is no event, queue or policy."""
    kind, queue, policy = mark
    if not (isinstance(kind, type) and issubclass(kind, Event) and kind is not Event):
        allowed = f"{', '.join(sorted(EVENTS))}, or a class derived from Event"
        raise DeskError(f"{where}: found {_show(kind)}, allowed: {allowed}")
    if isinstance(queue, bool) or not isinstance(queue, int) or not 0 <= queue <= MOST_WAITING:
        allowed = f"a whole number from 0 to {MOST_WAITING:,}"
        raise DeskError(f"{where}: queue: found {_show(queue)}, allowed: {allowed}")
    if policy not in POLICIES:
        raise DeskError(f"{where}: policy: found {_show(policy)}, allowed: {', '.join(POLICIES)}")


def check_function(function: Callable[..., Any], queue: int, where: str) -> None:
    """Raise DeskError, which begins with `where`, for what cannot be called as f(event, bus), or could never end the
    call at once."""
    if not callable(function):
        raise DeskError(f"{where}: found {_show(function)}, allowed: a function")
    name = getattr(function, "__qualname__", type(function).__qualname__)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of compiled code that does not say
        return
    try:
        signature.bind(None, None)
    except TypeError:
        raise DeskError(f"{where}: {name}{signature}: allowed: a function of (event, bus)") from None
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise DeskError(f"{where}: {name}: found a generator, allowed: a function that returns")
    if inspect.iscoroutinefunction(function) and not queue:
        raise DeskError(f"{where}: {name}: found async def without a queue, allowed: def, or @on(..., queue=N)")


def _show(value: object) -> str:
    text = f"the class {value.__qualname__}" if isinstance(value, type) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _name_caller() -> str:
    """Returns FILE:LINE of the code that calls the function that calls this."""
    frame = sys._getframe(2)
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
