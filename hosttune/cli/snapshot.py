"""`hosttune snapshot`: write what a check reads to a file, to check it elsewhere."""

from __future__ import annotations

import argparse
from typing import Any

from hosttune.cli import arguments as shared
from hosttune.cli.terminal import write_out
from hosttune.errors import OK, UsageError
from hosttune.output import escape, print_message

_STANDARD_OUTPUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of the `hosttune` parser."""
    snapshot = commands.add_parser("snapshot", help="write what a check reads to a file, to check it elsewhere")
    snapshot.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="hosttune-snapshot.json.gz",
        help="default: %(default)s; a name that ends in .gz is compressed, - is standard output",
    )
    snapshot.add_argument("--root", metavar="DIR", help="read a captured tree instead of this host")
    shared.add_profile(snapshot)
    shared.add_observe(snapshot)
    snapshot.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Take the snapshot, write it and say what it holds. Returns the exit status. Raises UsageError."""
    from hosttune import capture, profile
    from hosttune.host import snapshot

    root = shared.open_root(arguments.root)
    if arguments.observe is not None and arguments.root:
        raise UsageError("--observe needs the live host")
    try:
        wanted = profile.load(arguments.profile, root)
    except profile.ProfileError as error:
        raise UsageError(error) from None
    data = capture.take_snapshot(root, wanted, arguments.observe)
    try:
        if arguments.output in _STANDARD_OUTPUT:
            write_out(snapshot.encode(data).decode())
        else:
            snapshot.write(data, arguments.output)
            print_message(escape(f"{arguments.output}: {snapshot.describe(data)}"))
    except OSError as error:
        raise UsageError(f"{arguments.output}: cannot be written: {error.strerror}") from None
    return OK
