"""`hosttune gaps`: spin on one CPU and say when and why the thread did not run."""

from __future__ import annotations

import argparse
from typing import Any

from hosttune.cli import arguments as shared
from hosttune.cli.terminal import write_document
from hosttune.errors import FAILED, OK, UNKNOWN, UsageError
from hosttune.output import print_message
from hosttune.report import formats

_EPILOG = "exit status: 0 measured, 1 a gap was longer than --fail-above, 2 usage error, 3 could not measure"
_MAX_SECONDS = 3600.0


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of the `hosttune` parser."""
    gaps = commands.add_parser("gaps", help="spin on one CPU and find the time it loses", epilog=_EPILOG)
    gaps.add_argument("--cpu", metavar="N", type=int, required=True, help="the CPU to spin on, which is fully used")
    gaps.add_argument("--seconds", metavar="S", type=float, default=5.0, help="how long; default: %(default)g")
    gaps.add_argument(
        "--threshold",
        metavar="US",
        type=float,
        default=100.0,
        help="note gaps longer than this, in microseconds; default: %(default)g",
    )
    shared.add_policy(gaps)
    gaps.add_argument("--priority", metavar="N", type=int, default=None, help="1 to 98; default with fifo and rr: 1")
    gaps.add_argument("--fail-above", metavar="US", type=float, help="exit 1 if the longest gap is longer")
    formats.add_argument(gaps)
    gaps.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print. Returns the exit status. Raises UsageError."""
    from hosttune.host.sched import HIGHEST_PRIORITY
    from hosttune.measure.detect import measure_gaps
    from hosttune.measure.show import GapReport

    realtime = arguments.policy != "other"
    priority = arguments.priority if arguments.priority is not None else int(realtime)
    if not (1 <= priority <= HIGHEST_PRIORITY if realtime else priority == 0):
        raise UsageError(f"--priority {priority}: wanted 1 to {HIGHEST_PRIORITY} with fifo and rr, none with other")
    if not 0 < arguments.seconds <= _MAX_SECONDS or arguments.threshold < 1 or arguments.cpu < 0:
        raise UsageError(f"wanted 0 < --seconds <= {_MAX_SECONDS:g}, --threshold >= 1, --cpu >= 0")
    try:
        measured = measure_gaps(arguments.cpu, arguments.seconds, arguments.threshold, arguments.policy, priority)
    except OSError as error:
        print_message(
            f"hosttune gaps: cannot run {arguments.policy} {priority} on CPU {arguments.cpu}: {error.strerror}"
        )
        return UNKNOWN
    write_document(GapReport(measured), arguments.format)
    limit = arguments.fail_above
    return FAILED if limit is not None and measured["longest_ns"] > limit * 1000 else OK
