"""Regular expressions that are compiled when they are first used: a launch imports twice as many as it needs."""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast


class _LatePattern:
    def __init__(self, pattern: Any, flags: int) -> None:
        self._arguments = pattern, flags

    def __getattr__(self, name: str) -> Any:
        value = getattr(re.compile(*self._arguments), name)
        setattr(self, name, value)
        return value


def late_pattern(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Returns what has the attributes and methods of re.compile(pattern, flags), compiled when one of them is first
    asked for. Functions of `re` do not take it in place of a pattern. A wrong one raises re.error at that time."""
    return cast("re.Pattern[AnyStr]", _LatePattern(pattern, flags))
