"""`agent limits`: show or change a running engine's risk limits."""

import argparse

from agent.cli.options import add_engine
from agent.errors import OK
from hosttune.output import escape


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_engine(command)
    command.add_argument(
        "--set", action="append", default=[], metavar="LIMIT=NUMBER", help="a key of [risk] in agent.toml, or kill"
    )


def run(arguments: argparse.Namespace) -> int:
    """Change the limits that `--set` names, then print all limits. Returns the exit code. Raises AgentError."""
    from agent import limits
    from agent.cli.output import write_out
    from agent.shm import segment as shm

    path = shm.find(arguments.agent)
    changes = dict(limits.parse_setting(text) for text in arguments.set)
    if changes:
        shm.set_limits(path, limits.change_words(shm.read(path).limits, changes))
    segment = shm.read(path)
    why = f"kill set by the engine: {escape(segment.tripped)}\n" if segment.tripped else ""
    write_out(limits.as_text(segment.limits) + why)
    return OK
