"""Text of shell, as far as it has to be read to tell what it writes: its comments, where it ends, and `echo`.

Where a form is not understood, more of the text counts as run, not less.
Sources: the Shell Command Language of POSIX, "Token Recognition"; execve(2) on `#!`.
"""

from __future__ import annotations

import re

from hosttune.host import shell_blocks, shell_words
from hosttune.patterns import late_pattern

#: Characters of shell that is looked into: more than anybody writes.
MAX_TEXT = 1 << 16
#: In place of what a command writes, or of where it writes, that is not understood.
UNKNOWN = "?"
# How shell writes VALUE, the second group, to a file, the fourth (with re.VERBOSE).
_ECHO = r"""(?:^|[;|&({}\n"'`]|\b(?:then|do|else|exec)\b)[ \t]*(?:/usr/bin/|/bin/)?(?:echo|printf)[ \t]+(?:-n[ \t]+)?
    (["']?)(VALUE)(?:\\n)?\1[ \t]*
    (?:>{1,2}[ \t]*|\|[ \t]*(?:sudo[ \t]+)?(?:/usr/bin/|/bin/)?tee[ \t]+(?:-a[ \t]+)?)
    (["']?)([^\s"'`;|&()<>]+)\3(?=$|[\s;|&)}"'`])"""
_INTERPRETER = late_pattern(r"#![ \t]*/(?:\S*/)?(?:env[ \t]+)?(?:ba|da|a|k|z|)sh\b")
# After a backslash a blank is part of a word, and so is the sign that follows.
_COMMENT = late_pattern(r"(?:^|(?<!\\)[ \t])#")
_QUOTES = "\"'`"
#: Where a command begins (with re.VERBOSE).
START = r"(?:^|(?<=[;|&(){}\n]))[ \t]*"
# Programs that have their arguments run on another machine, or in a namespace of its own.
_PROGRAMS_ELSEWHERE = frozenset(
    {
        *("ssh", "docker", "podman", "nerdctl", "kubectl", "lxc", "lxc-attach", "nsenter", "machinectl"),
        *("systemd-nspawn", "chroot"),
    }
)
# Of their arguments, what means this host after all.
_HERE = r"--privileged|-t[ \t]*1\b|--target[ =]1\b|localhost\b|127\.0\.0\.1"
_NOT_HERE = rf"(?![^;|&\n]{{0,200}}[ \t@](?:{_HERE}))"
_ELSEWHERE = late_pattern(
    rf"""{START}(?:(?:then|do|else|sudo|exec|nohup|timeout[ \t]+\S+)[ \t]+){{0,3}}(?:/\S*/)?
    (?:{"|".join(sorted(_PROGRAMS_ELSEWHERE))}|ip[ \t]+(?:-\S+[ \t]+)*netns[ \t]+exec
    |(?:sudo|runuser)[ \t]+(?:-[A-Za-z]+[ \t]+)*-u[ \t]*(?!root\b|\#?0\b)[\w.\#-]+
    |su[ \t]+(?:-[lmp]*[ \t]+)*(?!root\b|-)[\w.-]+|unshare[ \t]+(?:-\w+[ \t]+)*-n)(?=[ \t]){_NOT_HERE}
    (?:[^;|&\n"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')*""",
    re.VERBOSE | re.DOTALL,
)
# A redirection to a file which no kernel has.
_TO_FILE = r"""(?:>{1,2}[ \t]*(?!["']?(?:/sys|/proc|\$))[^\s;|&<>()]+)"""
# How a script asks for its own directory, and how it gives a variable a path.
_SELF = r"""["']?(?:\$0|\$\{?BASH_SOURCE(?:\[0\])?\}?|\$\(readlink[ \t]+-\w+[ \t]+["']?\$0["']?\))["']?"""
_DIRNAME = rf"""\$\([ \t]*dirname[ \t]+(?:--[ \t]+)?{_SELF}[ \t]*\)"""
_OWN_DIRECTORY = late_pattern(
    rf"""\$\([ \t]*cd[ \t]+(?:--[ \t]+|-P[ \t]+)?["']?{_DIRNAME}["']?[ \t]*(?:&?>[ \t]*/dev/null[ \t]*)?
    &&[ \t]*pwd(?:[ \t]+-P)?[ \t]*\)
    |{_DIRNAME}|\$\{{(?:0|BASH_SOURCE(?:\[0\])?)%/\*\}}""",
    re.VERBOSE,
)
_PATH_VARIABLE = late_pattern(
    r"""^[ \t]*(?:(?:export|readonly|local|declare)[ \t]+(?:-\w[ \t]+)?)?
    (\w+)=(["']?)((?:/[\w.+-]+)*)\2[ \t]*(?=$|;)""",
    re.MULTILINE | re.VERBOSE,
)
_USED_VARIABLE = late_pattern(r"\$(?:(\w+)|\{(\w+)\})(?=[\"']?/)")
# Words that are put into such a file, and the line that begins a document for one, or for nobody.
_WRITTEN_DOWN = late_pattern(
    rf"""{START}(?:echo|printf)[ \t]+(?:-\w+[ \t]+)*(?:"[^"\n]*"|'[^'\n]*')[ \t]*{_TO_FILE}""", re.VERBOSE
)
_DOCUMENT = late_pattern(
    rf"""[ \t]*(?:cat|tee|install|logger|:)(?:[ \t]+[^\s<>|;&/][^\s<>|;&]*|[ \t]+/(?!sys/|proc/)[^\s<>|;&]*)*[ \t]*
    (?:{_TO_FILE}[ \t]*)?<<-?[ \t]*["']?(\w+)["']?[ \t]*(?:{_TO_FILE}[ \t]*)?$""",
    re.VERBOSE,
)
# The line that begins one for a program on another machine.
_DOCUMENT_ELSEWHERE = late_pattern(
    rf"""[ \t]*(?:sudo[ \t]+)?(?:/\S*/)?(?:{"|".join(sorted(_PROGRAMS_ELSEWHERE))})[ \t]{_NOT_HERE}[^;|&<>\n"']*+
    (?:["'][^;|&<>\n"']*+["'])?[ \t]*<<-?[ \t]*["']?(\w+)["']?[^;|&\n]*$""",
    re.VERBOSE,
)
# What may hold a line that looks like the end of a script.
_NESTED = late_pattern(r"[{(]|<<|\b(?:if|case|for|while|until|select|function)\b")
_GOES_ON = ("||", "&&", "|", "\\")
_MAX_BLANKS = 4096
# Where a script may end.
_END = late_pattern(r"^[ \t]*(?:(exit)(?:[ \t]+[^\s;|&]+)?[ \t]*(?:[;#].*)?|exec[ \t]+[^\s<>&0-9{].*)$", re.MULTILINE)


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


def split_run(script: str) -> tuple[str, str]:
    """Returns what is run of a script on this host, and what may be.

    Without comments, what is for other machines, and lines that end in a carriage return, which is part of their last
    word: neither the interpreter that they name nor the file that they write to is there.
    """
    lines = script.split("\n")
    text = script if "\r" not in script else "\n".join(line for line in lines if not line.endswith("\r"))
    return split_end(drop_elsewhere(drop_comments(text)))


def split_sure(script: str) -> tuple[str, str, str]:
    """Returns what is run of a script for sure, what is run but for a condition, and what may be (split_run())."""
    run, doubtful = split_run(script)
    run, told = shell_words.split_told(run)
    return *shell_blocks.split_blocks(run), f"{doubtful}\n{told}" if told else doubtful


def write_condition(command: str, maybe: bool) -> str:
    """Returns a command, in a condition of which nobody knows whether it holds if that is so."""
    return f"if false; then {command}; fi" if maybe else command


def is_elsewhere(words: list[str]) -> bool:
    """Returns whether a command has its arguments run on another machine, in a namespace of its own, or by another user
    than root. It may have the prefixes of a unit's."""
    return _ELSEWHERE.match(" ".join([words[0].lstrip("@:+!|-"), *words[1:]])) is not None


def drop_elsewhere(text: str) -> str:
    """Returns shell without what it has run on other machines and in other namespaces, and what it only writes down."""
    return _WRITTEN_DOWN.sub("", _ELSEWHERE.sub("", _drop_documents(text)))


def _drop_documents(text: str) -> str:
    """Returns shell without the here-documents that cat(1) gets, or a program on another machine, and no other one."""
    if "<<" not in text:
        return text
    kept: list[str] = []
    end = ""
    for line in text.split("\n"):
        if end:
            end = "" if line.strip("\t") == end else end
            continue
        document = _DOCUMENT.match(line) or _DOCUMENT_ELSEWHERE.match(line)
        end = document[1] if document is not None else ""
        kept.append(line)
    return "\n".join(kept) if not end else text


def can_start(script: str) -> bool:
    """Returns whether a script says what runs it, as a program has to (execve(2))."""
    return script.startswith("#!") and not script.partition("\n")[0].endswith("\r")


def fill_in(text: str, directory: str) -> str:
    """Returns a script, in its directory, with that for what asks for it, and with paths for the variables that have
    one and no other."""
    text = _OWN_DIRECTORY.sub(directory, text)
    paths: dict[str, str] = {}
    for match in _PATH_VARIABLE.finditer(text):
        name, value = match[1], match[3]
        paths[name] = value if paths.get(name, value) == value else ""
    if not any(paths.values()):
        return text
    return _USED_VARIABLE.sub(lambda match: paths.get(match[1] or match[2]) or match[0], text)


def split_end(text: str) -> tuple[str, str]:
    """Returns what is run of a script, and what may be.

    Behind a line `exit 0` or `exec PROGRAM` nothing is, if it is in no block; one in a block, as its indentation tells,
    ends nothing for sure; behind any other nobody knows.
    """
    for match in _END.finditer(text):
        start = match.start()
        if text.count("'", 0, start) % 2 or text.count('"', 0, start) % 2:
            continue  # a line of a quotation
        end = start if match[1] else match.end()
        before = text[max(0, start - _MAX_BLANKS) : start].rstrip()
        goes_on = before.endswith(_GOES_ON) or (not before and start > _MAX_BLANKS)
        if not goes_on and not _NESTED.search(text, 0, end):
            return text[:end], ""
        if match[0][0] not in " \t":
            return text[:end], text[end:]
    return text, ""
