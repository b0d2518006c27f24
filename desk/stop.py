"""How a process of the desk is asked to end: SIGTERM, or the user's SIGINT."""

import signal
from collections.abc import Callable
from typing import Any


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
