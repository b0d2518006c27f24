"""`agent kill`: stop an engine's orders at once, and cancel the open ones."""

import argparse
from typing import Any

from agent.cli.options import add_engine
from agent.errors import OK


def add_command(commands: Any) -> None:
    """Add the subcommand to the subparsers of `agent`."""
    command = commands.add_parser("kill", help="stop an engine's orders at once, and cancel the open ones")
    add_engine(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Switch the engine's kill switch on. Returns the exit code. Raises AgentError."""
    return set_kill_switch(arguments.agent, on=True)


def set_kill_switch(engine: str | None, *, on: bool) -> int:
    """Write an engine's kill switch, and print the switch and the open orders as they are then. Returns the exit code.
    Raises AgentError."""
    from agent.shm import segment as shm

    path = shm.find(engine)
    shm.set_limits(path, {"kill": int(on)})
    segment = shm.read(path)
    print(f"{path}: kill {segment.limits['kill']}, open orders {segment.counters['orders_open']}")
    return OK
