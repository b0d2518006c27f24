"""Which parts of a text of shell may not be run when the text is: those in `if`, `case`, `while`, a function, or behind
`&&`, and what stands behind an exit in such a part.

A condition that only looks whether a knob of the kernel or a program is there is taken to hold, and so is the branch
`start)`; a function that is called where the text is run for sure is run. What this module does not understand counts
as a part that may not be run.
Source: the Shell Command Language of POSIX, "Compound Commands", "Lists", "Function Definition Command".
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import Literal

from hosttune.patterns import late_pattern

_TOKEN = late_pattern(
    r"""(?P<function>(?:function[ \t]+)?(?P<name>[\w.:-]+)[ \t]*\([ \t]*\)[ \t\n]*\{
        |function[ \t]+(?P<other>[\w.:-]+)[ \t\n]*\{)
    |(?P<quoted>'[^']*'|"(?:[^"\\]|\\.)*"|\\.)|(?P<end>;;&?|;&|&&|\|\||[;\n|&])|(?P<bracket>[(){}])
    |(?P<word>[^\s;|&(){}'"\\]+)""",
    re.VERBOSE | re.DOTALL,
)
_KNOB = r"/(?:sys/kernel/mm|sys/devices/system|proc/sys|proc/irq)(?:/[^\s\"'\]]*)?"
# What a condition looks at that is there, or so, on a host for which the text was written.
_IS_THERE = late_pattern(
    rf"""[ \t]*(?P<not>!?)[ \t]*(?: true | :
    |(?:command[ \t]+-v|which|type|hash)[ \t]+[\w./-]+
    |(?:\[\[?|test)[ \t]+(?P<negated>!?)[ \t]*(?:-[edfrsw][ \t]+["']?(?:{_KNOB}|/(?:sys|proc)/?)["']?|-x[ \t]+\S+
        |-[efw][ \t]+["']?\$\{{?(?P<variable>\w+)\}}?["']?
        |["']?\$(?:\(id[ \t]+-u\)|\{{?E?UID\}}?)["']?[ \t]+(?P<differs>!=|-ne|==?|-eq)[ \t]+["']?0["']?
        |["']?\$\{{?1\}}?["']?[ \t]+==?[ \t]+["']?start["']?)[ \t]*(?:\]\]?)?
    )[ \t]*(?:&?[12]?>{{1,2}}[ \t]*/dev/null[ \t]*|2>&1[ \t]*)*[;\s]*""",
    re.VERBOSE,
)
_LOOKS_INTO_KNOB = late_pattern(
    rf"\b(?:grep|egrep|cat|head|awk|read|sysctl[ \t]+-n)\b[^;&\n]*{_KNOB}|\bsysctl[ \t]+-n\b|\$\(<[ \t]*{_KNOB}"
)
_DEFINES = late_pattern(r"\([ \t]*\)[ \t\n]*\{|\bfunction[ \t]")
_MAX_CONDITION = 512
# Blocks in one another that are looked through.
_DEEPEST = 64
# Commands that come to their end on any host, or with which what follows makes no sense.
_ENDS_WELL = late_pattern(
    r"""[ \t]*(?:(?:sudo|exec|\S*/)?[ \t]*(?:sleep|modprobe|cd|echo|printf|sysctl|mount|mkdir|logger|true|:|ip|ethtool
    |tee|chmod|chown|export|set|source|\.|sync|udevadm|install|cp|ln|touch|date|log)\b|\w+=)""",
    re.VERBOSE,
)
_BRANCH = late_pattern(r"(?:^|[|(\s\"'])start(?=$|[|)\s\"'])")
_LISTS_ALL = late_pattern(rf"(?:(?!{_KNOB})[^*?$`])*|.*{_KNOB}.*", re.DOTALL)
_CASE_ENDS = (";;", ";&", ";;&")
_LEAVING = ("exit", "return")

_Truth = Literal["holds", "fails", "open"]


@lru_cache(32)  # each knob's parser asks for it
def split_blocks(text: str) -> tuple[str, str]:
    """Returns what is run of a text for sure, and what may be, each part on lines of its own."""
    kept: list[str] = []
    taken: list[str] = []
    at = 0
    called: set[str] = set()
    leaving: set[str] = set()
    if _DEFINES.search(text):
        reader = _Reader(text, None, set())
        reader.find_parts()
        called, leaving = reader.find_called(), reader.find_leaving()
    for start, end in _Reader(text, called, leaving).find_parts():
        if end > at:
            kept.append(text[at : max(at, start)])
            taken.append(text[max(at, start) : end])
            at = end
    return "\n".join([*kept, text[at:]]), "\n".join(taken)


class _Block:
    """A compound command, of the kinds `if`, `case`, `while`, `for`, `(`, and `{`, which a function is, too."""

    def __init__(self, kind: str, start: int, name: str = "") -> None:
        self.kind, self.name = kind, name
        self.head = start  # where its condition began, or the pattern of a branch; -1 within a branch
        self.part = -1  # where a branch began that may not be run
        self.never = False  # whether that branch is not run on a host for which the text was written
        self.held = False  # whether an earlier condition of it holds there
        self.tried = False  # whether it is not the first
        self.doubted = -1  # where the whole began, if it may not be run
        self.left = -1  # where it may have been left


class _Reader:
    """called: the functions that are called for sure; None to find out, with all of them taken to be. leaving: those
    in which there is an exit."""

    def __init__(self, text: str, called: set[str] | None, leaving: set[str]) -> None:
        self._defined: Counter[str] = Counter()
        self._calls: dict[str, set[str]] = {}  # by the function that they are in
        self._known, self._leaving = called, leaving
        self._exits: set[str] = set()  # functions with an exit in them
        self._mentions: dict[str, set[str]] = {}  # functions, by the words of commands in them
        self._text = text
        self._blocks: list[_Block] = [_Block("text", 0)]
        self._parts: list[tuple[int, int]] = []
        self._begun = 0  # where this command began
        self._first = True  # whether the next word is its first
        self._doubted = -1  # where a command behind && or || began that may not be run
        self._never = False  # whether it is not run on a host for which the text was written

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
        while self._blocks:
            self._close(len(self._text))
        return sorted(self._parts)

    def find_called(self) -> set[str]:
        """Returns the words that are called by the text or by a function that is; none that is two functions."""
        found: set[str] = set()
        left = [""]
        while left:
            new = self._calls.get(left.pop(), set()) - found
            found |= new
            left += new
        return {name for name in found if self._defined[name] < 2}

    def find_leaving(self) -> set[str]:
        """Returns the functions in which there is an exit, or a function that has one."""
        found: set[str] = set()
        left = list(self._exits)
        while left:
            name = left.pop()
            if name not in found:
                found.add(name)
                left += self._mentions.get(name, set())
        return found - {""}

    def _top(self, *kinds: str) -> _Block | None:
        return self._blocks[-1] if self._blocks[-1].kind in kinds else None

    def _begin(self, at: int) -> None:
        self._begun, self._first = at, True

    def _open(self, kind: str, start: int, head: int, name: str = "") -> _Block:
        block = _Block(kind, head, name)
        block.doubted, self._doubted = self._doubted, -1  # what stands behind && is all of it
        block.never, self._never = self._never, False
        self._blocks.append(block)
        self._begin(head)
        return block

    def _open_function(self, name: str, end: int) -> None:
        self._defined[name] += 1
        block = self._open("{", end, end, name)
        if self._known is not None and name not in self._known:
            block.part = end

    def _end_branch(self, end: int) -> None:
        """End the branch of a block, and what stands behind && in it."""
        block = self._blocks[-1]
        for start in (self._doubted, block.part):
            if start >= 0:
                self._parts.append((start, end))
        self._doubted = block.part = -1

    def _close(self, end: int) -> None:
        self._end_branch(end)
        block = self._blocks.pop()
        self._parts += [(start, end) for start in (block.doubted, block.left) if start >= 0]

    def _find_function(self) -> _Block | None:
        return next((block for block in self._blocks[-1:-_DEEPEST:-1] if block.name), None)

    def _leave(self, word: str, end: int) -> None:
        """Take an exit, or a function with one: what follows may not be run."""
        if self._never or any(block.never for block in self._blocks[-_DEEPEST:]):
            return
        function = self._find_function()
        if function is not None and word != "return":
            self._exits.add(function.name)
        left = function or self._blocks[0]
        left.left = end if left.left < 0 else left.left

    def _is_run(self) -> bool:
        if len(self._blocks) > _DEEPEST:
            return False
        return self._doubted < 0 and all(block.part < 0 and block.doubted < 0 for block in self._blocks)

    def _end_command(self, sign: str, start: int, end: int) -> None:
        block = self._blocks[-1]
        if sign in ("&&", "||"):
            if self._doubted < 0 and not (block.kind in ("if", "while") and block.head >= 0):
                before = self._text[self._begun : start]
                truth = self._judge(before, listed=True)
                if truth != ("holds" if sign == "&&" else "fails") and not _LOOKS_INTO_KNOB.search(before):
                    self._doubted = end
                    self._never = truth != "open"
        elif sign != "|" and self._doubted >= 0:
            self._parts.append((self._doubted, start))
            self._doubted, self._never = -1, False
        if block.kind == "case" and sign in _CASE_ENDS:
            self._end_branch(start)
            block.head = end
        self._begin(end)

    def _judge(self, condition: str, *, listed: bool = False) -> _Truth:
        """Returns whether a condition holds; `listed`: it stands before && or ||."""
        if len(condition) > _MAX_CONDITION:
            return "open"
        match = _IS_THERE.fullmatch(condition)
        if match is None:
            # What looks into a knob is there to write it only if need be.
            holds = _LOOKS_INTO_KNOB.search(condition) or (listed and _ENDS_WELL.match(condition))
            return "holds" if holds else "open"
        variable = match["variable"]
        if variable and not re.search(rf"(?:>|\btee\b)[ \t]*[\"']?\$\{{?{variable}\b", self._text):
            return "open"
        negations = (match["not"], match["negated"], "!" if match["differs"] in ("!=", "-ne") else "")
        return "fails" if sum(map(bool, negations)) % 2 else "holds"

    def _read_bracket(self, sign: str, start: int, end: int) -> None:
        case = self._top("case")
        if case is not None and case.head >= 0:
            if sign == ")":
                case.part = -1 if _BRANCH.search(self._text[case.head : start].strip()) else end
                case.head = -1
                self._begin(end)
        elif sign == "(" or (sign == "{" and self._first):
            self._open(sign, start, end)
        else:
            if self._top("(" if sign == ")" else "{") is not None and (sign == ")" or self._first):
                self._close(start)
            self._first = False

    def _read_word(self, word: str, start: int, end: int) -> None:
        block = self._blocks[-1]
        if block.kind == "case" and block.head >= 0 and word != "esac":
            return
        if word in ("if", "case", "while", "until", "for", "select"):
            opened = self._open("while" if word == "until" else word, start, end)
            if word == "case":
                opened.head = self._text.find(" in", end) + 3
            self._first = word in ("if", "while", "until")
        elif word in ("then", "elif", "else", "fi") and block.kind == "if":
            self._read_branch(block, word, start, end)
        elif word == "do" and block.kind in ("while", "for", "select"):
            listed = self._text[block.head : start]
            surely = block.kind == "for" and len(listed) <= _MAX_CONDITION and _LISTS_ALL.fullmatch(listed)
            block.part = -1 if surely or self._judge(listed) == "holds" else end
            block.head = -1
            self._begin(end)
        elif (word == "esac" and block.kind == "case") or (word == "done" and block.kind in ("while", "for", "select")):
            self._close(start)
            self._first = False
        elif word in ("!", "time", "exec", "do"):
            self._first = True
        else:
            self._first = False
            if word in _LEAVING or word in self._leaving:
                self._leave(word, end)
            elif self._known is None:
                function = self._find_function()
                within = function.name if function is not None else ""
                self._mentions.setdefault(word, set()).add(within)
                if self._is_run():
                    self._calls.setdefault(within, set()).add(word)

    def _read_branch(self, block: _Block, word: str, start: int, end: int) -> None:
        """Take a word of `if`: each branch that may not be run is a part."""
        truth = self._judge(self._text[block.head : start]) if word == "then" else "open"
        again = word == "then" and block.tried
        self._end_branch(start)
        block.head = end if word == "elif" else -1
        block.never = block.held or truth == "fails"
        block.held = block.held or truth == "holds"
        block.tried = block.tried or word == "elif"
        if word == "fi":
            self._close(start)
        elif word != "elif" and (truth != "holds" or again):
            block.part = end
        self._begin(end)
        self._first = word != "fi"
