"""`desk sync`: limits from Redis to engines, and what engines hold to Redis."""

import argparse
from pathlib import Path

from desk.errors import OK, DeskError


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    command.add_argument("config", type=Path, metavar="DESK.TOML", help="the configuration")


def run(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM. Returns OK. Raises DeskError."""
    from desk import config
    from desk.sync.run import run

    settings = config.load(arguments.config)
    if settings.sync is None:
        raise DeskError(f"{arguments.config}: sync is missing; wanted a table [sync] with engines = [...]")
    run(settings.redis, settings.sync)
    return OK
