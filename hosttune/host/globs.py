"""Reading all files that a pattern names, whatever the root is made of."""

from __future__ import annotations

import posixpath
from fnmatch import fnmatchcase

from hosttune.host.root import Root


def read(root: Root, *patterns: str) -> None:
    """Read every file that a glob names, so that a recording root keeps it.

    `*`, `?` and `[...]` match within one path component; a component without them is not looked up, so
    that an absence is recorded too. As `ls -F` marks them, a pattern that ends in `/` names directories
    to list, and one that ends in `@` links.
    """
    for pattern in patterns:
        visit = root.list if pattern.endswith("/") else root.link if pattern.endswith("@") else root.read
        for path in find_paths(root, pattern.rstrip("/@")):
            visit(path)


def find_paths(root: Root, pattern: str) -> list[str]:
    """Returns the paths that a glob names, in order."""
    found = ["/"]
    for part in pattern.strip("/").split("/"):
        if any(letter in part for letter in "*?["):
            found = [
                posixpath.join(path, name)
                for path in found
                for name in root.list(path).value or ()
                if fnmatchcase(name, part)
            ]
        else:
            found = [posixpath.join(path, part) for path in found]
    return found
