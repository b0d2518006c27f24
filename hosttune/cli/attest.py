"""`hosttune attest`: read a launched process back from the kernel."""

from __future__ import annotations

import argparse
from typing import Any

from hosttune.cli import arguments as shared
from hosttune.cli.terminal import write_document
from hosttune.errors import BY_VERDICT, FAILED, UNKNOWN, UsageError
from hosttune.output import escape, print_message
from hosttune.report import formats

_MOST_SECONDS = 86400.0
_EPILOG = "exit status: 0 holds, 1 does not hold, 2 usage error, 3 could not tell"


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of the `hosttune` parser."""
    attest = commands.add_parser("attest", help="read a launched process back from the kernel", epilog=_EPILOG)
    attest.add_argument("pid", metavar="PID", type=int, help="of a process that `hosttune launch` started")
    formats.add_argument(attest)
    attest.add_argument(
        "--wait",
        metavar="SECONDS",
        type=float,
        default=shared.ATTEST_WAIT_SECONDS,
        help="for the launch to be complete; default: %(default)g",
    )
    attest.add_argument(
        "--after",
        metavar="SECONDS",
        type=float,
        default=0.0,
        help="read so long after exec; default: %(default)g",
    )
    shared.add_run_directory(attest)
    attest.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read back and print. Returns the exit status. Raises UsageError."""
    from hosttune import attest

    if not 1 <= arguments.pid < 1 << 31:
        raise UsageError(f"PID {arguments.pid}: wanted 1 to {(1 << 31) - 1}")
    for name in ("wait", "after"):
        if not 0 <= getattr(arguments, name) <= _MOST_SECONDS:  # nan, too
            raise UsageError(f"--{name} {getattr(arguments, name)}: wanted 0 to {_MOST_SECONDS:g} seconds")
    run_directory = shared.resolve_run_directory(arguments)
    try:
        result = attest.attest(run_directory, arguments.pid, arguments.wait, arguments.after)
    except attest.Gone as error:
        print_message(f"hosttune attest: {escape(str(error))}")
        return FAILED
    except attest.NotLaunched as error:
        print_message(f"hosttune attest: {escape(str(error))}")
        return UNKNOWN
    write_document(result, arguments.format)
    return BY_VERDICT[result.report.verdict]
