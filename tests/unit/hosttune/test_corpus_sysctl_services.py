"""Hosts where services write to a sysctl after sysctl.d, in many words; and what sysctl(8) itself makes of them."""

from __future__ import annotations

import random
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from hosttune.host import sysctl_lines, sysctl_writes
from hosttune.host.root import Tree
from hosttune.host.sysctl_writes import Load
from tests.unit.hosttune import corpus, golden
from tests.unit.hosttune.corpus import Changes, Expected

UNIT, LINK = f"{golden.UNITS}/x.service", f"{golden.UNITS}/multi-user.target.wants/x.service"
CONF = "/etc/desk.conf"
ID = "net_buffers.net.core.rmem_max"
# Of sysctl.d, on the tuned host.
LINE = "net.core.rmem_max = "
RIGHT: Expected = {}
LOST: Expected = {ID: "volatile"}
OPEN: Expected = {ID: "unknown"}
ALL = (
    "net_buffers.",
    "hugepages.2M",
    "tcp_bbr.congestion",
    "tcp_bbr.qdisc=",
    "rt_limits.sched_rt",
    "rt_limits.trader.nofile",
)
TCP: Expected = {"net_buffers.net.ipv4.tcp_rmem": "volatile"}


def service(command: str, unit: str = "") -> Changes:
    return {UNIT: f"[Unit]\n{unit}\n[Service]\nType=oneshot\nExecStart={command}\n", LINK: f"-> {UNIT}"}


def shell(text: str) -> Changes:
    return service(f"/bin/sh -c '{text}'")


HOSTS: dict[str, tuple[Changes, Expected]] = {
    "sysctl": (service("/sbin/sysctl -w net.core.rmem_max=212992"), LOST),
    "sysctl, right": (service("/usr/sbin/sysctl -w net.core.rmem_max=67108864"), RIGHT),
    "sysctl, right, hexadecimal": (service("/usr/sbin/sysctl -w net.core.rmem_max=0x4000000"), RIGHT),
    "sysctl, refused by the kernel": (service("/usr/sbin/sysctl -w net.core.rmem_max=64M"), RIGHT),
    "sysctl without -w": (service("/sbin/sysctl net/core/rmem_max=212992"), LOST),
    "sysctl reads": (service("/sbin/sysctl -n net.core.rmem_max"), RIGHT),
    "sysctl through another program": (service("/usr/bin/nice -n 5 sysctl -q net.core.rmem_max=1"), LOST),
    "another key": (service("/sbin/sysctl -w net.core.rmem_default=212992"), RIGHT),
    "of three values": (service("/sbin/sysctl -w 'net.ipv4.tcp_rmem=4096 87380 6291456'"), TCP),
    "of three values, in shell": (shell('sysctl -w net.ipv4.tcp_rmem="4096 87380 6291456"'), TCP),
    "of three values, right": (shell('sysctl -w "net.ipv4.tcp_rmem=4096\t131072 67108864"'), RIGHT),
    "several": (service("/sbin/sysctl -w net.core.rmem_max=1 net.core.wmem_max=2"),
                {ID: "volatile", "net_buffers.net.core.wmem_max": "volatile"}),
    "a file": ({**service(f"/sbin/sysctl -p {CONF}"), CONF: "# x\nnet.core.rmem_max = 5\n"}, LOST),
    "a file, right": ({**service(f"/sbin/sysctl -p{CONF}"), CONF: "net.core.rmem_max=67108864\n"}, RIGHT),
    "a file that is gone": (service(f"/sbin/sysctl --load={CONF}"), RIGHT),
    "a file, and its last line": (
        {**service(f"/sbin/sysctl --load {CONF}"), CONF: "net.core.rmem_max=5\nnet.core.rmem_max=67108864\n"},
        RIGHT,
    ),
    "a file that is refused": ({**service(f"/sbin/sysctl -p {CONF}"), CONF: "!EACCES"}, None),
    "the default file": ({**service("/sbin/sysctl -p"), "/etc/sysctl.conf": "net.core.rmem_max = 5\n"}, LOST),
    "all files": ({**service("/sbin/sysctl --system"), "/etc/sysctl.conf": "net.core.rmem_max = 5\n"}, LOST),
    "a redirection": (shell("echo 212992 > /proc/sys/net/core/rmem_max"), LOST),
    "a redirection, right": (shell("echo 67108864 >/proc/sys/net/core/rmem_max"), RIGHT),
    "a redirection by no shell": (service("/bin/echo 212992 > /proc/sys/net/core/rmem_max"), RIGHT),
    "a redirection of three": (shell('echo "1 2 3" > /proc/sys/net/ipv4/tcp_rmem'), TCP),
    "a pipe": (shell("echo 212992 | tee /proc/sys/net/core/rmem_max"), LOST),
    "a variable": (shell("echo $$SIZE > /proc/sys/net/core/rmem_max"), OPEN),
    "a variable of sysctl": (shell("sysctl -w net.core.rmem_max=$$SIZE"), OPEN),
    "a loop": (shell("for f in rmem wmem; do sysctl -w net.core.$${f}_max=1; done"),
               {ID: "unknown", "net_buffers.net.core.wmem_max": "unknown"}),
    "words of a variable, errors left out": (shell("sysctl -e $$WORDS"), dict.fromkeys(ALL, "unknown")),
    "a name in a variable, shown": (shell("sysctl -n $$NAME"), RIGHT),
    "a name and a value in a variable, shown": (shell("sysctl -n -w $$WORDS"), dict.fromkeys(ALL, "unknown")),
    "a key in a variable": (shell('K=net.core.rmem_max; sysctl -w $$K=1'), dict.fromkeys(ALL, "unknown")),
    "a key that is an argument": (
        shell('s() { sysctl -w "$$1=$$2"; }; s net.core.rmem_max 1'),
        dict.fromkeys(ALL, "unknown"),
    ),
    "a part of a key": (shell("for k in core.rmem_max; do sysctl -w net.$$k=1; done"), None),
    "an option of echo": (shell("echo -e 67108864 > /proc/sys/net/core/rmem_max"), OPEN),
    "words that are printed": (service("/bin/echo sysctl -w net.core.rmem_max=1"), RIGHT),
    "an argument of a program that prints": (service("/bin/echo x && sysctl -w net.core.rmem_max=1"), RIGHT),
    "a wrong argument of another program": (service("/opt/run sysctl -w net.core.rmem_max=1"), OPEN),
    "on another machine": (service("/usr/bin/ssh backup sysctl -w net.core.rmem_max=1"), RIGHT),
    "on this machine, by its name": (service("/usr/bin/ssh root@localhost sysctl -w net.core.rmem_max=1"), OPEN),
    "in another network namespace": (service("-/sbin/ip netns exec md sysctl -w net.core.rmem_max=1"), RIGHT),
    "in the namespaces of a process": (service("/usr/bin/nsenter -t 4242 -n sysctl -w net.core.rmem_max=1"), RIGHT),
    "in those of the first process": (service("/usr/bin/nsenter -t 1 -m sysctl -w net.core.rmem_max=1"), OPEN),
    "in a container": (service("/usr/bin/docker run --rm x sysctl -w net.core.rmem_max=1"), RIGHT),
    "in a privileged one": (service("/usr/bin/docker run --privileged x sysctl -w net.core.rmem_max=1"), OPEN),
    "by a user who may not": (service("/usr/bin/sudo -u trader sysctl -w net.core.rmem_max=1"), RIGHT),
    "what a command prints": (shell("sysctl -w $(cat /opt/list)"), dict.fromkeys(ALL, "unknown")),
    "a group to a pipe": (
        shell('(echo "net.core.rmem_max = 1"; echo x) | sysctl -p /dev/stdin'),
        dict.fromkeys(ALL, "unknown"),
    ),
    "a word to a pipe": (shell('echo "net.core.rmem_max = 1" | sysctl -p -'), LOST),
    "what a command prints, in old words": (shell("sysctl -w `cat /opt/list`"), dict.fromkeys(ALL, "unknown")),
    "braces of bash": (
        service("/bin/bash -c 'sysctl -w net.core.{rmem,wmem}_max=1'"),
        {ID: "unknown", "net_buffers.net.core.wmem_max": "unknown"},
    ),
    "what no key can be": (
        service("/bin/bash -c 'sysctl -w net.core.rmem!=1'"),
        dict.fromkeys(ALL, "unknown"),
    ),
    "a condition in shell": (shell("[ -f /etc/x ] && sysctl -w net.core.rmem_max=1"), LOST),
    "looks": (shell("grep -q 1 /proc/sys/net/core/rmem_max && cat /proc/sys/net/core/rmem_max"), RIGHT),
    "a program is told": (service("/opt/tune --set net.core.rmem_max=1"), RIGHT),
    "a program is told, and says sysctl": (service("/opt/sysctl-tune net.core.rmem_max=1"), OPEN),
    "a script": (
        {**service("/opt/x"), "/opt/x": "#!/bin/sh\n# sysctl net.core.rmem_max=2\nsysctl \\\n net.core.rmem_max=1\n"},
        LOST,
    ),
    "a script that ends before": (
        {**service("/opt/x"), "/opt/x": "#!/bin/sh\nexit 0\nsysctl net.core.rmem_max=1\n"},
        RIGHT,
    ),
    "a script that may end before": (
        {**service("/opt/x"), "/opt/x": "#!/bin/sh\nif x; then\nexit 0\nfi\nsysctl net.core.rmem_max=1\n"},
        OPEN,
    ),
    "a script of Python": (
        {**service("/opt/x"), "/opt/x": "#!/usr/bin/python3\nopen('/proc/sys/net/core/rmem_max', 'w').write('1')\n"},
        OPEN,
    ),
    "a script of Python runs sysctl": (
        {**service("/opt/x"), "/opt/x": "#!/usr/bin/python3\nrun(['sysctl', '-w', f'net.core.rmem_max={n}'])\n"},
        OPEN,
    ),
    "rc.local": ({"/etc/rc.local": "#!/bin/sh\nsysctl -w net.core.rmem_max=1\nexit 0\n"}, LOST),
    "rc.local, right": ({"/etc/rc.local": "#!/bin/sh\nsysctl -w net.core.rmem_max=67108864\n"}, RIGHT),
    "with a condition": (service("/sbin/sysctl -w net.core.rmem_max=1", "ConditionHost=x"), OPEN),
    "with a condition, right": (service("/sbin/sysctl -w net.core.rmem_max=67108864", "ConditionHost=x"), RIGHT),
    "nothing else, and right": (corpus.without(service("/sbin/sysctl -w net.core.rmem_max=67108864"), LINE), RIGHT),
    "nothing else, with a condition": (
        corpus.without(service("/sbin/sysctl -w net.core.rmem_max=67108864", "ConditionHost=x"), LINE),
        OPEN,
    ),
    "two services": (
        {
            **service("/sbin/sysctl -w net.core.rmem_max=1"),
            f"{golden.UNITS}/y.service": "[Service]\nExecStart=/sbin/sysctl -w net.core.rmem_max=67108864\n",
            f"{golden.UNITS}/multi-user.target.wants/y.service": f"-> {golden.UNITS}/y.service",
        },
        OPEN,
    ),
    "ufw": (
        {**service("/lib/ufw/ufw-init start quiet"), "/etc/ufw/ufw.conf": "ENABLED=yes\n",
         "/etc/ufw/sysctl.conf": "# x\nnet/core/rmem_max=1\n"},
        OPEN,
    ),
    "ufw that is off": (
        {**service("/lib/ufw/ufw-init start quiet"), "/etc/ufw/ufw.conf": "ENABLED=no\n",
         "/etc/ufw/sysctl.conf": "net/core/rmem_max=1\n"},
        RIGHT,
    ),
    "udev": ({"/etc/udev/rules.d/x.rules": 'SUBSYSTEM=="net", SYSCTL{net/core/rmem_max}="1"\n'}, OPEN),
    "udev, right": ({"/etc/udev/rules.d/x.rules": 'SYSCTL{net/core/rmem_max}="67108864"\n'}, RIGHT),
    "the keys of another pattern": (service("/sbin/sysctl -q --pattern ^sunrpc --system"), RIGHT),
    "the keys of two other patterns": (service('/sbin/sysctl -q --pattern "^fs.nfs.(a|b)" --system'), RIGHT),
    "the keys of a pattern": (service("/sbin/sysctl -q --pattern ^net.core.r --system"), OPEN),
    "the keys of any of two": (service('/sbin/sysctl -q --pattern "^sunrpc|max" --system'), RIGHT),
    "the keys of a pattern of all": (service("/sbin/sysctl -q --pattern '^net.bridge.*' --system"), RIGHT),
    "real-time throttling": (
        service("/sbin/sysctl -w kernel.sched_rt_runtime_us=950000"),
        {"rt_limits.sched_rt_runtime_us": "volatile"},
    ),
    "congestion control": (
        service("/sbin/sysctl -w net.ipv4.tcp_congestion_control=cubic"),
        {"tcp_bbr.congestion_control": "volatile"},
    ),
    "the qdisc": (service("/sbin/sysctl -w net.core.default_qdisc=pfifo_fast"), {"tcp_bbr.qdisc=": "volatile"}),
    "the bound of open files": (service("/sbin/sysctl -w fs.nr_open=1024"),
                                {f"rt_limits.trader.nofile{end}": "unknown" for end in ("",)}),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTS)
def test_a_host(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    changes, expected = HOSTS[name]
    if expected is not None:
        corpus.assert_judged(changes, expected, fake_host, tmp_path)
        return
    report = corpus.judge(corpus.make(fake_host, changes))
    assert next(one for one in report.findings if one.id == ID).status == "unknown"


FIXED = ["sysctl", "several", "a file", "a redirection", "a pipe", "a script", "rc.local", "a condition in shell"]


@pytest.mark.parametrize("name", FIXED)
def test_each_fix_works(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    """As printed, on files: a service that does nothing else is disabled, the line of another one is changed."""
    host = corpus.make(fake_host, HOSTS[name][0])
    corpus.apply_fixes(host, tmp_path)
    assert all(one.status == "pass" for one in corpus.judge(host).findings)


PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
VALUES = {"rmem_max": "7", "wmem_max": "8", "netdev_max_backlog": "3"}
# Separated by `|`: some have blanks.
WORDS = """net.core.rmem_max=7|net/core/wmem_max=8|net.core.rmem_max = 7|net.core.rmem_max|net.core.no_such=1|=5
net.core.rmem_*=9|net.core.rmem_max=|-w|-n|-e|-N|-we|-o|-x|-a|-X|-d|--|--write|--wri|--values|--names
--all|--ignore|-r|--pattern|--pattern=rmem|-rrmem|-p|-f|-ep|-pe|--load|--load=FILE|-pFILE|FILE|-z|--nothing
--pattern=^net.core.net|--pattern=^net.core.n[a-f]tdev|-r^net.core.(rmem|wmem)|-r^net.core.x|--pattern=^net.core.rmem|^vm"""


def test_sysctl_takes_its_arguments_so(tmp_path: Path) -> None:
    """Against sysctl(8) itself, which says with --dry-run what it would write, unless it is quiet."""
    file = tmp_path / "own.conf"
    file.write_text("net.core.netdev_max_backlog = 3\n")
    all_words = [word.replace("FILE", str(file)) for word in WORDS.replace("\n", "|").split("|")]
    generator = random.Random(12)
    tried = chosen = 0
    for _ in range(1000):
        words = generator.choices(all_words, k=generator.randint(1, 4))
        parsed = sysctl_writes.parse_command(" ".join(["/sbin/sysctl", *(f'"{word}"' for word in words)]))
        found = {each.path.rpartition("/")[2] for each in parsed if not isinstance(each, Load)} - {"no_such"}
        loaded = {each.path for each in parsed if isinstance(each, Load)}
        found |= {"netdev_max_backlog"} if str(file) in loaded else set()
        patterns = {each.path for each in parsed if not isinstance(each, Load) and "*" in each.path}
        if {"?"} & found or {"-a", "-X", "--all"} & set(words):
            continue  # of a file that is not named by its whole path anything may be written; or all is shown
        tried += 1
        run = subprocess.run(
            ["sysctl", "--dry-run", *words],
            capture_output=True,
            text=True,
            timeout=10,
            cwd=tmp_path,
            env={"PATH": PATH},
        )
        written = {name for name in VALUES if _is_written(name, run.stdout)}
        if patterns:  # at most these
            chosen += bool(written)
            found = {name for name in written if any(fnmatchcase(f"net/core/{name}", each) for each in patterns)}
        assert written == found, (words, run.stdout, run.stderr)
    assert tried > 400 and chosen > 5


def _is_written(name: str, output: str) -> bool:
    """--dry-run prints what it would write, in the form that the options ask for."""
    value = VALUES[name]
    lines = [line.strip() for line in output.splitlines()]
    return value in lines or any(line in (f"net.core.{name} = {value}", f"net/core/{name} = {value}") for line in lines)


def test_a_key_that_sysctl_and_systemd_write_alike() -> None:
    for key in ("net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"):
        (found,) = sysctl_writes.parse_command(f"/sbin/sysctl -w {key}=1")
        assert not isinstance(found, Load) and found.path == sysctl_lines.normalise_key(key)


@pytest.mark.parametrize(("init", "status"), [("none", "pass"), ("a link", "pass"), ("a program", "volatile")])
def test_a_tree_need_not_have_the_links_of_a_merged_usr(
    fake_host: type[Any], tmp_path: Path, init: str, status: str
) -> None:
    """With procps' init script, which systemd does not start, and a stale sysctl.conf, which only that one reads."""
    changes: Changes = {
        "/etc/init.d/procps": "#!/bin/sh\n",
        "/etc/sysctl.conf": f"{LINE}1\n",
        "/etc/sysctl.d/99-sysctl.conf": None,
    }
    golden.write_tree(corpus.make(fake_host, changes), tmp_path)
    if init != "none":
        (tmp_path / "sbin").mkdir()
    if init == "a link":
        (tmp_path / "sbin/init").symlink_to("/lib/systemd/systemd")
    elif init == "a program":
        (tmp_path / "sbin/init").write_text("\x7fELF")
    found = {finding.id: finding.status for finding in corpus.judge(Tree(str(tmp_path))).findings}
    assert found[ID] == status
