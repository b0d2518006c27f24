"""`desk run`: run a module's handlers on the event bus, on paper."""

import argparse
from pathlib import Path

from desk.errors import FAILED, OK, DeskError
from hosttune.report import formats

#: Characters of a name at most: that of the counters has `run.` before it.
_MOST = 28


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    command.add_argument("module", type=Path, metavar="MODULE", help="a Python file, FILE.py")
    command.add_argument("--config", type=Path, metavar="DESK.TOML", help="whose [run.NAME] has the module's sources")
    command.add_argument("--name", metavar="NAME", help="of its table and of its counters (default: the file's name)")
    formats.add_argument(command)


def run(arguments: argparse.Namespace) -> int:
    """Run the module until SIGTERM or until its sources have ended, then print what there was. Returns FAILED where
    something was not well, else OK. Raises DeskError and AgentError."""
    from agent.cli.output import Result, print_document
    from desk import config
    from desk.bus.load import load
    from desk.bus.report import as_text, count, describe
    from desk.bus.run import Runner
    from desk.settings.run import Run
    from hosttune.output import escape, print_message

    name = _choose_name(arguments)
    settings = config.load(arguments.config) if arguments.config else config.Config()
    if arguments.config and name not in settings.run:
        print_message(f"desk: run: {escape(str(arguments.config))} has no table run.{name}: every engine is a source")
    runner = Runner(f"run.{name}", arguments.module, load(arguments.module), settings.run.get(name, Run()),
                    settings.kafka)  # fmt: skip
    runner.run(count)
    print_document(Result(describe(runner), as_text), arguments.format)
    runner.raise_interrupt()
    return FAILED if runner.failed else OK


def _choose_name(arguments: argparse.Namespace) -> str:
    """Returns the name that is given, or is made of the file's. Raises DeskError for one that no table can have."""
    import re

    name: str | None = arguments.name
    if name is None:
        name = re.sub("[^A-Za-z0-9_.-]", "_", arguments.module.stem)[:_MOST].lstrip("_.-") or "module"
    if not re.fullmatch(f"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{_MOST - 1}}}", name):
        allowed = f"a letter or digit, then at most {_MOST - 1} of A-Z a-z 0-9 _ . -"
        raise DeskError(f"--name: found {name!r}, allowed: {allowed}")
    return name
