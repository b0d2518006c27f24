"""The garbage collector of this process: frozen after the start, and each of its pauses measured.

Source: the Python documentation, module gc: callbacks, freeze().
"""

import gc
import time
from typing import Any


class Pauses:
    """Counts and times the collections while it is started. counts: by generation; worst_ns, total_ns: of pauses;
    frozen: objects that the collector does not look at."""

    def __init__(self) -> None:
        self.counts = [0, 0, 0]
        self.worst_ns = self.total_ns = 0
        self.frozen = 0
        self._begun = time.monotonic_ns()

    def start(self) -> None:
        """Collect, keep the collector off all that is there now (gc.freeze()), and begin to count."""
        gc.collect()
        gc.freeze()
        self.frozen = gc.get_freeze_count()
        gc.callbacks.append(self._measure)

    def stop(self) -> None:
        """Count no more, and let the collector look at everything again."""
        if self._measure in gc.callbacks:
            gc.callbacks.remove(self._measure)
            gc.unfreeze()

    @property
    def count(self) -> int:
        """All collections."""
        return sum(self.counts)

    def _measure(self, phase: str, info: dict[str, Any]) -> None:
        now = time.monotonic_ns()
        if phase == "start":
            self._begun = now
            return
        pause = now - self._begun
        self.counts[info["generation"]] += 1
        self.total_ns += pause
        self.worst_ns = max(self.worst_ns, pause)
