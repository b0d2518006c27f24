"""The garbage collector of this process: frozen after the start, and each of its pauses measured.

Source: the Python documentation, module gc: freeze().
"""

import gc
from collections.abc import Callable

from desk import pauses


class Pauses:
    """Counts and times the collections while it is started. counts: by generation; worst_ns, total_ns: of pauses;
    frozen: objects that the collector does not look at."""

    def __init__(self) -> None:
        self.counts = [0, 0, 0]
        self.worst_ns = self.total_ns = 0
        self.frozen = 0
        self._end: Callable[[], None] | None = None

    def start(self) -> None:
        """Collect, keep the collector off all that is there now (gc.freeze()), and begin to count."""
        gc.collect()
        gc.freeze()
        self.frozen = gc.get_freeze_count()
        self._end = pauses.watch(self._note)

    def stop(self) -> None:
        """Count no more, and let the collector look at everything again."""
        if self._end is not None:
            self._end()
            self._end = None
            gc.unfreeze()

    @property
    def count(self) -> int:
        """All collections."""
        return sum(self.counts)

    def _note(self, begun: int, length: int, generation: int) -> None:
        self.counts[generation] += 1
        self.total_ns += length
        self.worst_ns = max(self.worst_ns, length)
