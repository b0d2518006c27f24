"""What a configuration wants to be there, and a document at each interval."""

import time
from collections.abc import Iterator
from typing import Any

from desk.config import Config
from desk.status.document import describe
from desk.status.reading import Reading, Wanted, read


def list_wanted(config: Config | None) -> Wanted:
    """Returns what a configuration says should be there: processes by the name of their counters, and rings."""
    if config is None:
        return Wanted()
    processes = [f"worker.{name}" for name in config.worker] + [f"run.{name}" for name in config.run]
    processes += ["sync"] if config.sync else []
    rings = [path for one in config.worker.values() for path in (one.input, one.output) if path]
    rings += [ring.file for one in config.run.values() for ring in one.rings]
    if config.ingest:
        processes.append(config.ingest.name)
        rings += [topic.ring_of(number) for topic in config.ingest.topics for number in topic.partitions]
    engines = [*config.sync.engines] if config.sync else []
    engines += [source.name for one in config.run.values() for source in one.engines]
    return Wanted(tuple(processes), tuple(dict.fromkeys(rings)), tuple(dict.fromkeys(engines)))


def watch(interval: float, count: int | None, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """Yields describe() every `interval` seconds, `count` times, or (None) without an end."""
    before: Reading = read(time.monotonic(), wanted)
    shown = 0
    while count is None or shown < count:
        time.sleep(interval)
        now = read(time.monotonic(), wanted)
        yield describe(before, now)
        before, shown = now, shown + 1
