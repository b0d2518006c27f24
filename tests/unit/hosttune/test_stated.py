"""What the roles last stated is remembered: a section that somebody removed from the profile is not ready."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hosttune import capture, checker, profile, stated
from hosttune.host import snapshot
from hosttune.host.root import Root, Tree
from hosttune.host.snapshot import Snapshot
from hosttune.profile import PROFILE_D, ProfileError
from tests.unit.hosttune import golden

REMEMBERED = f"{stated.DIRECTORY}/tcp_bbr.yml"


@pytest.fixture
def host(fake_host: type[Any]) -> Any:
    return golden.make_host(fake_host)


def judge(root: Root) -> Any:
    return checker.run_checks(profile.load(None, root), root)


def judge_all(host: Any, tmp_path: Path) -> dict[str, Any]:
    """Returns the reports of the host, of a snapshot and of a tree of it."""
    file = tmp_path / "s.json"
    file.write_bytes(snapshot.encode(capture.take_snapshot(host, profile.load(None, host))))
    golden.write_tree(host, tmp_path / "tree")
    roots = {"live": host, "snapshot": Snapshot(str(file)), "tree": Tree(str(tmp_path / "tree"))}
    return {name: judge(root) for name, root in roots.items()}


@pytest.mark.parametrize("text", [None, "", "# empty\n", "net_buffers: {sysctl: {net.core.optmem_max: 1}}\n"])
def test_a_section_that_was_removed_is_not_ready(host: Any, text: str | None, tmp_path: Path) -> None:
    del host.files[f"{PROFILE_D}/tcp_bbr.yml"]
    if text is not None:
        host.files[f"{PROFILE_D}/tcp_bbr.yml"] = text
    for name, report in judge_all(host, tmp_path).items():
        assert report.verdict == "not ready", name
        lost = next(each for each in report.findings if each.id == "tcp_bbr")
        assert (lost.status, lost.found) == ("fail", f"not in {PROFILE_D}")
        assert lost.fix == f"cp {REMEMBERED} {PROFILE_D}/tcp_bbr.yml"


def test_the_fix_makes_it_ready_again(host: Any) -> None:
    del host.files[f"{PROFILE_D}/tcp_bbr.yml"]
    host.files[f"{PROFILE_D}/tcp_bbr.yml"] = host.files[REMEMBERED]
    assert judge(host).verdict == "ready"


def test_the_whole_profile_gone_is_told_for_each_section(host: Any, tmp_path: Path) -> None:
    """The built-in profile is judged instead, which asks for other values."""
    for name in golden.PROFILES:
        del host.files[f"{PROFILE_D}/{name}.yml"]
    for name, report in judge_all(host, tmp_path).items():
        assert report.host["profile"].startswith("built-in profile"), name
        assert {each.id for each in report.findings if each.status == "fail"} >= set(golden.PROFILES), name


def test_after_a_revert_nothing_is_missed(host: Any, tmp_path: Path) -> None:
    for path in (f"{PROFILE_D}/tcp_bbr.yml", REMEMBERED):
        del host.files[path]
    assert {report.verdict for report in judge_all(host, tmp_path).values()} == {"ready"}


def test_another_file_of_the_desk_may_state_the_section(host: Any) -> None:
    host.files[f"{PROFILE_D}/desk.yml"] = host.files.pop(f"{PROFILE_D}/tcp_bbr.yml")
    assert judge(host).verdict == "ready"


def test_a_profile_that_the_caller_names_is_judged_alone(host: Any) -> None:
    del host.files[f"{PROFILE_D}/tcp_bbr.yml"]
    named = profile.load_text(golden.PROFILES["hugepages"], "p.yml")
    assert checker.run_checks(named, host).verdict == "ready"


@pytest.mark.parametrize(("path", "id"), [(stated.DIRECTORY, "profile"), (REMEMBERED, "tcp_bbr")])
def test_what_the_roles_stated_and_nobody_could_read_is_unknown(host: Any, path: str, id: str, tmp_path: Path) -> None:
    del host.files[f"{PROFILE_D}/tcp_bbr.yml"]
    host.deny(path)
    file = tmp_path / "s.json"
    file.write_bytes(snapshot.encode(capture.take_snapshot(host, profile.load(None, host))))
    for root in (host, Snapshot(str(file))):
        report = judge(root)
        assert report.verdict == "unknown"
        finding = next(each for each in report.findings if each.id == id)
        assert (finding.status, finding.hops["intended"].value) == ("unknown", "EACCES")


def test_a_remembered_file_that_is_no_profile_is_unknown(host: Any, tmp_path: Path) -> None:
    del host.files[f"{PROFILE_D}/tcp_bbr.yml"]
    for number, text in enumerate(("{", "- a\n")):
        host.files[REMEMBERED] = text
        (tmp_path / str(number)).mkdir()
        for report in judge_all(host, tmp_path / str(number)).values():
            assert report.verdict == "unknown"
            assert next(each for each in report.findings if each.id == "tcp_bbr").status == "unknown"


def test_a_tree_without_var_says_nothing_of_the_roles(host: Any, tmp_path: Path) -> None:
    host.files = {path: text for path, text in host.files.items() if not path.startswith("/var/")}
    golden.write_tree(host, tmp_path)
    assert judge(Tree(str(tmp_path))).verdict == "ready"


def test_a_profile_d_that_cannot_be_listed_is_an_error(host: Any) -> None:
    """The built-in profile would be another one than the host's."""
    host.deny(PROFILE_D)
    with pytest.raises(ProfileError, match=r"/etc/hosttune/profile\.d: cannot be read \(EACCES\)"):
        profile.load(None, host)
