"""A fix is there to be pasted into a shell: whatever a host's files and interfaces are called, nothing of it runs."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hosttune.checks import cpu_isolation, hugepages, irq_affinity, net_buffers, rt_limits, tcp_bbr
from hosttune.checks.rt_limits import UserLimits
from hosttune.findings import Finding
from hosttune.host import modules, qdisc, sysctl, tmpfiles
from hosttune.host.root import Fact
from hosttune.launch import checks
from hosttune.output import quote_word

from ..launch.test_checks import facts as launch_facts
from ..launch.test_checks import plan as launch_plan

#: Each makes the file `p` in the working directory when a shell runs it.
PAYLOADS = ["$(>p)", "`>p`", ";>p;", "|>p", "&>p", "\n>p\n", "\r\n>p\n", "'$(>p)'", '"$(>p)"', "\\'$(>p)", "'\n>p\n'",
            "\x1b[2J\n>p #", "\x9b';>p;'", "\udcff\n>p\n"]  # fmt: skip


def collect(payload: str, host: Callable[..., Any]) -> list[Finding]:
    """Returns what the checks find on a host where every name that is free to be chosen holds a payload."""
    word = payload.replace("\n", "").replace("\r", "").replace(" ", "").replace("\t", "")
    user = "".join(character for character in payload if character not in ":/ \t@*%")
    root = host(
        {
            **{
                f"{directory}/README": ""
                for directory in (*sysctl.DIRECTORIES, *modules.DIRECTORIES, *tmpfiles.DIRECTORIES)
            },
            f"/etc/sysctl.d/{payload}.conf": "net.core.rmem_max = 1\nnet.core.default_qdisc = pfifo\n",
            f"/etc/tmpfiles.d/{payload}.conf": "w /sys/kernel/mm/transparent_hugepage/enabled - - - - always\n"
            "w /sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages - - - - 1\n",
            f"/etc/default/grub.d/{payload}.cfg": 'GRUB_CMDLINE_LINUX="isolcpus=3 irqaffinity=1"\n',
            "/proc/sys/net/core/rmem_max": "1\n",
            "/proc/sys/net/core/wmem_max": "1\n",
            "/proc/sys/net/core/default_qdisc": "pfifo\n",
            "/proc/cmdline": "BOOT_IMAGE=/vmlinuz ro\n",
            "/boot/grub/grub.cfg": "menuentry 'Linux' {\n linux /vmlinuz ro\n}\n",
            "/boot/grub/grubenv": "",
            "/sys/devices/system/cpu/possible": "0-3\n",
            "/sys/devices/system/cpu/online": "0-3\n",
            "/sys/devices/system/cpu/isolated": "\n",
            "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages": "1\n",
            "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages": "1\n",
            "/sys/devices/system/node/online": "0\n",
            "/sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never\n",
            "/proc/interrupts": "           CPU0       CPU1\n",
            f"/sys/class/net/{word}/device/irq": "0\n",
            "/etc/passwd": "root:x:0:0::/:/bin/sh\n",
        },
        links={f"/sys/class/net/{word}/device": "../../../0000:00:03.0"},
        netlink={"qdisc": [{"interface": word, "kind": "pfifo", "handle": 0, "parent": qdisc.ROOT}]},
    )
    sections: list[tuple[Any, Any]] = [
        (net_buffers, net_buffers.Section(sysctl={"net.core.rmem_max": 2, "net.core.wmem_max": payload})),
        (tcp_bbr, tcp_bbr.Section(congestion_control="bbr", qdisc="fq")),
        (hugepages, hugepages.Section(pages={"2M": {"node0": 2}}, transparent="never")),
        (cpu_isolation, cpu_isolation.Section(isolated="1", nohz_full="1", irqaffinity="0")),
        (rt_limits, rt_limits.Section(users={user: UserLimits(rtprio=95, memlock="unlimited")})),
        (
            irq_affinity,
            irq_affinity.Section(housekeeping="0", queues={} if "\x1b" in word or "\udcff" in word else {word: "1"}),
        ),
    ]
    findings = [each for check, wanted in sections for each in check.check(wanted, check.facts(root, wanted), None)]
    known = launch_facts(path=f"/x/{payload}", executable="EACCES")
    stopped = launch_facts(
        rt_group=Fact("value", 0, f"/sys/fs/cgroup/cpu/{payload}/cpu.rt_runtime_us"),
        trial=launch_facts().trial.__class__(1, frozenset({3}), 0),
    )
    return [*findings, *checks.check(launch_plan(), known), *checks.check(launch_plan(), stopped)]


def paste(text: str, shell: str, folder: Path) -> bool:
    """Returns whether a payload in a text runs when a person without any right pastes it."""
    folder.chmod(0o777)
    account = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    subprocess.run(
        [shell, "-c", text], cwd=folder, env={"PATH": "/nonexistent"}, stdin=subprocess.DEVNULL, timeout=20,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, **account,  # type: ignore[call-overload]
    )  # fmt: skip
    return (folder / "p").exists()


@pytest.fixture
def folder() -> Any:
    """A directory that the user nobody can reach."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.mark.parametrize("payload", PAYLOADS, ids=ascii)
def test_a_pasted_fix_runs_nothing_that_a_name_holds(payload: str, host: Callable[..., Any], folder: Path) -> None:
    findings = [each for each in collect(payload, host) if each.fix]
    told = {each.id.partition(".")[0] for each in findings if ">p" in each.fix}  # the names are in them
    assert told >= {"net_buffers", "tcp_bbr", "hugepages", "cpu_isolation", "rt_limits", "launch"}
    # As the page shows it, line by line, and as a whole; many findings share lines.
    for text in dict.fromkeys(text for each in findings for text in (*each.fix.splitlines(), each.fix)):
        assert not paste(text, "/bin/bash", folder), text


@pytest.mark.parametrize("shell", [path for path in ("/bin/bash", "/bin/dash", "/bin/zsh") if shutil.which(path)])
@pytest.mark.parametrize("payload", PAYLOADS, ids=ascii)
def test_a_quoted_word_runs_nothing(payload: str, shell: str, folder: Path) -> None:
    assert quote_word(payload).isprintable()
    assert not paste(f"echo {quote_word(payload)} >&2", shell, folder)
    assert not paste(f"x={quote_word(payload)}", shell, folder)


def test_an_unquoted_payload_would_run(folder: Path) -> None:
    for payload in PAYLOADS[:6]:
        assert paste(f"echo x{payload}", "/bin/bash", folder)
        (folder / "p").unlink()
