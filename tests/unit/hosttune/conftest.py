"""A host made of a dictionary, for tests of everything that reads one."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from hosttune.host.root import Fact, make_unreadable

# A method named `list` hides the type of that name from the annotations after it.
Table: TypeAlias = list[dict[str, Any]]


class FakeHost:
    """Files by absolute path. What is not there is absent, as on a live host; `deny` makes a path unreadable."""

    source = "live"
    taken = None

    def __init__(self, files: dict[str, str] | None = None) -> None:
        self.files: dict[str, str] = dict(files or {})
        self.links: dict[str, str] = {}
        self.denied: dict[str, str] = {}
        self.tables: dict[str, Table] = {}
        self.next: FakeHost | None = None

    def deny(self, path: str, reason: str = "EACCES") -> FakeHost:
        self.denied[path] = reason
        return self

    def read(self, path: str) -> Fact[str]:
        if path in self.denied:
            return make_unreadable(path, self.denied[path])
        if self.links.get(path) == "/dev/null":
            return Fact("value", "", path)
        if path in self.links:
            return self.read(posixpath.normpath(posixpath.join(posixpath.dirname(path), self.links[path])))
        if path in self.files:
            return Fact("value", self.files[path], path)
        return Fact("absent", None, path, "ENOENT")

    def list(self, path: str) -> Fact[list[str]]:
        if path in self.denied:
            return make_unreadable(path, self.denied[path])
        start = path.rstrip("/") + "/"
        below = [each for each in (*self.files, *self.links, *self.denied) if each.startswith(start)]
        names = {each[len(start) :].split("/")[0] for each in below}
        return Fact("value", sorted(names), path) if names else Fact("absent", None, path, "ENOENT")

    def link(self, path: str) -> Fact[str]:
        if path in self.denied:
            return make_unreadable(path, self.denied[path])
        if path in self.links:
            return Fact("value", self.links[path], path)
        return Fact("absent", None, path, "not a symbolic link")

    def netlink(self, request: str) -> Fact[Table]:
        if request in self.tables:
            return Fact("value", self.tables[request], f"netlink {request}")
        return make_unreadable(f"netlink {request}", "EPERM")

    def later(self, seconds: float) -> tuple[FakeHost, float] | None:
        return None if self.next is None else (self.next, seconds)


@pytest.fixture(scope="session")
def fake_host() -> type[FakeHost]:
    return FakeHost


@pytest.fixture(scope="session")
def host() -> Callable[..., FakeHost]:
    """A FakeHost in one call; `later_files` is what differs at a second moment."""

    def make(
        files: dict[str, str],
        *,
        links: dict[str, str] | None = None,
        refused: dict[str, str] | None = None,
        netlink: dict[str, Table] | None = None,
        later_files: dict[str, str] | None = None,
    ) -> FakeHost:
        made = FakeHost(files)
        made.links.update(links or {})
        made.denied.update(refused or {})
        made.tables.update(netlink or {})
        if later_files is not None:
            made.next = make({**files, **later_files}, links=links, refused=refused, netlink=netlink)
        return made

    return make


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[dict[str, str]], str]:
    """Write {path: text} below a directory and return it; text that starts with `-> ` makes a link."""

    def make(files: dict[str, str]) -> str:
        for path, text in files.items():
            place = tmp_path / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            if text.startswith("-> "):
                place.symlink_to(text[3:])
            else:
                place.write_text(text)
        return str(tmp_path)

    return make
