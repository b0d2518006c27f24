"""How a process of the desk is asked to end: SIGTERM, or the user's SIGINT."""

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from desk.errors import FAILED
from hosttune.output import escape, print_message

#: Seconds after which what does not end is ended with the process.
GRACE = 1.0


class Stop:
    """Whether a signal has asked for the end, from here on. Of the first thread. then: is called at each."""

    def __init__(self, then: Callable[[], None] | None = None) -> None:
        self._then = then
        self.wanted = self.interrupted = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def raise_interrupt(self) -> None:
        """Raise KeyboardInterrupt where the user asked, once everything is closed."""
        if self.interrupted:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: Any) -> None:
        self.wanted, self.interrupted = True, self.interrupted or number == signal.SIGINT
        if self._then is not None:
            self._then()


def leave_threads(code: int) -> None:
    """End the process where threads would keep it from ending: with this exit code, or FAILED where that is 0; else
    return. For the end of a program, when all is closed and printed."""
    limit = time.monotonic() + GRACE
    others = [one for one in threading.enumerate() if not one.daemon and one is not threading.main_thread()]
    for thread in others:
        thread.join(max(0.0, limit - time.monotonic()))
    if left := [thread.name for thread in others if thread.is_alive()]:
        print_message(escape(f"desk: ended by force: threads that do not end: {', '.join(left[:10])}"))
        os._exit(code or FAILED)
