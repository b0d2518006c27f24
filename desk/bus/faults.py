"""What handlers did wrong: counted for each handler, and named by file and line."""

import time
import traceback
from collections.abc import Callable

from hosttune.output import escape, print_message

#: Different places that are named, at most: after these, faults are only counted.
_MOST_NAMED = 100
_MOST_TEXT = 200
#: Seconds for which an exception counts as what is wrong now.
_RECENT = 60.0
#: The name of what no handler has raised itself: a task that a handler has begun, say.
BESIDE = "beside the handlers"
_HERE = __file__.rpartition("/")[0] + "/"


class Faults:
    """The exceptions of all handlers. say: is given each message.

    counts: exceptions by handler's name. then: is called after each with one line of what it was.
    """

    def __init__(self, say: Callable[[str], None] = print_message) -> None:
        self._say = say
        self.counts: dict[str, int] = {}
        self.then: Callable[[str], None] = lambda line: None
        self._named: set[str] = set()
        self._last, self._last_at = "", 0.0

    def add(self, handler: str, error: BaseException) -> None:
        """Count an exception; name it where it comes from a new place."""
        self.counts[handler] = self.counts.get(handler, 0) + 1
        self._last, self._last_at = f"{describe(error)}, in {handler}", time.monotonic()
        # An exception's text may be another one each time: its place is not.
        place = f"{handler} {type(error).__qualname__} {find_line(error)}"
        if place not in self._named and len(self._named) < _MOST_NAMED:
            self._named.add(place)
            self._say(f"desk: run: {escape(self._last)}")
        self.then(self._last)

    @property
    def recent(self) -> str:
        """The last exception, where it is not older than a minute; else ""."""
        return self._last if self._last and time.monotonic() - self._last_at < _RECENT else ""


def find_line(error: BaseException) -> str:
    """Returns FILE:LINE of the innermost code that is not this package's; "" where there is none."""
    frames = [place for place in list_places(error) if not place[0].startswith((_HERE, "<"))]
    return f"{frames[-1][0]}:{frames[-1][1]}" if frames else ""


def list_places(error: BaseException) -> list[tuple[str, int]]:
    """Returns file and line of each frame of an exception, the innermost one last. The files are not read: their names
    are what the code says."""
    return [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]


def show_text(error: BaseException) -> str:
    """Returns the text of an exception, cut where it is long."""
    try:
        text = str.__getitem__(str(error), slice(_MOST_TEXT + 1))  # str() may be of a class with methods of its own
    except BaseException:  # an exception that cannot be printed is one of the user's, too
        return "(its text cannot be shown)"
    return text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 3] + "..."


def describe(error: BaseException) -> str:
    """Returns FILE:LINE: KIND: TEXT of an exception, as one line that is not escaped."""
    parts = (find_line(error), type(error).__name__, show_text(error))
    return ": ".join(part for part in parts if part)
