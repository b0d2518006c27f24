"""`desk worker`: run a compiled function over the records of a ring."""

import argparse
from pathlib import Path

from desk.errors import OK, DeskError


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    command.add_argument("config", type=Path, metavar="DESK.TOML", help="the configuration")
    command.add_argument("name", nargs="?", metavar="NAME", help="of its table [worker.NAME] (default: the only one)")


def run(arguments: argparse.Namespace) -> int:
    """Run a worker until SIGTERM. Returns OK. Raises DeskError."""
    from desk import config
    from desk.worker.run import run

    found = config.load(arguments.config)
    workers = found.worker
    name = arguments.name or (next(iter(workers)) if len(workers) == 1 else "")
    if name not in workers:
        if not workers:
            raise DeskError(f"{arguments.config}: worker is missing; wanted a table [worker.NAME] with module, input")
        found_name = repr(name) if name else "none, and several tables"
        raise DeskError(f"{arguments.config}: NAME: found {found_name}, allowed: {', '.join(workers)}")
    run(name, workers[name], found.kafka)
    return OK
