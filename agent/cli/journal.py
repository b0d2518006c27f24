"""`agent journal`: print an engine's journal, and what it adds up to."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from agent.errors import OK
from hosttune.report import formats

if TYPE_CHECKING:
    from hosttune.report.document import Page


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    command.add_argument("file", type=Path, help="NAME.journal")
    formats.add_argument(command)


def run(arguments: argparse.Namespace) -> int:
    """Read the journal and print it. Returns the exit code. Raises AgentError."""
    from agent.cli.output import print_document, write_out
    from agent.journal.show import WRITERS

    if write := WRITERS.get(arguments.format):
        for part in write(arguments.file):
            write_out(part)
    else:
        print_document(Journal(arguments.file), arguments.format)
    return OK


class Journal(NamedTuple):
    """A journal's file as a document, read anew for each view of it."""

    file: Path

    def as_data(self) -> dict[str, Any]:
        """Returns every record and what they add up to. Raises JournalError."""
        from agent.journal.show import as_data

        return as_data(self.file)

    def as_text(self, page: "Page") -> str:
        """Returns a line for each record, then positions and open orders. Raises JournalError."""
        from agent.journal.show import as_text

        return as_text(self.file)
