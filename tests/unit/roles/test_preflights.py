"""All roles' refusals come before any role's first change, in check mode and out of it: by ansible-playbook itself.

Each test host is this machine under another name, whose kernel and boot loader are those of a directory; the module
that writes is a stand-in.
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
needs_ansible = pytest.mark.skipif(not PLAYBOOK.exists(), reason="ansible-core is not installed beside this Python")

TOPOLOGY = {"hosttune_isolated_cpus": "2-3", "hosttune_housekeeping_cpus": "0-1"}
BUSY = ("busy_poll", "busy_read")
#: host: (variables, who refuses it, the message). Each has the kernel of Debian's -rt package.
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "busy-asked": (
        {"net_buffers_sysctl_extra": {"net.core.busy_poll": 25}},
        "net_buffers",
        "net_buffers_sysctl: net.core.busy_poll: the host's kernel has no such key: it was asked for",
    ),
    "key-asked": (
        {"net_buffers_sysctl_extra": {"net.core.nothing": 1}},
        "net_buffers",
        "net.core.nothing: the host's kernel has no such key: it was asked for",
    ),
    "thp-asked": (
        {"hugepages_transparent": "madvise"},
        "hugepages",
        "hugepages_transparent: the host's kernel has no transparent huge pages: it was asked for",
    ),
    "pool-asked": (
        {"hugepages_pages": {"2M": {"node7": 1}}},
        "hugepages",
        "hugepages_pages: 2M: node7: the host has no such pool",
    ),
    "control-asked": (
        {"tcp_bbr_congestion_control": "vegas"},
        "tcp_bbr",
        "tcp_bbr_congestion_control: the host's kernel has no vegas: it was asked for",
    ),
    "qdisc-asked": (
        {"tcp_bbr_qdisc": "cake"},
        "tcp_bbr",
        "tcp_bbr_qdisc: the host's kernel has no cake: it was asked",
    ),
    "cpus": ({"hosttune_isolated_cpus": "2-9"}, "cpu_isolation", "the host has no CPU 4-9, it has only the CPUs 0-3"),
    "backwards": ({"hosttune_isolated_cpus": "3-2"}, "cpu_isolation", "runs backwards"),
    "irq": ({"irq_affinity_irqbalance": "off"}, "irq_affinity", "must be one of: banned, stopped, ignore"),
    "limits": ({"rt_limits_users": {"a b": {"nice": 1}}}, "rt_limits", "rt_limits_users: .a b.: allowed"),
    "boot": ({"boot_parameters": ["a b"]}, "boot", "boot_parameters is"),
}
#: The same on a host without GRUB and fq, whose defaults it has to live with.
PLAIN = "plain"


def make_root(root: Path, *, grub: bool = True) -> Path:
    """A host of four CPUs and one node, no transparent huge pages and busy polling, and with BBR and fq as modules."""
    keys = yaml.safe_load((PROJECT / "roles/net_buffers/defaults/main.yml").read_text())["net_buffers_sysctl"]
    files = {f"/proc/sys/{key.replace('.', '/')}": "1" for key in keys if not key.endswith(BUSY)}
    files |= {
        "/proc/cmdline": "BOOT_IMAGE=/boot/vmlinuz root=UUID=1-2 ro",
        "/proc/sys/kernel/osrelease": "6.1.0-28-rt-amd64",
        "/proc/sys/kernel/sched_rt_runtime_us": "950000",
        "/proc/sys/net/core/default_qdisc": "pfifo_fast",
        "/proc/sys/net/ipv4/tcp_available_congestion_control": "reno cubic",
        "/sys/devices/system/cpu/present": "0-3",
        "/sys/devices/system/cpu/possible": "0-7",
        "/sys/devices/system/cpu/nohz_full": "  (null)",
        "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages": "0",
        "/lib/modules/6.1.0-28-rt-amd64/modules.dep": "kernel/net/ipv4/tcp_bbr.ko:\n"
        + ("kernel/net/sched/sch_fq.ko: kernel/x.ko\n" if grub else "kernel/net/sched/sch_fq_codel.ko:\n"),
        "/lib/modules/6.1.0-28-rt-amd64/modules.builtin": "kernel/net/ipv4/tcp_cubic.ko\n",
        **({"/usr/sbin/update-grub": "#!/bin/sh"} if grub else {}),
    }
    for path, text in files.items():
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (root / path[1:]).write_text(f"{text}\n")
    return root


def play(work: Path, root: Path, hosts: dict[str, Any], *options: str) -> list[dict[str, Any]]:
    """Returns the results of the tasks of the preflights, and then of the roles (without the host `plain`)."""
    tasks = [
        {"name": "Preflights", "ansible.builtin.import_tasks": f"{PROJECT}/playbooks/tasks/preflight.yml"},
        {
            "name": "Roles",
            "ansible.builtin.import_tasks": f"{PROJECT}/playbooks/tasks/tune.yml",
            "when": f"inventory_hostname != '{PLAIN}'",
        },
    ]
    playbook = [{"name": "Play", "hosts": "all", "gather_facts": False, "tasks": tasks}]
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {"all": {"hosts": hosts, "vars": {**common, **TOPOLOGY}}}
    (work / "play.yml").write_text(yaml.safe_dump(playbook, sort_keys=False))
    (work / "hosts.yml").write_text(yaml.safe_dump(inventory, sort_keys=False))
    (work / "recorded").touch()
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
        "ANSIBLE_ROLES_PATH": str(PROJECT / "roles"),
        "ANSIBLE_LIBRARY": str(HERE / "library"),
        "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback"),
        "ANSIBLE_CALLBACKS_ENABLED": "record_tasks",
        "ANSIBLE_HOME": str(work / "home"),
        "ANSIBLE_NOCOLOR": "1",
        "HOSTTUNE_ROOT": str(root),
        "HOSTTUNE_RECORDED": str(work / "recorded"),
        "HOSTTUNE_RENDERED": str(work),
        "HOSTTUNE_CHANGED": "1",
    }
    command = [PLAYBOOK, "--forks", "4", "-i", "hosts.yml", "play.yml", *options]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=300)
    results = [json.loads(line) for line in (work / "recorded").read_text().splitlines()]
    assert {one["host"] for one in results} == set(hosts), done.stdout[-3000:] + done.stderr[-3000:]
    return results


@pytest.fixture(scope="module", params=["run", "check"])
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    work = tmp_path_factory.mktemp("play")
    hosts = {name: given for name, (given, _, _) in REFUSED.items()}
    return play(
        work, make_root(work / "root"), {**hosts, PLAIN: {}}, *(["--check"] if request.param == "check" else [])
    )


@needs_ansible
@pytest.mark.parametrize("name", REFUSED)
def test_no_change_comes_before_a_refusal(name: str, results: list[dict[str, Any]]) -> None:
    """The last role's as well as the first's."""
    mine = [one for one in results if one["host"] == name]
    assert mine[-1]["kind"] == "failed", mine[-1]
    assert mine[-1]["role"] == REFUSED[name][1]
    assert re.search(REFUSED[name][2], " ".join(mine[-1]["message"].split())), mine[-1]["message"]
    assert not [one for one in mine if one["changed"]]
    assert not [one for one in mine if one["action"] == "hosttune_settings"]


@needs_ansible
def test_defaults_that_this_kernel_cannot_have_are_left_out_with_a_word(results: list[dict[str, Any]]) -> None:
    mine = [one for one in results if one["host"] == PLAIN]
    assert [one for one in mine if one["kind"] != "ok"] == []
    assert [line for one in mine for line in one["warnings"]] == [
        *(
            f"plain: net_buffers_sysctl: net.core.{key}: the host's kernel has no such key: the role's default is left "
            "out"
            for key in reversed(BUSY)
        ),
        "plain: hugepages_transparent: never holds, the host's kernel has no transparent huge pages",
    ]


@needs_ansible
def test_the_fifth_role_refuses_before_the_first_changes(tmp_path: Path) -> None:
    """A boot loader that is not supported; what is a default of the role before it, and not there, is left out."""
    results = play(tmp_path, make_root(tmp_path / "root", grub=False), {"other-loader": {}})
    assert (results[-1]["kind"], results[-1]["role"]) == ("failed", "cpu_isolation")
    assert "there is no update-grub on this host" in results[-1]["message"]
    assert not [one for one in results if one["changed"]]
    told = [line for one in results for line in one["warnings"]]
    assert "other-loader: tcp_bbr_qdisc: the host's kernel has no fq: the role's default is left out" in told


# --- each playbook ----------------------------------------------------------------------------------------


def list_roles(path: Path) -> list[tuple[str, str, tuple[str, ...]]]:
    """Returns role, entry point and tags of what a file of tasks does, in order."""
    found: list[tuple[str, str, tuple[str, ...]]] = []
    for task in yaml.safe_load(path.read_text()):
        for one in task.get("tasks", [task]):
            if role := one.get("ansible.builtin.import_role"):
                found.append((role["name"], role.get("tasks_from", "main"), tuple(one["tags"])))
            elif name := one.get("ansible.builtin.import_tasks"):
                found += list_roles(path.parent / name)
    return found


@pytest.mark.parametrize("playbook", ["site", "tune", "deploy"])
def test_each_playbook_has_the_preflight_of_each_role_before_any_role(playbook: str) -> None:
    roles = list_roles(PROJECT / f"playbooks/{playbook}.yml")
    first = next(number for number, (_, entry, _) in enumerate(roles) if entry == "main")
    before, after = roles[:first], roles[first:]
    assert before[0] == ("boot", "up", ("always",))
    assert {entry for _, entry, _ in before[1:]} == {"preflight"} and {entry for _, entry, _ in after} == {"main"}
    assert sorted((name, tags) for name, _, tags in before[1:]) == sorted((name, tags) for name, _, tags in after)


@pytest.mark.parametrize("role", sorted(path.parent.name for path in (PROJECT / "roles").glob("*/meta")))
def test_a_role_alone_has_its_preflight_first(role: str) -> None:
    tasks = PROJECT / "roles" / role / "tasks"
    first = yaml.safe_load((tasks / "main.yml").read_text())[0]
    if first.get("when") == f"{role}_state == 'present'":
        first = yaml.safe_load((tasks / "present.yml").read_text())[0]
    assert first["ansible.builtin.include_tasks"] == "preflight.yml"
    specs = yaml.safe_load((PROJECT / "roles" / role / "meta/argument_specs.yml").read_text())["argument_specs"]
    assert specs["preflight"]["options"] == specs["main"]["options"]
