"""agent.toml: the typed configuration of one engine."""

import ipaddress
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Symbol = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,8}$")]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$")]


class ConfigError(Exception):
    """The configuration cannot be used; the message names file, key, what was found and what is allowed."""


def _ipv4(key: str, value: str) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(value)
    except ValueError:
        raise ValueError(f"{key}: found {value!r}, allowed: an IPv4 address such as 127.0.0.1") from None


class Feed(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Where the MoldUDP64 feed arrives: address to bind, or a multicast group to join on interface."""

    address: str
    port: Port
    interface: str = ""
    receive_buffer: Annotated[int, msgspec.Meta(ge=4096, le=1 << 30)] = 8 << 20

    def __post_init__(self) -> None:
        _ipv4("address", self.address)


class Exchange(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The SoupBinTCP/OUCH server and the login."""

    address: str
    port: Port
    username: Annotated[str, msgspec.Meta(pattern=r"^[ -~]{1,6}$")]
    password: Annotated[str, msgspec.Meta(pattern=r"^[ -~]{1,10}$")]

    def __post_init__(self) -> None:
        _ipv4("address", self.address)


class Strategy(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """name: a module of agent.strategies, or MODULE:OBJECT; size in whole units; periods in ticks."""

    name: str = "ema_cross"
    symbol: Symbol
    size: Positive
    fast: Annotated[float, msgspec.Meta(ge=1, le=1e9)] = 10
    slow: Annotated[float, msgspec.Meta(ge=1, le=1e9)] = 50

    def __post_init__(self) -> None:
        if self.fast >= self.slow:
            raise ValueError(f"fast: found {self.fast:g}, allowed: less than slow ({self.slow:g})")


class Risk(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The gate. max_notional in currency, 0 for none; burst: orders that may go at once."""

    max_size: Annotated[int, msgspec.Meta(ge=1, le=999_999)]
    max_orders_per_second: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
    burst: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 0
    max_notional: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class Engine(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """name of the segment; shm: its path if not /dev/shm/hosttune-agent-NAME; cache_dir of compiled
    strategies; busy_poll_us: SO_BUSY_POLL, 0 for none.

    Every yield_every_ms the loop sleeps yield_us when nothing is due, so that the kernel's own threads of
    its CPU get a turn although it runs SCHED_FIFO; 0 milliseconds: never."""

    name: Name = "main"
    shm: str = ""
    cache_dir: str = ""
    busy_poll_us: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 50
    yield_every_ms: Annotated[int, msgspec.Meta(ge=0, le=60_000)] = 100
    yield_us: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 50


class Config(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    feed: Feed
    exchange: Exchange
    strategy: Strategy
    risk: Risk
    engine: Engine = Engine()


def default_cache_dir() -> str:
    """$XDG_CACHE_HOME/hosttune-agent, else ~/.cache/hosttune-agent."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "hosttune-agent")


def load(path: Path) -> Config:
    """Read agent.toml. Raises ConfigError, which names the file and the key."""
    try:
        raw = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    return convert(raw, str(path))


def convert(raw: dict[str, Any], source: str) -> Config:
    """Check plain data against the schema. Raises ConfigError."""
    _check_keys(raw, Config, source, "")
    try:
        return msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at ")
        keys = re.findall(r"\.(\w+)", where)
        if ": found " in text:  # one of __post_init__'s, which starts with its own key
            raise ConfigError(f"{source}: {'.'.join((*keys, text))}") from None
        missing = re.fullmatch(r"Object missing required field `(\w+)`", text)
        if missing:
            raise ConfigError(f"{source}: {'.'.join((*keys, missing[1]))}: missing, and required") from None
        found: Any = raw
        for key in keys:
            found = found[key]
        raise ConfigError(f"{source}: {'.'.join(keys)}: found {found!r}, allowed: {_allowed(text)}") from None


def _allowed(text: str) -> str:
    return re.sub(r"^Expected ", "", text).replace("`", "").replace(", got", "; got")


def _check_keys(raw: dict[str, Any], table: type[msgspec.Struct], source: str, prefix: str) -> None:
    fields = {f.name: f.type for f in msgspec.structs.fields(table)}
    for key, value in raw.items():
        if key not in fields:
            allowed = ", ".join(prefix + name for name in fields)
            raise ConfigError(f"{source}: {prefix}{key}: unknown key; allowed: {allowed}")
        if isinstance(value, dict) and isinstance(fields[key], type) and issubclass(fields[key], msgspec.Struct):
            _check_keys(value, fields[key], source, f"{prefix}{key}.")
