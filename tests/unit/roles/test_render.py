"""What the roles write for given variables, and what they refuse: all in one run of ansible-playbook.

Each test host is this machine under another name, offline and in check mode, with a stand-in for the module that
writes.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[2]
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
pytestmark = pytest.mark.skipif(not PLAYBOOK.exists(), reason="ansible-core is not installed beside this Python")

SIX = ["net_buffers", "tcp_bbr", "hugepages", "irq_affinity", "cpu_isolation", "rt_limits"]
TOPOLOGY = {"hosttune_isolated_cpus": "2-3,5", "hosttune_housekeeping_cpus": "0-1,4"}

# host: (roles, variables)
HOSTS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "plain": (SIX, TOPOLOGY),
    "desk": (
        SIX,
        {
            **TOPOLOGY,
            "net_buffers_sysctl_extra": {"net.core.rmem_max": 1, "net.core.busy_read": None},
            "tcp_bbr_congestion_control": "cubic",
            "tcp_bbr_qdisc": "fq_codel",
            "tcp_bbr_require_fq": True,
            "hugepages_pages": {"2M": {"node0": 512, "node1": 0}, "1G": {"node0": 2, "node1": 1}},
            "hugepages_transparent": "madvise",
            "hugepages_mount": {"path": "/dev/huge-pages_2M", "group": "root", "size": "2M"},
            "irq_affinity_irqbalance": "stopped",
            "irq_affinity_queues": {"eth0": "1", "eth1": "3,2"},
            "cpu_isolation_nohz_full": "3",
            "cpu_isolation_managed_irq": False,
            "cpu_isolation_systemd": False,
            "rt_limits_fair_server_off": "2-3,5",
            "rt_limits_users": {
                "trader": {"memlock": 67108864, "rtprio": 95, "nice": -20, "nofile": 65536},
                "quant": {"memlock": "unlimited", "rtprio": 10, "nofile": 1048576},
            },
            "rt_limits_sched_rt_runtime_us": None,
        },
    ),
}

# host: (role, variables, what the refusal says)
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "no-cpus": ("cpu_isolation", {}, 'cpu_isolation_isolated is "".*hosttune_isolated_cpus'),
    "number": (
        "cpu_isolation",
        {**TOPOLOGY, "cpu_isolation_isolated": 3},
        "cpu_isolation_isolated is 3: expected a quoted",
    ),
    "stride": ("cpu_isolation", {**TOPOLOGY, "cpu_isolation_isolated": "2-31:2/8"}, "2-31:2/8.*expected a quoted list"),
    "overlap": (
        "cpu_isolation",
        {**TOPOLOGY, "hosttune_housekeeping_cpus": "0-2"},
        "isolated CPUs cannot be housekeeping",
    ),
    "all-isolated": (
        "cpu_isolation",
        {"hosttune_isolated_cpus": "0-3", "hosttune_housekeeping_cpus": "4"},
        "CPU 0 boots",
    ),
    "nohz-outside": ("cpu_isolation", {**TOPOLOGY, "cpu_isolation_nohz_full": "1"}, "nohz_full has to be within"),
    "backwards": ("cpu_isolation", {**TOPOLOGY, "cpu_isolation_isolated": "3-2"}, "3-2.*runs backwards; expected a"),
    "irq-list": ("irq_affinity", {"hosttune_housekeeping_cpus": "0-"}, 'irq_affinity_housekeeping is "0-"'),
    "irq-queue": (
        "irq_affinity",
        {**TOPOLOGY, "irq_affinity_queues": {"eth0": 1}},
        "eth0 is 1: expected a quoted list",
    ),
    "irqbalance": (
        "irq_affinity",
        {**TOPOLOGY, "irq_affinity_irqbalance": "off"},
        "must be one of: banned, stopped, ignore",
    ),
    "page-size": ("hugepages", {"hugepages_pages": {"2 MB": {"node0": 1}}}, "2 MB.*expected a size such as 2M"),
    "page-node": ("hugepages", {"hugepages_pages": {"2M": {"0": 1}}}, "nodes with a number of pages"),
    "page-count": ("hugepages", {"hugepages_pages": {"2M": {"node0": -1}}}, "nodes with a number of pages"),
    "page-boolean": (
        "hugepages",
        {"hugepages_transparent": False},
        "hugepages_transparent is False .allowed: always, madvise, never, null",
    ),
    "mount-size": (
        "hugepages",
        {"hugepages_mount": {"path": "/dev/x", "group": "g", "size": "2M"}},
        "the size one of",
    ),
    "mount-path": (
        "hugepages",
        {
            "hugepages_pages": {"2M": {"node0": 1}},
            "hugepages_mount": {"path": "dev/x", "group": "g", "size": "2M"},
        },
        "the path absolute",
    ),
    "sysctl-foreign": (
        "net_buffers",
        {"net_buffers_sysctl": {"net.core.default_qdisc": "fq"}},
        "none of the role tcp_bbr's",
    ),
    "sysctl-key": (
        "net_buffers",
        {"net_buffers_sysctl": {"vm.swappiness": 1}},
        "vm.swappiness: 1: expected a key of net",
    ),
    "sysctl-boolean": (
        "net_buffers",
        {"net_buffers_sysctl": {"net.core.busy_poll": True}},
        "busy_poll: True: expected",
    ),
    "sysctl-word": (
        "net_buffers",
        {"net_buffers_sysctl": {"net.core.busy_poll": "fast"}},
        "a number or a list of numbers",
    ),
    "sysctl-order": ("net_buffers", {"net_buffers_sysctl": {"net.ipv4.tcp_rmem": [9, 5, 7]}}, "in rising order"),
    "bbr-name": ("tcp_bbr", {"tcp_bbr_congestion_control": "bbr; reboot"}, "allowed: a name of the kernel's"),
    "limit-name": ("rt_limits", {"rt_limits_users": {"trader": {"stack": 1}}}, "allowed are memlock"),
    "limit-value": ("rt_limits", {"rt_limits_users": {"trader": {"rtprio": 100}}}, "rtprio .0 to 99."),
    "limit-bytes": ("rt_limits", {"rt_limits_users": {"trader": {"memlock": 1000}}}, "bytes in whole KiB"),
    # One of each role that the host would not have survived: the roles refuse it before they do anything.
    "user-line": (
        "trading_agent",
        {"trading_agent_user": "a\nUser=root"},
        r'trading_agent_user is "a\\nUser=root": allo',
    ),
    "user-root": ("trading_agent", {"trading_agent_user": "root"}, "trading_agent_user is .root.: .*not root"),
    "user-absent": (
        "trading_agent",
        {"trading_agent_state": "absent", "trading_agent_user": "root"},
        "trading_agent_user is .root.: .*not root",
    ),
    "release": ("trading_agent", {"trading_agent_release": "../../etc"}, "trading_agent_release is "),
    "priority": ("trading_agent", {"trading_agent_priority": "80\n"}, "trading_agent_priority is "),
    "launch": ("trading_agent", {"trading_agent_launch_arguments": ["$HOME"]}, "trading_agent_launch_arguments is "),
    "force": ("trading_agent", {"trading_agent_force": ["a b"]}, "trading_agent_force is "),
    "config": (
        "trading_agent",
        {"trading_agent_config": {"feed": {"port": None}}},
        "trading_agent_config.feed.port is null",
    ),
    "python": ("hosttune", {"hosttune_python": "/usr/bin/python3\nreboot"}, "hosttune_python is "),
    "calendar": ("hosttune", {"hosttune_check_calendar": "hourly\nUnit=x"}, "hosttune_check_calendar is "),
    "check": ("hosttune", {"hosttune_check_arguments": ["%n"]}, "hosttune_check_arguments is "),
    "check-cpus": ("hosttune", {"hosttune_check_cpus": "0\nUser=x"}, "hosttune_check_cpus is "),
    "wheelhouse": ("hosttune", {"hosttune_wheelhouse": "--source=x"}, "hosttune_wheelhouse is "),
    "boot": ("boot", {"boot_parameters": ["isolcpus\n"]}, "boot_parameters is "),
    "boot-seconds": ("boot", {"boot_settle_timeout": "9\n"}, "boot_settle_timeout is "),
    "sysctl-line": ("net_buffers", {"net_buffers_sysctl": {"net.core.x\n": 1}}, "expected a key of net.core"),
    "sysctl-value": ("net_buffers", {"net_buffers_sysctl": {"net.core.x": "1\n"}}, "a number or a list of numbers"),
    "sysctl-digits": ("net_buffers", {"net_buffers_sysctl": {"net.core.x": "٣"}}, "a number or a list of numbers"),
    "bbr-line": ("tcp_bbr", {"tcp_bbr_qdisc": "fq\n"}, "tcp_bbr_qdisc is "),
    "bbr-interface": ("tcp_bbr", {"tcp_bbr_interfaces": ["-eth0"]}, "tcp_bbr_interfaces is "),
    "limit-line": ("rt_limits", {"rt_limits_users": {"a\n": {"nice": 1}}}, "rt_limits_users: .a.n.: allowed: the name"),
    "mount-group": (
        "hugepages",
        {
            "hugepages_pages": {"2M": {"node0": 1}},
            "hugepages_mount": {"path": "/dev/x", "group": "g,mode=0777", "size": "2M"},
        },
        "hugepages_mount.group is ",
    ),
    "irq-interface": (
        "irq_affinity",
        {**TOPOLOGY, "irq_affinity_queues": {"-e": "1"}},
        "irq_affinity_queues: .-e. is not",
    ),
    "rt-fair": ("rt_limits", {"rt_limits_fair_server_off": "2-N"}, "rt_limits_fair_server_off is .2-N.: expected"),
    "rt-share": ("rt_limits", {"rt_limits_sched_rt_runtime_us": -2}, "allowed are -1, microseconds, or null"),
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Directory of what was rendered, HOST/ROLE.json, and the output of ansible-playbook."""
    work = tmp_path_factory.mktemp("render")
    hosts: dict[str, Any] = {name: {"roles_under_test": roles, **given} for name, (roles, given) in HOSTS.items()}
    hosts |= {name: {"roles_under_test": [role], **given} for name, (role, given, _) in REFUSED.items()}
    for name in hosts:
        (work / name).mkdir()
    inventory = {
        "all": {
            "hosts": hosts,
            "vars": {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "hosttune_offline": True,
                "trading_agent_cpus": "3",
            },
        }
    }
    (work / "hosts.yml").write_text(yaml.safe_dump(inventory, sort_keys=False))
    (work / "render.yml").write_text(
        (HERE / "render.yml")
        .read_text()
        .replace("  tasks:", f"  environment:\n    HOSTTUNE_RENDERED: '{work}/{{{{ inventory_hostname }}}}'\n  tasks:")
    )
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
        "ANSIBLE_ROLES_PATH": str(PROJECT / "roles"),
        "ANSIBLE_LIBRARY": str(HERE / "library"),
        "ANSIBLE_HOME": str(work / "home"),
        "ANSIBLE_NOCOLOR": "1",
    }
    command: list[str | Path] = [PLAYBOOK, "--check", "--forks", "4", "-i", "hosts.yml", "render.yml"]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=300)
    return work, done.stdout


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest, outcome: tuple[Path, str]) -> tuple[str, dict[str, dict[str, Any]]]:
    directory = outcome[0] / str(request.param)
    rendered = {path.stem: json.loads(path.read_text()) for path in directory.iterdir()}
    assert set(rendered) == set(SIX), outcome[1]
    return str(request.param), rendered


@pytest.fixture
def desk(outcome: tuple[Path, str]) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in (outcome[0] / "desk").iterdir()}


@pytest.fixture
def plain(outcome: tuple[Path, str]) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in (outcome[0] / "plain").iterdir()}


def text(rendered: dict[str, Any], path: str) -> str:
    content = rendered["files"][path]
    return str(content["content"] if isinstance(content, dict) else content)


def settings(content: str) -> list[str]:
    """Lines that count: no comments, no blank ones."""
    return [line for line in content.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("name", REFUSED)
def test_refusal(name: str, outcome: tuple[Path, str]) -> None:
    fatal = re.search(rf"^fatal: \[{name}\]: FAILED! => (.*)|^failed: \[{name}\].*?=> (.*)", outcome[1], re.MULTILINE)
    assert fatal, outcome[1]
    message = json.loads(fatal[1] or fatal[2])["msg"]
    assert re.search(REFUSED[name][2], " ".join(message.split())), message
    assert not list((outcome[0] / name).iterdir())


def test_fragments_are_sections_of_a_valid_profile(host: tuple[str, dict[str, dict[str, Any]]], tmp_path: Path) -> None:
    msgspec = pytest.importorskip("msgspec")
    import importlib

    for role, rendered in host[1].items():
        section = yaml.safe_load(text(rendered, f"/etc/hosttune/profile.d/{role}.yml"))
        assert list(section) == [role]
        schema = importlib.import_module(f"hosttune.checks.{role}").Section
        msgspec.convert(section[role], schema)


def test_every_file_says_who_manages_it(host: tuple[str, dict[str, dict[str, Any]]]) -> None:
    for role, rendered in host[1].items():
        for path, content in rendered["files"].items():
            if not (isinstance(content, dict) and "link" in content):
                assert f"Managed by the role {role}" in text(rendered, path), path
                assert text(rendered, path).endswith("\n") and not text(rendered, path).endswith("\n\n")


def test_net_buffers(desk: dict[str, dict[str, Any]]) -> None:
    lines = settings(text(desk["net_buffers"], "/etc/sysctl.d/99-zz-hosttune-net_buffers.conf"))
    assert "net.core.rmem_max = 1" in lines
    assert "net.ipv4.tcp_rmem = 4096 131072 67108864" in lines
    assert not [line for line in lines if "busy_read" in line]
    values = desk["net_buffers"]["values"]
    assert len(values) == len(lines)
    assert values["/proc/sys/net/ipv4/tcp_rmem"] == [4096, 131072, 67108864]
    assert values["/proc/sys/net/core/rmem_max"] == 1


def test_no_sysctl_that_does_harm(plain: dict[str, dict[str, Any]]) -> None:
    lines = text(plain["net_buffers"], "/etc/sysctl.d/99-zz-hosttune-net_buffers.conf")
    for key in ("tcp_low_latency", "tcp_timestamps", "tcp_sack", "tcp_mem"):
        assert key not in lines


def test_tcp_bbr(plain: dict[str, dict[str, Any]], desk: dict[str, dict[str, Any]]) -> None:
    assert settings(text(plain["tcp_bbr"], "/etc/modules-load.d/hosttune-tcp_bbr.conf")) == ["tcp_bbr", "sch_fq"]
    assert settings(text(desk["tcp_bbr"], "/etc/sysctl.d/99-zz-hosttune-tcp_bbr.conf")) == [
        "net.core.default_qdisc = fq_codel",
        "net.ipv4.tcp_congestion_control = cubic",
    ]
    assert plain["tcp_bbr"]["values"] == {
        "/proc/sys/net/core/default_qdisc": "fq",
        "/proc/sys/net/ipv4/tcp_congestion_control": "bbr",
    }


def test_hugepages_now_and_at_boot(desk: dict[str, dict[str, Any]]) -> None:
    node = "/sys/devices/system/node/node{}/hugepages/hugepages-2048kB/nr_hugepages"
    thp = "/sys/kernel/mm/transparent_hugepage/enabled"
    rendered = desk["hugepages"]
    assert rendered["values"] == {node.format(0): 512, node.format(1): 0, thp: "madvise"}
    assert settings(text(rendered, "/etc/tmpfiles.d/00-hosttune-hugepages.conf")) == [
        f"w {node.format(0)} - - - - 512",
        f"w {node.format(1)} - - - - 0",
        f"w {thp} - - - - madvise",
    ]
    grub = text(rendered, "/etc/default/grub.d/80-hosttune-hugepages.cfg")
    assert grub_line(grub, default="quiet") == "quiet hugepagesz=1G hugepages=0:2,1:1"


def test_hugepages_mount(desk: dict[str, dict[str, Any]]) -> None:
    unit = "/etc/systemd/system/dev-huge\\x2dpages_2M.mount"
    lines = settings(text(desk["hugepages"], unit))
    assert "Where=/dev/huge-pages_2M" in lines
    assert "Options=pagesize=2M,gid=root,mode=1770,nosuid,nodev" in lines
    wanted = "/etc/systemd/system/multi-user.target.wants/dev-huge\\x2dpages_2M.mount"
    assert desk["hugepages"]["files"][wanted] == {"link": unit}


def test_hugepages_by_default_touch_only_the_policy(plain: dict[str, dict[str, Any]]) -> None:
    assert list(plain["hugepages"]["values"]) == ["/sys/kernel/mm/transparent_hugepage/enabled"]
    assert not [path for path in plain["hugepages"]["files"] if "grub" in path or "mount" in path]


def grub_line(drop_in: str, default: str, linux: str = "") -> str:
    """The arguments that update-grub makes of a drop-in, after those of /etc/default/grub."""
    script = f'GRUB_CMDLINE_LINUX="{linux}"\nGRUB_CMDLINE_LINUX_DEFAULT="{default}"\n{drop_in}\n'
    script += "echo $GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT"
    return subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True).stdout.strip()


def test_cpu_isolation_arguments(plain: dict[str, dict[str, Any]], desk: dict[str, dict[str, Any]]) -> None:
    path = "/etc/default/grub.d/80-hosttune-cpu_isolation.cfg"
    assert grub_line(text(plain["cpu_isolation"], path), default="") == (
        "isolcpus=managed_irq,domain,2-3,5 nohz_full=2-3,5 rcu_nocbs=2-3,5 irqaffinity=0-1,4"
    )
    assert grub_line(text(desk["cpu_isolation"], path), default="") == (
        "isolcpus=domain,2-3,5 nohz_full=3 rcu_nocbs=2-3,5 irqaffinity=0-1,4"
    )


def test_cpu_isolation_replaces_what_was_set_before(plain: dict[str, dict[str, Any]]) -> None:
    drop_in = text(plain["cpu_isolation"], "/etc/default/grub.d/80-hosttune-cpu_isolation.cfg")
    line = grub_line(drop_in, default="quiet isolcpus=7 splash", linux="console=ttyS0 nohz_full=7")
    assert line.startswith("console=ttyS0 quiet splash isolcpus=managed_irq,domain,2-3,5 ")
    assert "7" not in line


def test_cpu_isolation_systemd(plain: dict[str, dict[str, Any]], desk: dict[str, dict[str, Any]]) -> None:
    path = "/etc/systemd/system.conf.d/hosttune-cpu_isolation.conf"
    assert settings(text(plain["cpu_isolation"], path)) == ["[Manager]", "CPUAffinity=", "CPUAffinity=0-1,4"]
    assert path not in desk["cpu_isolation"]["files"]


def test_irqbalance(plain: dict[str, dict[str, Any]], desk: dict[str, dict[str, Any]]) -> None:
    drop_in = "/etc/systemd/system/irqbalance.service.d/hosttune-irq_affinity.conf"
    variables = "/etc/hosttune/irqbalance.env"
    assert settings(text(plain["irq_affinity"], drop_in)) == ["[Service]", f"EnvironmentFile={variables}"]
    lines = settings(text(plain["irq_affinity"], variables))
    # Also from CPUs that may come: the check asks for all that are possible.
    possible = Path("/sys/devices/system/cpu/possible").read_text().strip()
    last = int(re.split("[-,]", possible)[-1])
    banned = [cpu for cpu in range(last + 1) if cpu not in (0, 1, 4)]
    from hosttune.host import cpulist

    told = [f"IRQBALANCE_BANNED_CPULIST={cpulist.show(frozenset(banned))}", "IRQBALANCE_BANNED_CPUS="]
    assert lines == (told if banned else [])
    assert desk["irq_affinity"]["files"]["/etc/systemd/system/irqbalance.service"] == {"link": "/dev/null"}
    assert drop_in not in desk["irq_affinity"]["files"]


@pytest.mark.parametrize("name", HOSTS)
def test_the_program_of_irq_affinity_is_whole_and_reads_its_profile(
    name: str, outcome: tuple[Path, str], tmp_path: Path
) -> None:
    rendered = json.loads((outcome[0] / name / "irq_affinity.json").read_text())
    for path, content in rendered["files"].items():
        if not (isinstance(content, dict) and "link" in content):
            (tmp_path / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path[1:]).write_text(text(rendered, path))
    program = tmp_path / "usr/local/lib/hosttune/irq_affinity"
    program.chmod(int(rendered["files"]["/usr/local/lib/hosttune/irq_affinity"]["mode"], 8))
    (tmp_path / "proc/irq").mkdir(parents=True)
    (tmp_path / "proc/irq/default_smp_affinity").write_text("f\n")
    environment = {"HOSTTUNE_ROOT": str(tmp_path)}
    done = subprocess.run([program, "check"], env=environment, capture_output=True, text=True, timeout=30)
    missing = [f"missing: {interface}: no such network interface" for interface in ("eth0", "eth1")]
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "wrong: new interrupts: mask f -> 13",
        *(missing if name == "desk" else []),
    ]
    policy = tmp_path / "usr/local/lib/hosttune/irqbalance_policy"
    if name == "plain":
        subprocess.run(["sh", "-n", policy], check=True)
        assert subprocess.run(["sh", policy, "/sys", "9"], capture_output=True, text=True).stdout == "ban=false\n"
    else:
        assert not policy.exists()


def test_rt_limits(desk: dict[str, dict[str, Any]]) -> None:
    rendered = desk["rt_limits"]
    assert settings(text(rendered, "/etc/security/limits.d/99-hosttune-rt_limits.conf")) == [
        "trader - memlock 65536",
        "trader - rtprio 95",
        "trader - nice -20",
        "trader - nofile 65536",
        "quant - memlock unlimited",
        "quant - rtprio 10",
        "quant - nofile 1048576",
    ]
    assert set(settings(text(rendered, "/etc/systemd/system.conf.d/hosttune-rt_limits.conf"))) == {
        "[Manager]",
        "DefaultLimitMEMLOCK=infinity",
        "DefaultLimitNICE=-20",
        "DefaultLimitNOFILE=1048576:1048576",
        "DefaultLimitRTPRIO=95",
    }
    assert not [path for path in rendered["values"] if "fair_server" not in path]
    assert not [path for path in rendered["files"] if "sysctl" in path]


def test_fair_server(desk: dict[str, dict[str, Any]], plain: dict[str, dict[str, Any]]) -> None:
    """Set at boot where it was asked for; now as well, where the kernel has it. No default starves kernel threads."""
    unit = "/etc/systemd/system/hosttune-fair_server.service"
    wants = "/etc/systemd/system/multi-user.target.wants/hosttune-fair_server.service"
    assert "for cpu in 2 3 5; do" in text(desk["rt_limits"], unit)
    assert desk["rt_limits"]["files"][wants] == {"link": unit}
    assert not [path for path in (*plain["rt_limits"]["files"], *plain["rt_limits"]["values"]) if "fair" in path]


def test_rt_share(plain: dict[str, dict[str, Any]]) -> None:
    path = "/etc/sysctl.d/99-zz-hosttune-rt_limits.conf"
    assert settings(text(plain["rt_limits"], path)) == ["kernel.sched_rt_runtime_us = -1"]
    assert plain["rt_limits"]["values"] == {"/proc/sys/kernel/sched_rt_runtime_us": -1}
