"""Waiting for what another process does."""

import time
from collections.abc import Callable
from typing import Any


def wait(done: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """Returns what done() returns once it is true; what: is said where that takes longer."""
    end = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < end, what
        time.sleep(0.005)
    return found
