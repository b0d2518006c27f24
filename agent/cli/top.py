"""`agent top`: watch an engine: rates, latencies, positions."""

import argparse

from agent.cli.options import add_engine, parse_count, parse_positive


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_engine(command)
    command.add_argument("--interval", type=parse_positive, default=1.0, metavar="S", help="seconds between frames")
    command.add_argument("--count", type=parse_count, metavar="N", help="end after N frames")


def run(arguments: argparse.Namespace) -> int:
    """Print frames until the engine ends, the user interrupts, or `--count` is reached. Returns the exit code. Raises
    AgentError."""
    from agent.monitor.top import watch_engine
    from agent.shm import segment as shm

    return watch_engine(shm.find(arguments.agent), arguments.interval, arguments.count)
