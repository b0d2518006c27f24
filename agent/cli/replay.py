"""`agent replay`: run a recording through the engine's path, without sockets."""

import argparse
from pathlib import Path

from agent.cli.options import add_cache_directory, parse_count, parse_positive
from agent.errors import FAILED, OK
from hosttune.report import formats


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    command.add_argument("file", type=Path, help="Nasdaq BinaryFILE of ITCH 5.0, Binance JSON lines or CSV; .gz too")
    command.add_argument(
        "--strategy", default="ema_cross", metavar="NAME", help="as strategy.name in agent.toml (default %(default)s)"
    )
    command.add_argument("--symbols", default="", metavar="A,B", help="only these (default: all that the file has)")
    command.add_argument(
        "--fast", type=parse_positive, default=10.0, metavar="N", help="period, in book events (default %(default)g)"
    )
    command.add_argument("--slow", type=parse_positive, default=50.0, metavar="N", help="period (default %(default)g)")
    command.add_argument(
        "--size", type=parse_count, default=1, metavar="N", help="whole units of an order (default %(default)s)"
    )
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
    add_cache_directory(command, "of compiled strategies")
    formats.add_argument(command)


def run(arguments: argparse.Namespace) -> int:
    """Replay the recording and print the result. Returns OK, or FAILED where it has problems. Raises AgentError."""
    from agent.strategy.cache import use_cache

    use_cache(arguments.cache_dir)
    from agent.cli.output import Result, print_document
    from agent.replay import run as replay

    data = replay.run(
        arguments.file,
        arguments.strategy,
        symbols=tuple(symbol for symbol in arguments.symbols.split(",") if symbol),
        fast=arguments.fast,
        slow=arguments.slow,
        size=arguments.size,
        missing=arguments.start_of_day == "missing",
        time_unit=arguments.time_unit,
    )
    print_document(Result(data, replay.as_text), arguments.format)
    return OK if data["ok"] else FAILED
