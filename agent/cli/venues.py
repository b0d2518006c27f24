"""`agent venues`: distances between trading venues, and light's latency floor."""

import argparse
from pathlib import Path

from agent.errors import OK
from hosttune.report import formats


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    command.add_argument("--from", dest="start", metavar="NAME", help="only pairs from here")
    command.add_argument("--to", dest="end", metavar="NAME", help="only pairs to here")
    command.add_argument("--file", type=Path, help="NAME,CITY,VENUES,LATITUDE,LONGITUDE lines (default: the package's)")
    formats.add_argument(command)


def run(arguments: argparse.Namespace) -> int:
    """Print the pairs of venues, nearest first. Returns the exit code. Raises AgentError."""
    from agent.analysis import venues
    from agent.cli.output import print_document

    known = venues.read_venues(arguments.file or venues.FILE)
    print_document(venues.measure_distances(known, arguments.start, arguments.end), arguments.format)
    return OK
