from types import SimpleNamespace

import msgspec
import pytest

from hosttune import checker
from hosttune.findings import Finding, Hop
from hosttune.profile import Profile, Section

IDENTITY = {
    "/proc/sys/kernel/hostname": "t1\n",
    "/proc/sys/kernel/osrelease": "6.1.0\n",
    "/sys/devices/system/cpu/online": "0-2,4\n",
}


class Wanted(msgspec.Struct):
    value: int = 1


def section(name="demo", check=None, facts=None, **more):
    """A check module in the shape that the checker expects."""
    module = SimpleNamespace(
        facts=facts or (lambda root, wanted: root.read("/proc/x").value),
        check=check or (lambda wanted, facts, observed: [found(name, facts, observed)]),
        **more,
    )
    return Section(name, "p.yml:3", module, Wanted())


def found(name, facts, observed):
    return Finding(
        id=f"{name}.x",
        status="pass",
        wanted=1,
        found=[facts, observed.before, observed.after, observed.seconds] if observed else facts,
        hops={"runtime": Hop("ok", facts, "/proc/x")},
    )


def run(root, *sections, observe=None):
    return checker.run_checks(Profile("p.yml", list(sections)), root, observe)


def test_a_report_says_which_host_and_where_it_is_asked_for(host):
    report = run(host({**IDENTITY, "/proc/x": "7"}), section())
    assert report.host == {
        "hostname": "t1",
        "kernel": "6.1.0",
        "cpus": 4,
        "time": None,
        "source": "live",
        "profile": "p.yml",
    }
    (finding,) = report.findings
    assert finding.hops["intended"] == Hop("ok", 1, "p.yml:3")
    assert [*finding.hops] == ["intended", "runtime"]
    assert report.verdict == "ready"


def boom(*_):
    raise KeyError("gone")


@pytest.mark.parametrize("where", ["facts", "check"])
def test_a_check_that_raises_is_unknown_and_the_others_go_on(host, where):
    report = run(host({}), section("bad", **{where: boom}), section("good"))
    bad, good = report.findings
    assert (bad.id, bad.status) == ("bad", "unknown")
    assert "KeyError: 'gone' at " in bad.found and "test_checker.py:" in bad.found
    assert bad.why and bad.fix
    assert good.status == "pass"
    assert report.verdict == "unknown"


def test_a_sample_that_raises_is_unknown(host):
    report = run(host({}, later_files={}), section("bad", sample=boom), observe=1.0)
    assert report.findings[0].status == "unknown"


def test_a_check_that_says_nothing_is_unknown(host):
    (finding,) = run(host({}), section(check=lambda *_: [])).findings
    assert (finding.id, finding.status) == ("demo", "unknown")


def test_two_samples(host):
    root = host({"/proc/x": "7", "/proc/c": "1"}, later_files={"/proc/c": "5"})
    watched = section(sample=lambda root: int(root.read("/proc/c").value))
    assert run(root, watched, observe=2.0).findings[0].found == ["7", 1, 5, 2.0]
    assert run(root, watched).findings[0].found == "7"


def test_nobody_waits_for_checks_that_do_not_watch(host):
    root = host({}, later_files={})
    root.later = boom
    assert run(root, section(), observe=1.0).verdict == "ready"


def test_a_root_with_one_moment_is_not_watched(host):
    watched = section(sample=lambda root: 1)
    assert run(host({"/proc/x": "7"}), watched, observe=1.0).findings[0].found == "7"


@pytest.mark.parametrize(
    ("module", "function", "name"),
    [("_owners", "read", "other_owners"), ("_owners", "judge", "other_owners"), ("stated", "read", "profile")],
)
def test_a_fault_in_what_concerns_all_sections_is_one_unknown_finding(host, monkeypatch, module, function, name):
    def fail(*arguments):
        raise KeyError("bent")

    monkeypatch.setattr(getattr(checker, module), function, fail)
    profile = Profile("p.yml", [section()], own=frozenset({"demo"}))
    report = checker.run_checks(profile, host({**IDENTITY, "/proc/x": "7"}))
    assert [(f.id, f.status) for f in report.findings] == [("demo.x", "pass"), (name, "unknown")]
    assert "KeyError: 'bent'" in report.findings[1].found
    assert report.verdict != "ready"
