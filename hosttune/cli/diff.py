"""`hosttune diff`: compare two JSON reports, such as before and after tuning."""

from __future__ import annotations

import argparse
from typing import Any

from hosttune.cli.terminal import write_document
from hosttune.errors import OK, UsageError
from hosttune.report import formats


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of the `hosttune` parser."""
    diff = commands.add_parser("diff", help="compare two JSON reports, such as before and after tuning")
    diff.add_argument("before", metavar="BEFORE.json", help="a report of `hosttune check --format json`")
    diff.add_argument("after", metavar="AFTER.json", help="another one")
    formats.add_argument(diff)
    diff.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print both reports side by side. Returns the exit status. Raises UsageError."""
    from hosttune import files
    from hosttune.report.check import MAX_BYTES, read_report
    from hosttune.report.diff import Difference

    reports = []
    for path in (arguments.before, arguments.after):
        try:
            reports.append(read_report(files.read_given(path, MAX_BYTES)))
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
        except ValueError as error:
            raise UsageError(f"{path}: not a report of `hosttune check --format json`: {error}") from None
    write_document(Difference(*reports), arguments.format)
    return OK
