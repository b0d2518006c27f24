"""The correctly tuned host is READY, and a snapshot and a tree of it say the same as the host."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hosttune import capture, checker, profile
from hosttune.host import snapshot
from hosttune.host.root import Root, Tree
from hosttune.host.snapshot import Snapshot
from tests.unit.hosttune import golden


@pytest.fixture
def host(fake_host: type[Any]) -> Any:
    return golden.make_host(fake_host)


def judge(root: Root) -> Any:
    return checker.run_checks(profile.load(None, root), root)


def take(host: Root, tmp_path: Any) -> Snapshot:
    file = tmp_path / "s.json"
    file.write_bytes(snapshot.encode(capture.take_snapshot(host, profile.load(None, host))))
    return Snapshot(str(file))


def write(host: Any, tmp_path: Any) -> Tree:
    golden.write_tree(host, tmp_path / "tree")
    return Tree(str(tmp_path / "tree"))


def as_json(report: Any, leave_out: str = "no finding") -> bytes:
    """Returns a report as JSON, but for time and source."""
    report.host.update(time=None, source=None)
    left = [each for each in report.findings if not each.id.startswith(leave_out)]
    return msgspec.json.encode((report.host, report.verdict, left))


def test_the_golden_host_is_ready(host: Any, tmp_path: Any) -> None:
    live = judge(host)
    assert live.verdict == "ready"
    assert {each.id: each.status for each in live.findings if each.status != "pass"} == {}
    assert as_json(judge(take(host, tmp_path))) == as_json(live)


def test_a_tree_of_it_is_ready_and_differs_only_in_what_no_file_holds(host: Any, tmp_path: Any) -> None:
    tree = judge(write(host, tmp_path))
    assert tree.verdict == "ready"
    assert {each.id: each.status for each in tree.findings if each.status != "pass"} == {
        "tcp_bbr.qdisc.interfaces": "warn"
    }
    assert as_json(tree, "tcp_bbr.qdisc.") == as_json(judge(host), "tcp_bbr.qdisc.")


def test_where_the_interfaces_qdisc_is_required_a_tree_does_not_do(host: Any, tmp_path: Any) -> None:
    name = "/etc/hosttune/profile.d/tcp_bbr.yml"
    host.files[name] = host.files[name].replace("require_fq: false", "require_fq: true")
    assert judge(host).verdict == "ready"
    tree = judge(write(host, tmp_path))
    assert (tree.verdict, tree.summary["unknown"]) == ("unknown", 1)
