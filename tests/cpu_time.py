"""Limits of CPU time are meant for a core of about 3 GHz: a slower machine may take as much longer as it is slower at
that moment. Of moments within half a second the slowest counts: a virtual machine's CPU is at half its speed for a
while, and at its whole again."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

#: Attempts: what others do to a CPU is not what a call takes.
_TIMES = 3
#: How much faster the machine may be in the moments that are looked at than it was before.
_BETWEEN = 1.25
#: Seconds that _work() takes such a core, in CPython 3.11.
_MEANT = 0.010


def _work() -> float:
    begin = time.process_time()
    total = 0
    for number in range(100_000):
        total += number * number
    return time.process_time() - begin


def _slowness() -> float:
    return max(_work() for _ in range(25)) / _MEANT


def is_within(seconds: float, limit: float) -> bool:
    """Returns whether what took so many seconds of CPU time just now is within a limit."""
    return seconds < limit or seconds < limit * _BETWEEN * max(1.0, _slowness())


def is_soon(call: Callable[[], object], limit: float) -> bool:
    """Returns whether a call takes at most so many seconds of CPU time, in one of _TIMES attempts, without the
    collector's going through all that a process of tests holds."""
    gc.freeze()
    try:
        return any(is_within(_measure(call), limit) for _ in range(_TIMES))
    finally:
        gc.unfreeze()


def _measure(call: Callable[[], object]) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin
