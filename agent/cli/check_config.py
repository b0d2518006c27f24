"""`agent check-config`: say all that is wrong with a configuration and its strategy."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cli.options import parse_shard
from agent.errors import FAILED, OK
from hosttune.patterns import late_pattern
from hosttune.report import formats

if TYPE_CHECKING:
    from agent.config import Problem

#: What was found, and what is allowed, in a message.
_PARTS = late_pattern(r"found (.*?)[,;] (?:allowed|wanted):? (.*)", re.DOTALL)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    command.add_argument("config", type=Path, help="agent.toml")
    command.add_argument(
        "--shard", type=parse_shard, default=(0, 1), metavar="I/N", help="for the engine of symbols I, I+N, ..."
    )
    formats.add_argument(command)


def run(arguments: argparse.Namespace) -> int:
    """Look for all that keeps an engine from starting, and print it. Returns OK where one can start, else FAILED."""
    from agent.cli.output import Result, print_document
    from agent.engine.run import Shard
    from agent.engine.start_problems import find_problems

    problems, warnings = find_problems(arguments.config, Shard(*arguments.shard))
    data = {
        "config": str(arguments.config),
        "ok": not problems,
        "problems": list(map(_as_data, problems)),
        "warnings": list(map(_as_data, warnings)),
    }
    print_document(Result(data, lambda data: show(data, "an engine can start with it")), arguments.format)
    return FAILED if problems else OK


def _as_data(problem: "Problem") -> dict[str, Any]:
    parts = _PARTS.search(problem.words)
    return {
        "file": problem.file,
        "line": problem.line,
        "key": problem.key,
        "found": parts[1] if parts else None,
        "allowed": parts[2] if parts else None,
        "message": str(problem),
    }


def show(data: dict[str, Any], right: str) -> str:
    """Returns the lines of problems and warnings. right: what is said of a configuration without a problem."""
    from hosttune.output import escape

    lines = [problem["message"] for problem in data["problems"]]
    lines += [f"warning: {warning['message']}" for warning in data["warnings"]]
    if data["ok"]:
        lines.append(f"{data['config']}: {right}")
    return "".join(f"{escape(line)}\n" for line in lines)
