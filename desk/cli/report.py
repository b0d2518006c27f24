"""`desk report`: a trading loop in plain Python and the engine beside each other, measured here and now."""

import argparse
import contextlib
import signal
from collections.abc import Iterator
from typing import Any

from agent.cli.options import parse_count
from desk.errors import FAILED, OK, UNKNOWN, UsageError, explain_os_errors
from hosttune.report import formats

_VIEWS = (*formats.VIEWS, "as_template")
_MOST_ROUNDS = 100


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    command.add_argument("--rounds", type=parse_count, default=5, metavar="N", help="default 5; each takes some 10 s")
    command.add_argument("--seed", type=int, default=1, metavar="N", help="of the ticks (default 1)")
    command.add_argument(
        "-o", "--output", metavar="FILE", help="write FILE anew, whole or not at all (default: standard output)"
    )
    formats.add_argument(command, _VIEWS)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print. Returns FAILED for a bar that was missed, else UNKNOWN for a figure that is not there. Raises
    UsageError."""
    if arguments.rounds > _MOST_ROUNDS:
        raise UsageError(f"--rounds: found {arguments.rounds}, allowed: at most {_MOST_ROUNDS}")
    from agent.cli.output import format_document, write_out
    from desk.report.measure import measure
    from hosttune.output import print_message, put_out

    with _ended_by_signals(), explain_os_errors("report"):
        report = measure(arguments.rounds, arguments.seed, lambda text: print_message(f"desk: {text}"))
    try:
        text = format_document(report, arguments.format)
        if arguments.output:
            put_out(arguments.output, text)
    except UsageError:  # what was measured is not lost with it
        write_out(format_document(report, "text"))
        raise
    if not arguments.output:
        write_out(text)
    return FAILED if report.missed else UNKNOWN if report.unknown else OK


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP where it is not ignored, end as SIGINT does, so that nothing that was started is left."""

    def end(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
