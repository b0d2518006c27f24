"""What GRUB will hand to the kernel, worked out from its files. Pure: text in, plain data out.

Sources: the GRUB manual ("Shell-like scripting", "default", "load_env"), `grub-core/script/yylex.l` of GRUB, the output
of `grub-mkconfig` on Debian, Ubuntu and Fedora, and the Boot Loader Specification (type 1 entries).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from hosttune.patterns import late_pattern

#: Of one file: longer than any menu.
MAX_LENGTH = 1 << 20
#: Characters that all variables of a configuration may expand to, and how deep menus may lie in menus.
MAX_EXPANSION = 1 << 20
MAX_DEPTH = 50

_KERNEL_COMMANDS = ("linux", "linux16", "linuxefi")
_KEYWORDS = ("then", "else", "do")
# A command, a comment behind it, and what ends both. A `#` begins a comment where a word could begin; what follows a
# backslash begins none, nor does the begin of a line that goes on from the line before.
_COMMAND = late_pattern(
    r"""((?:[^\n"'\\;{}#$]+|\\[\s\S]#*|"(?:[^"\\]|\\[\s\S])*"|'[^']*'|\$\{[^}\s]*\}#*|\$|(?<=[^\s;{}])#)*)"""
    r"""(?:#[^\n]*)?([\n;{}]?)"""
)
# Of text without comments: a line that goes on, and what a backslash and a line's end mean nothing in.
_CONTINUED = late_pattern(r"""('[^']*'|\\[^\n])|\\\n""")
_WORD = late_pattern(r"""((?:[^\s"'\\]|\\.|"(?:[^"\\]|\\[\s\S])*"|'[^']*')+)""")
_PIECE = late_pattern(r"""'([^']*)'|"((?:[^"\\]|\\[\s\S])*)"|\\(.)|([^'"\\]+)""")
_VARIABLE = late_pattern(r"\$(?:\{(\w+)\}|(\w+))")


class _Variables(dict[str, str]):
    """Variables by name. Values may hold variables, which then grow without limit: in all they come to `left`."""

    left = MAX_EXPANSION

    def expand(self, name: str) -> str:
        """Returns a value, empty for a variable that is not set. Raises ValueError for too much in all."""
        value = self.get(name, "")
        self.left -= len(value)
        if self.left < 0:
            raise ValueError("its variables expand without limit")
        return value


class _Entry(msgspec.Struct):
    title: str = ""
    id: str = ""
    submenu: bool = False
    command: list[str] = []
    entries: list[_Entry] = []


def parse_environment(text: str) -> dict[str, str]:
    """Returns the variables of a GRUB environment block (`grubenv`): `name=value` lines, `#` padding."""
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {name: value.replace("\\\\", "\\") for name, equals, value in pairs if equals}


def insert_custom(config: str, custom: str) -> str:
    """Returns a configuration with the text of custom.cfg where it sources that (`grub.d/41_custom`)."""
    parts = re.split(r"^[ \t]*source[ \t]+\S*/custom\.cfg[ \t]*$", config, maxsplit=1, flags=re.MULTILINE)
    return custom.join(f"{part}\n" for part in parts) if len(parts) > 1 else config


def find_default_entry(config: str, env: dict[str, str], bls: dict[str, str] | None = None) -> tuple[str, str, str]:
    """Return title, kernel command line and file of the kernel of the entry that GRUB boots if nobody touches a key.

    `config` is grub.cfg, `env` its environment block, `bls` the Boot Loader Specification entries by file
    name without `.conf`. Raises ValueError if there is no entry to find.
    """
    if max(map(len, (config, *env.values(), *(bls or {}).values()))) > MAX_LENGTH:
        raise ValueError(f"a file of it has more than {MAX_LENGTH:,} characters")
    top, variables, defaults = _parse_config(config, env)
    if takes_bls(config):
        if bls is None:
            raise ValueError("it takes its entries from /boot/loader/entries, which could not be read")
        top.entries[:0] = _make_bls_entries(bls, variables)
    entry = _select_entry(top, _resolve_default(defaults, env, variables))
    if not entry.command:
        raise ValueError("its default entry has no kernel command")
    return entry.title, " ".join(_quote_again(word) for word in entry.command[2:]), "".join(entry.command[1:2])


def takes_bls(config: str) -> bool:
    """Returns whether a configuration takes entries of the Boot Loader Specification."""
    return bool(re.search(r"^[ \t]*blscfg\b", config, re.MULTILINE))


def _parse_config(config: str, env: dict[str, str]) -> tuple[_Entry, _Variables, list[str]]:
    top = _Entry(submenu=True)
    stack = [top]
    variables = _Variables({**env, "menuentry_id_option": "--id"})
    defaults: list[str] = []
    for text, end in _split_commands(config):
        command = text.split(None, 1)[0] if text else ""
        opened: _Entry | None = None
        if command in _KEYWORDS:
            text = text[len(command) :].lstrip()
            command = text.split(None, 1)[0] if text else ""
        if command in ("menuentry", "submenu"):
            words = _split_words(text, variables)
            opened = _Entry(title=words[1] if len(words) > 1 else "", submenu=command == "submenu")
            if "--id" in words[:-1]:
                opened.id = words[words.index("--id") + 1]
            stack[-1].entries.append(opened)
        elif command in _KERNEL_COMMANDS:
            stack[-1].command = _split_words(text, variables)
        elif command == "set" and "=" in text:
            name, _, value = text[len("set") :].strip().partition("=")
            if name == "default":
                defaults.append(value)
            elif name not in env:
                variables[name] = "".join(_split_words(value, variables)[:1])
        if end == "{":
            stack.append(opened or _Entry())
            if len(stack) > MAX_DEPTH:
                raise ValueError("its menus are nested too deep")
        elif end == "}" and len(stack) > 1:
            stack.pop()
    return top, variables, defaults


def _split_commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield each command without its comment, and what ends it: an end of line, `;`, `{`, `}`, or nothing.

    A line that ends with a backslash goes on in the next. Raises ValueError for a quote that is not closed.
    """
    position = 0
    while position < len(text):
        match = _COMMAND.match(text, position)
        if match is None or match.end() == position:
            raise ValueError("a quote in it is not closed")
        position = match.end()
        command: str = match[1]
        if "\\\n" in command:
            command = _CONTINUED.sub(lambda found: found[1] or "", command)
        yield command.strip(), match[2]


def _resolve_default(defaults: list[str], env: dict[str, str], variables: _Variables) -> str:
    """Returns the value that `default` ends up with: `next_entry`, set for one boot only, goes first."""
    once = [value for value in defaults if "next_entry" in value]
    if once and env.get("next_entry"):
        return env["next_entry"]
    settled = [value for value in defaults if "next_entry" not in value]
    return "".join(_split_words(settled[-1], variables)[:1]) if settled else "0"


def _select_entry(menu: _Entry, default: str) -> _Entry:
    """Follow `submenu>entry`; each part is an id, a title or an index, and what is not found means 0."""
    while True:
        part, _, rest = default.partition(">")
        if not menu.entries:
            raise ValueError("it has no menu entry")
        named = [entry for entry in menu.entries if part and part in (entry.id, entry.title)]
        # A title may itself hold ">".
        named = [entry for entry in menu.entries if default and entry.title == default] or named
        if named:
            entry = named[0]
        else:
            index = int(part) if part.isdecimal() and len(part) < 7 else 0
            entry = menu.entries[index if index < len(menu.entries) else 0]
        if not entry.submenu:
            return entry
        menu, default = entry, rest


def _make_bls_entries(files: dict[str, str], variables: _Variables) -> list[_Entry]:
    entries = []
    for name in sorted(files, key=_make_version_key, reverse=True):
        entry = _Entry(id=name, command=["linux", ""])
        for line in files[name].splitlines():
            key, _, value = line.strip().partition(" ")
            if key == "title":
                entry.title = value.strip()
            elif key == "linux":
                entry.command[1] = value.strip()
            elif key == "options":
                entry.command += _split_words(next(_split_commands(value), ("", ""))[0], variables)
        entries.append(entry)
    return entries


def _make_version_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that orders versions as RPM does: numbers as numbers, and above letters."""
    parts = re.findall(r"[0-9]{1,20}|[a-zA-Z]+", name)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]


def _split_words(line: str, variables: _Variables) -> list[str]:
    """Split into words as GRUB's shell does; an unquoted variable may bring several."""
    words: list[str] = []
    for raw in _WORD.findall(line):
        if raw.startswith("$") and _VARIABLE.fullmatch(raw):
            words += _expand_variables(raw, variables).split()
            continue
        word = ""
        for single, double, escaped, bare in _PIECE.findall(raw):
            text = (
                re.sub(r"\\(.)", r"\1", _expand_variables(double, variables))
                if double
                else _expand_variables(bare, variables)
            )
            word += single + text + escaped
        words.append(word)
    return words


def _expand_variables(text: str, variables: _Variables) -> str:
    return _VARIABLE.sub(lambda match: variables.expand(match[1] or match[2]), text)


def _quote_again(word: str) -> str:
    return f'"{word}"' if " " in word and '"' not in word else word
