"""`hosttune check`: compare a host with a profile, changing nothing."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from hosttune.cli import arguments as shared
from hosttune.cli.terminal import put_document, wants_colour, write_document
from hosttune.errors import BY_VERDICT, UsageError
from hosttune.report import formats

if TYPE_CHECKING:
    from hosttune.host.root import Root

_EPILOG = "exit status: 0 ready, 1 not ready, 2 usage or profile error, 3 could not tell"


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of the `hosttune` parser."""
    check = commands.add_parser("check", help="compare this host with a profile, changing nothing", epilog=_EPILOG)
    source = check.add_mutually_exclusive_group()
    source.add_argument("--root", metavar="DIR", help="read a captured tree instead of this host")
    source.add_argument("--snapshot", metavar="FILE", help="read a file that `hosttune snapshot` wrote")
    shared.add_profile(check)
    shared.add_observe(check)
    formats.add_argument(check, views=(*formats.VIEWS, "as_metrics"))
    check.add_argument(
        "-o", "--output", metavar="FILE", help="write FILE anew, whole or not at all (default: standard output)"
    )
    check.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="default: %(default)s")
    check.add_argument("-q", "--quiet", action="store_true", help="leave out what passed or does not apply")
    check.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check and print the report. Returns the exit status. Raises UsageError."""
    from hosttune import checker, profile
    from hosttune.report.check import CheckReport

    observe: float | None = arguments.observe
    if observe is not None and (arguments.root or arguments.snapshot):
        raise UsageError("--observe needs the live host; a snapshot taken with --observe is watched without asking")
    root: Root
    if arguments.snapshot:
        from hosttune.host.snapshot import Snapshot, SnapshotError

        try:
            root = Snapshot(arguments.snapshot)
        except SnapshotError as error:
            raise UsageError(error) from None
        observe = root.seconds
    else:
        root = shared.open_root(arguments.root)
    try:
        wanted = profile.load(arguments.profile, root)
    except profile.ProfileError as error:
        raise UsageError(error) from None
    report = checker.run_checks(wanted, root, observe)
    if arguments.output:
        put_document(CheckReport(report), arguments.format, arguments.output, quiet=arguments.quiet)
    else:
        colour = wants_colour(arguments.color)
        write_document(CheckReport(report), arguments.format, colour=colour, quiet=arguments.quiet)
    return BY_VERDICT[report.verdict]
