"""Conditions of GRUB's `[` and `test`, as far as they can be known. Pure.

Source: `grub-core/commands/test.c` of GRUB 2.06, which reads them from left to right, `-o` binding less than `-a`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

from hosttune.host.grub_script import MAX_DEPTH, UNKNOWN

_STRINGS: dict[str, Callable[[str, str], bool]] = {
    "=": operator.eq, "==": operator.eq, "!=": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_NUMBERS: dict[str, Callable[[int, int], bool]] = {
    "-eq": operator.eq, "-ne": operator.ne, "-ge": operator.ge, "-gt": operator.gt, "-le": operator.le,
    "-lt": operator.lt,
}  # fmt: skip
# Of files and versions: what no text tells, or nobody asks.
_OTHER = ("-pgt", "-plt", "-nt", "-ot")
_FILES = ("-d", "-e", "-f", "-s")


def evaluate(words: list[str], find_file: Callable[[str], bool | None]) -> bool | None:
    """Returns whether a condition holds, None where that is not known. `words`: without the command's name;
    `find_file`: whether a file is there and holds something."""
    words = words[:-1] if words[-1:] == ["]"] else words
    # A variable without quotes, of which nothing is known, may be no word at all.
    return None if UNKNOWN in words else _Reader(words, find_file).read(0)


class _Reader:
    def __init__(self, words: list[str], find_file: Callable[[str], bool | None]) -> None:
        self._words, self._find_file = words, find_file
        self._at = 0

    def read(self, depth: int) -> bool | None:
        either: bool | None = False
        both: bool | None = True
        invert = False
        while self._at < len(self._words):
            word = self._words[self._at]
            value, taken = self._read_comparison()
            if not taken:
                self._at += 1
                if word == ")":
                    break
                if word == "!":
                    invert = not invert
                    continue
                if word == "-a":
                    continue
                if word == "-o":
                    either, both = _or(either, both), True
                    continue
                if word == "(":
                    if depth > MAX_DEPTH:
                        raise ValueError("a condition in it is nested too deep")
                    value = self.read(depth + 1)
                else:
                    value = _is_filled(word)
            self._at += taken
            both = _and(both, not value if invert and value is not None else value)
            invert = False
        return _or(either, both)

    def _read_comparison(self) -> tuple[bool | None, int]:
        """Returns whether what stands here holds, and how many words it has: 0 if it is no comparison."""
        left, sign, right = [*self._words[self._at : self._at + 3], "", "", ""][:3]
        if self._at + 2 < len(self._words):
            if sign in _STRINGS:
                known = UNKNOWN not in left + right
                return (_STRINGS[sign](left, right) if known else None), 3
            if sign in _NUMBERS:
                pair = [re.match(r"[ \t]*([-+]?(?:0|[1-9][0-9]{0,17}))(?![0-9xX])", text) for text in (left, right)]
                return (_NUMBERS[sign](int(pair[0][1]), int(pair[1][1])) if pair[0] and pair[1] else None), 3
            if sign.startswith(_OTHER):
                return None, 3
        if self._at + 1 < len(self._words):
            if left in _FILES:
                return (self._find_file(sign) if left != "-d" else None), 2
            if left in ("-n", "-z"):
                filled = _is_filled(sign)
                return (filled if left == "-n" or filled is None else not filled), 2
        return None, 0


def _is_filled(word: str) -> bool | None:
    known = word.replace(UNKNOWN, "")
    return True if known else None if word else False


def _and(one: bool | None, other: bool | None) -> bool | None:
    return False if one is False or other is False else None if one is None or other is None else True


def _or(one: bool | None, other: bool | None) -> bool | None:
    return True if one or other else None if one is None or other is None else False
