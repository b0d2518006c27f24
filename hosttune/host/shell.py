"""Text of shell, as far as it has to be read to tell what it writes: its comments, where it ends, and `echo`.

Where a form is not understood, more of the text counts as run, not less.
Sources: the Shell Command Language of POSIX, "Token Recognition"; execve(2) on `#!`.
"""

from __future__ import annotations

import re

from hosttune.patterns import late_pattern

#: In place of what a command writes, or of where it writes, that is not understood.
UNKNOWN = "?"
# How shell writes VALUE, the second group, to a file, the fourth (with re.VERBOSE).
_ECHO = r"""(?:^|[;|&({}\n"']|\b(?:then|do|else|exec)\b)\s*(?:/usr/bin/|/bin/)?(?:echo|printf)\s+(?:-n\s+)?
    (["']?)(VALUE)(?:\\n)?\1\s*
    (?:>{1,2}\s*|\|\s*(?:sudo\s+)?(?:/usr/bin/|/bin/)?tee\s+(?:-a\s+)?)
    (["']?)([^\s"'`;|&()<>]+)\3(?=$|[\s;|&)}"'])"""
_INTERPRETER = late_pattern(r"#![ \t]*/(?:\S*/)?(?:env[ \t]+)?(?:ba|da|a|k|z|)sh\b")
# After a backslash a blank is part of a word, and so is the sign that follows.
_COMMENT = late_pattern(r"(?:^|(?<!\\)[ \t])#")
_QUOTES = "\"'`"
# Where a script ends for sure, and what begins and ends a part of it that may not be run.
_END = late_pattern(r"^[ \t]*(?:(exit)(?:[ \t]+[^\s;|&]+)?[ \t]*(?:[;#].*)?|exec[ \t]+[^\s<>&0-9{].*)$", re.MULTILINE)
_BLOCK = late_pattern(r"(?<![^\s;&|(])(?:(if|case|do|\{)|fi|esac|done|\})(?![^\s;&|)])")


def build_echo(value: str) -> re.Pattern[str]:
    """Returns the pattern of shell that writes a `value`, a pattern, to a file: the groups 2 and 4."""
    return late_pattern(_ECHO.replace("VALUE", value), re.VERBOSE)


def is_interpreter(script: str) -> bool:
    """Returns whether a script says itself that a shell runs it."""
    return _INTERPRETER.match(script) is not None


def drop_comments(text: str) -> str:
    """Returns shell without its comments, a continued line as one: a backslash does not continue a comment."""
    lines: list[str] = []
    continued: list[str] = []
    for raw in text.splitlines():
        # In what continues a word the sign begins no comment either.
        line = _drop_comment(raw) if "#" in raw and not continued else raw
        if line[-1:] == "\\":
            continued.append(line[:-1])
        else:
            lines.append("".join([*continued, line]))
            continued.clear()
    return "\n".join([*lines, *(["".join(continued)] if continued else [])])


def _drop_comment(line: str) -> str:
    if line.lstrip().startswith("#"):
        return ""
    found = _COMMENT.search(line)
    # One in quotes is none.
    if found is None or any(line.count(quote, found.start()) or line.count(quote) % 2 for quote in _QUOTES):
        return line
    return line[: found.start()]


def split_end(text: str) -> tuple[str, str]:
    """Returns what is run of a script, and what may be: behind a line `exit 0` or `exec PROGRAM` nothing is, and that
    line may itself be in a part that is not run."""
    depth, position = 0, 0
    inline = text.find("<<")  # words of another file, where they may look like an end
    for match in _END.finditer(text):
        depth += sum(1 if word[1] else -1 for word in _BLOCK.finditer(text, position, match.start()))
        position = match.start()
        end = match.start() if match[1] else match.end()
        if depth == 0 and not 0 <= inline < end:
            return text[:end], ""
        if match[0][0] not in " \t":  # most parts are indented
            return text[:end], text[end:]
    return text, ""
