"""`agent limits`: show or change a running engine's risk limits."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from agent.cli.options import add_engine
from hosttune.output import escape

if TYPE_CHECKING:
    from agent.shm.segment import Segment


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_engine(command)
    command.add_argument(
        "--set", action="append", default=[], metavar="LIMIT=NUMBER", help="a key of [risk] in agent.toml, or kill"
    )
    command.add_argument(
        "--reset", action="append", default=[], metavar="LIMIT", help="to agent.toml's value, as the engine has read it"
    )


def run(arguments: argparse.Namespace) -> int:
    """Change the limits that `--set` and `--reset` name, then print all limits. Returns the exit code: FAILED unless
    each loop has confirmed. Raises AgentError."""
    from agent import limits
    from agent.cli.kill import report_failures
    from agent.cli.output import write_out
    from agent.monitor import control
    from agent.shm import segment as shm

    changes = dict(limits.parse_setting(text) for text in arguments.set)
    resets = [limits.parse_name(text, changes) for text in arguments.reset]

    def choose(now: "Segment") -> Mapping[str, int]:
        return limits.change_words(now.limits, changes) | limits.reset_words(now.configured, resets)

    paths = control.find_engines(arguments.agent, ended=True)
    outcomes = [control.Outcome(path, None, "") for path in paths]
    if changes or resets:
        outcomes = control.decide(paths, choose)
    for outcome in outcomes:
        try:
            now = shm.read(outcome.path)
        except shm.SegmentError as error:
            if len(outcomes) == 1:
                raise
            outcome.why = str(error).removeprefix(f"{outcome.path}: ")
            continue
        text = escape(f"{outcome.path}:") + "\n" if len(outcomes) > 1 else ""
        if outcome.before and not outcome.why:
            lines = limits.show_changes(outcome.before.limits, now.limits)
            text += "".join(f"{line}, confirmed by the loop\n" for line in lines or ["no limit has changed"])
        why = f"beyond its limit: {escape(now.tripped)}\n" if now.tripped else ""
        write_out(text + limits.as_text(now.limits) + why)
    return report_failures(outcomes)
