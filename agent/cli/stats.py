"""`agent stats`: print an engine's counters and latencies, whether it runs or not."""

import argparse
import contextlib

from agent.cli.options import add_engine
from agent.errors import OK
from hosttune.report import formats


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_engine(command)
    formats.add_argument(command, views=(*formats.VIEWS, "as_metrics"))


def run(arguments: argparse.Namespace) -> int:
    """Read the engine's segment and print it. Returns the exit code. Raises AgentError, UsageError."""
    from agent.cli.output import print_document
    from agent.monitor.stats import Statistics
    from agent.shm import place
    from agent.shm import segment as shm
    from agent.shm.ring import RingError, read_fill

    path = shm.find(arguments.agent)
    segment, journal = shm.read(path), None
    with contextlib.suppress(RingError):
        journal = read_fill(place.ring_of(path))
    print_document(Statistics(segment, journal), arguments.format)
    return OK
