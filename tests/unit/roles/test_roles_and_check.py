"""What the roles set, the check passes: any host that a role does not refuse, any inventory, now and after a boot."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

pytest.importorskip("ansible.plugins.action")

from hosttune import checker, profile
from hosttune.findings import Finding
from tests.examples import TIMES
from tests.unit.roles import rendering
from tests.unit.roles.rendering import settle
from tests.unit.roles.simulated import CPUS, THP, Simulated, show_list

SIX = ["net_buffers", "tcp_bbr", "hugepages", "irq_affinity", "cpu_isolation", "rt_limits"]
DEFAULTS = {role: rendering.load(rendering.ROLES / role / "defaults/main.yml") for role in SIX}
KEYS = [*DEFAULTS["net_buffers"]["net_buffers_sysctl"], "net.core.somaxconn", "net.core.default_qdisc"]
KEYS += ["net.ipv4.tcp_congestion_control"]
#: Drop-ins of others that are read before the roles'. What is read after them is the check's to name.
OTHERS = {
    "/etc/sysctl.d/10-x.conf": "net.core.rmem_max = 7\nnet.core.default_qdisc=fq_codel\n",
    "/etc/sysctl.d/99-sysctl.conf": "net.core.busy_poll=0\n",
    "/usr/lib/sysctl.d/50-x.conf": "-net.core.wmem_max = 3\nkernel.sched_rt_runtime_us = 1\n",
    "/etc/security/limits.d/10-x.conf": "trader - memlock 64\n* hard nofile 10\n",
    "/etc/tmpfiles.d/a.conf": f"w {THP} - - - - madvise\n",
    "/etc/modules-load.d/x.conf": "# tcp_bbr\nloop\n",
    "/etc/default/grub.d/50-x.cfg": 'GRUB_CMDLINE_LINUX_DEFAULT="console=tty1 isolcpus=1 nohz_full=7"\n',
    "/etc/systemd/system.conf.d/a.conf": "[Manager]\nCPUAffinity=0 1\nDefaultLimitNOFILE=10\n",
}


@st.composite
def hosts(draw: st.DrawFn) -> Simulated:
    some = st.sets(st.integers(1, CPUS - 1), max_size=2)
    offline = draw(some)
    lacks = draw(st.sets(st.sampled_from(["thp", "busy", "fq", "bbr", "1G", "node1"])))
    host = Simulated(KEYS, offline, draw(some), lacks, draw(st.sets(st.sampled_from(["fq", "bbr"]))))
    for path in draw(st.sets(st.sampled_from(sorted(OTHERS)))):
        host.files[path] = OTHERS[path]
    host.boot()
    return host


@st.composite
def inventories(draw: st.DrawFn, host: Simulated) -> dict[str, Any]:
    """Variables for all roles. Isolated CPUs are online, and so is one of housekeeping: else a check is not ready."""
    others = sorted(host.online - {0})
    isolated = set(draw(st.sets(st.sampled_from(others), min_size=1)))
    housekeeping = set(range(CPUS)) & host.online - isolated
    inner = draw(st.sets(st.sampled_from(sorted(isolated)))) or isolated
    given: dict[str, Any] = {
        "hosttune_isolated_cpus": show_list(isolated),
        "hosttune_housekeeping_cpus": show_list(housekeeping),
        "cpu_isolation_nohz_full": draw(st.sampled_from(["", show_list(inner), show_list(isolated)])),
        "cpu_isolation_managed_irq": draw(st.booleans()),
        "cpu_isolation_systemd": draw(st.booleans()),
        "irq_affinity_irqbalance": draw(st.sampled_from(["banned", "stopped"])),
        "irq_affinity_queues": draw(st.sampled_from([{}, {"eth0": show_list(sorted(housekeeping)[:1])}])),
        "hugepages_transparent": draw(
            st.sampled_from(["never", None] if "thp" in host.lacks else ["never", "madvise", "always", None])
        ),
        "tcp_bbr_congestion_control": draw(st.sampled_from(["bbr", "cubic", "reno"])),
        "tcp_bbr_qdisc": draw(st.sampled_from(["fq", "pfifo_fast"])),
        "tcp_bbr_require_fq": draw(st.booleans()),
        "net_buffers_sysctl_extra": draw(
            st.dictionaries(st.sampled_from([*KEYS[:4], "net.core.somaxconn"]), st.integers(1, 1 << 20) | st.none())
        ),
        "rt_limits_sched_rt_runtime_us": draw(st.sampled_from([-1, 950000, None])),
    }
    node = st.sampled_from(["node0"] if "node1" in host.lacks else ["node0", "node1"])
    pools = st.dictionaries(node, st.integers(0, 4), min_size=1)
    sizes = st.sampled_from(["2M"] if "1G" in host.lacks else ["2M", "1G"])
    given["hugepages_pages"] = draw(st.dictionaries(sizes, pools))
    limits = {"memlock": st.sampled_from(["unlimited", 65536]), "rtprio": st.integers(1, 99)}
    limits |= {"nice": st.integers(-20, 19), "nofile": st.integers(1024, 65536)}
    given["rt_limits_users"] = draw(st.just({}) | st.fixed_dictionaries({"trader": st.fixed_dictionaries(limits)}))
    return given


def tune(host: Simulated, given: dict[str, Any]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Plan all roles, then apply them in the order of the play. Returns files and values of each."""
    planned = {role: settle(role, given, lambda names, role=role: host.ask(names, DEFAULTS[role])) for role in SIX}
    for files, values in planned.values():
        host.apply(files, values)
    return planned


def judge(host: Simulated) -> list[Finding]:
    return checker.run_checks(profile.load(None, host.host), host.host).findings


def list_wrong(findings: list[Finding], given: dict[str, Any], *allowed: str) -> list[tuple[str, str, Any, str]]:
    """Returns what a role set and the check does not pass.

    Where services run is not the role's without its `systemd`.
    """
    systemd = given.get("cpu_isolation_systemd", True)
    judged = [one for one in findings if systemd or one.id != "cpu_isolation.threads"]
    return [(one.id, one.status, one.found, one.why) for one in judged if one.status not in ("pass", *allowed)]


def prove(host: Simulated, given: dict[str, Any]) -> None:
    planned = tune(host, given)
    # `na`: what this kernel cannot have, such as transparent huge pages. A reboot is asked for boot arguments alone;
    # what this boot isolates may be others' wish, and is judged after it.
    now = [one for one in judge(host) if not one.id.startswith("cpu_isolation.")]
    assert list_wrong(now, given, "na", "pending") == []
    assert all(one.reboot for one in now if one.status == "pending")
    host.boot()
    assert list_wrong(judge(host), given, "na") == []
    before = dict(host.files)
    assert tune(host, given) == planned
    assert host.files == before


TOPOLOGY = {"hosttune_isolated_cpus": "2-3", "hosttune_housekeeping_cpus": "0-1,4,6-7"}
POOLS = {"hugepages_pages": {"2M": {"node0": 4}, "1G": {"node0": 2}}, "irq_affinity_queues": {"eth0": "1"}}


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("lacks", [set(), {"node1", "thp", "busy"}, {"fq", "bbr", "1G"}])
@pytest.mark.parametrize("offline", [set(), {5}, {5, 6}])
def test_a_host_with_its_share_of_all(lacks: set[str], offline: set[int], others: bool) -> None:
    """CPUs that are offline, a node without memory, PREEMPT_RT, and drop-ins of others beside all six roles."""
    host = Simulated(KEYS, offline, {5} & offline, lacks, set())
    host.files |= OTHERS if others else {}
    host.boot()
    prove(host, {**TOPOLOGY, **POOLS, **({"hugepages_pages": {"2M": {"node0": 4}}} if "1G" in lacks else {})})


# Not shrunk: an example takes a second, and says enough as it is.
@settings(max_examples=20 * TIMES, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.data())
def test_nothing_that_a_role_sets_is_judged_otherwise_than_pass(data: st.DataObject) -> None:
    host = data.draw(hosts())
    assume(len(host.online) > 1)
    prove(host, data.draw(inventories(host)))


#: A file that is read after the role's own, what it says otherwise, and as the role does; None: where it is not read.
LATER: dict[str, tuple[str, str | None, str | None]] = {
    "sysctl": (
        "/etc/sysctl.d/99-zzz.conf",
        "net.core.rmem_max = 1\n",
        "net/core/rmem_max=67108864\n",
    ),
    "sysctl-of-lists": (
        "/usr/lib/sysctl.d/99-zzz.conf",
        "-net.ipv4.tcp_rmem=1 2 3\n",
        "net.ipv4.tcp_rmem=4096 131072\t67108864",
    ),
    "sysctl-of-two-lines": (
        "/usr/lib/sysctl.d/a.conf",
        "net.core.rmem_max=67108864\nnet.core.rmem_max=1",
        "net.core.rmem_max=1\nnet.core.rmem_max=67108864",
    ),
    "sysctl-glob": (
        "/etc/sysctl.d/99-zzz.conf",
        None,
        "# net.core.rmem_max = 1\nnet.core.rmem_ma* = 1\n",
    ),
    "tmpfiles": (
        "/usr/lib/tmpfiles.d/00-a.conf",
        f"w {THP} - - - - madvise\n",
        f"d /run/x\nw {THP} - - - - never\nw {THP} - - - - always\n",
    ),
    "tmpfiles-spelled": (
        "/usr/lib/tmpfiles.d/00-a.conf",
        f"'w!' \"{THP.replace('/mm', '//mm/.')}/\" 0644 root root - \\x6dadvise\n",
        f"w {THP}x - - - - madvise\nw {THP} - - - -\nw {THP} - - - xx madvise\n",
    ),
    "tmpfiles-pattern": (
        "/etc/tmpfiles.d/zz.conf",
        f"w {THP.replace('transparent', 'trans*')} - - - - madvise\n",
        f"w {THP} - - - - madvise\nf+ {THP} - - - - madvise\nw /sys/kernel/*/enabled - - - - madvise\n",
    ),
    "tmpfiles-of-this-boot": (
        "/run/tmpfiles.d/00-a.conf",
        None,
        f"w {THP} - - - - madvise\n",
    ),
    "tmpfiles-braces": (
        "/usr/lib/tmpfiles.d/00-a.conf",
        None,
        f"w {THP.replace('enabled', '{enabled,defrag}')} - - - - madvise\n",
    ),
    "qdisc": (
        "/etc/sysctl.d/zz.conf",
        "net.core.default_qdisc = fq_codel",
        "net.core.default_qdisc = fq",
    ),
    "share": (
        "/etc/sysctl.d/zz.conf",
        "kernel.sched_rt_runtime_us=950000",
        "kernel/sched_rt_runtime_us = -1",
    ),
    "limits": (
        "/etc/security/limits.d/99-trading.conf",
        "trader - memlock 64",
        "trader - memlock unlimited # x",
    ),
    "limits-hard": (
        "/etc/security/limits.d/a.conf",
        "trader hard nofile 100",
        "* - nofile 100\nquant - nofile 1",
    ),
    "systemd": (
        "/etc/systemd/system.conf.d/z.conf",
        "[Manager]\nDefaultLimitMEMLOCK=1M",
        "[Manager]\nDefaultLimitMEMLOCK = infinity",
    ),
    "systemd-cpus": (
        "/usr/lib/systemd/system.conf.d/z.conf",
        "[Manager]\nCPUAffinity=2",
        "[Manager]\n#CPUAffinity=2",
    ),
}


@pytest.mark.parametrize("name", LATER)
def test_a_file_that_takes_back_what_a_role_sets_is_refused_by_name(name: str) -> None:
    """Or else it sets the same, and the check passes what the roles have set."""
    path, otherwise, same = LATER[name]
    if same is not None:
        host = Simulated(KEYS, set(), set(), set(), set())
        host.files[path] = same
        prove(host, TOPOLOGY)
    if otherwise is not None:
        host = Simulated(KEYS, set(), set(), set(), set())
        host.files[path] = otherwise
        before = dict(host.files)
        with pytest.raises(rendering.NotPlanned, match=f"^{path} is read (after|before) the role's own file and sets "):
            tune(host, TOPOLOGY)
        assert host.files == before
        host.files["/etc" + path.removeprefix("/etc").removeprefix("/usr/lib")] = ""
        prove(host, TOPOLOGY)


def paste(host: Simulated, fix: str) -> None:
    """Do what a fix says, as far as it is commands of the running kernel's."""
    for command in re.split(r"[;\n]", fix):
        words = shlex.split(command)
        if words[:2] == ["sysctl", "-w"]:
            key, _, value = words[2].partition("=")
            host.write_value(f"/proc/sys/{key.replace('.', '/')}", value)
        elif len(words) == 4 and words[0] == "echo" and words[2] == ">" and words[3] in host.files:
            host.write_value(words[3], words[1])


@pytest.mark.parametrize("lacks", [set(), {"node1", "thp", "busy"}])
def test_a_fix_of_the_check_is_what_the_role_does(lacks: set[str]) -> None:
    """So neither undoes the other's."""
    host = Simulated(KEYS, set(), set(), lacks, set())
    given = {**TOPOLOGY, **POOLS, "hosttune_housekeeping_cpus": "0-1,4-7"}
    planned = tune(host, given)
    host.boot()
    right = dict(host.files)
    for path in [path for _, values in planned.values() for path in values]:
        wrong = {THP: "madvise"}.get(path, "reno" if path.endswith("_control") else "3")
        host.write_value(path, "pfifo" if path.endswith("_qdisc") else wrong)
        found = [one for one in judge(host) if one.status not in ("pass", "na")]
        assert found, path
        for one in found:
            paste(host, one.fix)
        assert list_wrong(judge(host), given, "na") == [], path
        assert host.files[path] == right[path]
    assert tune(host, given) == planned


def paste_all(host: Simulated, fixes: list[str], tree: Path) -> None:
    """Do what fixes say: what they do to files of /etc, by the shell on a tree of them."""
    tools, text = tree / "tools", "\n".join(fixes)
    tools.mkdir(parents=True, exist_ok=True)
    for name in ("sysctl", "systemctl", "update-grub"):  # what they do, the simulation does
        (tools / name).write_text("#!/bin/sh\n")
        (tools / name).chmod(0o755)
    for path, each in {**host.files, "/proc/sys/vm/compact_memory": ""}.items():
        if path.startswith("/etc/") or path in text or path.endswith("compact_memory"):
            (tree / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            (tree / path[1:]).write_text(each)
    script = re.sub(r"(?<![\w./])/(?=(etc|proc|sys)/)", f"{tree}/", text)
    subprocess.run(["sh", "-euc", script], check=True, timeout=60, env={"PATH": f"{tools}:/usr/bin:/bin"})
    for file in filter(Path.is_file, tree.glob("etc/**/*")):
        host.files[f"/{file.relative_to(tree)}"] = file.read_text().replace(f"{tree}/", "/")
    paste(host, text)


#: What a desk asks for besides the roles' variables, and variables that leave it room.
MORE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a user": ({"rt_limits": {"users": {"quant": {"memlock": 65536, "rtprio": 50, "nice": -5, "nofile": 4096}}}}, {}),
    "a user with more than services get": ({"rt_limits": {"users": {"quant": {"rtprio": 99, "nofile": 131072}}}}, {}),
    "a user where the role has none": (
        {"rt_limits": {"users": {"quant": {"memlock": "unlimited", "rtprio": 1, "nice": 3, "nofile": 600000}}}},
        {"rt_limits_users": {}},
    ),
    "a limit of the role's user": (
        {"rt_limits": {"users": {"trader": {"nice": 5, "nofile": 9000}}}},
        {"rt_limits_users": {"trader": {"memlock": "unlimited", "rtprio": 90}}},
    ),
    "a pool": ({"hugepages": {"pages": {"2M": {"node1": 3}}}}, {}),
    "pools where the role has none": ({"hugepages": {"pages": {"2M": {"node0": 3}}}}, {"hugepages_pages": {}}),
    "a pool at boot": ({"hugepages": {"pages": {"1G": {"node1": 1}}}}, {}),
    "pools at boot where the role has none": (
        {"hugepages": {"pages": {"1G": {"node0": 1}}}},
        {"hugepages_pages": {"2M": {"node0": 4}}},
    ),
    "a policy": ({"hugepages": {"transparent": "madvise"}}, {"hugepages_transparent": None}),
    "a sysctl": ({"net_buffers": {"sysctl": {"net.core.somaxconn": 4096}}}, {}),
    "the share": ({"rt_limits": {"sched_rt_runtime_us": -1}}, {"rt_limits_sched_rt_runtime_us": None}),
    "boot arguments": (
        {"cpu_isolation": {"nohz_full": "2-3", "rcu_nocbs": "2-3"}},
        {"cpu_isolation_nohz_full": "", "cpu_isolation_rcu_nocbs": ""},
    ),
    "callbacks": (
        {"cpu_isolation": {"rcu_nocbs": "2-4"}},
        {"cpu_isolation_nohz_full": "", "cpu_isolation_rcu_nocbs": ""},
    ),
    "everything": (
        {
            "rt_limits": {"users": {"quant": {"memlock": "unlimited", "nofile": 131072}}},
            "hugepages": {"pages": {"2M": {"node1": 3}, "1G": {"node1": 1}}},
            "net_buffers": {"sysctl": {"net.core.somaxconn": 4096}},
        },
        {},
    ),
}


@pytest.mark.parametrize("name", MORE)
def test_a_role_that_runs_again_leaves_what_a_fix_has_added(name: str, tmp_path: Path) -> None:
    """What a desk's own fragment asks for besides, the fix adds to files that no role writes, and no role refuses."""
    fragment, variables = MORE[name]
    host = Simulated(KEYS, set(), set(), set(), set())
    host.files["/etc/passwd"] += "quant:x:1002:1002::/home/quant:/bin/sh\n"
    given = {**TOPOLOGY, **POOLS, **variables}
    tune(host, given)
    host.boot()
    assert list_wrong(judge(host), given, "na") == []
    host.files["/etc/hosttune/profile.d/desk.yml"] = json.dumps(fragment)
    for number in range(3):  # fixes of findings do not know of each other
        found = [one for one in judge(host) if one.status not in ("pass", "na")]
        assert bool(found) == (number == 0) or number == 1, found
        paste_all(host, list(dict.fromkeys(one.fix for one in found)), tmp_path / str(number))
        host.boot()
    assert list_wrong(judge(host), given, "na") == []
    right = {path: text for path, text in host.files.items() if path.startswith("/etc/")}
    tune(host, given)
    assert list_wrong(judge(host), given, "na") == []
    host.boot()
    assert list_wrong(judge(host), given, "na") == []
    assert {path: text for path, text in host.files.items() if path.startswith("/etc/")} == right


@pytest.mark.parametrize("name", ["a user", "a pool"])
def test_what_a_role_sets_later_goes_before_what_a_fix_has_added(name: str, tmp_path: Path) -> None:
    """So nobody has to take lines out before the inventory asks for what the desk asked for."""
    fragment, _ = MORE[name]
    host = Simulated(KEYS, set(), set(), set(), set())
    host.files["/etc/passwd"] += "quant:x:1002:1002::/home/quant:/bin/sh\n"
    given = {**TOPOLOGY, **POOLS}
    tune(host, given)
    host.files["/etc/hosttune/profile.d/desk.yml"] = json.dumps(fragment)
    host.boot()
    paste_all(host, [one.fix for one in judge(host) if one.status not in ("pass", "na")], tmp_path)
    del host.files["/etc/hosttune/profile.d/desk.yml"]
    users = {**DEFAULTS["rt_limits"]["rt_limits_users"], "quant": {"memlock": 131072, "rtprio": 60, "nice": -9}}
    prove(host, {**given, "hugepages_pages": {"2M": {"node0": 4, "node1": 7}}, "rt_limits_users": users})


@pytest.mark.parametrize("cpus", ["0", "0-1", "0,4"])
def test_new_interrupts_start_on_some_of_the_housekeeping_cpus(cpus: str) -> None:
    """The program irq_affinity leaves the mask that irqaffinity= has set, and the one of the fix."""
    host = Simulated(KEYS, set(), set(), set(), set())
    given = {**TOPOLOGY, **POOLS, "cpu_isolation_irqaffinity": cpus}
    prove(host, given)
    host.write_value("/proc/irq/default_smp_affinity", "ff")
    (found,) = [one for one in judge(host) if one.id == "cpu_isolation.irqaffinity"]
    paste(host, found.fix)
    tune(host, given)
    assert list_wrong(judge(host), given, "na") == []
