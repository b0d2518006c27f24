"""`agent resume`: let an engine's orders pass again after `agent kill`."""

import argparse

from agent.cli.kill import set_kill_switch
from agent.cli.options import add_engine


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_engine(command)


def run(arguments: argparse.Namespace) -> int:
    """Switch the engine's kill switch off. Returns the exit code. Raises AgentError."""
    return set_kill_switch(arguments.agent, on=False)
