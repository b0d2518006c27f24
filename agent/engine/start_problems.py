"""`agent check-config`: all that keeps an engine from starting with a configuration on this host, found without
starting it: no file is made or changed, no socket opened to the feed or to the exchange, nobody signalled.
"""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from agent import config, config_problems
from agent.config import Config, Problem
from agent.engine import feed_problems, file_problems, journal_writer
from agent.engine.run import Shard
from agent.errors import AgentError
from agent.journal import file as journal
from agent.journal.errors import JournalError
from agent.shm import place
from agent.shm.ring import RingError, read_fill
from agent.strategy import cache


class Findings(NamedTuple):
    """problems: an engine cannot start; warnings: whether it can is not known here."""

    problems: list[Problem]
    warnings: list[Problem]


def find_problems(path: Path, shard: Shard) -> Findings:
    """Returns what is wrong with an agent.toml for a shard, in the order in which `agent run` would find it.

    Of an engine that runs, only the symbols in its journal are read. The strategy is compiled, and its init() called;
    nothing is put into the cache. To be called before Numba is imported.
    """
    if problems := list(config_problems.list_problems(path, shard.number)):
        return Findings(problems, [])
    settings = shard.place_files(config.load(path, shard.number))
    name = shard.name(settings.engine.name)
    problems = [
        config_problems.place(message, path)
        for messages in (
            _check_cache(settings),
            _check_shard(settings, shard),
            _check_password(settings),
            _check_strategy(settings),
            _check_segment(settings, name),
            feed_problems.list_problems(settings.feed),
            file_problems.list_problems(settings, name),
            _check_ring(settings),
            _check_journal(settings, name),
        )
        for message in messages
    ]
    return Findings(problems, [config_problems.place(message, path) for message in _list_warnings(settings)])


def _check_cache(settings: Config) -> Iterator[str]:
    path = Path(settings.engine.cache_dir or cache.default_cache_dir())
    if os.path.lexists(path):
        yield from _try(lambda: cache.require_cache(path))
    else:
        yield from _check_directory("engine.cache_dir", path, "CACHE_DIRECTORY")


def _check_shard(settings: Config, shard: Shard) -> Iterator[str]:
    yield from _try(lambda: shard.traded(settings.strategy.traded))
    yield from _try(lambda: shard.username(settings.exchange))


def _check_password(settings: Config) -> Iterator[str]:
    if settings.exchange.password_file or "CREDENTIALS_DIRECTORY" in os.environ:
        yield from _try(lambda: config.read_password(settings.exchange))


def _check_strategy(settings: Config) -> Iterator[str]:
    # Compiled anew, and the user's modules without byte code: nothing is written.
    os.environ |= {"NUMBA_CACHE_DIR": "", "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    from agent import strategy

    wanted = settings.strategy
    try:
        strategy.prepare(
            strategy.load(wanted.name), wanted.fast, wanted.slow, wanted.size, wanted.traded, wanted.values
        )
    except strategy.StrategyError as error:
        yield from error.problems


def _check_segment(settings: Config, name: str) -> Iterator[str]:
    path = file_problems.find_segment(settings, name)
    yield from _check_directory("engine.shm", path.parent, "RUNTIME_DIRECTORY")
    if os.path.lexists(path):
        try:
            os.close(place.open_file(path, os.O_RDONLY))
        except OSError as error:
            yield f"engine.shm: {place.explain(error, path)}"
    if settings.series.capacity and settings.series.path:
        yield from _check_directory("series.path", Path(settings.series.path).parent, "")


def _check_ring(settings: Config) -> Iterator[str]:
    if settings.feed.ring:
        path = Path(settings.feed.ring)
        try:
            os.close(place.open_file(path, os.O_RDONLY))
        except OSError as error:
            yield f"feed.ring: {place.explain(error, path)}{feed_problems.explain_ring(path)}"


def _check_journal(settings: Config, name: str) -> Iterator[str]:
    path = journal.path_of(settings.journal.directory, name)
    yield from _check_directory("journal.directory", path.parent, "STATE_DIRECTORY")
    yield from _check_left_ring(place.ring_of(file_problems.find_segment(settings, name)))
    if not os.path.lexists(path) or not path.stat().st_size:  # an engine was killed before it began to write
        return
    try:
        with journal.Journal(path) as found:
            found.require_symbols(settings.strategy.traded)
    except JournalError as error:
        yield f"journal.directory: {error}"


def _check_left_ring(path: Path) -> Iterator[str]:
    """Yields why the ring that an engine left cannot be emptied into the journal."""
    if not os.path.lexists(path):
        return
    try:
        if not journal_writer.is_unwritten(path):
            read_fill(path)
    except OSError as error:
        yield f"journal: {place.explain(error, path)}; {journal_writer.ADVICE}"
    except RingError as error:
        yield f"journal: {error}; {journal_writer.ADVICE}"


def _list_warnings(settings: Config) -> Iterator[str]:
    if not settings.exchange.password_file and "CREDENTIALS_DIRECTORY" not in os.environ:
        yield (
            "exchange.password_file: missing, so the password is the systemd credential "
            f"{config.CREDENTIAL}, which only the unit can read"
        )


def _check_directory(key: str, path: Path, variable: str) -> Iterator[str]:
    """Yields why files could not be made in a directory, which is made where it is missing.

    variable: what systemd names the directory by; one that it names is made by systemd, where it is missing.
    """
    try:
        os.lstat(os.path.abspath(path))
    except FileNotFoundError:
        pass
    except OSError as error:
        yield f"{key}: {place.explain(error, path)}"
        return
    there = path
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if there != path and variable and str(path) in os.environ.get(variable, "").split(":"):
        return
    try:
        os.close(place.open_directory(there))
    except OSError as error:
        yield f"{key}: {place.explain(error, there)}"
        return
    if os.access(there, os.W_OK | os.X_OK):
        return
    if there != path:  # in the words of mkdir(2)
        yield f"{key}: {there / path.relative_to(there).parts[0]}: {os.strerror(errno.EACCES)}"
    else:
        yield f"{key}: {path}: found {there}, which this user cannot write to; allowed: one that the user can"


def _try(check: Callable[[], object]) -> Iterator[str]:
    """Yields what a check raises."""
    try:
        check()
    except AgentError as error:
        yield str(error)
