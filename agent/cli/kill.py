"""`agent kill`: stop an engine's orders at once, and cancel the open ones."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from agent.cli.options import add_engine
from agent.errors import FAILED, OK, UsageError
from hosttune.output import escape, print_message

if TYPE_CHECKING:
    from agent.monitor.control import Outcome


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_engine(command)
    command.add_argument("--all", action="store_true", help="every engine that runs, in place of a name")


def run(arguments: argparse.Namespace) -> int:
    """Switch the kill switch of engines on, and print what is open at the exchange then. Returns the exit code: FAILED
    unless each loop has confirmed. Raises AgentError, UsageError."""
    from agent.cli.output import write_out
    from agent.monitor import control

    if arguments.all and arguments.agent is not None:
        raise UsageError(f"--all: found with {arguments.agent}, allowed: alone")
    paths = control.find_running() if arguments.all else control.find_engines(arguments.agent, ended=True)
    outcomes = control.decide(paths, lambda _: {"kill": 1}, ended=True)
    at_once = control.wait_for_cancels([o.path for o in outcomes if not o.why], 0)
    for path, segment in at_once.items():
        write_out(escape(f"{path}: killed, confirmed by its loop; {control.describe_open(segment)}") + "\n")
    busy = [path for path, segment in at_once.items() if segment.counters["orders_open"]]
    for path, segment in control.wait_for_cancels(busy, control.CANCELS).items():
        gone = max(0, at_once[path].counters["orders_open"] - segment.counters["orders_open"])
        write_out(escape(f"{path}: {gone:,} gone since; {control.describe_open(segment)}") + "\n")
    return report_failures(outcomes, _say_what_holds)


def report_failures(outcomes: "list[Outcome]", explain: "Callable[[Outcome], str]" = lambda _: "") -> int:
    """Print a line for each engine whose loop has not confirmed a decision. explain: what follows in that line. Returns
    the exit code."""
    failed = [outcome for outcome in outcomes if outcome.why]
    for outcome in failed:
        print_message(escape(f"agent: {outcome.path}: {outcome.why}{explain(outcome)}"))
    return FAILED if failed else OK


def _say_what_holds(outcome: "Outcome") -> str:
    """Returns what a kill switch does that no loop has confirmed."""
    from agent.monitor.control import describe_open
    from agent.shm import segment as shm

    try:
        segment = shm.read(outcome.path)
    except shm.SegmentError:
        return ""
    if not segment.limits["kill"]:
        return ""
    if not segment.trades:
        # In its segment alone: which journal it had is not known here.
        begins = "its next start begins killed, until `agent resume`, unless the host is booted before"
        return f"; at its end: {describe_open(segment)}; {begins}"
    return f"; the switch is on, and no order passes the gate; when last seen: {describe_open(segment)}"
