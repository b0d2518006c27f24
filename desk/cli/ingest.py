"""`desk ingest`: the records of Kafka's partitions into rings, until a signal comes; or those of one into a file."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from desk.errors import OK, DeskError

if TYPE_CHECKING:
    from desk.settings.ingest import Ingest, Topic


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    command.add_argument("config", type=Path, metavar="DESK.TOML", help="the configuration")
    command.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write what a partition has now into a new file that `agent replay` reads, and end",
    )
    command.add_argument(
        "--partition", metavar="TOPIC-N", help="with --out: which one (default: the only one that is a feed)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM, or until the file is written. Returns OK. Raises DeskError."""
    from desk import config

    settings = config.load(arguments.config)
    if settings.ingest is None:
        raise DeskError(f"{arguments.config}: ingest is missing; wanted a table [[ingest.topics]] with name and ring")
    if arguments.out is None:
        if arguments.partition is not None:
            raise DeskError("--partition: found without --out, which writes one partition")
        from desk.ingest.run import run

        run(settings.kafka, settings.ingest)
        return OK
    from desk.ingest.recording import record
    from hosttune.output import escape, write_out

    topic, number = _find_partition(settings.ingest, arguments.partition)
    if topic.records is not None:
        raise DeskError(f"--out: {topic.name} has records for a worker, allowed: a topic with the messages of a feed")
    found = record(settings.kafka, topic, number, arguments.out)
    words = (
        f"{arguments.out}: {found.records} records of {topic.name}-{number}, offsets {found.first} to {found.end - 1}"
    )
    if found.missing or found.refused:
        words += f"; {found.missing} offsets have no record, {found.refused} records are no {topic.format} message"
    write_out(escape(words) + "\n")
    return OK


def _find_partition(ingest: "Ingest", name: str | None) -> "tuple[Topic, int]":
    known = {f"{topic.name}-{number}": (topic, number) for topic in ingest.topics for number in topic.partitions}
    feeds = {key: found for key, found in known.items() if found[0].records is None}
    allowed = ", ".join(feeds) or "none, since all topics have records for a worker"
    if name is None and len(feeds) == 1:
        return next(iter(feeds.values()))
    if name is None:
        raise DeskError(f"--partition: missing, and required with --out here; allowed: {allowed}")
    if name not in known:
        raise DeskError(f"--partition: found {name!r}, allowed: {allowed}")
    return known[name]
