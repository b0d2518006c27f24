"""`agent top`: watch an engine: rates, latencies, positions."""

import argparse
import sys

from agent.cli.options import add_engine, parse_count, parse_positive
from agent.errors import OK

#: ECMA-48: the cursor to the first place of the screen, then erase from there to the end.
CLEAR = "\x1b[H\x1b[J"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_engine(command)
    command.add_argument("--interval", type=parse_positive, default=1.0, metavar="S", help="seconds between frames")
    command.add_argument("--count", type=parse_count, metavar="N", help="end after N frames")


def run(arguments: argparse.Namespace) -> int:
    """Print frames until the engine ends, the user interrupts, or `--count` is reached. Returns the exit code. Raises
    AgentError."""
    from agent.cli.output import write_out
    from agent.monitor.top import watch_engine
    from agent.shm import segment as shm

    clear = CLEAR if sys.stdout.isatty() else ""
    try:
        for frame in watch_engine(shm.find(arguments.agent), arguments.interval, arguments.count):
            write_out(clear + frame, orders=(clear,) if clear else ())
    except KeyboardInterrupt:  # the way to end it
        pass
    return OK
