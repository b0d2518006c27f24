"""`desk status`: whether engines, rings and the desk's processes are well, in one screen."""

import argparse
import sys
from pathlib import Path

from agent.cli.options import parse_count, parse_positive
from hosttune.report import formats

#: ECMA-48: the cursor to the first place of the screen, then erase from there to the end.
CLEAR = "\x1b[H\x1b[J"
#: Seconds between the two readings of one screen, of which CPU shares and rates are: every process publishes twice a
#: second.
_BETWEEN = 0.7


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    command.add_argument("config", nargs="?", type=Path, metavar="DESK.TOML", help="whose processes have to be there")
    command.add_argument("--watch", action="store_true", help="a screen at each interval, until Ctrl-C")
    command.add_argument("--interval", type=parse_positive, metavar="S", help="seconds between screens (default: 1)")
    command.add_argument("--count", type=parse_count, metavar="N", help="with --watch: end after N screens")
    formats.add_argument(command)


def run(arguments: argparse.Namespace) -> int:
    """Print the status. Returns OK where all is well, FAILED where something is not, UNKNOWN where nothing is known to
    be wrong and something could not be told: of the last screen. Raises ConfigError."""
    from agent.cli.output import Result, format_document, write_out
    from desk import config
    from desk.status.document import VERDICTS, as_text
    from desk.status.watch import list_wanted, watch

    wanted = list_wanted(config.load(arguments.config) if arguments.config else None)
    interval = arguments.interval or (1.0 if arguments.watch else _BETWEEN)
    clear = CLEAR if arguments.watch and sys.stdout.isatty() else ""
    code = VERDICTS["unknown"]
    try:
        for data in watch(interval, arguments.count if arguments.watch else 1, wanted):
            text = format_document(Result(data, as_text), arguments.format)
            write_out(clear + text, orders=(clear,) if clear else ())
            code = VERDICTS[data["verdict"]]
    except KeyboardInterrupt:
        if not arguments.watch:
            raise
    return code
