"""A snapshot keeps what a check parses: no secret planted in what is read is in it, and its verdict is the host's."""

from __future__ import annotations

import json
import os
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hosttune import capture, checker, cli, profile
from hosttune.host import snapshot
from hosttune.host.root import Tree
from hosttune.host.snapshot import Snapshot

ETC = "/etc/systemd/system"
PCI = "/sys/devices/pci0000:00/0000:00:03.0"
STATUS = (
    "Name:\t{name}\nState:\tS\nPid:\t{pid}\nPPid:\t{ppid}\nUid:\t0\t0\t0\t0\nThreads:\t1\nCpus_allowed_list:\t0-1\n"
)
PROFILE = profile.load_text(
    """
net_buffers: {sysctl: {net.core.rmem_max: 5, net.ipv4.tcp_rmem: [4096, 131072, 6291456]}}
tcp_bbr: {congestion_control: bbr, qdisc: fq}
hugepages: {pages: {2M: {node0: 4}}, transparent: never}
irq_affinity: {housekeeping: "0-1", irqbalance: banned, queues: {eth0: "1"}}
cpu_isolation: {isolated: "2-3", nohz_full: "2-3", rcu_nocbs: "2-3", managed_irq: true}
rt_limits: {users: {trader: {memlock: unlimited, rtprio: 95, nice: -20, nofile: 65536}}, sched_rt_runtime_us: -1}
""",
    "p.yml",
)
BOOT = "isolcpus=managed_irq,domain,2-3 nohz_full=2-3 rcu_nocbs=2-3 irqaffinity=0-1"

#: A host on which every kind of file that a check reads has something to say.
HOST = {
    "/proc/cmdline": f"BOOT_IMAGE=/vmlinuz ro {BOOT} hugepages=0:4 transparent_hugepage=never\n",
    "/proc/modules": "tcp_bbr 20480 1 - Live 0x0\nnf_tables 5 1 - Live 0x0\n",
    **{f"/sys/kernel/debug/sched/fair_server/cpu{cpu}/runtime": "0\n" for cpu in (2, 3)},
    "/proc/meminfo": "MemTotal: 5 kB\nHugepagesize:    2048 kB\n",
    "/proc/interrupts": "      CPU0 CPU1 CPU2 CPU3\n 30: 1 2 0 0 PCI-MSIX-0000:00:03.0 0-edge eth0-rxtx-0\n"
    "LOC: 9 9 1 1 timer\n",
    "/proc/irq/default_smp_affinity": "3\n",
    "/proc/irq/30/smp_affinity_list": "1\n",
    "/proc/irq/30/effective_affinity_list": "1\n",
    "/proc/sys/kernel/hostname": "tuned\n",
    "/proc/sys/kernel/osrelease": "6.12.9-amd64\n",
    "/proc/sys/kernel/sched_rt_runtime_us": "-1\n",
    "/proc/sys/net/core/rmem_max": "5\n",
    "/proc/sys/net/core/default_qdisc": "fq\n",
    "/proc/sys/net/ipv4/tcp_rmem": "4096\t131072\t6291456\n",
    "/proc/sys/net/ipv4/tcp_congestion_control": "bbr\n",
    "/proc/sys/net/ipv4/tcp_available_congestion_control": "reno bbr\n",
    "/proc/sys/net/ipv4/tcp_allowed_congestion_control": "reno bbr\n",
    "/proc/sys/vm/nr_hugepages": "4\n",
    **{f"/sys/devices/system/cpu/{name}": text for name, text in (("possible", "0-3\n"), ("online", "0-3\n"))},
    **{f"/sys/devices/system/cpu/{name}": "2-3\n" for name in ("isolated", "nohz_full")},
    "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages": "4\n",
    "/sys/kernel/mm/transparent_hugepage/enabled": "always madvise [never]\n",
    "/proc/1/status": STATUS.format(name="systemd", pid=1, ppid=0),
    "/proc/1/comm": "systemd\n",
    "/proc/2/status": STATUS.format(name="kthreadd", pid=2, ppid=0),
    **{f"/proc/{20 + cpu}/status": STATUS.format(name=f"rcuop/{cpu}", pid=20 + cpu, ppid=2) for cpu in (2, 3)},
    "/proc/8/status": STATUS.format(name="irqbalance", pid=8, ppid=1),
    "/proc/8/comm": "irqbalance\n",
    "/proc/8/cgroup": "0::/system.slice/irqbalance.service\n",
    "/proc/8/environ": "PATH=/bin\0IRQBALANCE_BANNED_CPULIST=2-3\0",
    "/etc/passwd": "root:x:0:0::/root:/bin/sh\ntrader:x:1001:1001::/home/trader:/bin/sh\n",
    "/etc/group": "root:x:0:\nrt:x:2000:trader\n",
    "/etc/security/limits.conf": "# none\n",
    "/etc/security/limits.d/rt.conf": "@rt - memlock unlimited\ntrader - rtprio 95\ntrader - nice -20\n"
    "* - nofile 65536\n",
    "/etc/pam.d/sshd": "auth required pam_unix.so\n@include common-session\n",
    "/etc/pam.d/common-session": "session required pam_limits.so\n",
    "/etc/systemd/system.conf": "[Manager]\nLogLevel=info\nCPUAffinity=0 1\nDefaultLimitRTPRIO=95\n"
    "DefaultLimitNICE=-20\n",
    f"{ETC}/agent.service": "[Service]\nExecStart=/usr/local/bin/hosttune launch --user trader -- /opt/agent\n"
    "LimitMEMLOCK=infinity\nLimitNOFILE=65536\n",
    f"{ETC}/move.service": "[Service]\nExecStart=/usr/local/lib/move /etc/move.yml\n",
    "/usr/local/lib/move": "#!/bin/sh\necho 1 > /proc/irq/30/smp_affinity_list\n",
    "/etc/move.yml": 'irq_affinity: {housekeeping: "0-1", queues: {eth0: "1"}}\n',
    "/usr/lib/systemd/system/irqbalance.service": "[Service]\nEnvironmentFile=-/etc/default/irqbalance\n"
    "ExecStart=/usr/sbin/irqbalance --foreground\n",
    "/etc/default/irqbalance": "IRQBALANCE_BANNED_CPULIST=2-3\n",
    "/etc/default/grub": f'GRUB_CMDLINE_LINUX="{BOOT}"\n',
    "/boot/grub/grub.cfg": f"menuentry 'Linux' {{\n linux /vmlinuz ro {BOOT} hugepages=0:4\n}}\n",
    "/etc/sysctl.d/a.conf": "net.core.rmem_max = 5\nnet.core.default_qdisc = fq\nnet.ipv4.*_control = bbr\n"
    "kernel/sched_rt_runtime_us = -1\n",
    "/etc/sysctl.d/b.conf": "net.ipv4.tcp_rmem = 4096 131072 6291456\n",
    "/etc/sysctl.conf": "net.ipv4.tcp_rmem = 4096 131072 6291456\n",
    "/usr/lib/systemd/system/cron.service": "[Service]\nExecStart=/usr/sbin/cron -f\n",
    "/etc/crontab": "@reboot root sysctl -w net.core.rmem_max=5\n",
    "/etc/init.d/sysfsutils": "#!/bin/sh\n",
    "/etc/sysfs.conf": "kernel/mm/transparent_hugepage/enabled = never\n",
    "/etc/modules-load.d/bbr.conf": "tcp_bbr\n",
    "/etc/tmpfiles.d/thp.conf": "w /sys/kernel/mm/transparent_hugepage/enabled - - - - never\n",
    "/etc/hosttune/profile.d/p.yml": "tcp_bbr:\n  # why\n  qdisc: fq\n",
    f"{PCI}/msi_irqs/30": "msix\n",
}
LINKS = {
    "/sys/class/net/eth0": f"../../{PCI.removeprefix('/sys/')}/net/eth0",
    f"{ETC}/multi-user.target.wants/move.service": f"{ETC}/move.service",
    f"{ETC}/multi-user.target.wants/irqbalance.service": "/usr/lib/systemd/system/irqbalance.service",
    f"{ETC}/multi-user.target.wants/cron.service": "/usr/lib/systemd/system/cron.service",
    "/etc/rc2.d/S01sysfsutils": "../init.d/sysfsutils",
    "/proc/8/exe": "/usr/sbin/irqbalance",
}

#: Arguments of a program that hold a secret which looks like a path.
ARGUMENTS = (
    *('--password="/{0}/abc"', '"--password=/{0}/abc"', "--token '/x/{0}'", "-p /x/{0}", "-p=/x/{0}", "/x/{0}"),
    *('-H "A: /x/{0}"', '-H "A: /x/{0}.yml"', '-H "A:\\" /x/{0}.yml"', '"/x/{0} /x/y"', "/x/\\ /x/{0}", '"/x/{0}'),
)

#: Where a secret can stand in what is read: the file, and the text that is put before what it holds, or after it (+).
PLACES = [
    *(
        ("/proc/cmdline", f"{word} ")
        for word in [
            *(
                "password={0}",
                '"password={0} x"',
                'pass-word="{0}"',
                'x="a {0} b"',
                '"{0}"',
                "{0}",
                "{0}=1",
                'x"y {0}"z',
            ),
            *(
                'isolcpus="2 {0}"',
                "isolcpus={0},2-3",
                "nohz_full=2-3{0}",
                "hugepages={0}",
                "hugepagesz={0}",
                "irqaffinity={0}",
            ),
            *(
                "rd.luks.key={0}",
                "systemd.setenv=A={0}",
                "BOOT_IMAGE=/{0}",
                "modules_load={0}",
                "transparent_hugepage={0}{0}",
            ),
            *("irqaffinity={0}", "systemd.cpu_affinity={0}", '"isolcpus={0} 2-3"'),
        ]
    ),
    *(("/proc/cmdline", text) for text in ("+ -- {0}", '+ "{0}')),
    *(
        ("/boot/grub/grub.cfg", text)
        for text in [
            *(
                "password_pbkdf2 root {0}\n",
                "  password x {0}\n",
                "# {0}\n",
                "set secret={0}\n",
                "set superusers='{0}'\n",
            ),
            *("function f {{\n echo {0}\n}}\n", "export x={0}\n", "+menuentry 'B {0}' {{\n linux /v {0}=1 a={0}\n}}\n"),
            "menuentry 'x={0}' {{\n linux /v a\n}}\n",
            "menuentry 'x={0}' {{\n}}\n",
            *("set pw={0}\nset default=0\n", "+submenu '{0}' --id {0} {{\n}}\n", "echo <<E\n{0}\nE\n"),
        ]
    ),
    ("/boot/grub/grubenv", "secret={0}\nkernelopts=a={0}\n"),
    ("/etc/default/grub", 'GRUB_PASSWORD={0}\nGRUB_CMDLINE_LINUX_DEFAULT="nohz_full={0} {0}"\n'),
    ("/etc/default/grub.d/x.cfg", "A={0} isolcpus={0}\n"),
    *(
        (path, text)
        for path in (f"{ETC}/move.service", f"{ETC}/agent.service", f"{ETC}/irqbalance.service.d/a.conf")
        for text in [
            *(
                "[Service]\nEnvironment=P={0}\n",
                "[Service]\nEnvironment = P={0}\n",
                '[Service]\nEnvironment="P={0}" Q={0}\n',
            ),
            *("[Service]\nEnvironment=A=1 \\\n  P={0}\n", "[Service]\nEnvironment=IRQBALANCE_BANNED_CPULIST=2 P={0}\n"),
            *(
                "[Service]\nSetCredential=a:{0}\n",
                "[Service]\nSetCredentialEncrypted=a: \\\n {0}\n",
                "# {0}\n",
                "; {0}\n",
            ),
            *(
                "[Service]\nLoadCredential=a:/run/{0}\n",
                "[Service]\nPassEnvironment={0}\n",
                "[Unit]\nDescription={0}\n",
            ),
            *(
                "[Service]\nUser={0}!\n",
                "[Service]\nLimitNOFILE={0} x\n",
                "[{0}]\nUser=a\n",
                "{0}\n",
                "[Service]\n{0}={0}\n",
            ),
            *(
                *(f"[Service]\nExecStart=/opt/x/run {words}\n" for words in ARGUMENTS),
                *(f"[Service]\nExecStart=/bin/sh -c 'exec /opt/x/run {words}'\n" for words in ARGUMENTS),
                *(f"[Service]\nExecStart=/usr/bin/python3 -I /opt/x/run {words}\n" for words in ARGUMENTS),
                "[Service]\nExecStart=/bin/a --token {0}\n",
                "[Service]\nExecStart=/usr/local/bin/a --token={0} \\\n -u {0}\n",
            ),
            *("[Service]\nExecStart=curl https://u:{0}@h/x\n", "[Service]\nExecStart=/opt/a/b --key=/{0}\n"),
            *("[Service]\nExecStart=/usr/bin/curl -u {0} --user {0}\n", "[Service]\nExecStart=sh -c 'P={0} exec x'\n"),
            *("[Service]\nExecStartPre=/opt/a/b {0}\n", "[Service]\nExecStart=/x/hosttune launch -- a -u {0}\n"),
        ]
    ),
    ("/etc/systemd/system.conf", "[Manager]\nDefaultEnvironment=P={0}\n"),
    ("/etc/systemd/system.conf.d/a.conf", "# {0}\n[Manager]\nCPUAffinity={0}\n"),
    *(
        (path, text)
        for path in ("/etc/default/irqbalance",)
        for text in [
            "TOKEN={0}\n",
            "IRQBALANCE_ARGS='{0}'\n",
            "# {0}\n",
            "{0}\n",
            ' A = "{0} \\\n{0}"\n',
            "+IRQBALANCE_BANNED_CPUS={0}\n",
        ]
    ),
    *(
        ("/proc/8/environ", text)
        for text in ("A={0}\0", "IRQBALANCE_DEBUG={0}\0", "{0}\0", "+IRQBALANCE_BANNED_CPUS={0}\0")
    ),
    *(
        ("/etc/sysctl.d/a.conf", text)
        for text in [
            *("# {0}\n", "; {0}\n", "kernel.x = {0}\n", "kernel.secret_key={0}\n", "net.ipv4.tcp_fastopen_key = {0}\n"),
            *(
                "-net.ipv6.conf.all.stable_secret={0}\n",
                "net/ipv6/conf/eth0/stable_secret = {0}\n",
                "{0}\n",
                "{0} = 1\n",
            ),
            *("net.core.rmem_max = 5 {0}\n", "net.*.x = {0}\n", "vm.nr_hugepages = {0}\n", "*.x = {0}\n"),
        ]
    ),
    *(
        (path, text)
        for path in ("/etc/crontab", "/etc/cron.d/a")
        for text in [
            *("# {0}\n", "P={0}\n", "@reboot {0} true\n", "@daily root /opt/a/b -p {0} %{0}\n", "{0} * * * * root x\n"),
            "@reboot root curl -u {0}; sysctl -w net.core.wmem_max={0} kernel.x={0} net.x.secret={0} # {0}\n",
            "@reboot root echo {0} > /proc/sys/net/x; echo {0} > /sys/kernel/mm/transparent_hugepage/enabled\n",
        ]
    ),
    ("/var/spool/cron/crontabs/root", "P={0}\n@reboot /opt/a/b --token={0} > /tmp/{0}\n"),
    ("/etc/network/interfaces", "iface x inet dhcp\n  up curl -u {0}; sysctl -w net.x={0}\n  wpa-psk {0}\n"),
    ("/etc/udev/rules.d/a.rules", 'ENV{{P}}="{0}", RUN+="/opt/a/b --token {0}", RUN+="sysctl -w net.x={0}"\n'),
    ("/etc/profile.d/a.sh", "export T={0}; ulimit -l 64; ulimit -n {0}\nif x {0}; then ulimit -r {0}; fi\n"),
    ("/etc/udev/rules.d/a.rules", 'SYSCTL{{net/x}}="{0}", PROGRAM="/opt/a/b {0}", RUN+="b {0}"\n'),
    *(
        (path, text)
        for path in ("/etc/cloud/cloud.cfg", "/etc/cloud/cloud.cfg.d/9.cfg", "/var/lib/cloud/instance/cloud-config.txt")
        for text in (
            "password: {0}\nbootcmd:\n- [curl, -u, '{0}', -o, /tmp/x]\n- echo {0} > /proc/sys/net/x\n",
            "bootcmd:\n- sysctl -w net.x={0}\n- mysql -px;{0}\n",
            "password: {0}\n# bootcmd:\n",
        )
    ),
    ("/etc/tmpfiles.d/s.conf", "w /proc/sys/net/x - - - - {0}\nw /proc/sys/kernel/{0} - - - - 1\n"),
    ("/etc/tmpfiles.d/s.conf", "w /proc/irq/1/smp_affinity - - - - {0}\n"),
    ("/etc/modprobe.d/s.conf", "install tcp_bbr /bin/x --token {0}\nalias tcp_bbr {0}\n"),
    (f"{ETC}/x.service", "[Service]\nExecStart=move -p {0}\nReadOnlyPaths=/{0}\nRootDirectory={0}\n"),
    (f"{ETC}/x.service", "[Service]\nExecStart=/bin/sh -c 'if {0}; then {0}; fi; curl -u {0}'\n"),
    (f"{ETC}/x.service", "[Service]\nExecStart=/bin/sh -c 'mysql -pa;{0}; true && curl -u a&{0}'\n"),
    ("/etc/crontab", "@reboot root mysql -pa;{0}\n@reboot root curl 'a|{0}'\n"),
    ("/usr/local/lib/move", "P={0} /opt/a/b -p {0}\nssh -i {0} x; cat <<E\n{0}\nE\n"),
    (f"{ETC}/x.target", "[Unit]\nDescription={0}\nWants={0}!\n"),
    (f"{ETC}/x.socket", "[Socket]\nListenStream={0}\nService={0}!\n"),
    ("/etc/sysfs.conf", "# {0}\nx/{0} = {0}\nmode x = {0}\n"),
    ("/etc/sysfs.d/a.conf", "kernel/mm/transparent_hugepage/enabled = x # {0}\n"),
    ("/usr/local/lib/move", "sysctl -w net.x.secret={0} kernel.x={0}; sysctl -p {0}; echo {0} > /proc/sys/net/x\n"),
    (f"{ETC}/move.service", "[Service]\nExecStartPre=/sbin/sysctl -w net.x.secret={0} kernel.x={0} -p={0}\n"),
    ("/etc/sysctl.conf", "kernel.core_pattern=|/bin/x {0}\n"),
    *((f"/proc/sys/net/ipv4/{name}", "{0}\n") for name in ("tcp_fastopen_key", "tcp_x")),
    ("/proc/sys/net/ipv6/conf/eth0/stable_secret", "{0}\n"),
    ("/etc/modules-load.d/bbr.conf", "# {0}\n{0}\n"),
    ("/etc/tmpfiles.d/thp.conf", "# {0}\nf /run/x 0600 - - - {0}\nw /proc/sys/kernel/x - - - - {0}\n"),
    ("/etc/tmpfiles.d/thp.conf", "w /sys/kernel/mm/transparent_hugepage/enabled - - - - {0}\n"),
    ("/etc/passwd", "a:{0}:5:5:{0}:/{0}:/{0}\n{0}\n"),
    ("/etc/passwd", "a{0}!:x:5:5::/:/\n{0} x:x:5:5::/:/\n:{0}:x:5:5\n"),
    ("/etc/group", "a:{0}:5:\n{0}\n"),
    ("/etc/group", "a{0}!:x:5:\na:x:5:trader,{0}=\n"),
    ("/etc/security/limits.d/rt.conf", "# {0}\na - rtprio 5 # {0}\na - rtprio {0}\na - {0} 5\na {0} rtprio 5\n{0}\n"),
    ("/etc/pam.d/sshd", "# {0}\nauth required x.so password={0}\nsession optional pam_exec.so {0}\n"),
    ("/etc/pam.d/sshd", "@include {0}!\n@include /{0}\nsession include x={0}\nsession substack ../{0}\n"),
    ("/usr/local/lib/move", "P={0}\ncat <<E\n{0}\nE\ncurl -u {0} # {0}\n"),
    ("/etc/move.yml", "# {0}\npassword: {0}\n"),
    ("/etc/move.yml", "+other: [{0}, {{a: {0}}}]\n"),
    ("/etc/hosttune/profile.d/p.yml", "# {0}\nunknown: {{password: {0}}}\n"),
    ("/etc/hosttune/profile.d/notes", "{0}\n"),
    ("/etc/hosttune/profile.d/.hidden.yml", "tcp_bbr: {{qdisc: {0}}}\n"),
    *(("/proc/1/status", f"{name}:\t{{0}}\n") for name in ("Other", "Groups", "Seccomp")),
    ("/proc/1/comm", "{0}\n"),
    ("/proc/1/cgroup", "0::/user.slice/{0}\n"),
    ("/proc/8/cgroup", "0::/{0}\n"),
    ("/proc/1/environ", "A={0}\0"),
    ("/proc/1/cmdline", "a\0{0}\0"),
    ("/proc/modules", "{0} 5 0 - Live\n"),
    ("/proc/meminfo", "{0}: 5 kB\n"),
    ("/proc/interrupts", "+ERR: {0}\n"),
    ("/etc/shadow", "root:{0}:1::::::\n"),
    ("/etc/machine-id", "{0}\n"),
]
SECRET = st.from_regex(r"\As[k-m][0-9A-Za-z_]{10,20}[u-w]\Z")
SECTIONS = profile.built_in_sections()


def plant(files: dict[str, str], path: str, text: str, secret: str) -> dict[str, str]:
    """Returns a host's files with a secret in one of them."""
    planted = text.removeprefix("+").format(secret)
    before = files.get(path, "")
    joined = before.rstrip("\n") + planted if text.startswith("+ ") else before + planted
    return {**files, path: joined if text.startswith("+") else planted + before}


def take(root: Any, file: Any) -> str:
    """Write a snapshot of a host, without waiting for the disk; returns the JSON that it holds."""
    text = snapshot.encode(capture.take_snapshot(root, PROFILE))
    file.write_bytes(text)
    return text.decode()


def judge(root: Any) -> str:
    """Returns the report on a host as JSON, without when and through what it was read."""
    report = checker.run_checks(PROFILE, root)
    return msgspec.json.encode(msgspec.structs.replace(report, host={**report.host, "time": 0, "source": 0})).decode()


def test_the_host_is_ready_through_every_kind_of_file(host):
    """Else the tests below would be about files that decide nothing."""
    report = json.loads(judge(host(HOST, links=LINKS, netlink=NETLINK)))
    wrong = {each["id"]: each["status"] for each in report["findings"] if each["status"] not in ("pass", "na")}
    assert wrong == {}
    assert {each["id"].partition(".")[0] for each in report["findings"]} == set(SECTIONS)


NETLINK = {"qdisc": [{"interface": "eth0", "kind": "fq", "handle": 0, "parent": 0xFFFFFFFF}]}


@pytest.mark.parametrize(("path", "text"), PLACES)
def test_a_secret_is_neither_in_a_snapshot_nor_in_a_report(host, tmp_path, path, text):
    secret = "skSecret_0vW9_u"
    made = host(plant(HOST, path, text, secret), links=LINKS, netlink=NETLINK)
    assert secret not in take(made, tmp_path / "s.json")
    assert secret not in judge(made)
    assert judge(Snapshot(str(tmp_path / "s.json"))) == judge(made)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_many_secrets_at_once(host, tmp_path, data):
    places = data.draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=12))
    files, secrets = HOST, []
    for path, text in places:
        secrets.append(data.draw(SECRET))
        files = plant(files, path, text, secrets[-1])
    made = host(files, links=LINKS, netlink=NETLINK)
    written = take(made, tmp_path / "s.json")
    assert not [secret for secret in secrets if secret in written]
    assert judge(Snapshot(str(tmp_path / "s.json"))) == judge(made)


NOISE = st.one_of(
    st.text(max_size=20), st.sampled_from(["\\\n", '"', "'", "=", "#", "\0", "[Service]\n", "2-3", "{", "- "])
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_host_has_the_same_report_through_a_snapshot(host, tmp_path, data):
    """Whatever its files hold: lines lost, noise in the middle, files that are gone, refused or without an end."""
    files, refused = dict(HOST), {}
    for _ in range(data.draw(st.integers(1, 6))):
        path = data.draw(st.sampled_from(sorted(HOST)))
        text = files.get(path, "")
        at = data.draw(st.integers(0, len(text)))
        kind = data.draw(st.sampled_from(["noise", "cut", "lines", "gone", "refused"]))
        if kind == "noise":
            files[path] = text[:at] + data.draw(NOISE) + text[at:]
        elif kind == "cut":
            files[path] = text[:at]
        elif kind == "lines":
            files[path] = "".join(line for line in text.splitlines(True) if data.draw(st.booleans()))
        elif kind == "gone":
            files.pop(path, None)
        else:
            refused[path] = "EACCES"
    made = host(files, links=LINKS, netlink=NETLINK, refused=refused)
    take(made, tmp_path / "s.json")
    assert judge(Snapshot(str(tmp_path / "s.json"))) == judge(made)


def test_a_captured_tree_has_the_same_report_through_a_snapshot(tree, tmp_path, tmp_path_factory):
    """And what the commands say of both: the same exit status, and no secret of the tree in the file."""
    files = HOST
    for path, text in PLACES:
        files = plant(files, path, text, "skSecret_0vW9_u")
    links = {path: f"-> {target}" for path, target in LINKS.items()}
    top = tree({**files, **links})
    file = tmp_path_factory.mktemp("out") / "s.json"
    assert cli.main(["snapshot", "--root", top, "-o", str(file), "--profile", "trading"]) == 0
    assert "skSecret_0vW9_u" not in file.read_text()
    assert judge(Snapshot(str(file))) == judge(Tree(top))
    assert os.stat(file).st_mode & 0o777 == 0o600
    codes = [
        cli.main(["check", *source, "--profile", "trading"]) for source in (["--root", top], ["--snapshot", str(file)])
    ]
    assert codes[0] == codes[1]
