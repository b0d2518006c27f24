"""Which files of an engine its configuration gives one path: each would be taken for the other, and written over."""

import os
from collections.abc import Iterator
from pathlib import Path

from agent.config import Config
from agent.journal import file as journal
from agent.shm import place
from agent.shm import segment as shm


def list_problems(config: Config, name: str) -> Iterator[str]:
    """Yields a message, which begins with the key, for each file that has the path of one before it.

    config: with the paths of this shard. name: the engine's, with its shard.
    """
    seen: dict[str, str] = {}
    for key, path, what in _list_files(config, name):
        there = seen.setdefault(os.path.realpath(path), what)
        if there != what:
            yield f"{key}: found {path} for {what}, which is {there}; allowed: a file of its own"


def find_segment(config: Config, name: str) -> Path:
    """Returns the path of the segment, whose directory need not be there."""
    return Path(config.engine.shm or shm.path_of(name))


def _list_files(config: Config, name: str) -> Iterator[tuple[str, Path, str]]:
    segment, kept = find_segment(config, name), journal.path_of(config.journal.directory, name)
    yield "engine.shm", segment, "the segment"
    yield "engine.shm", place.ring_of(segment), "the journal's ring"
    yield "journal.directory", kept, "the journal"
    yield "journal.directory", journal.snapshot_of(kept), "the journal's snapshot"
    yield "journal.directory", journal.tail_of(kept), "the journal's end that was cut off"
    if config.series.capacity:
        yield "series.path", Path(config.series.path or place.series_of(segment)), "the tick series"
    if config.feed.ring:
        yield "feed.ring", Path(config.feed.ring), "the feed's ring"
    if config.exchange.password_file:
        yield "exchange.password_file", Path(config.exchange.password_file), "the password"
