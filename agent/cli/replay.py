"""`agent replay`: run a recording through the engine's path, without sockets."""

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from agent.cli.options import add_cache_directory, parse_count, parse_positive
from agent.errors import FAILED, OK, UsageError, quiet_interrupts
from hosttune.report import formats

if TYPE_CHECKING:
    from agent.config import Config

#: Options in whose place --config stands, and their values without it.
_DEFAULTS: dict[str, Any] = {"strategy": "ema_cross", "symbols": "", "fast": 10.0, "slow": 50.0, "size": 1}


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    command.add_argument("file", type=Path, help="Nasdaq BinaryFILE of ITCH 5.0, Binance JSON lines or CSV; .gz too")
    command.add_argument(
        "--config", type=Path, metavar="FILE", help="an agent.toml: its strategy and limits, and the simulated exchange"
    )
    command.add_argument("--strategy", metavar="NAME", help=f"as strategy.name in agent.toml ({_default('strategy')})")
    command.add_argument("--symbols", metavar="A,B", help="only these (default: all that the file has)")
    command.add_argument(
        "--fast", type=parse_positive, metavar="N", help=f"period, in book events ({_default('fast')})"
    )
    command.add_argument("--slow", type=parse_positive, metavar="N", help=f"period ({_default('slow')})")
    command.add_argument("--size", type=parse_count, metavar="N", help=f"whole units of an order ({_default('size')})")
    command.add_argument(
        "--start-of-day",
        choices=("recorded", "missing"),
        default="recorded",
        help="missing: the recording begins later, or lacks messages; those about orders that it does not have are "
        "counted and passed over, where else the book is stale (ITCH; default %(default)s)",
    )
    command.add_argument(
        "--time-unit",
        choices=("auto", "ms", "us", "ns"),
        default="auto",
        help="of the recording's own times: before each Binance message, or the CSV's column (default %(default)s)",
    )
    command.add_argument(
        "--orders", type=Path, metavar="FILE", help="with --config: write each message to the exchange here, as JSON"
    )
    add_cache_directory(command, "of compiled strategies")
    formats.add_argument(command)


def _default(option: str) -> str:
    return f"default {_DEFAULTS[option]:g}" if option != "strategy" else f"default {_DEFAULTS[option]}"


def run(arguments: argparse.Namespace) -> int:
    """Replay the recording and print the result. Returns OK, or FAILED where it has problems. Raises AgentError."""
    with quiet_interrupts():
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    config = _read_config(arguments)
    from agent.strategy.cache import use_cache

    use_cache(arguments.cache_dir or (config.engine.cache_dir if config else ""))
    from agent.cli.output import Result, print_document
    from agent.replay import run as replay
    from agent.replay.progress import show_progress

    missing = arguments.start_of_day == "missing"
    if config:
        settings = replay.read_settings(config, missing, arguments.time_unit)
    else:
        words = {name: getattr(arguments, name) or default for name, default in _DEFAULTS.items()}
        words["symbols"] = _split_symbols(arguments.symbols)
        settings = replay.Settings(**words, missing=missing, time_unit=arguments.time_unit)
    with contextlib.ExitStack() as stack:
        orders = stack.enter_context(_open_orders(arguments.orders)) if arguments.orders else None
        progress = stack.enter_context(show_progress())
        data = replay.replay(arguments.file, settings, orders=orders, progress=progress)
    print_document(Result(data, replay.as_text), arguments.format)
    return OK if data["ok"] else FAILED


def _split_symbols(text: str | None) -> tuple[str, ...]:
    """Returns the names of --symbols, none without. Raises UsageError."""
    symbols = tuple(text.split(",")) if text is not None else ()
    if "" in symbols or len(set(symbols)) != len(symbols):
        raise UsageError(f"--symbols: found {text!r}, allowed: names with commas between them, each once")
    return symbols


def _read_config(arguments: argparse.Namespace) -> "Config | None":
    """Returns what --config names, None without. Raises UsageError and ConfigError."""
    if not arguments.config:
        if arguments.orders:
            raise UsageError("--orders: found without --config, which says whom the orders go to")
        return None
    for name in _DEFAULTS:
        if getattr(arguments, name) is not None:
            raise UsageError(f"--config: found with --{name}, allowed: one of them")
    from agent import config

    return config.load(arguments.config)


def _open_orders(path: Path) -> TextIO:
    """Open the file for the orders. Raises UsageError."""
    try:
        return path.open("w", encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UsageError(f"--orders {path}: {getattr(error, 'strerror', None) or error}") from None
