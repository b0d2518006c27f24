"""The pauses of this process's garbage collector. Source: the Python documentation, module gc, callbacks."""

import contextlib
import gc
import time
from collections.abc import Callable
from typing import Any


def watch(note: Callable[[int, int, int], Any]) -> Callable[[], None]:
    """Have each collection noted from here on: its begin in ns of CLOCK_MONOTONIC, its length in ns, its generation.
    Returns what ends that."""
    begun = 0

    def measure(phase: str, about: dict[str, int]) -> None:
        nonlocal begun
        now = time.monotonic_ns()
        if phase == "start":
            begun = now
        else:
            note(begun, now - begun, about["generation"])

    gc.callbacks.append(measure)

    def end() -> None:
        with contextlib.suppress(ValueError):  # the program has emptied the list
            gc.callbacks.remove(measure)

    return end
