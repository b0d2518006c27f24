"""`agent stats`: print an engine's counters and latencies, whether it runs or not."""

import argparse
from typing import Any

from agent.cli.options import add_engine
from agent.errors import OK
from hosttune.report import formats


def add_command(commands: Any) -> None:
    """Add the subcommand to the subparsers of `agent`."""
    command = commands.add_parser("stats", help="print an engine's counters and latencies, running or not")
    add_engine(command)
    formats.add_argument(command, views=(*formats.VIEWS, "as_metrics"))
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read the engine's segment and print it. Returns the exit code. Raises AgentError, UsageError."""
    from agent.cli.output import print_document
    from agent.monitor.stats import Statistics
    from agent.shm import segment as shm

    print_document(Statistics(shm.read(shm.find(arguments.agent))), arguments.format)
    return OK
