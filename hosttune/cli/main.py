"""The `hosttune` command: arguments and exit codes. Everything else is imported when it is needed."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from hosttune import __version__
from hosttune.cli import gaps as gaps_command
from hosttune.cli import launch as launch_command

if TYPE_CHECKING:
    from hosttune.host.root import Root

READY, NOT_READY, USAGE, UNKNOWN = 0, 1, 2, 3
EXIT = {"ready": READY, "not ready": NOT_READY, "unknown": UNKNOWN}

EPILOG = "exit status: 0 ready, 1 not ready, 2 usage or profile error, 3 could not tell"
MAX_OBSERVE = 3600.0


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status; argparse itself exits with 2 on wrong arguments."""
    words = sys.argv[1:] if argv is None else argv
    arguments = _parser(words[0] if words else "").parse_args(words)
    try:
        code: int = arguments.run(arguments)
    except UsageError as error:
        print(f"hosttune: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return 130
    return code


class UsageError(Exception):
    """Something the caller gave cannot be used; the text says what and why."""


class _Parser(argparse.ArgumentParser):
    """Help as wide as the reports. argparse would import shutil to ask for the width at each argument."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_formatter, **options)


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, width=_width())


def _parser(only: str = "") -> argparse.ArgumentParser:
    """The arguments of every command, or only of the one that is asked for: a launch does not wait for the others."""
    parser = _Parser(prog="hosttune", description="Prove that a Linux host is tuned as its profile says.")
    parser.add_argument("--version", action="version", version=f"hosttune {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, prog="hosttune")
    add = {
        "check": _add_check,
        "snapshot": _add_snapshot,
        "diff": _add_diff,
        "launch": launch_command.add_launch,
        "attest": launch_command.add_attest,
        "gaps": gaps_command.add_gaps,
    }
    for name in [only] if only in add else add:
        add[name](commands)
    return parser


def _add_check(commands: Any) -> None:
    check = commands.add_parser("check", help="compare this host with a profile, changing nothing", epilog=EPILOG)
    source = check.add_mutually_exclusive_group()
    source.add_argument("--root", metavar="DIR", help="read a captured tree instead of this host")
    source.add_argument("--snapshot", metavar="FILE", help="read a file that `hosttune snapshot` wrote")
    _add_profile(check)
    _add_observe(check)
    check.add_argument("--format", choices=("text", "json"), default="text")
    check.add_argument("--color", choices=("auto", "always", "never"), default="auto")
    check.add_argument("-q", "--quiet", action="store_true", help="leave out what passed or does not apply")
    check.set_defaults(run=_check)


def _add_snapshot(commands: Any) -> None:
    snapshot = commands.add_parser("snapshot", help="write what a check reads to a file, to check it elsewhere")
    snapshot.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="hosttune-snapshot.json.gz",
        help="default: %(default)s; a name that ends in .gz is compressed, - is standard output",
    )
    snapshot.add_argument("--root", metavar="DIR", help="read a captured tree instead of this host")
    _add_profile(snapshot)
    _add_observe(snapshot)
    snapshot.set_defaults(run=_snapshot)


def _add_diff(commands: Any) -> None:
    diff = commands.add_parser("diff", help="compare two JSON reports, such as before and after tuning")
    diff.add_argument("before", metavar="BEFORE.json")
    diff.add_argument("after", metavar="AFTER.json")
    diff.set_defaults(run=_diff)


def _add_profile(parser: argparse.ArgumentParser) -> None:
    default = "the host's /etc/hosttune/profile.d if it has files, else the built-in profile"
    parser.add_argument(
        "--profile", metavar="PATH", help=f"a file, a directory, or a built-in profile's name; default: {default}"
    )


def _add_observe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--observe",
        metavar="SECONDS",
        type=_seconds,
        help="watch interrupts, ticks and threads for this long",
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MAX_OBSERVE:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted more than 0 and at most {MAX_OBSERVE:.0f} seconds")
    return seconds


def _check(arguments: argparse.Namespace) -> int:
    from hosttune import checker, profile

    observe: float | None = arguments.observe
    if observe is not None and (arguments.root or arguments.snapshot):
        raise UsageError("--observe needs the live host; a snapshot taken with --observe is watched without asking")
    root: Root
    if arguments.snapshot:
        from hosttune.host.snapshot import Snapshot, SnapshotError

        try:
            root = Snapshot(arguments.snapshot)
        except SnapshotError as error:
            raise UsageError(error) from None
        observe = root.seconds
    else:
        root = _root(arguments.root)
    try:
        wanted = profile.load(arguments.profile, root)
    except profile.ProfileError as error:
        raise UsageError(error) from None
    report = checker.run(wanted, root, observe)
    if arguments.format == "json":
        from hosttune.report import json

        text = json.write(report)
    else:
        from hosttune.report import text as page

        text = page.write(report, width=_width(), colour=_colour(arguments.color), quiet=arguments.quiet)
    _print(text)
    return EXIT[report.verdict]


def _snapshot(arguments: argparse.Namespace) -> int:
    from hosttune import capture, profile
    from hosttune.host import snapshot

    root = _root(arguments.root)
    if arguments.observe is not None and arguments.root:
        raise UsageError("--observe needs the live host")
    try:
        wanted = profile.load(arguments.profile, root)
    except profile.ProfileError as error:
        raise UsageError(error) from None
    data = capture.take(root, wanted, arguments.observe)
    try:
        snapshot.write(data, arguments.output)
    except OSError as error:
        raise UsageError(f"{arguments.output}: cannot be written: {error.strerror}") from None
    if arguments.output != "-":
        print(f"{arguments.output}: {snapshot.describe(data)}", file=sys.stderr)
    return READY


def _diff(arguments: argparse.Namespace) -> int:
    from hosttune.report import diff, json

    reports = []
    for path in (arguments.before, arguments.after):
        try:
            with open(path, "rb") as file:
                reports.append(json.read(file.read()))
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise UsageError(f"{path}: not a report of `hosttune check --format json`: {error}") from None
    _print(diff.write(*reports, width=_width()))
    return READY


def _root(directory: str | None) -> Root:
    from hosttune.host.root import Live, Tree

    if directory is None:
        return Live()
    try:
        return Tree(directory)
    except OSError as error:
        raise UsageError(f"--root {directory}: {error.strerror}") from None


def _print(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python must not complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _width() -> int:
    """Columns of the terminal, from 80 to 120; 100 where there is none."""
    columns = os.environ.get("COLUMNS", "")
    if not columns.isdigit():
        try:
            columns = str(os.get_terminal_size(sys.stdout.fileno()).columns)
        except (OSError, ValueError):
            return 100
    return min(max(int(columns), 80), 120)


def _colour(choice: str) -> bool:
    """See https://no-color.org for NO_COLOR."""
    return choice == "always" or (choice == "auto" and sys.stdout.isatty() and not os.environ.get("NO_COLOR"))
