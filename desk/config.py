"""desk.toml: the typed configuration of the processes of the desk, which read one file."""

import contextlib
from pathlib import Path
from typing import Any

import msgspec

from agent import toml_text
from agent.toml_text import ConfigError as ConfigError
from agent.toml_text import Problem as Problem
from desk.settings.export import Export
from desk.settings.ingest import Ingest
from desk.settings.kafka import Kafka
from desk.settings.redis import Redis
from desk.settings.rings import check_rings
from desk.settings.run import Name as RunName
from desk.settings.run import Run
from desk.settings.sync import Sync
from desk.settings.worker import Name as WorkerName
from desk.settings.worker import Worker
from hosttune.refusals import Key


class Config(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The tables of desk.toml: each of a module in desk.settings. A process reads all of them, and uses its own."""

    kafka: Kafka = Kafka()
    ingest: Ingest | None = None
    export: Export = Export()
    worker: dict[WorkerName, Worker] = {}
    redis: Redis = Redis()
    sync: Sync | None = None
    run: dict[RunName, Run] = {}

    def __post_init__(self) -> None:
        check_rings(self.ingest, self.worker)


def load(path: Path) -> Config:
    """Returns the configuration in a desk.toml. Raises ConfigError, which names the file, the line and the key."""
    return parse(toml_text.read_text(path), str(path))


def parse(text: str, file: str) -> Config:
    """Returns the configuration in the text of a desk.toml; `file` names the text in an error. Raises ConfigError: the
    first of list_problems()."""
    tables = toml_text.read_tables(text, file)
    if not next(toml_text.list_unusable(tables, ()), None):
        with contextlib.suppress(ValueError):  # of which msgspec's is one
            return msgspec.convert(tables, Config)
    raise ConfigError(list_problems(text, file)[0])


def list_problems(text: str, file: str) -> list[Problem]:
    """Returns all that is wrong with the text of a desk.toml, nothing for one that parse() takes. Raises ConfigError
    for one that is not TOML, of which nothing else can be said."""
    tables: dict[str, Any] = toml_text.read_tables(text, file)
    return list(toml_text.list_problems(Config, tables, lambda key, words: locate(text, file, key, words)))


def locate(text: str, file: str, key: Key, words: str) -> Problem:
    """Returns the problem with a key of the text of a desk.toml, in the line of the key, or where it is not there
    of the table that it would be in; `words` name it."""
    from hosttune import config_errors  # late: only for what is wrong

    line = config_errors.find_nearest_toml_line(text, key)
    return Problem(file, line, ".".join(str(part) for part in key), words)
