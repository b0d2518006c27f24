"""Options and types of arguments that several subcommands have.

A type is a function that takes the word of the command line and returns the value, or raises ArgumentTypeError with
what was found and what is allowed.
"""

import argparse
import os
from typing import Any

from agent.symbols import MAX_SYMBOLS
from hosttune.parser import ProgramParser

#: The largest number of seconds, messages, orders or paths: what the compiled code holds, and the clocks.
MOST = 1_000_000_000


class Parser(ProgramParser):
    """Help as wide as $COLUMNS says."""

    def __init__(self, **options: Any) -> None:
        columns = os.environ.get("COLUMNS", "")
        super().__init__(width=max(60, int(columns)) if columns.isdecimal() and len(columns) < 5 else 100, **options)


def add_engine(command: argparse.ArgumentParser) -> None:
    """Add the argument that says which engine."""
    command.add_argument(
        "agent", nargs="?", type=parse_engine, metavar="NAME|SEGMENT",
        help="engine name or path of its segment (default: the only one)",
    )  # fmt: skip


def add_cache_directory(command: argparse.ArgumentParser, holds: str = "") -> None:
    """Add `--cache-dir`; `holds` says in its help what the directory holds."""
    default = "default: ~/.cache/trading_agent"
    command.add_argument("--cache-dir", default="", help=f"{holds} ({default})" if holds else default)


def parse_engine(text: str) -> str:
    """Returns what names an engine: nothing, of a shell's empty variable, say, is no name, and means none of them."""
    if not text:
        raise _refuse(text, "the name of an engine, or the path of its segment")
    return text


def parse_endpoint(text: str) -> tuple[str, int]:
    """Returns (IPv4 address, port) of ADDRESS:PORT."""
    import ipaddress

    host, _, port = text.rpartition(":")
    try:
        if not 1 <= int(port) <= 65535:
            raise ValueError
        return str(ipaddress.IPv4Address(host)), int(port)
    except ValueError:
        raise _refuse(text, "ADDRESS:PORT, such as 127.0.0.1:26400") from None


def parse_positive(text: str) -> float:
    """Returns a number above 0, at most MOST."""
    value = _parse_number(text)
    if value is None or not 0 < value <= MOST:
        raise _refuse(text, f"a number above 0, at most {MOST:,}")
    return value


def parse_share(text: str) -> float:
    """Returns a share, from 0 and below 1."""
    value = _parse_number(text)
    if value is None or not 0 <= value < 1:
        raise _refuse(text, "a share from 0 and below 1")
    return value


def parse_count(text: str) -> int:
    """Returns a whole number above 0, at most MOST."""
    value = _parse_digits(text)
    if not value or value > MOST:
        raise _refuse(text, f"a whole number above 0, at most {MOST:,}")
    return value


def parse_seed(text: str) -> int:
    """Returns a whole number of at most 64 bits."""
    value = _parse_digits(text)
    if value is None or value >> 64:
        raise _refuse(text, "a whole number from 0, below 2^64")
    return value


def parse_shard(text: str) -> tuple[int, int]:
    """Returns (shard's number, number of shards) of I/N."""
    number, count = map(_parse_digits, text.partition("/")[::2])
    if number is None or count is None or not number < count <= MAX_SYMBOLS:
        raise _refuse(text, "I/N, I from 0 and below N, such as 0/2")
    return number, count


def _parse_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _parse_digits(text: str) -> int | None:
    """Returns a whole number from 0, or None for anything else, also for more digits than 64 bits have."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None


def _refuse(text: str, allowed: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"found {text!r}, allowed: {allowed}")
