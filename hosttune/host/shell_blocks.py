"""Which parts of a text of shell may not be run when the text is: those in `if`, `case`, a function, or behind `&&`.

A condition that only looks whether a file of the kernel or a program is there is taken to hold, and so is the branch
`start)`; a function that is named elsewhere is taken to be called. What this module does not understand counts as a
part that may not be run.
Source: the Shell Command Language of POSIX, "Compound Commands", "Lists", "Function Definition Command".
"""

from __future__ import annotations

import re
from collections import Counter

from hosttune.patterns import late_pattern

_TOKEN = late_pattern(
    r"""(?P<function>(?:function[ \t]+)?(?P<name>[\w.:-]+)[ \t]*\([ \t]*\)[ \t\n]*\{
        |function[ \t]+(?P<other>[\w.:-]+)[ \t\n]*\{)
    |(?P<quoted>'[^']*'|"(?:[^"\\]|\\.)*"|\\.)|(?P<end>;;&?|;&|&&|\|\||[;\n|&])|(?P<bracket>[(){}])
    |(?P<word>[^\s;|&(){}'"\\]+)""",
    re.VERBOSE | re.DOTALL,
)
# A condition that holds on a host for which the text was written.
_HOLDS = late_pattern(
    r"""[ \t]*(?:(?!!)[^;|&\n]*(?:/sys/|/proc/)[^;|&\n]* | true | :
    |(?:command[ \t]+-v|which|type|hash)[ \t]+[\w./-]+
    |(?:\[\[?|test)[ \t]+(?:-[xd][ \t]+\S+|-[a-z][ \t]+["']?\$\{?\w+\}?["']?
        |["']?\$(?:\(id[ \t]+-u\)|\{?E?UID\}?)["']?[ \t]+(?:==?|-eq)[ \t]+["']?0["']?
        |["']?\$\{?1\}?["']?[ \t]+==?[ \t]+["']?start["']?)[ \t]*(?:\]\]?)?
    )[ \t]*(?:&?[12]?>{1,2}[ \t]*/dev/null[ \t]*|2>&1[ \t]*)*[;\s]*""",
    re.VERBOSE,
)
_MAX_CONDITION = 512
_NAME = late_pattern(r"[\w.:-]+")
_TEST = late_pattern(r"[ \t]*(?:!|\[\[?|test\b|[ef]?grep\b|false\b|\(\()")
_BRANCH = late_pattern(r"(?:^|[|(\s\"'])start(?=$|[|)\s\"'])")
_CASE_ENDS = (";;", ";&", ";;&")


def split_blocks(text: str) -> tuple[str, str]:
    """Returns what is run of a text for sure, and what may be, each part on lines of its own."""
    kept: list[str] = []
    taken: list[str] = []
    at = 0
    for start, end in _Reader(text).find_parts():
        if end > at:
            kept.append(text[at : max(at, start)])
            taken.append(text[max(at, start) : end])
            at = end
    return "\n".join([*kept, text[at:]]), "\n".join(taken)


def _holds(condition: str) -> bool:
    return len(condition) <= _MAX_CONDITION and _HOLDS.fullmatch(condition) is not None


class _Block:
    """A compound command, of the kinds `if`, `case`, `(`, and `{` for a function too."""

    def __init__(self, kind: str, start: int) -> None:
        self.kind = kind
        self.head = start  # where its condition began, or the pattern of a branch; -1 within a branch
        self.part = -1  # where a branch began that may not be run


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._names = Counter(_NAME.findall(text))
        self._blocks: list[_Block] = []
        self._parts: list[tuple[int, int]] = []
        self._begun = 0  # where this command began
        self._first = True  # whether the next word is its first
        self._doubted = -1  # where a command behind && or || began that may not be run

    def find_parts(self) -> list[tuple[int, int]]:
        """Returns where the parts are that may not be run, the earliest first."""
        for match in _TOKEN.finditer(self._text):
            start, end = match.span()
            if match["function"] is not None and self._first:
                self._open_function(match["name"] or match["other"], end)
            elif match["end"] is not None:
                self._end_command(match[0], start, end)
            elif match["bracket"] is not None:
                self._read_bracket(match[0], start, end)
            elif match["word"] is not None and self._first:
                self._read_word(match[0], start, end)
            else:
                self._first = False
        self._end_command("\n", len(self._text), len(self._text))
        for block in self._blocks:
            self._close(block, len(self._text))
        return sorted(self._parts)

    def _top(self, *kinds: str) -> _Block | None:
        return self._blocks[-1] if self._blocks and self._blocks[-1].kind in kinds else None

    def _begin(self, at: int) -> None:
        self._begun, self._first = at, True

    def _open_function(self, name: str, end: int) -> None:
        block = _Block("{", end)
        if self._names[name] == 1:
            block.part = end
        self._blocks.append(block)
        self._begin(end)

    def _close(self, block: _Block, end: int) -> None:
        """End the branch of a block, and what stands behind && in it."""
        for start in (self._doubted, block.part):
            if start >= 0:
                self._parts.append((start, end))
        self._doubted = block.part = -1

    def _end_command(self, sign: str, start: int, end: int) -> None:
        case = self._top("case")
        if sign in ("&&", "||"):
            before = self._text[self._begun : start]
            holds = _holds(before)
            doubted = not holds and (sign == "||" or _TEST.match(before) is not None)
            block = self._top("if")
            if doubted and self._doubted < 0 and not (block and block.head >= 0):
                self._doubted = end
        elif sign != "|" and self._doubted >= 0:
            self._parts.append((self._doubted, start))
            self._doubted = -1
        if case is not None and sign in _CASE_ENDS:
            self._close(case, start)
            case.head = end
        self._begin(end)

    def _read_bracket(self, sign: str, start: int, end: int) -> None:
        case = self._top("case")
        if case is not None and case.head >= 0:
            if sign == ")":
                case.part = -1 if _BRANCH.search(self._text[case.head : start].strip()) else end
                case.head = -1
                self._begin(end)
        elif sign == "(" or (sign == "{" and self._first):
            self._blocks.append(_Block(sign, end))
            self._begin(end)
        else:
            block = self._top("(" if sign == ")" else "{")
            if block is not None and (sign == ")" or self._first):
                self._close(block, start)
                self._blocks.pop()
            self._first = False

    def _read_word(self, word: str, start: int, end: int) -> None:
        block = self._top("if", "case")
        if block is not None and block.kind == "case" and block.head >= 0 and word != "esac":
            return
        if word in ("if", "case"):
            self._blocks.append(_Block(word, end))
            if word == "case":
                self._blocks[-1].head = self._text.find(" in", end) + 3
            self._begin(end)
        elif block is not None and word in (("then", "elif", "else", "fi") if block.kind == "if" else ("esac",)):
            condition = self._text[block.head : start] if block.head >= 0 else ""
            self._close(block, start)
            block.head = end if word == "elif" else -1
            if word in ("fi", "esac"):
                self._blocks.pop()
            elif word != "then" or not _holds(condition):
                block.part = end
            if word == "elif":
                block.part = -1
            self._begin(end)
            self._first = word not in ("fi", "esac")
        elif word in ("do", "else", "while", "until", "!", "time", "exec"):
            self._first = True
        else:
            self._first = False
