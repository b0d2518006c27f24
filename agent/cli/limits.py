"""`agent limits`: show or change a running engine's risk limits."""

import argparse

from agent.cli.options import add_engine, parse_limit
from agent.errors import OK


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_engine(command)
    command.add_argument("--set", action="append", default=[], type=parse_limit, metavar="LIMIT=NUMBER")


def run(arguments: argparse.Namespace) -> int:
    """Change the limits that `--set` names, then print all limits. Returns the exit code. Raises AgentError."""
    from agent.cli.output import write_out
    from agent.shm import segment as shm

    path = shm.find(arguments.agent)
    if arguments.set:
        shm.set_limits(path, dict(arguments.set))
    write_out("".join(f"{name:<18}{value:>20,}\n" for name, value in shm.read(path).limits.items()))
    return OK
