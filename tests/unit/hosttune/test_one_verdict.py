"""What is judged of a host, of a snapshot, of a tree, and of all that the host's files hold, is one and the same.

Each host is the tuned one with one file more, or with another text in one. A name or a line that the list of what is
kept drops and that a verdict hangs on would show here: the same host is judged past that list too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hosttune import capture, checker, profile
from hosttune.host import snapshot
from hosttune.host.root import Root, Tree
from hosttune.host.snapshot import Snapshot
from tests.unit.hosttune import broken, golden

#: Directories that lie below those of the tuned host, and that a program reads if they are there.
MORE = ("/usr/local/lib/sysctl.d", "/usr/local/lib/systemd/system", "/usr/local/lib/modules-load.d", "/etc/tmpfiles.d")
PLACES = 4


class Whole:
    """A host past the list of what is kept."""

    reduced = True

    def __init__(self, host: Any) -> None:
        self.source, self.taken, self.later = host.source, host.taken, host.later
        self.read, self.list, self.link, self.netlink = host.read, host.list, host.link, host.netlink


def list_changes(fake_host: type[Any]) -> Iterator[tuple[str, str]]:
    """Yield files with a text, or with `-> TARGET` for a link: in place of a file of the host, or besides them."""
    host = broken.Recorded(golden.make_host(fake_host))
    checker.run_checks(profile.load(None, host), host)
    for kind, path in sorted(host.asked):
        if kind == "read" and not path.startswith("/etc/hosttune") and (wrong := broken.find_wrong(path)):
            yield path, wrong
    directories = {path for kind, path in host.asked if kind == "list" and broken.find_new_name(path)}
    for path in sorted({*directories, *MORE}):
        name = broken.find_new_name(path)
        hidden = f".{name}" if path.endswith(".d") else ""
        for new in (name, hidden, f"{name}~", f"a b {name}", f"0{name}"):
            if new and not path.startswith("/lib/"):
                yield f"{path}/{new}", broken.find_wrong(f"{path}/{name}")
        for known in (host.asked["list", path].value or []) if ("list", path) in host.asked else []:
            if known.endswith((".conf", ".service")) and path.startswith(("/etc/", "/usr/")):
                yield f"/etc/{path.rpartition('/')[2]}/{known}", "-> /dev/null"


def summarise(report: Any) -> dict[str, Any]:
    return {each.id: (each.status, {name: hop.state for name, hop in each.hops.items()}) for each in report.findings}


def as_json(report: Any, leave_out: str = "no finding") -> bytes:
    report.host.update(time=None, source=None)
    left = [each for each in report.findings if not each.id.startswith(leave_out)]
    return msgspec.json.encode((report.host, report.verdict, left))


def judge(root: Root) -> Any:
    return checker.run_checks(profile.load(None, root), root)


@pytest.mark.parametrize("part", range(PLACES))
def test_the_host_its_snapshot_its_tree_and_all_that_it_holds(part: int, fake_host: type[Any], tmp_path: Path) -> None:
    ready = summarise(judge(golden.make_host(fake_host)))
    told = 0
    for number, (path, text) in enumerate(list_changes(fake_host)):
        if number % PLACES != part:
            continue
        host = golden.make_host(fake_host)
        host.links.pop(path, None)
        if text.startswith("-> "):
            host.files.pop(path, None)
            host.links[path] = text.removeprefix("-> ")
        else:
            host.files[path] = text
        live = judge(host)
        file = tmp_path / "s.json"
        file.write_bytes(snapshot.encode(capture.take_snapshot(host, profile.load(None, host))))
        assert as_json(judge(Snapshot(str(file)))) == as_json(live), (path, text)
        whole = Whole(host)
        assert summarise(checker.run_checks(profile.load(None, host), whole)) == summarise(live), (path, text)
        golden.write_tree(host, tmp_path / str(number))
        tree = judge(Tree(str(tmp_path / str(number))))
        assert as_json(tree, "tcp_bbr.qdisc.") == as_json(live, "tcp_bbr.qdisc."), (path, text)
        told += summarise(live) != ready
    assert told > 10
