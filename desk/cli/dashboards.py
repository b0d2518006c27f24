"""`desk dashboards`: write the dashboards for Grafana."""

import argparse
from pathlib import Path

from desk.errors import OK


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    command.add_argument("directory", type=Path, metavar="DIRECTORY", help="where the files go; it has to be there")


def run(arguments: argparse.Namespace) -> int:
    """Write a file of each dashboard, and say which. Returns the exit code. Raises DeskError."""
    from desk.export.dashboards import make_dashboards
    from hosttune.output import escape, put_out, write_out

    for name, text in make_dashboards().items():
        path = arguments.directory / name
        put_out(str(path), text)
        write_out(f"{escape(str(path))}\n")
    return OK
