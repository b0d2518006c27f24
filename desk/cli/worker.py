"""`desk worker`: run a compiled function over the records of a ring."""

import argparse
from pathlib import Path

from desk.errors import OK, DeskError


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    command.add_argument("config", type=Path, help="desk.toml")
    command.add_argument("name", nargs="?", help="which of its tables [worker.NAME]; the only one, where there is one")


def run(arguments: argparse.Namespace) -> int:
    """Run a worker until SIGTERM. Returns OK. Raises DeskError."""
    from desk import config
    from desk.worker.run import run

    found = config.load(arguments.config)
    workers = found.worker
    name = arguments.name or (next(iter(workers)) if len(workers) == 1 else "")
    if name not in workers:
        known = ", ".join(f"worker.{each}" for each in workers) or "no table [worker.NAME]"
        raise DeskError(f"{arguments.config}: worker {name!r}: not there; found {known}; name one")
    run(name, workers[name], found.kafka)
    return OK
