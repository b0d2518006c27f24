"""Lines of systemd's configuration files, and the assignments in them: for the checks and for the roles.

Standard library only: the controller's planning of the roles reads files with it.
Sources: systemd.syntax(7); `src/shared/conf-parser.c` and `src/basic/fileio.c` of systemd.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import NamedTuple

from hosttune.patterns import late_pattern

#: What is on, as parse_boolean() in `src/basic/parse-util.c` of systemd takes it.
TRUE = ("1", "yes", "y", "true", "t", "on")
#: What systemd strips from both ends of a line.
SPACES = " \t\n\r"
# What ends a line for systemd: any of these together are one end. Source: `read_line` in its `src/basic/fileio.c`.
_LINE_ENDS = late_pattern("\r\n\0|\n\r\0|\r\n|\n\r|\n\0|\r\0|\n|\r|\0")


class Setting(NamedTuple):
    """One assignment and the file it is in."""

    section: str
    key: str
    value: str
    source: str


def split_lines(text: str) -> list[str]:
    """Returns the lines of a file as systemd reads them: a carriage return, and a NUL, end one as well."""
    lines = _LINE_ENDS.split(text)
    return lines if lines[-1] else lines[:-1]


# A check reads most units twice: as they are now, and as the next boot has them.
@functools.lru_cache(maxsize=512)
def parse(text: str, source: str) -> tuple[Setting, ...]:
    """Read one file: sections, `key=value`, comments, lines continued by a backslash.

    As config_parse() in `src/shared/conf-parser.c` of systemd does: the backslash is the line's last character and not
    itself after one; comments within a continued line are left out; nothing after a broken section header counts.
    """
    settings: list[Setting] = []
    section = ""
    continued: list[str] = []
    for raw in [*split_lines(text.removeprefix("\ufeff")), None]:
        if raw is not None:
            if raw.lstrip(SPACES)[:1] in ("#", ";"):
                continue
            if (len(raw) - len(raw.rstrip("\\"))) % 2:
                continued.append(raw[:-1])
                continue
            continued.append(raw)
        line = " ".join(continued)
        continued.clear()
        line = line.strip(SPACES)
        if line.startswith("["):
            if not line.endswith("]"):
                break
            section = line[1:-1]
        elif section and not line.startswith("="):
            key, equals, value = line.partition("=")
            if equals:
                settings.append(Setting(section, key.strip(SPACES), value.strip(SPACES), source))
    return tuple(settings)


def list_values(settings: Iterable[Setting], section: str, key: str) -> list[str]:
    """Returns all values of a list setting that are left after resets."""
    return [setting.value for setting in list_settings(settings, section, key)]


def list_settings(settings: Iterable[Setting], section: str, key: str) -> list[Setting]:
    """Returns all assignments of a list setting that are left after resets."""
    left: list[Setting] = []
    for setting in settings:
        if (setting.section, setting.key) == (section, key):
            if setting.value:
                left.append(setting)
            else:
                left.clear()
    return left


def find_last(settings: Iterable[Setting], section: str, key: str) -> Setting | None:
    """Returns the assignment that counts for a setting that has one value; None where none does, or an empty one."""
    last = None
    for setting in settings:
        if (setting.section, setting.key) == (section, key):
            last = setting
    return last if last is not None and last.value else None
