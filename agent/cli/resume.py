"""`agent resume`: let an engine's orders pass again after `agent kill`."""

import argparse

from agent.cli.kill import report_failures
from agent.cli.options import add_engine
from hosttune.output import escape


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_engine(command)


def run(arguments: argparse.Namespace) -> int:
    """Switch an engine's kill switch off. Returns the exit code: FAILED unless its loop has confirmed and stays so: a
    loss beyond its limit kills again. Raises AgentError."""
    from agent.cli.output import write_out
    from agent.monitor import control

    outcomes = control.decide(control.find_engines(arguments.agent, ended=True), lambda _: {"kill": 0})
    for outcome in outcomes:
        if outcome.before and not outcome.why:
            was = "" if outcome.before.limits["kill"] else "; it was not killed"
            write_out(escape(f"{outcome.path}: orders pass again, confirmed by its loop{was}") + "\n")
    return report_failures(outcomes)
