"""`desk rules`: write the alerting and recording rules for Prometheus."""

import argparse
import re

from desk.errors import OK, DeskError

_JOB = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    command.add_argument(
        "-o", "--output", metavar="FILE", help="write FILE anew, whole or not at all (default: standard output)"
    )
    command.add_argument("--job", default="desk", help="the job of `desk export` in prometheus.yml (default: desk)")


def run(arguments: argparse.Namespace) -> int:
    """Write the rules. Returns the exit code. Raises DeskError."""
    from desk.export.rules import write_rules
    from hosttune.output import put_out, write_out

    if not _JOB.fullmatch(arguments.job):
        raise DeskError(f"--job: found {arguments.job!r}, allowed: letters, digits, '_', '.' and '-'")
    text = write_rules(arguments.job)
    if arguments.output:
        put_out(arguments.output, text)
    else:
        write_out(text)
    return OK
