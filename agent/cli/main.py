"""The command `agent`: which subcommand is asked for, and how an error ends it.

A start imports the module of that subcommand alone, and the subcommand imports what it needs when it runs.
"""

import argparse
import importlib
import os
import sys

import hosttune
from agent.cli.options import Parser
from agent.errors import FAILED, INTERRUPTED, USAGE, UsageError

#: The subcommands in the order of the help. Each is a module of this folder with `add_command(commands)`, which adds
#: its arguments and sets `run`, a function of the parsed arguments that returns the exit code.
COMMANDS = ("run", "limits", "kill", "resume", "journal", "replay", "stats", "top", "var", "venues", "warm", "exchange")


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand. Returns its exit code; argparse itself exits with 2 on wrong arguments."""
    words = sys.argv[1:] if argv is None else argv
    try:
        arguments = build_parser(words[0] if words else "").parse_args(words)
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except UsageError as error:
        print(f"agent: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as head, has seen enough
        _discard_output()
        return FAILED
    return code


def build_parser(only: str = "") -> argparse.ArgumentParser:
    """Returns the parser of every subcommand, or of the one named `only`: its start does not wait for the others."""
    parser = Parser(prog="agent", description="A compiled trading agent, and the exchange to try it on.")
    parser.add_argument("--version", action="version", version=f"agent {hosttune.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", prog=parser.prog)
    for name in [only] if only in COMMANDS else COMMANDS:
        importlib.import_module(f"agent.cli.{name}").add_command(commands)
    return parser


def _discard_output() -> None:
    """Send what standard output still holds to /dev/null, so that Python does not fail again when it closes it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
