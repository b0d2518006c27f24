"""`desk check-config`: say all that is wrong with a configuration."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from desk.errors import FAILED, OK
from hosttune.report import formats

if TYPE_CHECKING:
    from desk.config import Problem

_RIGHT = "every key is known, and has a value that is allowed; not asked: brokers, Redis, modules of your own"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    command.add_argument("config", type=Path, metavar="DESK.TOML", help="the configuration")
    formats.add_argument(command)


def run(arguments: argparse.Namespace) -> int:
    """Print all that is wrong with a configuration. Returns OK for one that is right, else FAILED. Raises DeskError."""
    from agent.cli.check_config import show
    from agent.cli.output import Result, print_document
    from desk.cli.check_config_findings import find_problems

    problems, warnings = find_problems(arguments.config)
    data = {
        "config": str(arguments.config),
        "ok": not problems,
        "problems": list(map(_as_data, problems)),
        "warnings": list(map(_as_data, warnings)),
    }
    print_document(Result(data, lambda data: show(data, _RIGHT)), arguments.format)
    return FAILED if problems else OK


def _as_data(problem: "Problem") -> dict[str, Any]:
    return {"file": problem.file, "line": problem.line, "key": problem.key, "message": str(problem)}
