"""Limits of CPU time are meant for a core of about 3 GHz: a slower machine may take as much longer as it is slower at
that moment. Of moments within half a second the slowest counts: a virtual machine's CPU is at half its speed for a
while, and at its whole again."""

from __future__ import annotations

import time

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
