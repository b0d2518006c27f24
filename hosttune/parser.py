"""The command line's parser for every program: what it writes goes the way of everything else that a person sees."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import Any, NoReturn

from hosttune.output import escape, print_message, write_out


class ProgramParser(argparse.ArgumentParser):
    """Help of a width that the caller chooses, where argparse would import shutil to ask for it at each argument; no
    word of the command line reaches the terminal as it is; and options have their whole names: what abbreviates one
    today may mean two in the next release."""

    def __init__(self, *, width: int, **options: Any) -> None:
        super().__init__(
            formatter_class=lambda prog: argparse.HelpFormatter(prog, width=width), allow_abbrev=False, **options
        )

    def error(self, message: str) -> NoReturn:
        """Print the usage and one line, and exit with status 2."""
        super().error(escape(message))

    def _print_message(self, message: str, file: Any = None) -> None:
        if not message:
            return
        if file is sys.stdout:
            with contextlib.suppress(BrokenPipeError):
                write_out(message)
        else:
            print_message(message.removesuffix("\n"))
