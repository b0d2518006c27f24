"""All that is wrong with the text of an agent.toml, and the places in it that messages of an engine are about."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent import config
from agent.config import Config, ConfigError, Problem
from agent.toml_text import read_tables, read_text
from hosttune import config_errors
from hosttune.patterns import late_pattern

#: Stands in for a value that is wrong, so that what its table says otherwise can be looked at.
_NUMBER, _TEXT, _SYMBOL = 1, "127.0.0.1", "A"
#: Of the messages about strategies, which have a place of their own: FILE:LINE.
_OWN_PLACE = late_pattern(r"(/[^:]*):(\d+): strategy ")


def list_problems(path: Path, shard: int = 0) -> Iterator[Problem]:
    """Yields all that is wrong with an agent.toml by itself; nothing for one that config.load() takes. The first is
    what config.load() would raise."""
    try:
        text = read_text(path)
        told = list(config.list_problems(text, str(path), shard))
    except ConfigError as error:
        problem = error.problem
        yield problem if isinstance(problem, Problem) else Problem("", None, "", problem)
        return
    yield from told
    if told:
        known = {problem.key for problem in told}
        for hidden in _list_hidden(text, known):
            key = config.name_key(hidden.words)
            if key not in known and " is missing; " not in hidden.words:
                known.add(key)
                yield Problem(str(path), config_errors.find_toml_line(text, hidden.at), key, hidden.words)


def place(message: str, path: Path) -> Problem:
    """Returns an engine's message with its place: one that begins with a key of agent.toml, or is about the strategy,
    has it in the file at path, if it does not name another one. Raises ConfigError where that cannot be read any more.
    """
    if own := _OWN_PLACE.match(message):
        return Problem(own[1], int(own[2]), "strategy.name", message[own.end(2) + 2 :])
    key = "strategy.name" if message.startswith("strategy ") else config.name_key(message)
    if not key:
        return Problem("", None, "", message)
    line = config_errors.find_nearest_toml_line(read_text(path), tuple(key.split(".")))
    return Problem(str(path), line, key, message)


def _list_hidden(text: str, known: set[str]) -> Iterator[config_errors.Problem]:
    """Yields what is wrong with the tables where something else stands in for what is known to be wrong, which hides
    what a table says about several keys together."""
    tables = copy.deepcopy(read_tables(text, ""))
    for key in known:
        _put(tables, key, None)
    wanted = tables.get("strategy")
    if known & {"strategy.symbol", "strategy.symbols"} and isinstance(wanted, dict):
        wanted.pop("symbols", None)
        wanted["symbol"] = _SYMBOL
    for problem in list(config_errors.list_problems(Config, tables)):
        if problem.words.startswith("feed.port: missing"):
            yield problem
        key, missing, wanted = problem.words.partition(" is missing; wanted ")
        if missing:
            _put(tables, key, _NUMBER if wanted.startswith(("an integer", "a number")) else _TEXT)
        elif ".port: missing" in problem.words:
            _put(tables, config.name_key(problem.words), _NUMBER)
    yield from config_errors.list_problems(Config, tables)


def _put(tables: Any, key: str, value: object) -> None:
    """Put a value at a key, if its table is there; None takes the key away."""
    *way, name = key.split(".")
    for part in way:
        tables = tables.get(part) if isinstance(tables, dict) else None
    if isinstance(tables, dict):
        tables.pop(name, None)
        if value is not None:
            tables[name] = value
