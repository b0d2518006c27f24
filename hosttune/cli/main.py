"""The `hosttune` command: which subcommand is asked for, and how an error ends it.

Everything that a subcommand needs is imported when it runs.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys

from hosttune import __version__
from hosttune.cli.arguments import Parser
from hosttune.errors import (
    INTERRUPTED,
    UNKNOWN,
    USAGE,
    UsageError,
    is_interrupt,
    keep_interrupts,
    leave_interrupts_to_kernel,
    quiet_interrupts,
)
from hosttune.output import escape, guard_messages, print_message, print_traceback

COMMANDS = ("check", "snapshot", "diff", "launch", "attest", "gaps")


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status; argparse itself exits with 2 on wrong arguments."""
    words = sys.argv[1:] if argv is None else argv
    # A caller that ignores SIGCHLD leaves that to this process, and waitpid(2) would know no child.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with guard_messages(), keep_interrupts():
        try:
            with quiet_interrupts():
                arguments = _build_parser(words[0] if words else "").parse_args(words)
            code: int = arguments.run(arguments)
        except UsageError as error:
            print_message(f"hosttune: {escape(str(error))}")
            return USAGE
        except KeyboardInterrupt:
            return INTERRUPTED
        except Exception as error:
            if is_interrupt(error):
                return INTERRUPTED
            # A fault of ours: nothing can be told about the host, and Python's own status means not ready.
            print_traceback()
            return UNKNOWN
        finally:
            if argv is None:  # the interpreter ends
                leave_interrupts_to_kernel()
        return code


def _build_parser(only: str = "") -> argparse.ArgumentParser:
    """Returns the arguments of every command, or only of the one asked for: a launch does not wait for the others."""
    parser = Parser(prog="hosttune", description="Prove that a Linux host is tuned as its profile says.")
    parser.add_argument("--version", action="version", version=f"hosttune {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, prog="hosttune")
    for name in [only] if only in COMMANDS else COMMANDS:
        importlib.import_module(f"hosttune.cli.{name}").add_command(commands)
    return parser
