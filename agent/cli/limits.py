"""`agent limits`: show or change a running engine's risk limits."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from agent.cli.options import add_engine
from agent.errors import OK
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
    the loop has confirmed. Raises AgentError."""
    from agent import limits
    from agent.cli.kill import report_failures
    from agent.cli.output import write_out
    from agent.monitor import control
    from agent.shm import segment as shm

    path, code = shm.find(arguments.agent), OK
    changes = dict(limits.parse_setting(text) for text in arguments.set)
    resets = [limits.parse_name(text, changes) for text in arguments.reset]

    def choose(now: "Segment") -> Mapping[str, int]:
        return limits.change_words(now.limits, changes) | limits.reset_words(now.configured, resets)

    if changes or resets:
        (outcome,) = control.decide([path], choose)
        code = report_failures([outcome])
        if outcome.before and not code:
            lines = limits.show_changes(outcome.before.limits, shm.read(path).limits)
            write_out("".join(f"{line}, confirmed by the loop\n" for line in lines or ["no limit has changed"]))
    segment = shm.read(path)
    why = f"beyond its limit: {escape(segment.tripped)}\n" if segment.tripped else ""
    write_out(limits.as_text(segment.limits) + why)
    return code
