"""Other programs that set what a profile asks for, each in the states that a host can have it in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosttune import checker, profile
from hosttune.checks import _owners
from hosttune.findings import Finding, Hop
from hosttune.host import owners
from hosttune.host.kept import Patterns, reduce_root

BUSY = "net_buffers.net.core.busy_poll"
UNITS = "/usr/lib/systemd/system"
WANTS = "/etc/systemd/system/multi-user.target.wants"
MINE = """[main]
summary=ours
include=latency-performance

[vm]
transparent_hugepages=always

[sysctl]
net.core.busy_poll = 0  # off
net.core.rmem_max=>1000
kernel.sched_rt_runtime_us=950000
net.ipv4.tcp_congestion_control=${chosen}
"""
LATENCY = "[main]\nsummary=x\n[sysctl]\nvm.swappiness=10\nnet.core.busy_poll=7\n[cpu]\ngovernor=performance\n"


def make_files(*, installed: bool = True, enabled: bool = True, running: bool = True, **more: str) -> dict[str, str]:
    files = {
        "/etc/systemd/system/x.service": "[Service]\nExecStart=/bin/x\n",
        "/etc/tuned/active_profile": "ours\n",
        "/etc/tuned/ours/tuned.conf": MINE,
        "/usr/lib/tuned/latency-performance/tuned.conf": LATENCY,
        "/proc/cmdline": "quiet\n",
        "/proc/1/comm": "systemd\n",
        "/proc/1/status": "Name:\tsystemd\nUid:\t0\t0\t0\t0\n",
    }
    if installed:
        files[f"{UNITS}/tuned.service"] = "[Service]\nExecStart=/usr/sbin/tuned -l -P\n"
    if enabled:
        files[f"{WANTS}/tuned.service"] = files.get(f"{UNITS}/tuned.service", "")
    if running:
        files |= {
            "/proc/77/comm": "tuned\n",
            "/proc/77/status": "Name:\ttuned\nUid:\t0\t0\t0\t0\n",
            "/proc/77/cgroup": "0::/system.slice/tuned.service\n",
        }
    return files | more


def finding(
    id: str = BUSY, wanted: Any = 50, status: Any = "pass", source: str = "/usr/lib/sysctl.d/x.conf:1"
) -> Finding:
    runtime = Hop("ok" if status == "pass" else "bad", wanted, "/proc/sys/x")
    hops: dict[Any, Hop] = {"persisted": Hop("ok", wanted, source), "runtime": runtime}
    advice = {} if status == "pass" else {"why": "it is slow", "fix": "sysctl -w x=50"}
    return Finding(id=id, status=status, wanted=wanted, found=wanted, hops=hops, **advice)


def judge(root: Any, *findings: Finding) -> list[Finding]:
    return _owners.judge(list(findings), _owners.read(reduce_root(root, {})))


def test_a_value_that_tuned_changes_at_boot_is_volatile_and_names_it(host: Any) -> None:
    (found,) = judge(host(make_files()), finding())
    assert found.status == "volatile"
    assert found.hops["persisted"] == Hop("bad", "0", "/etc/tuned/ours/tuned.conf")
    assert found.why == "TuneD (profile ours) makes it 0: /etc/tuned/ours/tuned.conf, at each boot"
    assert found.fix == "systemctl disable --now tuned.service"


def test_the_fix_of_what_is_wrong_stops_tuned_first(host: Any) -> None:
    (found,) = judge(host(make_files()), finding(status="fail"))
    assert found.status == "fail"
    assert found.why == "it is slow; TuneD (profile ours) makes it 0: /etc/tuned/ours/tuned.conf"
    assert found.fix.splitlines() == ["systemctl disable --now tuned.service", "sysctl -w x=50"]


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ({"running": False}, "volatile"),  # the next boot starts it
        ({"enabled": False}, "pass"),  # it ran before the value was set, and the next boot does not start it
        ({"running": False, "enabled": False}, "pass"),  # installed, and off
        ({"installed": False, "running": False, "enabled": False}, "pass"),
        ({"/etc/systemd/system/tuned.service": "", "running": False}, "pass"),  # masked
        ({"/etc/systemd/system/tuned.service": ""}, "pass"),  # masked, and still running
        # `tuned-adm off`
        ({"/etc/tuned/active_profile": "\n", "/etc/tuned/profile_mode": "manual\n"}, "pass"),
        ({"/etc/tuned/active_profile": None, "/etc/tuned/profile_mode": "manual\n"}, "pass"),
        ({"/etc/tuned/active_profile": "off\n", "/etc/tuned/post_loaded_profile": "ours\n"}, "volatile"),
        (
            {"/etc/tuned/active_profile": "latency-performance\n", "/etc/tuned/post_loaded_profile": "ours\n"},
            "volatile",
        ),
        ({"/etc/tuned/profile_mode": "manual\n"}, "volatile"),
        ({"/etc/tuned/active_profile": "off\n"}, "pass"),
        ({"/etc/tuned/active_profile": "latency-performance\n"}, "volatile"),
        ({"/etc/tuned/active_profile": "latency-performance ours\n"}, "volatile"),
    ],
)
def test_states_of_tuned(host: Any, files: dict[str, Any], status: str) -> None:
    made = {path: text for path, text in make_files(**files).items() if text is not None}
    assert [found.status for found in judge(host(made), finding())] == [status]


def test_a_masked_owner_that_still_runs_is_named_in_what_is_wrong(host: Any) -> None:
    root = host(make_files(**{"/etc/systemd/system/tuned.service": ""}))
    (found,) = judge(root, finding(status="fail"))
    assert "TuneD" in found.why and found.fix.startswith("systemctl disable --now tuned.service\n")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"/etc/tuned/active_profile": None}, "active_profile names none, and TuneD chooses a profile by itself"),
        # As Debian's package leaves it.
        ({"/etc/tuned/active_profile": "\n"}, "active_profile names none, and TuneD chooses a profile by itself"),
        (
            {"/etc/tuned/active_profile": "", "/etc/tuned/profile_mode": "auto\n"},
            "profile_mode is auto, and TuneD chooses a profile by itself at each start",
        ),
        (
            {"/etc/tuned/profile_mode": "auto\n"},
            "profile_mode is auto, and TuneD chooses a profile by itself at each start",
        ),
        ({"/etc/tuned/profile_mode": "always\n"}, "/etc/tuned/profile_mode holds neither auto nor manual"),
        ({"/etc/tuned/post_loaded_profile": "a b\n"}, "/etc/tuned/post_loaded_profile holds more than one word"),
        ({"/etc/tuned/active_profile": "\x00/\x1b \n"}, "active_profile holds no name of a profile"),
        ({"/etc/tuned/active_profile": "nothing\n"}, "there is no profile 'nothing' in /etc/tuned/profiles"),
        ({"/etc/tuned/ours/tuned.conf": "no section\n"}, "/etc/tuned/ours/tuned.conf: "),
        ({"/etc/tuned/ours/tuned.conf": "[main]\ninclude=ours2\n"}, "there is no profile 'ours2'"),
        ({"/etc/tuned/ours/tuned.conf": "[main]\ninclude=${f:x}\n"}, "only TuneD can work out"),
        ({"/etc/tuned/ours/tuned.conf": "#" * (1 << 16)}, "/etc/tuned/ours/tuned.conf: "),
    ],
)
def test_what_tuned_sets_and_cannot_be_told_is_unknown(host: Any, files: dict[str, Any], reason: str) -> None:
    made = {path: text for path, text in make_files(**files).items() if text is not None}
    found = judge(host(made), finding())
    assert [(one.id, one.status) for one in found] == [(BUSY, "pass"), ("other_owners.tuned", "unknown")]
    assert "TuneD: what it sets cannot be told: " in found[1].why and reason in found[1].why
    assert found[1].fix == "systemctl disable --now tuned.service"


@pytest.mark.parametrize(
    ("id", "wanted", "source", "status"),
    [
        # TuneD reads these again after its own, unless it is told not to.
        (BUSY, 50, "/etc/sysctl.d/99-zz-hosttune-net_buffers.conf:3", "pass"),
        (BUSY, 0, "/usr/lib/sysctl.d/x.conf:1", "pass"),
        ("net_buffers.net.core.rmem_max", 2000, "/usr/lib/sysctl.d/x.conf:1", "pass"),  # more than at least 1000
        ("net_buffers.net.core.rmem_max", 500, "/usr/lib/sysctl.d/x.conf:1", "volatile"),
        ("net_buffers.net.core.wmem_max", 500, "/usr/lib/sysctl.d/x.conf:1", "pass"),  # none of TuneD's
        ("hugepages.transparent", "never", "/etc/tmpfiles.d/x.conf:1", "volatile"),
        ("hugepages.transparent", "always", "/etc/tmpfiles.d/x.conf:1", "pass"),
        ("rt_limits.sched_rt_runtime_us", -1, "/usr/lib/sysctl.d/x.conf:1", "volatile"),
        ("tcp_bbr.congestion_control", "bbr", "/usr/lib/sysctl.d/x.conf:1", "unknown"),  # a variable of TuneD's
    ],
)
def test_which_values_tuned_overrules(host: Any, id: str, wanted: Any, source: str, status: str) -> None:
    assert [found.status for found in judge(host(make_files()), finding(id, wanted, source=source))] == [status]


def test_tuned_that_is_told_not_to_read_the_hosts_own_files_again(host: Any) -> None:
    root = host(make_files(**{"/etc/tuned/tuned-main.conf": "# x\nreapply_sysctl = 0\n"}))
    assert [one.status for one in judge(root, finding(source="/etc/sysctl.d/x.conf:1"))] == ["volatile"]


def test_tuned_leaves_huge_pages_alone_that_the_boot_line_decides(host: Any) -> None:
    root = host(make_files(**{"/proc/cmdline": "quiet transparent_hugepage=never\n"}))
    assert [one.status for one in judge(root, finding("hugepages.transparent", "never"))] == ["pass"]


def test_a_profile_that_isolates_cpus_is_told_where_the_roles_do(host: Any) -> None:
    text = "[scheduler]\nisolated_cores=${isolated_cores}\n"
    root = host(make_files(**{"/etc/tuned/ours/tuned.conf": text}))
    assert [one.id for one in judge(root, finding())] == [BUSY]
    found = judge(root, finding("cpu_isolation.domain"))
    assert [(one.id, one.status) for one in found] == [("cpu_isolation.domain", "pass"), ("other_owners.tuned", "warn")]


@pytest.mark.parametrize("name", ["numad", "thermald", "power-profiles-daemon"])
def test_other_owners_warn_while_they_run_or_will(host: Any, name: str) -> None:
    files = make_files(installed=False, enabled=False, running=False)
    unit, link = f"{UNITS}/{name}.service", f"{WANTS}/{name}.service"
    off = host({**files, unit: "[Service]\nExecStart=/x\n"})
    assert len(judge(off, finding("cpu_isolation.domain"))) == 1
    on = host({**files, unit: "[Service]\nExecStart=/x\n", link: ""})
    found = judge(on, finding("cpu_isolation.domain"))
    assert [(one.id, one.status) for one in found[1:]] == [(f"other_owners.{name}", "warn")]
    assert found[1].fix == f"systemctl disable --now {name}.service" and "the next boot starts it" in str(
        found[1].found
    )


def test_what_cannot_be_told_is_unknown(host: Any) -> None:
    root = host(make_files(running=False, enabled=False), refused={"/proc/1/comm": "EACCES"})
    found = judge(root, finding())
    assert [(one.id, one.status) for one in found[1:]] == [("other_owners.tuned", "unknown")]
    root = host(make_files(), refused={"/etc/tuned/active_profile": "EACCES"})
    assert [one.status for one in judge(root, finding())] == ["pass", "unknown"]


def test_the_check_reads_the_owners(host: Any) -> None:
    root = host(
        make_files(**{"/proc/sys/net/core/busy_poll": "50\n", "/usr/lib/sysctl.d/x.conf": "net.core.busy_poll=50\n"})
    )
    wanted = profile.load_text("net_buffers: {sysctl: {net.core.busy_poll: 50}}", "p.yml")
    report = checker.run_checks(wanted, root)
    assert [(one.id, one.status) for one in report.findings] == [(BUSY, "volatile")]
    assert "TuneD" in report.findings[0].why


# --- what a snapshot keeps of a profile -------------------------------------------------------------------

VALUES = st.sampled_from(["0", "50", "=>7", "=<7", "never", "always", "${x}", "a b", "secret/\x00", "1 # x", "1", ""])
OPTIONS = st.sampled_from(
    [
        *(
            "net.core.busy_poll",
            "net/core/busy_read",
            "transparent_hugepages",
            "transparent_hugepage",
            "isolated_cores",
        ),
        *("include", "cmdline_x", "password", "type", "enabled", "replace", "drop", "uname_regex"),
    ]
)
SECTIONS = st.sampled_from(["main", "sysctl", "sysctl.arm", "vm", "scheduler", "bootloader", "script"])
PROFILES = st.lists(st.tuples(SECTIONS, st.lists(st.tuples(OPTIONS, VALUES), max_size=4)), max_size=5)


@given(PROFILES, st.sampled_from(["isolcpus=2 quiet", "quiet", "vm", "sysctl"]))
def test_a_snapshot_of_a_profile_says_the_same(profiles: list[tuple[str, list[tuple[str, str]]]], extra: str) -> None:
    lines = [f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in options) for name, options in profiles]
    text = "".join(lines) + f"[bootloader]\ncmdline={extra}\n[x]\ntype={extra}\n"

    def read(text: str) -> owners.Tuned:
        files = {owners.ACTIVE_PROFILE: "p\n", "/etc/tuned/p/tuned.conf": text}
        return owners.read_tuned(files.get)

    kept = owners.reduce_profile(text)
    whole, reduced = read(text), read(kept)
    assert reduced.settings.keys() == whole.settings.keys()
    for knob, setting in reduced.settings.items():  # a value that is none is not kept
        assert setting.value in (None, whole.settings[knob].value) and setting.place == whole.settings[knob].place
    assert bool(reduced.problem) == bool(whole.problem)
    assert owners.reduce_profile(kept) == kept
    assert "secret" not in kept and "password" not in kept


def test_the_files_are_kept() -> None:
    patterns = Patterns()
    files = owners.ACTIVE_PROFILE, owners.POST_LOADED, owners.PROFILE_MODE, owners.TUNED_MAIN
    for path in (*files, *(f"{top}/x/tuned.conf" for top in owners.PROFILES)):
        assert patterns.find_rule(path) is not None, path
