"""How values in a host's files can be written: numbers, words, lists of CPUs; and rules that keep such values alone."""

from __future__ import annotations

from hosttune.patterns import late_pattern

#: In place of a value that a check reads and that is not written as such a value can be.
UNINTELLIGIBLE = "..."

#: Characters of values.
DIGITS = "0123456789"
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
NAME = LETTERS + DIGITS + "_-"
CPU_LIST = DIGITS + "Nnal,:/ -"

# Kernels of these distributions have the version that they began with, and much of later ones.
_GROWN = late_pattern(r"\.el[0-9]|-150[0-9]{3}\.")
_VERSION = late_pattern(r"([0-9]{1,4})\.([0-9]{1,4})")


def is_since(release: str, version: tuple[int, int]) -> bool | None:
    """Returns whether a kernel of a release is of a version or later; None where its name does not tell."""
    match = _VERSION.match(release)
    if match is None:
        return None
    if (int(match[1]), int(match[2])) >= version:
        return True
    return None if _GROWN.search(release) else False


def consists_of(text: str, characters: str, most: int) -> bool:
    """Returns whether a text has no others than these characters, and at most so many."""
    return len(text) <= most and not text.strip(characters)


def keep_number_list(text: str) -> str:
    """Returns a file of the kernel that holds numbers, a list of CPUs or a mask. Raises ValueError."""
    if not consists_of(text, DIGITS + "abcdefABCDEF,- \t\n", 1 << 16) and text.strip() != "(null)":
        raise ValueError("it holds other than numbers")
    return text


def keep_word(text: str) -> str:
    """Returns the text of a file that holds one word. Raises ValueError."""
    if not consists_of(text.strip(), NAME + ".+~", 128):
        raise ValueError("it holds other than a word")
    return text


def keep_choice(text: str) -> str:
    """Returns the text of a file of the kernel that holds words, one of them in brackets. Raises ValueError."""
    if not consists_of(text, NAME + "[] \n", 256):
        raise ValueError("it holds other than words")
    return text


def keep_words(text: str) -> str:
    """Returns the text of a file with the words of a sysctl that a profile asks for. Raises ValueError."""
    if not consists_of(text, NAME + ".,:+ \t\n", 1024):
        raise ValueError("it holds other than words")
    return text
