"""YAML of other programs: a mapping whose scalars stay text, bounded before it is parsed."""

from __future__ import annotations

from typing import Any

#: Of a file; and how many nodes of YAML it may have.
MAX_CHARACTERS = 1 << 18
MAX_EVENTS = 20_000


def parse(text: str) -> dict[str, Any]:
    """Returns the mapping in a text. Raises ValueError for what is none, is too large, or has an alias."""
    # Late: the profile loader has it already, and a host without such a file does not need it.
    import yaml

    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"it has {len(text)} characters; allowed are {MAX_CHARACTERS}")
    # Nothing here is a date, and a number in base 60 takes time with the square of its length.
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        for number, event in enumerate(yaml.parse(text, loader)):
            if number > MAX_EVENTS or isinstance(event, yaml.AliasEvent):
                raise ValueError("it is too large, or has an alias")
        content = yaml.load(text, loader)
    except (yaml.YAMLError, UnicodeError, RecursionError):
        raise ValueError("it is not valid YAML") from None
    if not isinstance(content, dict):
        raise ValueError("it is not a mapping")
    return content
