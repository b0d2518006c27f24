"""`desk profile`: where a program spends its time."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.options import parse_count, parse_positive
from desk.errors import OK, UNKNOWN, DeskError, UsageError, explain_os_errors
from hosttune.report import formats

if TYPE_CHECKING:
    from desk.profile.run import Outcome

_VIEWS = (*formats.VIEWS, "as_template")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    command.add_argument("--pid", type=parse_count, help="of a process that runs already")
    command.add_argument(
        "--with", dest="profilers", default="all", metavar="A,B",
        help="of py-spy, perf, cprofile, calls, line_profiler, memray: each has a run of COMMAND of its own (default: "
        "all, so that COMMAND runs six times or more)",
    )  # fmt: skip
    command.add_argument("--rate", type=parse_count, default=100, metavar="HZ", help="samples a second (default 100)")
    command.add_argument(
        "--native", action=argparse.BooleanOptionalAction, default=None,
        help="frames of Cython, Numba, Rust and C: the process stands still while one sample is taken (default: for a "
        "COMMAND yes, for --pid no)",
    )  # fmt: skip
    command.add_argument(
        "--rounds", type=parse_count, default=1, metavar="N",
        help="of the profiler that says the shares (default 1; --compare needs 3)",
    )  # fmt: skip
    command.add_argument(
        "--seconds", type=parse_positive, default=10.0, metavar="S", help="with --pid: each round (default 10)"
    )
    command.add_argument(
        "--out", type=Path, metavar="DIRECTORY",
        help="write profile.json, profile.html, flame.svg and flame.speedscope.json here",
    )  # fmt: skip
    command.add_argument(
        "--compare", type=Path, nargs=2, metavar=("BEFORE", "AFTER"), help="two profile.json of --out, side by side"
    )
    formats.add_argument(command, _VIEWS)
    command.add_argument("command", nargs="*", metavar="COMMAND", help="behind --: the program, and its arguments")


def run(arguments: argparse.Namespace) -> int:
    """Profile, and print the table: of a COMMAND to standard error, since standard output is the program's. Returns the
    program's exit code; where that is 0, UNKNOWN when no profiler had a result. Raises DeskError."""
    ways = [bool(arguments.command), arguments.pid is not None, arguments.compare is not None]
    if sum(ways) != 1:
        raise UsageError("found no way or several, allowed: one of -- COMMAND, --pid PID, --compare BEFORE AFTER")
    if arguments.compare:
        return _compare(arguments)
    from agent.cli.output import format_document, print_document
    from desk.profile import run as profile
    from hosttune.output import print_message

    names = profile.NAMES if arguments.profilers == "all" else tuple(dict.fromkeys(arguments.profilers.split(",")))
    if unknown := [name for name in names if name not in profile.NAMES]:
        raise UsageError(f"--with: found {unknown[0]!r}, allowed: all, {', '.join(profile.NAMES)}")
    if arguments.rate > 1000 or arguments.rounds > 100 or arguments.seconds > 3600:
        raise UsageError("--rate, --rounds, --seconds: allowed: at most 1000 a second, 100 rounds and 3600 s")
    native = arguments.native if arguments.native is not None else arguments.pid is None
    wish = profile.Wish(profilers=names, rate=arguments.rate, native=native, rounds=arguments.rounds,
                        seconds=arguments.seconds, graphs=arguments.out is not None)  # fmt: skip
    if arguments.out:
        _make_directory(arguments.out)
    if arguments.pid is not None:
        with explain_os_errors("profile"):
            outcome = profile.profile_process(arguments.pid, wish)
        print_document(outcome.profile, arguments.format)
    else:
        with explain_os_errors("profile"):
            outcome = profile.profile_command(arguments.command, wish)
        print_message(format_document(outcome.profile, arguments.format).rstrip("\n"))
    if arguments.out:
        _write_files(arguments.out, outcome)
    measured = any(tool.ran for tool in outcome.profile.profilers)
    return outcome.code or (OK if measured else UNKNOWN)


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DeskError(f"--out {path}: {error.strerror}") from None


def _write_files(directory: Path, outcome: "Outcome") -> None:
    from agent.cli.output import format_document
    from hosttune import files
    from hosttune.output import print_message

    contents = {"profile.json": format_document(outcome.profile, "json").encode(), **outcome.graphs}
    try:
        contents["profile.html"] = format_document(outcome.profile, "html").encode()
    except UsageError as error:
        print_message(f"desk: no profile.html: {error}")
    try:
        for name, data in contents.items():
            files.check_replaceable(directory / name)
            files.replace_file(directory / name, data, 0o644)
    except OSError as error:
        raise DeskError(f"{error.filename or directory}: {error.strerror}") from None


def _compare(arguments: argparse.Namespace) -> int:
    from agent.cli.output import print_document
    from desk.profile.compare import compare
    from desk.profile.result import read_profile

    before, after = map(read_profile, arguments.compare)
    found = compare(before, after, (str(arguments.compare[0]), str(arguments.compare[1])))
    print_document(found, arguments.format)
    return UNKNOWN if found.refused else OK
