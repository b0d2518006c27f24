# SPDX-License-Identifier: Apache-2.0
"""Data of YAML as TOML: what a reader of the text gets is the data again, whatever is in it.

Source: TOML v1.0.0.
"""

from __future__ import annotations

import datetime
import math
import re
from typing import Any

from . import cpu_lists

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SHORT = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
_ESCAPED = re.compile(r'[\x00-\x1f"\\\x7f-\x9f\u2028\u2029]')


def write(name: str, document: dict[str, Any]) -> str:
    """Returns a document with a section for each table at its top. name: of the variable that holds it, for messages.

    Raises ValueError with one line for each value that TOML has no form for; none of them shows it.
    """
    problems: list[str] = []
    lines = _write_pairs(name, {key: value for key, value in document.items() if not isinstance(value, dict)}, problems)
    for key, table in document.items():
        if isinstance(table, dict):
            lines += ["", f"[{_write_key(name, key, problems)}]", *_write_pairs(f"{name}.{key}", table, problems)]
    cpu_lists.refuse(problems)
    return "\n".join(lines).lstrip("\n") + "\n"


def name_type(value: Any) -> str:
    """Returns what kind of value of YAML a value is, for messages that may not show it."""
    kinds = ((bool, "true or false"), (str, "text"), (int, "a number"), (float, "a number"), (dict, "a dictionary"),
             (list | tuple, "a list"))  # fmt: skip
    return (
        "null" if value is None else next((kind for types, kind in kinds if isinstance(value, types)), "no such value")
    )


def _write_pairs(name: str, table: dict[Any, Any], problems: list[str]) -> list[str]:
    return [
        f"{_write_key(name, key, problems)} = {_write_value(f'{name}.{key}', value, problems)}"
        for key, value in table.items()
    ]


def _write_key(name: str, key: Any, problems: list[str]) -> str:
    if not isinstance(key, str):
        problems.append(f"{name}: a key is {name_type(key)}: allowed: text; quote it")
        return ""
    return key if _BARE.fullmatch(key) else _write_text(name, key, problems)


def _write_text(name: str, text: str, problems: list[str]) -> str:
    if re.search("[\ud800-\udfff]", text):
        problems.append(f"{name} is text of other kinds of characters: allowed: text of whole characters")
    return '"' + _ESCAPED.sub(lambda match: _SHORT.get(match[0], f"\\u{ord(match[0]):04x}"), text) + '"'


def _write_value(name: str, value: Any, problems: list[str]) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _write_text(name, value, problems)
        case int() if -(1 << 63) <= value < 1 << 63:
            return str(int(value))
        case float():
            return _write_float(value)
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
        case list() | tuple():
            return f"[{', '.join(_write_value(f'{name}[{at}]', one, problems) for at, one in enumerate(value))}]"
        case dict():
            pairs = ", ".join(_write_pairs(name, value, problems))
            return f"{{ {pairs} }}" if pairs else "{}"
    allowed = "text, a number of at most 64 bits, true, false, a date, a list or a table"
    problems.append(f"{name} is {name_type(value)}: allowed: {allowed}" + ("; leave it out" if value is None else ""))
    return ""


def _write_float(value: float) -> str:
    if math.isfinite(value):
        return repr(float(value))
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
