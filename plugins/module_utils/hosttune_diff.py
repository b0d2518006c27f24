# SPDX-License-Identifier: Apache-2.0
"""What a diff, and a message, shows of files and kernel values."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # Python 3.9 on a host would not evaluate these
    from .hosttune_files import Entry

    # Path to (what is there, what shall be there).
    FileChanges = dict[str, tuple[Entry, Entry]]
    ValueChanges = dict[str, tuple[str, str]]


def describe(entry: Entry) -> str:
    if entry is None:
        return "nothing"
    if "link" in entry:
        return f"a link to {entry['link']!r}"
    return str(entry.get("kind") or f"a file of user {entry['uid']}, group {entry['gid']}, mode {entry['mode']}")


def show(entry: Entry) -> str:
    """Returns what a diff shows of a file: not what its mode hides from others."""
    if entry is None:
        return ""
    if "content" not in entry:
        return f"-> {entry['link']}\n"
    content = entry["content"].encode("utf-8", "surrogateescape")
    if not int(entry["mode"], 8) & 0o004:
        digest = hashlib.sha256(content).hexdigest()
        return f"({len(content)} bytes that others may not read, SHA-256 {digest})\n"
    return str(content.decode("utf-8", "backslashreplace"))


def show_rights(entry: Entry, other: Entry) -> str:
    """Returns what follows a path in a diff where mode or owner differ."""
    if entry is None or other is None or all(entry.get(key) == other.get(key) for key in ("mode", "uid", "gid")):
        return ""
    return f" (mode {entry.get('mode', 'of a link')}, user {entry.get('uid', 0)}, group {entry.get('gid', 0)})"


def diffs(file_changes: FileChanges, value_changes: ValueChanges) -> list[dict[str, str]]:
    shown = [
        {
            "before_header": path + show_rights(before, after),
            "after_header": path + show_rights(after, before),
            "before": show(before),
            "after": show(after),
        }
        for path, (before, after) in file_changes.items()
    ]
    if value_changes:
        before, after = (
            "".join(f"{path} = {change[side]}\n" for path, change in value_changes.items()) for side in (0, 1)
        )
        shown.append({"before_header": "running", "after_header": "running", "before": before, "after": after})
    return shown
