"""`agent stats`: print an engine's counters and latencies, whether it runs or not."""

import argparse

from agent.cli.options import add_engine
from agent.errors import OK
from hosttune.report import formats


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_engine(command)
    formats.add_argument(command, views=(*formats.VIEWS, "as_metrics"))


def run(arguments: argparse.Namespace) -> int:
    """Read the engine's segment and print it. Returns the exit code. Raises AgentError, UsageError."""
    from agent.cli.output import print_document
    from agent.monitor.stats import Statistics
    from agent.shm import segment as shm

    print_document(Statistics(shm.read(shm.find(arguments.agent))), arguments.format)
    return OK
