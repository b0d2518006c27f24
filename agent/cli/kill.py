"""`agent kill`: stop an engine's orders at once, and cancel the open ones."""

import argparse

from agent.cli.options import add_engine
from agent.errors import OK
from hosttune.output import escape


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_engine(command)


def run(arguments: argparse.Namespace) -> int:
    """Switch the engine's kill switch on. Returns the exit code. Raises AgentError."""
    return set_kill_switch(arguments.agent, on=True)


def set_kill_switch(engine: str | None, *, on: bool) -> int:
    """Write an engine's kill switch, and print the switch and the open orders as they are then. Returns the exit code.
    Raises AgentError."""
    from agent.cli.output import write_out
    from agent.shm import segment as shm

    path = shm.find(engine)
    shm.set_limits(path, {"kill": int(on)})
    segment = shm.read(path)
    write_out(escape(f"{path}: kill {segment.limits['kill']}, open orders {segment.counters['orders_open']}") + "\n")
    return OK
