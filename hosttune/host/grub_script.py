"""The language of grub.cfg: text to commands, and raw words to words. Pure.

Sources: `grub-core/script/yylex.l` and `grub-core/script/parser.y` of GRUB 2.06, and `grub-core/script/argv.c` for how
the value of a variable without quotes becomes several words. What GRUB does not take is refused as a whole, though GRUB
goes on behind it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from hosttune.patterns import late_pattern

#: Of all commands of a text, and of their words: more than any menu has.
MAX_COMMANDS, MAX_WORDS = 1 << 14, 1 << 16
#: How deep menus, conditions and functions may lie in each other.
MAX_DEPTH = 50
#: In a value: text that no file tells.
UNKNOWN = "\0"

_KEYWORDS = frozenset(
    ("case", "do", "done", "elif", "else", "esac", "fi", "for", "if", "in", "select", "then", "until", "while",
     "function")
)  # fmt: skip
_SIGNS = frozenset("\n;{}")
_NAME = late_pattern(r"[A-Za-z_][A-Za-z0-9_]*")
_VARIABLE = r"\$(?:[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[?\#*@]|\{(?:[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[?\#*@])\})"
_QUOTED = rf"""\$?"(?:[^"\\$]|\\[\s\S]|{_VARIABLE})*+"|'[^']*+'"""
_TOKEN = late_pattern(
    rf"""[ \t]++|\#[^\n]*+|([\n;{{}}])|((?:[^{{}}|&$;<> \t\n'"\\]++|{_QUOTED}|\\[\s\S]|{_VARIABLE})++)"""
)
_PIECE = late_pattern(
    rf"""'([^']*)'|(\$?)"((?:[^"\\]|\\[\s\S])*)"|\\(\n|[\s\S])|({_VARIABLE})|([^'"\\$]+)""",
)
_WITHIN = late_pattern(rf"""\\([$\\"])|(\\\n)|({_VARIABLE})|([^\\$]+|[\s\S])""")
_SPECIAL = late_pattern(r"""['"\\$]""")


class Command(msgspec.Struct, frozen=True):
    """A simple command: its words as they are written, the commands between braces behind them, None without braces,
    and where it stands."""

    words: list[str]
    block: list[Statement] | None
    file: str
    line: int


class If(msgspec.Struct, frozen=True):
    """`if`: an elif is an If that is all of `otherwise`."""

    condition: list[Statement]
    body: list[Statement]
    otherwise: list[Statement]


class For(msgspec.Struct, frozen=True):
    """`for NAME in WORDS`."""

    name: str
    words: list[str]
    body: list[Statement]


class While(msgspec.Struct, frozen=True):
    """`while` and `until`."""


class Function(msgspec.Struct, frozen=True):
    """`function NAME`: only its definition."""

    name: str
    body: list[Statement]


Statement = Command | If | For | While | Function


def parse(text: str, file: str) -> list[Statement]:
    """Returns the commands of a text. Raises ValueError for what GRUB does not take."""
    return _Parser(text, file).parse()


def parse_words(text: str) -> list[str]:
    """Returns the raw words of a text up to a line's end or a sign. Raises ValueError."""
    return _Parser(text, "").take_arguments()


class _Parser:
    def __init__(self, text: str, file: str) -> None:
        self._file = file
        self._tokens: list[str] = []
        self._lines: list[int] = []
        self._at = 0
        self._commands = 0
        self._depth = 0
        text = text.replace("\r", "")
        self._split(text if text.endswith("\n") else f"{text}\n")

    def _split(self, text: str) -> None:
        position, line = 0, 1
        take = _TOKEN.match
        while position < len(text):
            match = take(text, position)
            if match is None:
                raise ValueError(f"line {line} is not one that GRUB takes, or a quote in it is not closed")
            position = match.end()
            if match.lastindex is None:
                continue
            token: str = match[match.lastindex]
            if position == len(text) and token.endswith("\\\n"):
                raise ValueError("its last line does not end")
            self._tokens.append(token)
            self._lines.append(line)
            line += token.count("\n")
            if len(self._tokens) > MAX_WORDS:
                raise ValueError(f"it has more than {MAX_WORDS:,} words")

    def parse(self) -> list[Statement]:
        """Returns all statements; a function stands among those of the file alone."""
        found: list[Statement] = []
        self._skip_lines()
        while self._at < len(self._tokens):
            found.append(self._read_function() if self._peek() == "function" else self._read_command())
            if self._peek() not in ("\n", ";"):
                raise self._refuse()
            self._at += 1
            self._skip_lines()
        return found

    def take_arguments(self) -> list[str]:
        """Returns the words up to a sign."""
        start = self._at
        while self._at < len(self._tokens) and self._tokens[self._at] not in _SIGNS:
            if self._tokens[self._at] in ("[[", "]]"):
                raise self._refuse()
            self._at += 1
        return self._tokens[start : self._at]

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _refuse(self) -> ValueError:
        line = self._lines[min(self._at, len(self._lines) - 1)] if self._lines else 1
        return ValueError(f"line {line} is not one that GRUB takes there")

    def _take(self, *wanted: str) -> str:
        token = self._peek()
        if token not in wanted:
            raise self._refuse()
        self._at += 1
        return token

    def _take_name(self) -> str:
        token = self._peek()
        if token in _KEYWORDS or _NAME.fullmatch(token) is None:
            raise self._refuse()
        self._at += 1
        return token

    def _skip_lines(self) -> None:
        while self._peek() == "\n":
            self._at += 1

    def _read_commands(self, *stops: str, ended: bool = True) -> list[Statement]:
        """Returns at least one command, up to one of the stops; `ended`: the last has to be ended by a sign."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError("its menus and conditions are nested too deep")
        found: list[Statement] = []
        self._skip_lines()
        while True:
            found.append(self._read_command())
            signed = self._peek() in ("\n", ";")
            if signed:
                self._at += 1
                self._skip_lines()
            if self._peek() in stops and (signed or not ended):
                break
            if not signed:
                raise self._refuse()
        self._depth -= 1
        return found

    def _read_command(self) -> Statement:
        self._commands += 1
        if self._commands > MAX_COMMANDS:
            raise ValueError(f"it has more than {MAX_COMMANDS:,} commands")
        token = self._peek()
        if token == "if":
            self._at += 1
            return self._read_if()
        if token == "for":
            return self._read_for()
        if token in ("while", "until"):
            self._at += 1
            self._read_commands("do")
            self._at += 1
            self._read_commands("done")
            self._at += 1
            return While()
        if not token or token in _KEYWORDS or token in _SIGNS:
            raise self._refuse()
        line = self._lines[self._at]
        words = self.take_arguments()
        block: list[Statement] | None = None
        if self._peek() == "{":
            self._at += 1
            block = self._read_commands("}", ended=False)
            self._at += 1
        return Command(words, block, self._file, line)

    def _read_if(self) -> If:
        condition = self._read_commands("then")
        self._at += 1
        body = self._read_commands("elif", "else", "fi")
        word = self._take("elif", "else", "fi")
        otherwise: list[Statement] = []
        if word == "elif":
            self._depth += 1
            otherwise = [self._read_if()]
            self._depth -= 1
        elif word == "else":
            otherwise = self._read_commands("fi")
            self._at += 1
        return If(condition, body, otherwise)

    def _read_for(self) -> For:
        self._at += 1
        name = self._take_name()
        self._take("in")
        words = self.take_arguments()
        self._take("\n", ";")
        self._skip_lines()
        self._take("do")
        body = self._read_commands("done")
        self._at += 1
        return For(name, words, body)

    def _read_function(self) -> Function:
        self._at += 1
        name = self._take_name()
        self._skip_lines()
        self._take("{")
        body = self._read_commands("}")
        self._at += 1
        return Function(name, body)


def find_names(words: list[str]) -> list[str]:
    """Returns the variables that raw words name, each once."""
    found: dict[str, None] = {}
    for raw in words:
        if "$" in raw:
            found.update(dict.fromkeys(name.strip("${}") for name in re.findall(_VARIABLE, raw)))
    return list(found)


def expand(words: list[str], lookup: Callable[[str], str]) -> list[str]:
    """Returns raw words as a command gets them: a variable without quotes may bring several, or none."""
    found: list[str] = []
    for raw in words:
        if _SPECIAL.search(raw) is None:
            found.append(raw)
        else:
            found += _expand_word(raw, lookup)
    return found


def _expand_word(raw: str, lookup: Callable[[str], str]) -> list[str]:
    done: list[str] = []
    word: list[str] | None = None
    for single, is_message, double, escaped, variable, bare in _PIECE.findall(raw):
        if variable:
            parts = re.split(r"[ \t\n\v\f\r]+", lookup(variable.strip("${}")))
            if len(parts) > 1 and not parts[-1]:
                parts.pop()  # what follows belongs to the last word all the same
            for number, part in enumerate(parts):
                if number and word is not None:
                    done.append("".join(word))
                    word = None
                if part or (number == 0 and len(parts) > 1):
                    word = [*(word or []), part]
            continue
        if escaped == "\n":
            continue
        text = single or bare or escaped
        if double:
            text = UNKNOWN if is_message else _expand_quoted(double, lookup)  # a message is translated
        if word is None:
            word = []
        word.append(text)
    return done if word is None else [*done, "".join(word)]


def _expand_quoted(text: str, lookup: Callable[[str], str]) -> str:
    found = []
    for escaped, continued, variable, other in _WITHIN.findall(text):
        found.append(lookup(variable.strip("${}")) if variable else "" if continued else escaped or other)
    return "".join(found)
