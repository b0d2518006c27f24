"""Manifests and hosts' descriptions that are from elsewhere: read with a bound, and only in their own shape."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

#: Bytes of a manifest, or of a host's description.
MOST = 4 << 20
# Of a file in the wheelhouse, and of a directory below `releases` on the host: one name, without a word of a shell's.
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.+!-]{0,199}"
_VERSION = r"[0-9]{1,5}\.[0-9]{1,5}"
_FIELDS = {
    "version": _NAME,
    "python": _VERSION,
    "machine": r"[A-Za-z0-9_]{1,40}",
    "cpu": r"[A-Za-z0-9_.-]{1,40}",
    "glibc": _VERSION,
    "sources": "[0-9a-f]{64}",
}
_OF_A_FLAVOUR = {"release": _NAME, "archive": _NAME, "sha256": "[0-9a-f]{64}"}


def read_text(path: Path) -> str:
    """Returns the text of a regular file of at most MOST bytes. Raises OSError, and ValueError that names the file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{path}: found something else than a regular file")
        content = file.read(MOST + 1)
    if len(content) > MOST:
        raise ValueError(f"{path}: found more than {MOST:,} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: found bytes that are not UTF-8") from None


def read_json(text: str, place: str) -> dict[str, Any]:
    """Returns a JSON object. Raises ValueError."""
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError(f"{place}: found values too deep in each other") from None
    except ValueError as error:  # also a number with more digits than Python reads
        raise ValueError(f"{place}: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{place}: found {type(found).__name__}, allowed: an object")
    return found


def parse(text: str, place: str, version: int) -> dict[str, Any]:
    """Returns a manifest of a format. Raises ValueError with the key, what was found and what is allowed."""
    manifest = read_json(text, place)
    if manifest.get("format") != version:
        found = _show(manifest.get("format"))
        raise ValueError(f"{place} has format {found}, this project reads {version}: build it again")
    _check_fields(manifest, _FIELDS, place)
    flavours = manifest.get("flavours")
    if not isinstance(flavours, dict) or not flavours:
        raise ValueError(f"{place}: flavours: found {_show(flavours)}, allowed: an object with one flavour or more")
    for name, flavour in flavours.items():
        where = f"{place}: flavours.{_show(name)}"
        if not isinstance(flavour, dict):
            raise ValueError(f"{where}: found {_show(flavour)}, allowed: an object")
        _check_fields(flavour, _OF_A_FLAVOUR, where)
    files = manifest.get("files", {})
    if not isinstance(files, dict):
        raise ValueError(f"{place}: files: found {_show(files)}, allowed: an object")
    for name in files:
        if not re.fullmatch(_NAME, name):
            raise ValueError(f"{place}: files: found the name {_show(name)}, allowed: the name of a file beside it")
        _check_fields(files, {name: "[0-9a-f]{64}"}, f"{place}: files")
    return manifest


def _check_fields(found: dict[str, Any], patterns: dict[str, str], place: str) -> None:
    for key, pattern in patterns.items():
        value = found.get(key)
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(f"{place}: {key}: found {_show(value)}, allowed: text that matches {pattern}")


def _show(value: Any) -> str:
    return repr(value)[:60] if isinstance(value, str | int | float | None) else type(value).__name__
