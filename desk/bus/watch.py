"""The loop's heartbeat, and a thread that says which code holds the loop up when the heartbeat is late.

asyncio's own slow_callback_duration needs the debug mode, and names a callback after it has ended; this names the line
that runs while it is late. Code that holds the GIL keeps the thread from looking: the place is then one behind it.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from hosttune.output import escape, print_message

#: What has held the loop up where no handler and no source runs.
NO_CODE = "no code of the module: the process was stopped, or had no CPU"
_PACKAGE = __file__.rpartition("/")[0] + "/"
#: Different places that are named, at most.
_MOST_NAMED = 100


class LoopWatch:
    """Watches the loop of the thread that calls start(). limit_s: how late the heartbeat may be. blocked: how often one
    was late; longest_ns: how late at most, and longest_place: in which code.

    on_stuck: is called, in the watching thread, with the code that runs, when stop() has not been called by the time
    that end_at() has set.
    """

    def __init__(
        self, limit_s: float, on_stuck: Callable[[str], None], say: Callable[[str], None] = print_message
    ) -> None:
        self.limit_ns = round(limit_s * 1e9)
        self.blocked = self.longest_ns = 0
        self.longest_place = ""
        self._say, self._on_stuck = say, on_stuck
        self._beat_s = max(0.001, limit_s / 4)
        self._last = self._counted = time.monotonic_ns()
        self._lock = threading.Lock()
        self._end_at = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="loop watch", daemon=True)
        self._watched = threading.get_ident()
        self._named: set[str] = set()

    def start(self) -> None:
        """Begin: on the loop."""
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        self._last = time.monotonic_ns()
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        """End the thread; the heartbeat ends with the loop."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def end_at(self, monotonic_s: float) -> None:
        """Set when stop() has to have been called: from a signal handler, say. The first time counts."""
        self._end_at = self._end_at or round(monotonic_s * 1e9)

    def _beat(self) -> None:
        last, self._last = self._last, time.monotonic_ns()
        self._loop.call_later(self._beat_s, self._beat)
        # What stops the process stops the watching thread too, and the loop may be the first that goes on.
        if not self._end_at and self._last - last > self.limit_ns + 3 * self._beat_s * 1e9:
            self._count(last, self._last - last, NO_CODE)
            self._note(self._last - last, NO_CODE)

    def _watch(self) -> None:
        late_since, place = 0, ""
        while not self._over.wait(self._beat_s):
            now, last = time.monotonic_ns(), self._last
            if self._end_at and now > self._end_at:
                self._on_stuck(self._find_place())
                return
            if late_since and last != late_since:
                self._note(last - late_since, place)
                late_since = 0
            if self._end_at or now - last <= self.limit_ns + self._beat_s * 1e9:
                continue
            if not late_since:
                late_since, place = last, self._find_place()
                self._count(last, now - last, place)
            self._note(now - last, place)

    def _count(self, last: int, late_ns: int, place: str) -> None:
        # Once for each heartbeat that was followed by a late one: by the loop, or by the thread that watches it.
        with self._lock:
            if last == self._counted:
                return
            self._counted = last
            self.blocked += 1
        self._name(late_ns, place)

    def _note(self, late_ns: int, place: str) -> None:
        if late_ns > self.longest_ns:
            self.longest_ns, self.longest_place = late_ns, place

    def _name(self, late_ns: int, place: str) -> None:
        if place not in self._named and len(self._named) < _MOST_NAMED:
            self._named.add(place)
            self._say(f"desk: run: the loop has been held up for {late_ns / 1e9:.2f} s and longer, by {escape(place)}")

    def _find_place(self) -> str:
        return find_place(sys._current_frames().get(self._watched)) or NO_CODE


def find_place(frame: FrameType | None) -> str:
    """Returns FUNCTION (FILE:LINE) in the handler that runs: the code that the bus has called; "" where none runs."""
    inner = None
    while frame is not None:
        back = frame.f_back
        called_by_bus = back is not None and back.f_code.co_filename.startswith(_PACKAGE)
        if called_by_bus and not frame.f_code.co_filename.startswith(_PACKAGE):
            inner = frame
            break
        frame = back
    return "" if inner is None else f"{inner.f_code.co_qualname} ({inner.f_code.co_filename}:{inner.f_lineno})"
