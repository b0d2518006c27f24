"""The kernel arguments that grub-mkconfig takes of /etc/default/grub and its drop-ins, which are shell. Pure, and of
the standard library only: the roles plan with it on the controller.

Read are plain assignments, and the function of our own roles' drop-ins. Whatever else in them could decide over the
arguments makes the whole unknown: the files would have to be run. Sources: `util/grub-mkconfig.in` and
`util/grub.d/10_linux.in` of GRUB with Debian's patches; dash(1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from hosttune.host import boot_pages, cmdline
from hosttune.patterns import late_pattern

#: In this order in each entry of the menu, but for recovery.
VARIABLES = ("GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT")
#: In place of what is not understood, and may decide.
UNKNOWN = "?"
#: The command of our roles' drop-ins that takes arguments out of a variable: VARIABLE NAME... SIZE...
REMOVE = "hosttune_without"
MAX_LENGTH = 1 << 18
#: Lines of one file; Debian's own has some 30.
MAX_LINES = 8192

_OURS = late_pattern(rf"^{REMOVE}\(\) \{{\n(.*?)\n\}}\n", re.MULTILINE | re.DOTALL)
_PATTERN = late_pattern(r"(?<![=\w])(default_hugepagesz|[a-z_]+)=([0-9]+[KMGkmg]?|\*)")
_CALL = late_pattern(rf'^{REMOVE} "\$(GRUB_CMDLINE_LINUX(?:_DEFAULT)?)"\n\1=("?)\$hosttune_kept', re.MULTILINE)
_NAME = late_pattern(r"[A-Za-z_][A-Za-z0-9_]*")
_REFERENCE = late_pattern(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")
_COMPOUND = late_pattern(r"(?:if|then|else|elif|fi|for|while|until|do|done|case|esac|in|\{|\}|!)$")
# Of a word, behind its first character: neither an operator nor the begin of another piece.
_PLAIN = late_pattern(r"[^ \t\n;()&|<>\\'\"`$]*")
# Commands that may set a variable, end the file, or read another one.
_DECIDES = late_pattern(
    r"GRUB_CMDLINE|\b(?:eval|source|exit|return|set|unset|exec|read|readonly|shift|alias)\b|(?:^|\s)\.\s"
)


class Result(NamedTuple):
    """The arguments of a normal entry, None where they are unknown: why, and after each file, in order."""

    line: str | None
    reason: str = ""
    steps: Mapping[str, str] = MappingProxyType({})


def evaluate(files: Mapping[str, str]) -> Result:
    """Returns what files come to that are read in this order; each may be as it is, or as :func:`reduce` left it."""
    values = dict.fromkeys(VARIABLES, "")
    steps: dict[str, str] = {}
    for path, text in files.items():
        if text.count("\n") > MAX_LINES:
            return Result(None, f"{path} has more than {MAX_LINES:,} lines", steps)
        for command, words in _parse(text):
            if command == UNKNOWN:
                return Result(None, f"{path} is shell that is not understood", steps)
            if command == REMOVE:
                values[words[0]] = _remove(values[words[0]], words[1:])
            else:
                grown = len(words[0]) + words[0].count("$") * max(map(len, values.values()))
                if grown > MAX_LENGTH:
                    return Result(None, f"{path} expands without limit", steps)
                values[command] = _REFERENCE.sub(lambda match: values.get(match[1] or match[2], ""), words[0])
        steps[path] = " ".join(values.values())
    return Result(" ".join(values.values()), "", steps)


def reduce(text: str) -> str:
    """Returns of a file the assignments that set the arguments of which a check knows, in the same order."""
    lines = []
    for command, words in _parse(text):
        if command == UNKNOWN:
            lines.append(UNKNOWN)
        elif command == REMOVE:
            lines.append(" ".join([REMOVE, *words]))
        else:
            parts = _split_references(words[0])
            kept = [part if part.startswith("$") else cmdline.reduce(part).replace("$", "") for part in parts]
            value = " ".join(filter(None, kept))
            lines.append(f'{command}="{_quote(value)}"')
    return "".join(f"{line}\n" for line in lines)


def _quote(value: str) -> str:
    return re.sub(r'(["\\`])', r"\\\1", value)


def _split_references(value: str) -> list[str]:
    """Returns the texts and the references to variables of a value, in order."""
    parts: list[str] = []
    position = 0
    for match in _REFERENCE.finditer(value):
        parts += [value[position : match.start()], f"${match[1] or match[2]}"]
        position = match.end()
    return [*parts, value[position:]]


def _remove(line: str, patterns: Iterable[str]) -> str:
    """Returns a line without the named arguments, and without the pages of the named sizes."""
    named = set(patterns)
    kept: list[str] = []
    of_size = False
    for word in line.split():
        name, _, value = word.partition("=")
        if of_size and name == "hugepages":
            of_size = False
            continue
        of_size = f"{name}={value}" in named and name in boot_pages.PARAMETERS
        if f"{name}=*" in named or (of_size and name == "hugepagesz"):
            continue
        kept.append(word)
    return " ".join(kept)


def _parse(text: str) -> list[tuple[str, list[str]]]:
    """Returns what a file does: (variable, [value]), (REMOVE, [variable, pattern, ...]) or (UNKNOWN, [])."""
    if len(text) > MAX_LENGTH:
        return [(UNKNOWN, [])]
    patterns: list[str] = []
    if function := _OURS.search(text):
        patterns = [f"{name}={value}" for name, value in _PATTERN.findall(function[1]) if name != "hugepages"]
        text = _OURS.sub("", text)
        text = _CALL.sub(lambda call: f"{REMOVE} {call[1]} {' '.join(patterns)}\n{call[1]}={call[2]}${call[1]}", text)
    found: list[tuple[str, list[str]]] = []
    others: dict[str, str | None] = {}
    compound = False
    commands = _split_commands(text)
    if commands is None or not _is_balanced(commands):
        return [(UNKNOWN, [])]  # the shell stops at what it cannot parse
    for words in commands:
        if words[0] == REMOVE and len(words) > 1 and words[1] in VARIABLES:
            found.append((REMOVE, words[1:]))
            continue
        if words == [UNKNOWN]:
            found.append((UNKNOWN, []))
            continue
        told = words[0] == "export"
        words = words[1:] if told else words
        compound = compound or any(_COMPOUND.match(word) or word in "();&|" or word.endswith("()") for word in words)
        assigned = [_split_assignment(word) for word in words]
        if compound or None in assigned:
            exported = told and all(each or _NAME.fullmatch(word) for each, word in zip(assigned, words, strict=True))
            if _DECIDES.search(" ".join(words)) and not (exported and not compound and len(words) == 1):
                return [*found, (UNKNOWN, [])]
            continue
        for pair in assigned:
            name, raw = pair or ("", "")
            value = _expand(raw, others)
            if name not in VARIABLES:
                others[name] = value
            elif value is None:
                return [*found, (UNKNOWN, [])]
            else:
                found.append((name, [value]))
    return found


def _is_balanced(commands: list[list[str]]) -> bool:
    """Returns whether each compound command that is begun is ended too, as far as counting tells."""
    words = [word for command in commands for word in command]
    pairs = (("if", "fi"), ("case", "esac"), ("do", "done"), ("{", "}"), ("(", ")"))
    if any(words.count(first) != words.count(last) for first, last in pairs):
        return False
    loops = sum(words.count(word) for word in ("for", "while", "until"))
    return loops == words.count("do") and words.count("if") <= words.count("then") and not _ends_open(commands)


def _ends_open(commands: list[list[str]]) -> bool:
    """Returns whether a command begins or ends with an operator, which goes on in none."""
    return any(words[0] in ("|", "&") or words[-1] in ("|", "&&") for words in commands)


def _split_assignment(word: str) -> tuple[str, str] | None:
    name, equals, value = word.partition("=")
    return (name, value) if equals and _NAME.fullmatch(name) else None


def _expand(raw: str, others: Mapping[str, str | None]) -> str | None:
    """Returns the value of a word of shell; references to VARIABLES stay in it. None where it is not known.

    A reference has to stand alone between white space: glued to text it would make another word of it.
    """
    pieces: list[str] = []
    position, length, quote = 0, 0, ""
    while position < len(raw):
        letter = raw[position]
        if letter == "'" and quote != '"':
            quote = "" if quote else "'"
        elif letter == '"' and quote != "'":
            quote = "" if quote else '"'
        elif letter == "\\" and quote != "'":
            following = raw[position + 1 : position + 2]
            if quote and following not in '$`"\\\n':
                pieces.append("\\")
            elif following == "$":
                return None  # a dollar that GRUB sees
            if following != "\n":
                pieces.append(following)
            position += 1
        elif letter == "`" and quote != "'":
            return None
        elif letter == "$" and quote != "'":
            match = _REFERENCE.match(raw, position)
            if match is None:
                return None
            name = match[1] or match[2]
            if name in VARIABLES:
                pieces.append(f"${{{name}}}")
            elif others.get(name, "") is None or (name not in others):
                return None
            else:
                pieces.append(others[name] or "")
                length += len(pieces[-1])
                if length > MAX_LENGTH:
                    return None
            position = match.end() - 1
        elif letter == "$" or (letter in "*?[~" and not quote and letter != "~"):
            return None
        else:
            pieces.append(letter)
        position += 1
    value = "".join(pieces)
    for match in _REFERENCE.finditer(value):
        before, after = value[: match.start()][-1:], value[match.end() :][:1]
        if before.strip() or after.strip():
            return None
    return value


def _split_commands(text: str) -> list[list[str]] | None:
    """Returns the words of each simple command as they are written; operators are words. None for an open quote."""
    commands: list[list[str]] = [[]]
    word = ""
    position = 0
    while position < len(text):
        letter = text[position]
        if letter == "#" and not word:
            end = text.find("\n", position)
            position = len(text) if end < 0 else end
            continue
        if letter in " \t\n;()&|<>":
            if word:
                commands[-1].append(word)
                word = ""
            if letter in "\n;":
                commands.append([])
            elif letter in "()&|":
                commands[-1].append(letter)
            elif letter in "<>":
                commands[-1].append("|")
            position += 1
            continue
        end = _find_piece_end(text, position)
        if end < 0:
            return None
        if text[position:end] != "\\\n":
            word += text[position:end]
        position = end
    if word:
        commands[-1].append(word)
    return [words for words in commands if words]


def _find_piece_end(text: str, start: int) -> int:
    """Returns where a piece of a word ends: what is quoted, a substitution, or plain characters; -1 for no end."""
    letter = text[start]
    if letter == "\\":
        return min(start + 2, len(text))
    if letter == "'":
        return text.find("'", start + 1) + 1 or -1
    if letter == "`":
        at = start + 1
        while at < len(text) and text[at] != "`":
            at += 2 if text[at] == "\\" else 1
        return at + 1 if at < len(text) else -1
    if letter == "$" and text[start + 1 : start + 2] == "(":
        depth, at = 0, start + 1
        while at < len(text):
            if text[at] in "'\"`":
                at = _find_piece_end(text, at)
                if at < 0:
                    return -1
                continue
            depth += (text[at] == "(") - (text[at] == ")")
            at += 1
            if not depth:
                return at
        return -1
    if letter == '"':
        at = start + 1
        while at < len(text) and text[at] != '"':
            if text[at] == "\\":
                at += 2
            elif text[at] == "`" or text.startswith("$(", at):
                at = _find_piece_end(text, at)
                if at < 0:
                    return -1
            else:
                at += 1
        return at + 1 if at < len(text) else -1
    return _PLAIN.match(text, start + 1).end()  # type: ignore[union-attr]  # it matches nothing, too
