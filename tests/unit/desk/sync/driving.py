"""The loop of `desk sync` in the test's own process."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.desk.fair_clock import FairClock
from desk.settings.redis import Redis
from desk.settings.sync import Sync
from desk.sync import run
from desk.sync.audit import Audit
from desk.sync.run import Loop

#: Seconds that no step of a loop may take longer than.
MOST = 0.7


@contextmanager
def open_loop(folder: Path, redis: Redis, engine: str | None = None, **wanted: Any) -> Iterator[Loop]:
    """A loop for an engine, or for one that is not there; closed behind the test. Its steps are measured by a clock
    that a busy machine does not move."""
    clock = FairClock()
    audit = Audit(folder / "audit")
    loop = Loop(redis, Sync(engines=[engine or str(folder / "nobody")], **wanted), audit)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run, "read_clock", clock.monotonic)
            yield loop
    finally:
        loop.close()
        audit.close()


def drive(loop: Loop, done: Callable[[], Any], what: str = "it does not come to that", seconds: float = 20.0) -> None:
    """Step until something is so."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"{what}: {loop.count()} {loop.describe()}"
        loop.step()
