"""What a person sees: names of guests, and what a guest wrote, give no orders to the terminal.

The package hosttune, which has this for its own programs, is not installed where the first guest is built.
"""

import sys


def write_out(text: str) -> None:
    """Write lines to standard output, as escape_lines() has them."""
    sys.stdout.write(escape_lines(text))
    sys.stdout.flush()


def print_message(text: str) -> None:
    """Write lines to standard error, as escape_lines() has them."""
    sys.stderr.write(escape_lines(text) + "\n")
    sys.stderr.flush()


def escape_lines(text: str) -> str:
    """Returns text with what is not printable written as in a Python literal, except line ends and tabulators."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
