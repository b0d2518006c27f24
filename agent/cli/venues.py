"""`agent venues`: distances between trading venues, and light's latency floor."""

import argparse
from pathlib import Path
from typing import Any

from agent.errors import OK
from hosttune.report import formats


def add_command(commands: Any) -> None:
    """Add the subcommand to the subparsers of `agent`."""
    command = commands.add_parser("venues", help="distances between trading venues, and light's latency floor")
    command.add_argument("--from", dest="start", metavar="NAME", help="only pairs from here")
    command.add_argument("--to", dest="end", metavar="NAME", help="only pairs to here")
    command.add_argument("--file", type=Path, help="NAME,CITY,VENUES,LATITUDE,LONGITUDE lines (default: the package's)")
    formats.add_argument(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the pairs of venues, nearest first. Returns the exit code. Raises AgentError."""
    from agent.analysis import venues
    from agent.cli.output import print_document

    known = venues.read_venues(arguments.file or venues.FILE)
    print_document(venues.measure_distances(known, arguments.start, arguments.end), arguments.format)
    return OK
