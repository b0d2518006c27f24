"""`agent limits`: show or change a running engine's risk limits."""

import argparse
from typing import Any

from agent.cli.options import add_engine, parse_limit
from agent.errors import OK


def add_command(commands: Any) -> None:
    """Add the subcommand to the subparsers of `agent`."""
    command = commands.add_parser("limits", help="show or change a running engine's risk limits")
    add_engine(command)
    command.add_argument("--set", action="append", default=[], type=parse_limit, metavar="LIMIT=NUMBER")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Change the limits that `--set` names, then print all limits. Returns the exit code. Raises AgentError."""
    from agent.shm import segment as shm

    path = shm.find(arguments.agent)
    if arguments.set:
        shm.set_limits(path, dict(arguments.set))
    for name, value in shm.read(path).limits.items():
        print(f"{name:<18}{value:>20,}")
    return OK
