"""The line that says how far a long replay is, for a person at a terminal."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from agent.protocols.recording import Recording

#: Seconds from one line to the next.
_INTERVAL = 1.0
#: ECMA-48: the cursor to the line's begin, then erase the line.
_CLEAR = "\r\x1b[K"


@contextlib.contextmanager
def show_progress() -> Iterator[Callable[[Recording], None]]:
    """Gives what replay.run.replay() calls behind each chunk: at most once in a second it writes on standard error how
    much of the file is read, where that is a terminal. The line is gone at the end."""
    stream = sys.__stderr__  # not the one that escapes control characters: here are only numbers between ours
    begun = shown = time.monotonic()
    written = False

    def show(recording: Recording) -> None:
        nonlocal shown, written
        now = time.monotonic()
        if stream is None or now - shown < _INTERVAL:
            return
        share, rate = recording.place / max(recording.size, 1), recording.place / (now - begun) / 1e6
        left = (now - begun) * (1 - share) / share if share else 0
        with contextlib.suppress(OSError):
            stream.write(f"{_CLEAR}replay: {share:4.0%} of the file read, {rate:,.1f} MB/s, {left:,.0f} s left")
            stream.flush()
        shown, written = now, True

    if stream is None or not stream.isatty():
        yield lambda recording: None
        return
    try:
        yield show
    finally:
        if written:
            with contextlib.suppress(OSError):
                stream.write(_CLEAR)
                stream.flush()
