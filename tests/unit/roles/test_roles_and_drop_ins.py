"""Whatever the files of others hold, a role refuses, or the check passes what the role has set."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

pytest.importorskip("ansible.plugins.action")

from hosttune import checker, profile
from tests.examples import TIMES
from tests.unit.hosttune.host import test_pam_real as pam
from tests.unit.hosttune.host import test_tmpfiles as tmpfiles
from tests.unit.roles import rendering
from tests.unit.roles.rendering import settle
from tests.unit.roles.simulated import Simulated

TOPS = ("/etc", "/run", "/usr/local/lib", "/usr/lib")
GENERATE = settings(deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
TOPOLOGY = {"hosttune_isolated_cpus": "2-3", "hosttune_housekeeping_cpus": "0-1,4,6-7"}


def refuse_or_pass(files: dict[str, str], roles: dict[str, dict[str, Any]], findings: str) -> str:
    """Apply roles with their variables to a host that has such files, and judge the findings that begin so. Returns
    why a role refused, an empty text where none did."""
    keys = rendering.load(rendering.ROLES / "net_buffers" / "defaults/main.yml")["net_buffers_sysctl"]
    keys = [*keys, "net.core.somaxconn", "net.core.default_qdisc", "net.ipv4.tcp_congestion_control", MAX, REDIRECTS]
    host = Simulated(keys, set(), set(), set(), set())
    host.files |= {path: text for path, text in files.items() if text != "-> /dev/null"}
    host.host.links |= {path: "/dev/null" for path, text in files.items() if text == "-> /dev/null"}
    try:
        for role, variables in roles.items():
            defaults = rendering.load(rendering.ROLES / role / "defaults/main.yml")
            planned = settle(role, {**TOPOLOGY, **variables}, lambda names, of=defaults: host.ask(names, of))
            for path in planned[0]:
                host.host.links.pop(path, None)  # a file takes the place of a link
            host.apply(*planned)
    except rendering.NotPlanned as error:
        assert any(ascii(path)[1:-1] in str(error) for path in files), error
        return str(error)
    found = checker.run_checks(profile.load(None, host.host), host.host).findings
    judged = [one for one in found if one.id.startswith(findings)]
    assert judged
    # What the kernel's command line brings is pending.
    wrong = [one for one in judged if one.status not in ("pass", "pending")]
    assert [(one.id, one.status, one.hops) for one in wrong] == [], files
    return ""


def drop_ins(directory: str, names: list[str], texts: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, str]]:
    paths = st.tuples(st.sampled_from(TOPS), st.just(directory), st.sampled_from(names)).map("/".join)
    return st.dictionaries(paths, texts | st.just("-> /dev/null"), min_size=1, max_size=4)


ENDS = st.sampled_from(["\n"] * 6 + ["\r\n", "\r", "\n\r", "\0", "\n\n", "\x0b", "\x85"])
BLANKS = st.sampled_from(["", "", "", " ", "\t", "  "])


def join(lines: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(st.tuples(lines, ENDS).map("".join), max_size=4).map("".join)


# --- sysctl.d ---------------------------------------------------------------------------------------------

SYSCTLS = {"net.core.rmem_max": 67108864, "net.ipv4.tcp_rmem": [4096, 131072, 67108864], "net.core.somaxconn": 4096}
SPELLED = ["net.core.rmem_max", "net/core/rmem_max", "/net/core/rmem_max", "net..core.rmem_max", "net.core/rmem_max",
           "net.core.rmem_ma?", "net.*.rmem_max", "net/core/*", "net.core.[^s]*", "*", "net.ipv4.tcp_rmem",
           "net/ipv4/tcp_rmem", "net.core.somaxconn", "net.core.Rmem_max", "kernel.sched_rt_runtime_us",
           "net.core.default_qdisc", "net/core/default_qdisc", "net.ipv4.tcp_congestion_control",
           "vm.nr_hugepages", "vm/nr_hugepages", "vm.nr_huge*"]  # fmt: skip
NUMBERS = ["67108864", "4096", "1", "0x4000000", "67108864 # x", "4096 131072 67108864", "4096\t131072  67108864", "fq",
           "bbr", "cubic", "950000", "-1", ""]  # fmt: skip
ASSIGNMENTS = st.tuples(
    st.sampled_from(["", "", "", "-", "#", "; ", "- "]), st.sampled_from(SPELLED), BLANKS,
    st.sampled_from(["=", "=", "=", ""]), BLANKS, st.sampled_from(NUMBERS), BLANKS
).map("".join)  # fmt: skip
SYSCTL_D = drop_ins(
    "sysctl.d",
    ["10-a.conf", "99-sysctl.conf", "99-zz-hosttune-net_buffers.conf", "99-zzz.conf", "zz.conf", ".z.conf", "zz.confx"],
    join(ASSIGNMENTS),
)


@settings(GENERATE, max_examples=30 * TIMES)
@given(SYSCTL_D)
def test_sysctl_d(files: dict[str, str]) -> None:
    buffers = {"net_buffers_sysctl": SYSCTLS}
    refuse_or_pass(files, {"net_buffers": buffers}, "net_buffers.")
    refuse_or_pass(files, {"rt_limits": {"rt_limits_sched_rt_runtime_us": -1}}, "rt_limits.sched")


@settings(GENERATE, max_examples=20 * TIMES)
@given(SYSCTL_D)
def test_sysctl_d_and_queueing(files: dict[str, str]) -> None:
    refuse_or_pass(files, {"tcp_bbr": {}}, "tcp_bbr.")


@settings(GENERATE, max_examples=20 * TIMES)
@given(SYSCTL_D)
def test_sysctl_d_and_pools(files: dict[str, str]) -> None:
    refuse_or_pass(files, {"hugepages": {"hugepages_pages": {"2M": {"node0": 4}}}}, "hugepages.")


# --- tmpfiles.d -------------------------------------------------------------------------------------------


@settings(GENERATE, max_examples=40 * TIMES)
@given(tmpfiles.CONFIGURATION, st.sampled_from([[], ["2M"]]))
def test_tmpfiles_d(files: dict[str, str], at_boot: list[str]) -> None:
    pools = {"hugepages_pages": {"2M": {"node0": 4, "node1": 2}}, "hugepages_boot_sizes": at_boot}
    refuse_or_pass(files, {"hugepages": {**pools, "hugepages_transparent": "never"}}, "hugepages.")


# --- limits.d ---------------------------------------------------------------------------------------------

LIMITS_D = st.dictionaries(
    st.sampled_from(
        [
            "limits.conf",
            *(f"limits.d/{name}" for name in ("10-x.conf", "99-trading.conf", "a.conf", ".z.conf", "é.conf")),
        ]
    ).map("/etc/security/{}".format),
    pam.TEXT,
    min_size=1,
)


@settings(GENERATE, max_examples=30 * TIMES)
@given(LIMITS_D)
def test_limits_d(files: dict[str, str]) -> None:
    limits = {"memlock": "unlimited", "rtprio": 95, "nofile": 65536, "nice": -10}
    refuse_or_pass(files, {"rt_limits": {"rt_limits_users": {"trader": limits}}}, "rt_limits.trader.")


# --- system.conf.d ----------------------------------------------------------------------------------------

MANAGER = st.tuples(
    BLANKS,
    st.sampled_from(["CPUAffinity", "DefaultLimitMEMLOCK", "DefaultLimitNOFILE", "DefaultLimitNICE", "x", "[Manager]",
                     "[Manager", "[X]", "#CPUAffinity", "Default\\\nLimitNICE"]),
    BLANKS,
    st.sampled_from(["=", "=", "=", ""]),
    BLANKS,
    st.sampled_from(["0-1,4,6-7", "0 1 4 6 7", "2", "", "infinity", "64M", "65536", "65536:524288", "-10", "30", "x",
                     "\\\n", "infin\\\nity"]),
).map("".join)  # fmt: skip
SYSTEM_CONF_D = drop_ins(
    "systemd/system.conf.d",
    ["10-a.conf", "hosttune-cpu_isolation.conf", "hosttune-z.conf", "z.conf", ".z.conf", "z.confx"],
    join(MANAGER).map("[Manager]\n".__add__),
)


@settings(GENERATE, max_examples=30 * TIMES)
@given(SYSTEM_CONF_D)
def test_system_conf_d(files: dict[str, str]) -> None:
    limits = {"memlock": "unlimited", "rtprio": 95, "nofile": 65536, "nice": -10}
    refuse_or_pass(files, {"rt_limits": {"rt_limits_users": {"trader": limits}}}, "rt_limits.trader.")
    refuse_or_pass(files, {"cpu_isolation": {}}, "cpu_isolation.threads")


# --- what is refused --------------------------------------------------------------------------------------

POOLS = {"hugepages": {"hugepages_pages": {"2M": {"node0": 4}}}}
AT_BOOT = {"hugepages": {**POOLS["hugepages"], "hugepages_boot_sizes": ["2M"]}}
USERS = {"rt_limits": {"rt_limits_users": {"trader": {"rtprio": 95}}}}
POOL = "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages"
EAGER = "/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled"
MAX, REDIRECTS = "net.netfilter.nf_conntrack_max", "net.ipv4.conf.all.accept_redirects"
TRACKED = {"net_buffers": {"net_buffers_sysctl": {MAX: 262144}}}
REDIRECTED = {"net_buffers": {"net_buffers_sysctl": {REDIRECTS: 1}}}
TAKEN_BACK: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "a total": ("/etc/sysctl.d/a.conf", "vm.nr_hugepages = 0", POOLS, "sets vm.nr_hugepages to 0"),
    "a total by a pattern": ("/usr/lib/sysctl.d/a.conf", "vm/nr_huge* = 9", POOLS, "sets vm.nr_hugepages to 9"),
    "a pool of the command line": ("/etc/tmpfiles.d/a.conf", f"w {POOL} - - - - 0", AT_BOOT, f"sets {POOL} to 0"),
    "a user": ("/etc/security/limits.conf", "trader -", USERS, "/limits.conf:1 takes trader off all limits"),
    "a group of the user": ("/etc/security/limits.d/a.conf", "@rt -", USERS, "/a.conf:1 takes trader off all limits"),
    "a user's number": ("/etc/security/limits.d/a.conf", ":1001 - rtprio 1", USERS, "sets :1001 soft rtprio to 1"),
    "behind a NUL": ("/etc/systemd/system.conf.d/z.conf", "[Manager]\nx=1\0DefaultLimitRTPRIO=1", USERS, "to 1"),
    "this boot's": ("/run/systemd/system.conf.d/z.conf", "[Manager]\nDefaultLimitRTPRIO=1", USERS, "to 1"),
    "behind one in /run": ("/usr/lib/sysctl.d/zz.conf", "net.core.somaxconn=1",
                           {"net_buffers": {"net_buffers_sysctl": SYSCTLS}}, "sets net.core.somaxconn to 1"),
    "an eager size": ("/etc/tmpfiles.d/z.conf", f"w {EAGER} - - - - always",
                      {"hugepages": {"hugepages_transparent": "madvise"}}, "to always"),
    "a session without": ("/etc/pam.d/sshd", "session required pam_unix.so", USERS, "has no pam_limits in its session"),
    "another file": ("/etc/pam.d/login", "session required pam_limits.so conf=/etc/security/x.conf", USERS,
                     "has pam_limits read /etc/security/x.conf"),
    "another name": ("/etc/sysctl.d/zz.conf", "net.nf_conntrack_max = 1", TRACKED,
                     f"sets net.nf_conntrack_max, and so {MAX}, to 1"),
    "a glob of another name": ("/etc/sysctl.d/zz.conf", "net.nf_conn* = 1", TRACKED, f"sets {MAX} to 1"),
    "a key that sets it too": ("/etc/sysctl.d/zz.conf", "net.ipv4.ip_forward = 1", REDIRECTED,
                               f"sets net.ipv4.ip_forward, and so {REDIRECTS}, to 0"),
    "a total by its other name": ("/etc/sysctl.d/a.conf", "vm.nr_hugepages_mempolicy = 0", POOLS,
                                  "sets vm.nr_hugepages to 0"),
    "a module on a blacklist": ("/etc/modprobe.d/x.conf", "blacklist nf_conntrack", TRACKED,
                                "x.conf:1 keeps the module nf_conntrack from being loaded"),
    "a module that is never loaded": ("/etc/modprobe.d/x.conf", "install nf-conntrack /bin/false", TRACKED,
                                      "x.conf:1 keeps the module nf_conntrack from being loaded"),
    "not among the allowed": ("/etc/sysctl.d/zz.conf", "net.ipv4.tcp_allowed_congestion_control = reno cubic",
                              {"tcp_bbr": {}}, "to reno cubic, without bbr"),
    "a session that cannot be told": ("/etc/pam.d/login", "@include /opt/x\n", USERS, "cannot be told whether"),
    "a masked tmpfiles": ("/etc/systemd/system/systemd-tmpfiles-setup.service", "", POOLS, "is masked"),
    "a service that is masked": ("/etc/systemd/system/systemd-sysctl.service", "",
                                 {"net_buffers": {"net_buffers_sysctl": SYSCTLS}}, "is masked"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN_BACK)
def test_what_takes_it_back_is_refused_by_name(name: str) -> None:
    path, text, roles, said = TAKEN_BACK[name]
    files = {path: text} | ({"/run/sysctl.d/zz.conf": ""} if name == "behind one in /run" else {})
    if name == "an eager size":
        files |= {EAGER: "always inherit madvise [never]\n", SIZE % 2048: "always [inherit] madvise never\n"}
    assert said in refuse_or_pass(files, roles, "").replace('"', "")


# --- what does no harm ------------------------------------------------------------------------------------

SIZE = "/sys/kernel/mm/transparent_hugepage/hugepages-%dkB/enabled"
MADVISE = {"hugepages": {"hugepages_transparent": "madvise"}}
AS_GOOD: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "more files for services": ({"/etc/systemd/system.conf.d/x.conf": "[Manager]\nDefaultLimitRTPRIO=99"}, USERS),
    "more for logins": ({"/etc/security/limits.d/99-trader.conf": "trader - rtprio 99"}, USERS),
    "a limit in other words": (
        {"/etc/systemd/system.conf.d/x.conf": "[Manager]\nDefaultLimitRTPRIO=x\nDefaultLimitRTPRIO=95:95"}, USERS
    ),
    "the same CPUs": (
        {"/etc/systemd/system.conf.d/override.conf": "[Manager]\nCPUAffinity=0 1 4 6 7"}, {"cpu_isolation": {}}
    ),
    "the other name before": ({"/etc/sysctl.d/10-a.conf": "net.nf_conntrack_max = 1"}, TRACKED),
    "the other name, the same": ({"/etc/sysctl.d/zz.conf": "net.nf_conntrack_max = 262144"}, TRACKED),
    "forwarding before": ({"/etc/sysctl.d/10-a.conf": "net.ipv4.ip_forward = 1"}, REDIRECTED),
    "allowed before it is chosen": (
        {"/etc/sysctl.d/10-a.conf": "net.ipv4.tcp_allowed_congestion_control = reno cubic"}, {"tcp_bbr": {}}
    ),
    "allowed with others": (
        {"/etc/sysctl.d/zz.conf": "net.ipv4.tcp_allowed_congestion_control = reno cubic bbr"}, {"tcp_bbr": {}}
    ),
    "a total of another size": (
        {"/etc/tmpfiles.d/a.conf": "w /proc/sys/vm/nr_hugepages - - - - 512"},
        {"hugepages": {"hugepages_pages": {"1G": {"node0": 2}}}},
    ),
    "an eager size": (
        {SIZE % 64: "[always] inherit madvise never\n", SIZE % 2048: "always [inherit] madvise never\n"}, MADVISE
    ),
    "a size that is less eager": (
        {SIZE % 64: "always inherit madvise [never]\n", SIZE % 2048: "always [inherit] madvise never\n",
         "/etc/tmpfiles.d/z.conf": f"w {SIZE % 64} - - - - never"}, MADVISE
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", AS_GOOD)
def test_what_comes_to_the_same_or_more_is_not_refused(name: str) -> None:
    files, roles = AS_GOOD[name]
    findings = {
        "cpu_isolation": "cpu_isolation.systemd",
        "rt_limits": "rt_limits.trader",
        "net_buffers": "net_buffers.",
        "tcp_bbr": "tcp_bbr.allowed",
    }
    assert refuse_or_pass(files, roles, findings.get(*roles, "hugepages")) == ""


def test_a_line_is_named_by_its_number() -> None:
    assert "x.conf:4 takes trader" in refuse_or_pass({"/etc/security/limits.d/x.conf": "\n\n\ntrader -"}, USERS, "")


def test_a_long_line_is_named_by_its_file_and_a_comment_is_none() -> None:
    path = "/etc/security/limits.d/x.conf"
    assert f"{path} is not understood" in refuse_or_pass({path: "trader - nofile 10" + " " * 1100 + "x\n"}, USERS, "")
    assert refuse_or_pass({path: "# " + "a" * 2000 + "\udcfc\n"}, USERS, "rt_limits.trader") == ""
