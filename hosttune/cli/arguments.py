"""Arguments that several commands have."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from hosttune.cli.terminal import read_width
from hosttune.errors import UsageError
from hosttune.launch import RUN_DIRECTORY
from hosttune.parser import ProgramParser

if TYPE_CHECKING:
    from hosttune.host.root import Root

MAX_OBSERVE_SECONDS = 3600.0
ATTEST_WAIT_SECONDS = 30.0


class Parser(ProgramParser):
    """Help as wide as the reports."""

    def __init__(self, **options: Any) -> None:
        super().__init__(width=read_width(), **options)


def add_profile(parser: argparse.ArgumentParser) -> None:
    """Add `--profile`."""
    default = "the host's /etc/hosttune/profile.d if it has files, else the built-in profile"
    parser.add_argument(
        "--profile", metavar="PATH", help=f"a file, a directory, or a built-in profile's name; default: {default}"
    )


def add_observe(parser: argparse.ArgumentParser) -> None:
    """Add `--observe`."""
    parser.add_argument(
        "--observe",
        metavar="SECONDS",
        type=_parse_seconds,
        help="watch interrupts, ticks and threads for this long",
    )


def _parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MAX_OBSERVE_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted more than 0 and at most {MAX_OBSERVE_SECONDS:.0f} seconds")
    return seconds


def add_policy(parser: argparse.ArgumentParser) -> None:
    """Add `--policy`, with the names of :data:`hosttune.host.sched.POLICY_NAMES` that a program can be given."""
    parser.add_argument("--policy", choices=("other", "fifo", "rr"), default="other", help="default: %(default)s")


def add_run_directory(parser: argparse.ArgumentParser, holds: str = "") -> None:
    """Add `--run-dir`; `holds` says in its help what the directory holds."""
    parser.add_argument("--run-dir", metavar="PATH", default=RUN_DIRECTORY, help=f"{holds}default: %(default)s")


def resolve_run_directory(arguments: argparse.Namespace) -> str:
    """Returns the absolute path, also for when the working directory is another."""
    path: str = os.path.abspath(arguments.run_dir)
    return path


def open_root(directory: str | None) -> Root:
    """Return the tree in a directory as a root, or this host for None. Raises UsageError."""
    from hosttune.host.root import Live, Tree

    if directory is None:
        return Live()
    try:
        return Tree(directory)
    except OSError as error:
        raise UsageError(f"--root {directory}: {error.strerror}") from None
