"""The command `agent`: which subcommand is asked for, and how an error ends it.

A start imports the module of that subcommand alone, and the subcommand imports what it needs when it runs.
"""

import argparse
import importlib
import signal
import sys
from collections.abc import Callable, Collection, Mapping

import hosttune
from agent.cli.options import Parser
from agent.cli.output import write_out
from agent.errors import FAILED, INTERRUPTED, USAGE, UsageError, is_interrupt, quiet_interrupts
from hosttune.descriptors import open_standard
from hosttune.errors import keep_interrupts, leave_interrupts_to_kernel
from hosttune.output import escape, guard_messages, print_message, print_traceback

#: The subcommands and what each does, in the order of the help. Each is a module of this folder with
#: `add_arguments(command)`, and `run(arguments)`, which returns the exit code.
COMMANDS = {
    "run": "run an engine until SIGTERM",
    "check-config": "say all that is wrong with a configuration and its strategy",
    "limits": "show or change a running engine's risk limits",
    "kill": "stop an engine's orders at once, and cancel the open ones",
    "resume": "let an engine's orders pass again after `kill`",
    "journal": "print an engine's journal, and what it adds up to",
    "replay": "run a recording through the engine's path, without sockets",
    "stats": "print an engine's counters and latencies, running or not",
    "top": "watch an engine: rates, latencies, positions",
    "var": "value at risk of an engine's position, by simulation",
    "venues": "distances between trading venues, and light's latency floor",
    "warm": "compile strategies into the cache, so that `run` starts fast",
    "exchange": "simulate the exchange: send a feed, take orders, measure",
}


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand. Returns its exit code; argparse itself exits with 2 on wrong arguments."""
    return run_program("agent", COMMANDS, build_parser, argv)


def run_program(
    name: str, commands: Collection[str], build: Callable[[str], argparse.ArgumentParser], argv: list[str] | None
) -> int:
    """Run one subcommand of the program of this name, whose parser `build` makes: with the arguments of the subcommand
    that is given, or of none for "". argv: the words behind the program's name, None for this process's own. Returns
    the exit code."""
    words = sys.argv[1:] if argv is None else argv
    if argv is None:
        open_standard()
    # A caller that ignores SIGCHLD leaves that to this process, and waitpid(2) would know no child.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with guard_messages(), keep_interrupts():
        try:
            with quiet_interrupts():
                arguments = build(words[0] if words and words[0] in commands else "").parse_args(words)
            code: int = arguments.run(arguments)
            write_out("")
        except UsageError as error:
            print_message(f"{name}: {escape(str(error))}")
            return USAGE
        except KeyboardInterrupt:
            return INTERRUPTED
        except BrokenPipeError:  # the reader of the output has seen enough
            return FAILED
        except Exception as error:  # a fault of ours
            if is_interrupt(error):
                return INTERRUPTED
            print_traceback()
            return FAILED
        finally:
            if argv is None:  # the interpreter ends
                leave_interrupts_to_kernel()
        return code


def build_parser(asked_for: str) -> argparse.ArgumentParser:
    """Returns the parser of `agent`, with the arguments of one subcommand, or of none for "": a start does not wait for
    the others."""
    return build_program_parser(
        "agent", "A compiled trading agent, and the exchange to try it on.", COMMANDS, asked_for
    )


def build_program_parser(
    program: str, description: str, subcommands: Mapping[str, str], asked_for: str
) -> argparse.ArgumentParser:
    """Returns the parser of a program whose subcommands are the modules of PROGRAM.cli. asked_for: as of
    build_parser()."""
    parser = Parser(prog=program, description=description)
    parser.add_argument("--version", action="version", version=f"{program} {hosttune.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", prog=parser.prog)
    for name, text in subcommands.items():
        if asked_for in ("", name):
            command = commands.add_parser(name, help=text)
            if asked_for:
                module = importlib.import_module(f"{program}.cli.{name.replace('-', '_')}")
                module.add_arguments(command)
                command.set_defaults(run=module.run)
    return parser
