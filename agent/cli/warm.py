"""`agent warm`: compile strategies into the cache, so that `run` starts fast."""

import argparse
from pathlib import Path

from agent.cli.options import add_cache_directory
from agent.errors import OK, quiet_interrupts


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    command.add_argument("--config", type=Path, help="take strategy and cache directory from this agent.toml")
    add_cache_directory(command)
    command.add_argument("strategy", nargs="*", help="default: all the built-in ones")


def run(arguments: argparse.Namespace) -> int:
    """Compile the strategies and print a line for each. Returns the exit code. Raises AgentError."""
    with quiet_interrupts():
        return _warm(arguments)


def _warm(arguments: argparse.Namespace) -> int:
    from agent import config
    from agent.cli.output import write_out
    from agent.strategy.cache import warm

    directory, names = arguments.cache_dir, arguments.strategy
    if arguments.config:
        settings = config.load(arguments.config)
        directory = directory or settings.engine.cache_dir
        names = names or [settings.strategy.name]
    write_out(warm(directory, names))
    return OK
