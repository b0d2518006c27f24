"""`desk check-config`: say all that is wrong with a configuration."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from desk.errors import FAILED, OK
from hosttune.report import formats

if TYPE_CHECKING:
    from desk.config import Problem

#: What could still refuse the start.
_NOT_ASKED = "brokers, Redis, modules of your own"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    command.add_argument("config", type=Path, metavar="DESK.TOML", help="the configuration")
    formats.add_argument(command)


def run(arguments: argparse.Namespace) -> int:
    """Print all that is wrong with a configuration. Returns OK for one that is right, else FAILED. Raises DeskError."""
    from agent.cli.output import Result, print_document
    from desk.cli.check_config_findings import find_problems

    problems, warnings = find_problems(arguments.config)
    data = {
        "config": str(arguments.config),
        "ok": not problems,
        "problems": list(map(_as_data, problems)),
        "warnings": list(map(_as_data, warnings)),
    }
    print_document(Result(data, _as_text), arguments.format)
    return FAILED if problems else OK


def _as_data(problem: "Problem") -> dict[str, Any]:
    return {"file": problem.file, "line": problem.line, "key": problem.key, "message": str(problem)}


def _as_text(data: dict[str, Any]) -> str:
    from hosttune.output import escape

    lines = [problem["message"] for problem in data["problems"]]
    lines += [f"warning: {warning['message']}" for warning in data["warnings"]]
    if data["ok"]:
        lines.append(f"{data['config']}: every key is known, and has a value that is allowed; not asked: {_NOT_ASKED}")
    return "".join(f"{escape(line)}\n" for line in lines)
