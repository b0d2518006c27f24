"""The line that says how far a long replay is, for a person at a terminal."""

import contextlib
import time
from collections.abc import Callable, Iterator

from agent.protocols.recording import Recording
from hosttune.output import is_watched, show_line

#: Seconds from one line to the next.
_INTERVAL = 1.0


@contextlib.contextmanager
def show_progress() -> Iterator[Callable[[Recording], None]]:
    """Gives what replay.run.replay() calls behind each chunk: at most once in a second it writes on standard error how
    much of the file is read, where that is a terminal. The line is gone at the end."""
    if not is_watched():
        yield lambda recording: None
        return
    begun = shown = time.monotonic()
    written = False

    def show(recording: Recording) -> None:
        nonlocal shown, written
        now = time.monotonic()
        if now - shown < _INTERVAL:
            return
        share, rate = recording.place / max(recording.size, 1), recording.place / (now - begun) / 1e6
        left = (now - begun) * (1 - share) / share if share else 0
        show_line(f"replay: {share:4.0%} of the file read, {rate:,.1f} MB/s, {left:,.0f} s left")
        shown, written = now, True

    try:
        yield show
    finally:
        if written:
            show_line("")
