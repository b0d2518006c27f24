"""The names of the keys in Redis: PREFIXlimits:ENGINE:LIMIT in, and PREFIXkind:ENGINE:SYMBOL out."""

from collections.abc import Iterable

from agent.limits import LIMITS

#: Behind the prefix of all keys, those that are read.
_LIMITS = "limits:"


def limits_prefix(prefix: str) -> str:
    """Returns what the keys of all limits begin with."""
    return prefix + _LIMITS


def engine_key(prefix: str, engine: str) -> str:
    """Returns the key of what an engine is."""
    return f"{prefix}engine:{engine}"


def symbol_key(prefix: str, engine: str, symbol: str) -> str:
    """Returns the key of what an engine holds of a symbol."""
    return f"{prefix}symbol:{engine}:{symbol}"


def list_limit_keys(prefix: str, engines: Iterable[str]) -> dict[bytes, tuple[str, str]]:
    """Returns (engine, limit) by the key that may hold the limit, for each engine and each limit that there is."""
    return {
        f"{limits_prefix(prefix)}{engine}:{limit}".encode(): (engine, limit) for engine in engines for limit in LIMITS
    }


def explain_unknown(prefix: str, key: bytes, engines: Iterable[str]) -> str:
    """Returns why a key below limits_prefix() is none that is read, in one line that is bounded; not escaped."""
    from hosttune.config_errors import allow_names

    engine, _, limit = key.decode("ascii", "replace").removeprefix(limits_prefix(prefix)).rpartition(":")
    names = list(engines)
    if engine in names:
        return f"unknown limit {limit[:80]}; {allow_names(limit[:80], LIMITS)}"
    return f"unknown engine {engine[:80]}; {allow_names(engine[:80], names)}"
