"""`desk check-config`: say all that is wrong with a configuration."""

import argparse
from pathlib import Path
from typing import Any

from desk.errors import FAILED, OK
from hosttune.report import formats


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    command.add_argument("config", type=Path, metavar="DESK.TOML", help="the configuration")
    formats.add_argument(command)


def run(arguments: argparse.Namespace) -> int:
    """Print all that is wrong with a configuration. Returns OK for one that is right, else FAILED. Raises DeskError."""
    from agent.cli.output import Result, print_document
    from desk import config

    problems = config.find_problems(arguments.config)
    data = {
        "config": str(arguments.config),
        "ok": not problems,
        "problems": [
            {"file": one.file, "line": one.line, "key": one.key, "message": str(one)} for one in problems
        ],
    }  # fmt: skip
    print_document(Result(data, _as_text), arguments.format)
    return FAILED if problems else OK


def _as_text(data: dict[str, Any]) -> str:
    from hosttune.output import escape

    lines = [problem["message"] for problem in data["problems"]]
    if data["ok"]:
        lines.append(f"{data['config']}: every key is known, and has a value that is allowed")
    return "".join(f"{escape(line)}\n" for line in lines)
