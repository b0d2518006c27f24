"""Fixes of hugepages and cpu_isolation as printed: run in a tree in place of the host's files, and checked again."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hosttune.checks import _boot_fixes, cpu_isolation, hugepages
from hosttune.findings import Finding
from hosttune.host import tmpfiles
from hosttune.host.root import Tree
from tests.examples import TIMES
from tests.unit.hosttune.host.test_tmpfiles import CONFIGURATION, POOLS, fill

THP = "/sys/kernel/mm/transparent_hugepage/enabled"
SIZE = "/sys/kernel/mm/transparent_hugepage/hugepages-{}kB/enabled"
POOL = "/sys/devices/system/node/node{}/hugepages/hugepages-{}kB/{}_hugepages"
CPU = "/sys/devices/system/cpu"
ARGUMENTS = "isolcpus=managed_irq,domain,2-3 nohz_full=2-3 rcu_nocbs=2-3 irqaffinity=0-1"
PAGES = "hugepagesz=1G hugepages=0:2,1:0"
LINE = f"root=/dev/vda1 ro quiet {PAGES} {ARGUMENTS}"
DROP_IN = f'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT {PAGES} {ARGUMENTS}"\n'
MENU = "menuentry 'Debian' {{\n\tlinux /vmlinuz {}\n}}\n"
# Debian's grub-mkconfig reads the files so, and its 10_linux writes such entries.
UPDATE_GRUB = r"""#!/bin/sh
. /etc/default/grub
for x in /etc/default/grub.d/*.cfg; do if [ -e "$x" ]; then . "$x"; fi; done
printf "menuentry 'Debian' {\n\tlinux /vmlinuz root=/dev/vda1 ro %s %s\n}\n" \
    "$GRUB_CMDLINE_LINUX" "$GRUB_CMDLINE_LINUX_DEFAULT" > /boot/grub/grub.cfg
"""


def status(name: str, ppid: int = 1) -> str:
    return f"Name:\t{name}\nState:\tS\nPPid:\t{ppid}\nUid:\t0\t0\nThreads:\t1\nCpus_allowed_list:\t0-1\n"


def pool(node: int, kb: int, pages: int) -> dict[str, str]:
    return {POOL.format(node, kb, name): f"{0 if name == 'surplus' else pages}\n" for name in ("nr", "free", "surplus")}


GOLDEN = {
    "/etc/default/grub": 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX=""\n',
    "/etc/default/grub.d/80-desk.cfg": DROP_IN,
    "/boot/grub/grub.cfg": MENU.format(LINE),
    "/proc/cmdline": f"BOOT_IMAGE=/vmlinuz {LINE}\n",
    "/proc/meminfo": "Hugepagesize:       2048 kB\n",
    "/proc/irq/default_smp_affinity": "3\n",
    "/proc/sys/kernel/osrelease": "6.12.1-amd64\n",
    "/proc/sys/vm/nr_hugepages": "512\n",
    "/proc/sys/vm/compact_memory": "",
    **{f"/proc/{pid}/status": status(*task) for pid, task in {
        1: ("systemd", 0), 2: ("kthreadd", 0), 3: ("rcuop/2", 2), 4: ("rcuop/3", 2)}.items()},
    **pool(0, 2048, 512), **pool(1, 2048, 0), **pool(0, 1 << 20, 2), **pool(1, 1 << 20, 0),
    "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "512\n",
    "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages": "2\n",
    THP: "always madvise [never]\n",
    SIZE.format(64): "always inherit madvise [never]\n",
    SIZE.format(2048): "always [inherit] madvise never\n",
    f"{CPU}/possible": "0-3\n", f"{CPU}/present": "0-3\n", f"{CPU}/online": "0-3\n", f"{CPU}/isolated": "2-3\n",
    f"{CPU}/nohz_full": "2-3\n",
    **{f"{CPU}/cpu{number}/online": "1\n" for number in range(1, 4)},
    **{f"{CPU}/cpu{number}/topology/thread_siblings_list": f"{number}\n" for number in range(4)},
    "/etc/systemd/system.conf.d/desk.conf": "[Manager]\nCPUAffinity=0-1\n",
    "/etc/tmpfiles.d/desk.conf": f"w {POOL.format(0, 2048, 'nr')} - - - - 512\n"
    f"w {POOL.format(1, 2048, 'nr')} - - - - 0\nw {THP} - - - - never\n",
    "/etc/sysctl.d/desk.conf": "vm.swappiness = 1\n",
    "/usr/lib/tmpfiles.d/README": "",
    "/usr/lib/systemd/system/README": "",
    "/usr/lib/systemd/system.conf.d/README": "",
    "/usr/local/lib/README": "",
    "/etc/systemd/system/multi-user.target.wants/README": "",
}  # fmt: skip
#: What is broken, and which finding says so. `grub`: what update-grub then made of it is in the menu.
BROKEN: dict[str, tuple[dict[str, str | None], str]] = {
    "no line of tmpfiles.d": ({"/etc/tmpfiles.d/desk.conf": ""}, "hugepages.2M.node0"),
    "too few in tmpfiles.d": (
        {"/etc/tmpfiles.d/desk.conf": f"w {POOL.format(0, 2048, 'nr')} - - - - 5\nw {THP} - - - - never\n"},
        "hugepages.2M.node0"),
    "too few by a pattern": (
        {"/etc/tmpfiles.d/z.conf": f"w {POOL.format('*', 2048, 'nr')} - - - - 7\n"},
        "hugepages.2M.node0"),
    "a vendor's file": (
        {"/usr/lib/tmpfiles.d/z.conf": f"w {POOL.format('[01]', 2048, 'nr')} - - - - 7\n"},
        "hugepages.2M.node0"),
    "a total by sysctl": (
        {"/etc/sysctl.d/desk.conf": "vm.swappiness = 1\nvm.nr_hugepages = 4\n"}, "hugepages.2M.node0"),
    "too few now": (pool(0, 2048, 5), "hugepages.2M.node0"),  # type: ignore[dict-item]
    "too many": (pool(1, 2048, 5), "hugepages.2M.node1"),  # type: ignore[dict-item]
    "another policy now": ({THP: "[always] madvise never\n"}, "hugepages.transparent"),
    "another policy by tmpfiles.d": (
        {"/etc/tmpfiles.d/desk.conf": f"w {POOL.format(0, 2048, 'nr')} - - - - 512\nw {THP} - - - - always\n"},
        "hugepages.transparent"),
    "another policy by a service": (
        {"/etc/systemd/system/thp.service":
         f"[Service]\nExecStart=/bin/sh -c 'echo always > {THP}'\n[Install]\nWantedBy=multi-user.target\n",
         "/etc/systemd/system/multi-user.target.wants/thp.service": "-> /etc/systemd/system/thp.service"},
        "hugepages.transparent"),
    "another policy by rc.local": (
        {"/etc/rc.local": f"#!/bin/sh\nif true; then\n  echo always > {THP}\nfi\n"
         f"echo always | tee -a '{THP}'\nexit 0\n"},
        "hugepages.transparent"),
    "another policy by a script of a service": (
        {"/etc/systemd/system/thp.service": "[Service]\nExecStart=/etc/thp\n",
         "/etc/thp": f"#!/bin/sh\necho always>{THP}\n/usr/bin/agent\n",
         "/etc/systemd/system/multi-user.target.wants/thp.service": "-> /etc/systemd/system/thp.service"},
        "hugepages.transparent"),
    "pages by the service of an agent": (
        {"/etc/systemd/system/agent.service":
         f"[Service]\nExecStartPre=+/bin/sh -c 'echo 1 > {POOL.format(0, 2048, 'nr')}'\nExecStart=/usr/bin/agent\n"
         "[Install]\nWantedBy=multi-user.target\n",
         "/etc/systemd/system/multi-user.target.wants/agent.service": "-> /etc/systemd/system/agent.service"},
        "hugepages.2M.node0"),
    "the policy of a size": (
        {SIZE.format(64): "[always] inherit madvise never\n",
         "/etc/tmpfiles.d/z.conf": f"w {SIZE.format('*')} - - - - always\n"},
        "hugepages.transparent"),
    "1 GiB pages of another number": (
        {"/etc/default/grub.d/80-desk.cfg": DROP_IN.replace("0:2", "0:1"), "grub": ""}, "hugepages.1G.node0"),
    "a pair before ours": (
        {"/etc/default/grub": 'GRUB_CMDLINE_LINUX="hugepagesz=1G hugepages=1"\n', "grub": ""}, "hugepages.1G.node0"),
    "no 1 GiB pages": (
        {"/etc/default/grub.d/80-desk.cfg": DROP_IN.replace(PAGES, ""), "grub": ""}, "hugepages.1G.node0"),
    "a menu that was not made again": ({"/boot/grub/grub.cfg": MENU.format(LINE.replace(" nohz_full=2-3", ""))},
                                       "cpu_isolation.nohz_full"),
    "a file that sets the arguments anew": (
        {"/etc/default/grub.d/90-hoster.cfg": "GRUB_CMDLINE_LINUX_DEFAULT='nomodeset'\n", "grub": ""},
        "cpu_isolation.isolated"),
    "other CPUs before ours": (
        {"/etc/default/grub": 'GRUB_CMDLINE_LINUX="isolcpus=1 x=y"\n', "grub": ""}, "cpu_isolation.isolated"),
    "no isolcpus": (
        {"/etc/default/grub.d/80-desk.cfg": DROP_IN.replace("isolcpus=managed_irq,domain,2-3", ""), "grub": ""},
        "cpu_isolation.managed_irq"),
    "no file for our arguments, in shell that is not understood": (
        {"/etc/default/grub.d/80-desk.cfg": "if true; then\n  GRUB_CMDLINE_LINUX='irqaffinity=1-2'\nfi\n", "grub": ""},
        "cpu_isolation.irqaffinity"),
    "an isolated CPU that is offline": (
        {f"{CPU}/online": "0-2\n", f"{CPU}/cpu3/online": "0\n"}, "cpu_isolation.isolated"),
    "where interrupts start now": ({"/proc/irq/default_smp_affinity": "f\n"}, "cpu_isolation.irqaffinity"),
}  # fmt: skip


def check(root: Path) -> dict[str, Finding]:
    pages = {"2M": {"node0": 512, "node1": 0}, "1G": {"node0": 2, "node1": 0}}
    sections: list[tuple[Any, Any]] = [
        (hugepages, hugepages.Section(pages=pages, transparent="never")),
        (cpu_isolation, cpu_isolation.Section(isolated="2-3", nohz_full="2-3", rcu_nocbs="2-3", managed_irq=True)),
    ]
    tree = Tree(str(root))
    return {
        each.id: each for module, wanted in sections for each in module.check(wanted, module.facts(tree, wanted), None)
    }


def run(root: Path, commands: str) -> subprocess.CompletedProcess[str]:
    """Runs commands with the tree's /etc, /boot, /proc and /sys in place of the host's, in a namespace of mounts."""
    bin_ = root / "bin-of-test"
    bin_.mkdir(exist_ok=True)
    (bin_ / "update-grub").write_text(UPDATE_GRUB)
    (bin_ / "update-grub").chmod(0o755)
    # The program itself is below /usr, which stays the host's but for what a tree needs of it.
    binds = "".join(
        f"mount --bind {root}/{name} /{name}\n" for name in ("usr/lib/tmpfiles.d", "etc", "boot", "sys", "proc")
    )
    script = f"set -eu\n{binds}export PATH={bin_}:/usr/bin:/bin SYSTEMD_OFFLINE=1\n{commands}\n"
    return subprocess.run(["unshare", "--map-root-user", "--mount", "sh", "-c", script], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip


@pytest.fixture
def golden(tmp_path: Path, tree: Callable[[dict[str, str]], str]) -> Path:
    if (
        not shutil.which("unshare")
        or subprocess.run(["unshare", "--map-root-user", "--mount", "true"], check=False).returncode
    ):
        pytest.skip("no user namespaces here")
    tree(GOLDEN)
    return tmp_path


def write(root: Path, changes: dict[str, str | None]) -> None:
    for path, text in changes.items():
        if path == "grub":
            continue
        place = root / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        if text is not None and text.startswith("-> "):
            place.symlink_to(text[3:])
        elif text is not None:
            place.write_text(text)
    if "grub" in changes:
        done = run(root, "update-grub")
        assert done.returncode == 0, done.stderr


def settle(root: Path) -> None:
    """Have the tree's files of the kernel show what was written to them as the kernel would."""
    for path in (THP, SIZE.format(64), SIZE.format(2048)):
        words = ("always", "inherit", "madvise", "never") if "kB" in path else ("always", "madvise", "never")
        file = root / path[1:]
        if "[" not in (text := file.read_text()):
            file.write_text(" ".join(f"[{word}]" if word == text.strip() else word for word in words) + "\n")
    online = [
        number for number in range(4) if number == 0 or (root / f"{CPU[1:]}/cpu{number}/online").read_text() == "1\n"
    ]
    (root / f"{CPU[1:]}/online").write_text(",".join(map(str, online)) + "\n")


def test_the_golden_tree_passes(golden: Path) -> None:
    assert {id: each.status for id, each in check(golden).items() if each.status != "pass"} == {}


@pytest.mark.parametrize("name", BROKEN)
def test_a_fix_as_printed_turns_its_finding(name: str, golden: Path) -> None:
    changes, id = BROKEN[name]
    write(golden, changes)
    found = check(golden)[id]
    assert found.status in ("fail", "volatile", "pending"), found
    done = run(golden, found.fix)
    assert done.returncode == 0, f"{found.fix}\n{done.stderr}"
    settle(golden)
    after = check(golden)[id]
    assert after.status == "pass", f"{found.fix}\n{after}"


@pytest.mark.parametrize(
    ("name", "file", "kept"),
    [
        ("another policy by rc.local", "/etc/rc.local", "  echo always > /dev/null\nfi\n"),
        ("another policy by a script of a service", "/etc/thp", "echo always>/dev/null\n/usr/bin/agent\n"),
        ("pages by the service of an agent", "/etc/systemd/system/agent.service", "ExecStart=/usr/bin/agent\n"),
    ],
)
def test_what_else_a_service_does_goes_on_after_a_fix(name: str, file: str, kept: str, golden: Path) -> None:
    changes, id = BROKEN[name]
    write(golden, changes)
    fix = check(golden)[id].fix
    assert "systemctl disable" not in fix
    assert run(golden, fix).returncode == 0
    assert kept in (golden / file[1:]).read_text()
    assert all((golden / path[1:]).is_symlink() for path in changes if ".wants/" in path)


def test_a_vendors_unit_that_does_more_is_to_be_edited(golden: Path) -> None:
    unit = f"[Service]\nExecStartPre=/bin/sh -c 'echo always > {THP}'\nExecStart=/usr/bin/agent\n"
    wants = {"/etc/systemd/system/multi-user.target.wants/x.service": "-> /usr/lib/systemd/system/x.service"}
    write(golden, {"/usr/lib/systemd/system/x.service": unit, **wants})
    assert check(golden)["hugepages.transparent"].fix.startswith("systemctl edit --full x.service  # ")


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("too few in tmpfiles.d", POOL.format(0, 2048, "nr"), "512"),
        ("too few by a pattern", POOL.format(0, 2048, "nr"), "512"),
        ("a vendor's file", POOL.format(0, 2048, "nr"), "512"),
        ("another policy by tmpfiles.d", THP, "never"),
        ("the policy of a size", SIZE.format(64), "never"),
    ],
)
def test_systemd_tmpfiles_writes_what_is_wanted_after_a_fix(name: str, path: str, value: str, golden: Path) -> None:
    """Also where patterns and files contradict each other."""
    if not shutil.which("systemd-tmpfiles"):
        pytest.skip("systemd-tmpfiles is not installed")
    changes, id = BROKEN[name]
    write(golden, changes)
    done = run(golden, check(golden)[id].fix)
    assert done.returncode == 0, done.stderr
    (golden / path[1:]).write_text("")
    subprocess.run(["systemd-tmpfiles", "--create", "--boot", f"--root={golden}"], capture_output=True, check=False)
    # Unlike the kernel, a plain file keeps what a shorter text leaves of the one before.
    assert (golden / path[1:]).read_text().startswith(value)


@settings(max_examples=60 * TIMES, deadline=None)
@given(CONFIGURATION, st.sampled_from([THP, POOLS[0]]))
@example({"/etc/tmpfiles.d/a.conf": "".join(f"w {THP} - - - - {one}\n" for one in ("always", "never", "always"))}, THP)
@example(
    {
        "/etc/tmpfiles.d/a.conf": f"w {THP} - - - - always\nw {THP} - - - - 512\n",
        "/usr/lib/tmpfiles.d/b.conf": f"w {THP.replace('mm', '*')} - - - - always\n",
    },
    THP,
)
def test_what_is_wanted_is_written_last_after_a_fix(files: dict[str, str], path: str) -> None:
    """Whatever lines for the path, and for patterns that name it, there are, those too that others keep out."""
    with tempfile.TemporaryDirectory() as name:
        fill(Path(name), {**{f"{directory}/README": "" for directory in tmpfiles.DIRECTORIES}, **files})
        writes = tmpfiles.read(Tree(name)).value
        assert writes is not None
        if any(line.value is None for line in writes.find(path)):
            return  # the hop is unknown, and there is no fix
        fix = "\n".join(_boot_fixes._write_line(writes, path, "7"))
        for directory in tmpfiles.DIRECTORIES:
            fix = fix.replace(f" {directory}/", f" {name}{directory}/")
        subprocess.run(["sh", "-euc", fix], check=True, timeout=20)
        after = tmpfiles.read(Tree(name)).value
        assert after is not None and after.find(path)[-1].value == "7", fix
