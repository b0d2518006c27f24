"""`agent resume`: let an engine's orders pass again after `agent kill`."""

import argparse
from typing import Any

from agent.cli.kill import set_kill_switch
from agent.cli.options import add_engine


def add_command(commands: Any) -> None:
    """Add the subcommand to the subparsers of `agent`."""
    command = commands.add_parser("resume", help="let an engine's orders pass again after `kill`")
    add_engine(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Switch the engine's kill switch off. Returns the exit code. Raises AgentError."""
    return set_kill_switch(arguments.agent, on=False)
