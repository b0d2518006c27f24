"""Hosts where a script sets something wrongly at boot, reached in many ways and written in many forms; hosts where what
looks like it is run elsewhere, or not at all; and what starts a service besides a link in a directory of `.wants`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cpu_time import is_soon
from tests.unit.hosttune import corpus, golden
from tests.unit.hosttune.corpus import Changes
from tests.unit.hosttune.test_corpus_sysctl_services import LINE
from tests.unit.hosttune.test_corpus_who_writes import KNOBS, LINK, UNIT, Outcome, expect

# LINE stands for shell that writes; /opt/x and /opt/y for scripts with it.
SCRIPT = "#!/bin/sh\nLINE\n"


def service(command: str, **files: str) -> Changes:
    return {UNIT: f"[Service]\nType=oneshot\n{command}\n", LINK: f"-> {UNIT}", **files}


def run(command: str, **files: str) -> Changes:
    return service(f"ExecStart={command}", **{"/opt/x": SCRIPT, **files})


def script(text: str, start: str = "#!/bin/sh\n", **files: str) -> Changes:
    return service("ExecStart=/opt/x", **{"/opt/x": start + text, "/opt/y": SCRIPT, **files})


CLOUD = {"/usr/lib/systemd/system/cloud-init.service": "[Service]\nExecStart=/usr/bin/cloud-init init\n"}
MARGIN = "exit in a function, at the margin"
HOSTS: dict[str, tuple[Changes, Outcome]] = {
    # --- where a script ends ---
    "exit in a function": (script("usage(){\n    echo usage\n    exit 1\n}\nLINE\n"), "writes"),
    "exit behind a word that is none": (
        script("if x; then\n  echo nothing to be done here\n  exit 0\nfi\nLINE\n"),
        "writes",
    ),
    "exit if": (script("[ -d /proc ] ||\n  exit 0\nLINE\n"), "writes"),
    "exit of a part": (script("(\n  exit 0\n)\nLINE\n"), "writes"),
    "exit after a function": (script('log(){ logger "$1"; }\nif x; then\n  exit 0\nfi\nLINE\n'), "writes"),
    MARGIN: (script("f()\n{\nexit 1\n}\nLINE\n"), "unknown"),
    "exit": (script("true\nexit 0\nLINE\n"), "nothing"),
    # --- by which way it is reached ---
    "rc.local calls it": ({"/etc/rc.local": "#!/bin/sh\n/opt/y\nexit 0\n", "/opt/y": SCRIPT}, "writes"),
    "rc.local calls it by a shell": ({"/etc/rc.local": "#!/bin/sh\nbash /opt/y &\n", "/opt/y": SCRIPT}, "writes"),
    "a script calls it": (script("/opt/y all\n"), "writes"),
    "a script reads it": (script(". /opt/y\n"), "writes"),
    "a script in a directory": (script("cd /opt && ./y\n"), "writes"),
    "a script that calls itself": (script("/opt/x\nLINE\n"), "writes"),
    "a script calls one that is not there": (script("/opt/z\n"), "nothing"),
    "taskset": (run("/usr/bin/taskset -c 0 /opt/x"), "writes"),
    "timeout": (run("/usr/bin/timeout 30 /opt/x"), "writes"),
    "flock": (run("/usr/bin/flock /run/l /opt/x"), "writes"),
    "systemd-run": (run("/usr/bin/systemd-run --on-active=60 /opt/x"), "writes"),
    "sudo": (run("/usr/bin/sudo -E /opt/x"), "writes"),
    "su": (run("/bin/su root -c /opt/x"), "writes"),
    "env": (run("/usr/bin/env -i /opt/x"), "writes"),
    "options of bash": (run("/bin/bash -euo pipefail /opt/x"), "writes"),
    "a directory first": (run("/bin/sh -c 'cd /opt && ./x'"), "writes"),
    "if it is there": (run("/bin/sh -c 'if [ -x /opt/x ]; then /opt/x; fi'"), "writes"),
    "read by a shell": (run("/bin/bash -c 'source /opt/x'"), "writes"),
    "those of a directory": (run("/bin/run-parts --verbose /opt/d", **{"/opt/d/x": SCRIPT}), "writes"),
    "those of a directory, by a script": (script("run-parts /opt/d\n", **{"/opt/d/x": SCRIPT}), "writes"),
    "those of a directory, with another name": (run("/bin/run-parts /opt/d", **{"/opt/d/x.sh": SCRIPT}), "nothing"),
    "those of a directory, named alone": (run("/bin/run-parts --test /opt/d", **{"/opt/d/x": SCRIPT}), "nothing"),
    "a directory that is only named": (script("APACHE_DIR=/opt/d\n", **{"/opt/d/x": SCRIPT}), "nothing"),
    "a directory that is only looked for": (script("[ -d /opt/d ] || exit 0\n", **{"/opt/d/x": SCRIPT}), "nothing"),
    "a name": (service("ExecStart=desk-tune", **{"/usr/local/sbin/desk-tune": SCRIPT}), "writes"),
    "a vendor's place": (service("ExecStart=/usr/lib/desk/x.sh", **{"/usr/lib/desk/x.sh": SCRIPT}), "writes"),
    "a vendor's place, of no shell's name": (
        service("ExecStart=/usr/sbin/desk-tune", **{"/usr/sbin/desk-tune": SCRIPT}),
        "writes",
    ),
    "a vendor's place, by its name": (service("ExecStart=desk-tune", **{"/usr/bin/desk-tune": SCRIPT}), "writes"),
    "a vendor's program": (
        service("ExecStart=/usr/sbin/desk-tune", **{"/usr/sbin/desk-tune": "\x7fELF\0\0\nLINE\n"}),
        "nothing",
    ),
    "a vendor's script for an interpreter": (
        service("ExecStart=/usr/bin/bash -e /usr/lib/desk/tune", **{"/usr/lib/desk/tune": SCRIPT}),
        "writes",
    ),
    "a script beside it": (script('. "$(dirname "$0")"/y\n'), "writes"),
    "a script in its own directory": (script('DIR="$(cd "$(dirname "$0")" && pwd)"\n. "$DIR/y"\n'), "writes"),
    "a script in bash's directory": (script('D=$(dirname "${BASH_SOURCE[0]}")\n"$D"/y now\n'), "writes"),
    "a script from its directory": (script('cd "$(dirname "$0")"\n./y\n'), "writes"),
    "a script in a directory of a variable": (script("D=/opt\n$D/y\n"), "writes"),
    "a script in a directory of two": (script("D=/opt\nD=/etc\n$D/y\n"), "nothing"),
    "a script calls a name": (
        {**script("if true; then desk-tune; fi\n"), "/usr/local/bin/desk-tune": SCRIPT},
        "writes",
    ),
    "a script calls a vendor's name": ({**script("exec desk-tune -v\n"), "/usr/sbin/desk-tune": SCRIPT}, "writes"),
    "shell calls a name": (
        service("ExecStart=/bin/sh -c 'sleep 1; desk-tune'", **{"/usr/sbin/desk-tune": SCRIPT}),
        "writes",
    ),
    "a script names what is not there": (script("desk-tune\nfor x in a; do export y; done\n"), "nothing"),
    "an instance": (
        {
            f"{golden.UNITS}/x@.service": "[Service]\nExecStart=/opt/x-%i\n",
            f"{golden.UNITS}/multi-user.target.wants/x@a.service": f"-> {golden.UNITS}/x@.service",
            "/opt/x-a": SCRIPT,
        },
        "writes",
    ),
    "what it is confined by": (service("ExecCondition=/opt/x\nExecStart=/opt/z", **{"/opt/x": SCRIPT}), "writes"),
    "when it ends": (service("ExecStart=/opt/z\nExecStop=/opt/x", **{"/opt/x": SCRIPT}), "writes"),
    "when it ends, long after": (
        service("RemainAfterExit=yes\nExecStart=/opt/z\nExecStop=/opt/x", **{"/opt/x": SCRIPT}),
        "nothing",
    ),
    "a unit that systemd refuses": (
        service("Type=simple\nExecStart=/bin/true\nExecStart=/opt/x", **{"/opt/x": SCRIPT}),
        "nothing",
    ),
    "a unit without a start": (service("ExecStartPre=/opt/x", **{"/opt/x": SCRIPT}), "nothing"),
    "a script as an argument": (run("/bin/echo x && /opt/x"), "nothing"),
    "a capability": (
        service("User=trader\nAmbientCapabilities=CAP_NET_ADMIN\nExecStart=/opt/x", **{"/opt/x": SCRIPT}),
        "writes",
    ),
    "sudo in shell": (service("User=trader\nExecStart=/bin/sh -c 'sudo /opt/x'", **{"/opt/x": SCRIPT}), "writes"),
    # --- what it is written in ---
    "carriage returns": (script("LINE\r\n", "#!/bin/sh\r\n"), "nothing"),
    "carriage returns, by a shell": (service("ExecStart=/bin/sh /opt/x", **{"/opt/x": "LINE\r\n"}), "nothing"),
    "words that are printed": (script("echo 'LINE' >> /etc/rc.local\n"), "nothing"),
    "a document": (script("cat > /opt/z <<'EOF'\nLINE\nEOF\n"), "nothing"),
    "a document that is shown": (script("cat <<-EOF\nLINE\n\tEOF\n"), "nothing"),
    "a document for tee": (script("tee /opt/z >/dev/null <<EOF\nLINE\nEOF\n"), "nothing"),
    "a document for nobody": (script(": <<'EOF'\nLINE\nEOF\n"), "nothing"),
    "a document for a shell": (script("sh <<'EOF'\nLINE\nEOF\n"), "writes"),
    "behind a document": (script("cat > /opt/z <<EOF\ntrue\nEOF\nLINE\n"), "writes"),
    # --- for whom ---
    "ssh": (script('ssh backup "LINE"\n'), "nothing"),
    "ssh to some": (script("for h in a b; do ssh $h 'LINE'; done\n"), "nothing"),
    "another user, by sudo": (script("sudo -u trader sh -c 'LINE'\n"), "nothing"),
    "another user, by su": (script('su trader -c "LINE"\n'), "nothing"),
    "root, by sudo": (script("sudo -u root sh -c 'LINE'\n"), "writes"),
    "a namespace of its own": (script("unshare -n sh -c 'LINE'\n"), "nothing"),
    "docker": (script("docker exec app LINE\n"), "nothing"),
    # --- what is gone at boot ---
    "a script in /run": (service("ExecStart=/run/x", **{"/run/x": SCRIPT}), "nothing"),
    "a script in /dev/shm": (service("ExecStart=/dev/shm/x", **{"/dev/shm/x": SCRIPT}), "nothing"),
    # --- when a device or an interface comes ---
    "if-up.d": ({"/etc/network/if-up.d/x": SCRIPT}, "unknown"),
    "interfaces": ({"/etc/network/interfaces": "auto eth0\niface eth0 inet dhcp\n  post-up LINE\n"}, "unknown"),
    "dhclient": ({"/etc/dhcp/dhclient-exit-hooks.d/x": SCRIPT}, "unknown"),
    "NetworkManager, before": ({"/etc/NetworkManager/dispatcher.d/pre-up.d/x": SCRIPT}, "unknown"),
    "cron.monthly": ({"/etc/cron.monthly/x": SCRIPT}, "unknown"),
    "NetworkManager": ({"/etc/NetworkManager/dispatcher.d/99-x": SCRIPT}, "unknown"),
    "udev": ({"/etc/udev/rules.d/x.rules": 'SUBSYSTEM=="net", RUN+="/bin/sh -c \'LINE\'"\n'}, "unknown"),
    "a vendor's rules of udev": ({"/usr/lib/udev/rules.d/x.rules": "RUN+=\"/bin/sh -c 'LINE'\"\n"}, "unknown"),
    "rules of udev that the next boot does not find": (
        {"/run/udev/rules.d/x.rules": "RUN+=\"/bin/sh -c 'LINE'\"\n"},
        "nothing",
    ),
    "a vendor's rules of udev, masked": (
        {
            "/usr/lib/udev/rules.d/x.rules": 'RUN+="/opt/x"\n',
            "/opt/x": SCRIPT,
            "/etc/udev/rules.d/x.rules": "-> /dev/null",
        },
        "nothing",
    ),
    "a comment of udev": ({"/etc/udev/rules.d/x.rules": '# RUN+="/opt/x"\n', "/opt/x": SCRIPT}, "nothing"),
    "what udev imports": ({"/etc/udev/rules.d/x.rules": 'IMPORT{program}="/opt/x"\n', "/opt/x": SCRIPT}, "unknown"),
    "udev's own program": (
        {"/etc/udev/rules.d/x.rules": 'RUN+="x.sh eth0"\n', "/usr/lib/udev/x.sh": SCRIPT},
        "unknown",
    ),
    "udev asks a program": ({"/etc/udev/rules.d/x.rules": 'PROGRAM="/opt/x", NAME="a"\n', "/opt/x": SCRIPT}, "unknown"),
    "cloud-init": ({**CLOUD, "/etc/cloud/cloud.cfg": "bootcmd:\n - LINE\n"}, "unknown"),
    "cloud-init, in words": (
        {**CLOUD, "/etc/cloud/cloud.cfg.d/9.cfg": "#cloud-config\nbootcmd:\n- [sh, -c, 'LINE']\n- [x, 1]\n"},
        "unknown",
    ),
    "cloud-init, of its source": (
        {**CLOUD, "/var/lib/cloud/instance/cloud-config.txt": "#cloud-config\nbootcmd: ['LINE']\n"},
        "unknown",
    ),
    "cloud-init calls a script": (
        {**CLOUD, "/etc/cloud/cloud.cfg.d/9.cfg": "bootcmd:\n - /opt/x\n", "/opt/x": SCRIPT},
        "unknown",
    ),
    "cloud-init, of its vendor": (
        {**CLOUD, "/var/lib/cloud/instance/vendor-cloud-config.txt": "#cloud-config\nbootcmd: ['LINE']\n"},
        "unknown",
    ),
    "cloud-init, in a comment": ({**CLOUD, "/etc/cloud/cloud.cfg.d/9.cfg": "# bootcmd:\n#  - LINE\n"}, "nothing"),
    "cloud-init, once": ({**CLOUD, "/etc/cloud/cloud.cfg": "runcmd:\n - LINE\n"}, "nothing"),
    "cloud-init, another file": ({**CLOUD, "/etc/cloud/cloud.cfg.d/9.off": "bootcmd:\n - LINE\n"}, "nothing"),
    "cloud-init that is disabled": (
        {**CLOUD, "/etc/cloud/cloud.cfg": "bootcmd:\n - LINE\n", "/etc/cloud/cloud-init.disabled": ""},
        "nothing",
    ),
    "cloud-init that is not installed": ({"/etc/cloud/cloud.cfg": "bootcmd:\n - LINE\n"}, "nothing"),
    "cron.hourly": ({"/etc/cron.hourly/x": SCRIPT}, "unknown"),
}
# Shell that sets what is right, in a place where it may not be run, and whether it counts as run.
CONDITIONS: dict[str, tuple[str, bool]] = {
    "none": ("LINE", True),
    "if": ("if [ -f /etc/desk ]; then\n  LINE\nfi", False),
    "if, on one line": ("if [ $(hostname) = a ]; then LINE; fi", False),
    "if the kernel has it": ("if test -e /sys/kernel/mm/transparent_hugepage; then\n  LINE\nfi", True),
    "if the kernel has it, all": ("if test -e /proc/sys; then\n  if [ -d /proc/irq ]; then LINE; fi\nfi", True),
    "if root": ('if [ "$(id -u)" -eq 0 ]; then LINE; fi', True),
    "if the program is there": ("if command -v ip >/dev/null 2>&1; then LINE; fi", True),
    "else": ("if [ -e /proc/sys ]; then true; else LINE; fi", False),
    "elif": ("if [ -e /etc/a ]; then true; elif [ -e /etc/b ]; then LINE; fi", False),
    "within two": ("if [ -e /proc/sys ]; then\n  if [ -e /etc/b ]; then\n    LINE\n  fi\nfi", False),
    "behind if": ("if [ -e /etc/a ]; then true; fi\nLINE", True),
    "a test and": ("[ -e /etc/a ] && LINE", False),
    "a command and": ("modprobe tcp_bbr && LINE", True),
    "or": ("grep -q desk /etc/hostname || LINE", False),
    "or, of the same": ("grep -q never /sys/kernel/mm/transparent_hugepage/enabled || LINE", True),
    "start": ('case "$1" in\n  start|restart)\n    LINE\n    ;;\n  stop) true ;;\nesac', True),
    "stop": ('case "$1" in\n  start) true ;;\n  stop)\n    LINE\n    ;;\nesac', False),
    "behind case": ('case "$1" in\n  x) true ;;\nesac\nLINE', True),
    "a function": ("tune() {\n  LINE\n}", False),
    "a function that is called": ("tune() {\n  LINE\n}\ntune", True),
    "a function of bash": ("function tune {\n  LINE\n}", False),
    "behind a function": ("tune() { true; }\nLINE", True),
    "a loop": ("for i in 1 2; do LINE; done", True),
    "a part": ("( cd /; LINE )", True),
    "words": ("echo 'if true; then case'\nLINE", True),
    "behind an exit": ('[ "$(hostname)" = prod ] || exit 0\nLINE', False),
    "behind an exit if": ("if systemd-detect-virt -q; then\n  exit 0\nfi\nLINE", False),
    "behind an exit of a group": ("test -f /etc/desk || { echo no; exit 0; }\nLINE", False),
    "behind an exit in case": ('case "$(hostname)" in\n  lab*) exit 0 ;;\nesac\nLINE', False),
    "behind an exit without the kernel's file": ("[ -e /sys/kernel/mm/transparent_hugepage ] || exit 0\nLINE", True),
    "behind an exit but for root": ('if [ "$(id -u)" -ne 0 ]; then\n  exit 1\nfi\nLINE', True),
    "behind an exit in else": ("if [ -d /proc/sys ]; then true; else exit 1; fi\nLINE", True),
    "behind a return": ('main() {\n  [ -f /etc/desk ] || return 0\n  LINE\n}\nmain "$@"', False),
    "behind a return of another function": ("log() {\n  [ -t 1 ] || return 0\n  echo x\n}\nlog\nLINE", True),
    "a group": ("[ -e /etc/a ] && {\n  LINE\n}", False),
    "a group, on one line": ("[ -e /etc/a ] && { true; LINE; }", False),
    "a part of its own": ("grep -q x /etc/y || (\n  cd /\n  LINE\n)", False),
    "behind a group": ("[ -e /etc/a ] && { true; }\nLINE", True),
    "what the kernel was given": ("grep -q desk=1 /proc/cmdline && LINE", False),
    "what the machine is": ('if [ "$(cat /sys/class/dmi/id/board_vendor)" = A ]; then\n  LINE\nfi', False),
    "if the kernel has it not": ("if [ ! -e /proc/sys/x ]; then\n  LINE\nfi", False),
    "a variable": ('if [ -n "$TUNE" ]; then\n  LINE\nfi', False),
    "a file of the desk": ("[ -d /opt/desk ] && LINE", False),
    "a function called in a condition": ("tune() {\n  LINE\n}\nif [ -f /etc/desk ]; then tune; fi", False),
    "a function that is named in words": ('tune() {\n  LINE\n}\necho "usage: tune"', False),
    "a function for another word": ('tune() {\n  LINE\n}\ncase "$1" in\n  apply) tune ;;\nesac', False),
    "a loop over what may be there": ("for n in /sys/class/net/ens*; do LINE; done", False),
    "a loop over lines": ("while read -r nic; do LINE; done < /etc/desk/nics", False),
    "a loop for ever": ("while true; do LINE; sleep 60; done", True),
    "a service that runs": ("systemctl is-active --quiet desk && LINE", False),
    "behind an exit in a string": ("awk '\nexit 0\n' /etc/x\nLINE", True),
}
#: Shell that sets what is right, the finding on it, and the line by which the tuned host has it.
SETS = {
    "policy": (
        "echo never > /sys/kernel/mm/transparent_hugepage/enabled",
        "hugepages.transparent",
        "transparent_hugepage/enabled",
    ),
    "sysctl": ("sysctl -qw net.core.rmem_max=67108864", "net_buffers.net.core.rmem_max", LINE),
}


@pytest.mark.parametrize("knob", SETS)
@pytest.mark.parametrize("name", CONDITIONS)
def test_what_is_right_in_a_condition(name: str, knob: str, fake_host: type[Any], tmp_path: Path) -> None:
    """Of nothing else that sets it: right if it is run, and else nobody knows. Beside what sets it: right."""
    text, runs = CONDITIONS[name]
    line, start, elsewhere = SETS[knob]
    changes = script(text.replace("LINE", line) + "\n")
    corpus.assert_judged(changes, {}, fake_host, tmp_path)
    expected = {} if runs else {start: "unknown"}
    corpus.assert_judged(corpus.without(changes, elsewhere), expected, fake_host, tmp_path)


RIGHT = {
    "a condition of the unit": "ExecCondition=/usr/bin/grep -q prod /etc/role\nExecStart=COMMAND",
    "confined to a namespace": "NetworkNamespacePath=/run/netns/md\nExecStart=COMMAND",
    "confined to what it may read": "ReadOnlyPaths=/proc/sys /sys\nExecStart=COMMAND",
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_in_a_unit(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    """Of nothing else that sets it, and it may not come to it: nobody knows."""
    line, start, elsewhere = SETS["sysctl"]
    changes = service(RIGHT[name].replace("COMMAND", f"/usr/sbin/{line}"))
    corpus.assert_judged(changes, {}, fake_host, tmp_path)
    corpus.assert_judged(corpus.without(changes, elsewhere), {start: "unknown"}, fake_host, tmp_path)


X: Changes = {UNIT: "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'LINE'\n"}
A = f"{golden.UNITS}/a"
WANTS = f"{golden.UNITS}/multi-user.target.wants"
STARTS: dict[str, tuple[Changes, Outcome]] = {
    "another service wants it": (
        {**X, f"{A}.service": "[Unit]\nWants=y.service x.service\n", f"{WANTS}/a.service": f"-> {A}.service"},
        "writes",
    ),
    "another service needs it, by a drop-in": (
        {
            **X,
            f"{A}.service": "[Service]\nExecStart=/opt/a\n",
            f"{A}.service.d/x.conf": "[Unit]\nRequires=x.service\n",
            f"{WANTS}/a.service": f"-> {A}.service",
        },
        "writes",
    ),
    "a service that is not enabled wants it": ({**X, f"{A}.service": "[Unit]\nWants=x.service\n"}, "nothing"),
    "a target wants it": (
        {**X, f"{A}.target": "[Unit]\nWants=x.service\n", f"{WANTS}/a.target": f"-> {A}.target"},
        "writes",
    ),
    "a target has a link": (
        {
            **X,
            f"{A}.target": "[Unit]\n",
            f"{WANTS}/a.target": f"-> {A}.target",
            f"{A}.target.wants/x.service": f"-> {UNIT}",
        },
        "writes",
    ),
    "a target that is not enabled has a link": (
        {**X, f"{A}.target": "[Unit]\n", f"{A}.target.wants/x.service": f"-> {UNIT}"},
        "nothing",
    ),
    "a service that is not there has a link": ({**X, f"{A}.service.wants/x.service": f"-> {UNIT}"}, "nothing"),
    "the boot's target, by a drop-in": (
        {**X, f"{golden.UNITS}/multi-user.target.d/x.conf": "[Unit]\nWants=x.service\n"},
        "writes",
    ),
    "the boot's target upholds it": (
        {**X, f"{golden.UNITS}/multi-user.target.upholds/x.service": f"-> {UNIT}"},
        "writes",
    ),
    "a target behind the default one": (
        {
            **X,
            f"{golden.UNITS}/default.target": "-> /usr/lib/systemd/system/multi-user.target",
            f"{golden.UNITS}/graphical.target.wants/x.service": f"-> {UNIT}",
        },
        "nothing",
    ),
    "a path": (
        {**X, f"{golden.UNITS}/x.path": "[Path]\nPathExists=/opt\n", f"{WANTS}/x.path": f"-> {golden.UNITS}/x.path"},
        "unknown",
    ),
    "a socket of another name": (
        {**X, f"{A}.socket": "[Socket]\nService=x.service\n", f"{WANTS}/a.socket": f"-> {A}.socket"},
        "unknown",
    ),
    "once another has ended": (
        {**X, f"{A}.service": "[Unit]\nOnSuccess=x.service\n", f"{WANTS}/a.service": f"-> {A}.service"},
        "writes",
    ),
    "units that want each other": (
        {
            f"{UNIT}": "[Unit]\nWants=a.service\n[Service]\nType=oneshot\nExecStart=/bin/sh -c 'LINE'\n",
            f"{A}.service": "[Unit]\nWants=x.service\n",
            f"{WANTS}/a.service": f"-> {A}.service",
        },
        "writes",
    ),
}


@pytest.mark.parametrize("name", [*HOSTS, *STARTS])
def test_a_host(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    files, outcome = {**HOSTS, **STARTS}[name]
    for knob, (line, start) in KNOBS.items():
        changes = {path: text and text.replace("LINE", line) for path, text in files.items()}
        (tmp_path / knob).mkdir()
        expected = expect(start, outcome)
        if name == MARGIN and knob == "affinity":
            expected["irq_affinity.queues"] = "unknown"  # any interrupt's may be written there
        corpus.assert_judged(changes, expected, fake_host, tmp_path / knob)


BOMBS = {
    "words that print": "echo " * 12_000 + "| sysctl x",
    "many words that print": "echo " * 190_000 + "| transparent_hugepage",
    "lines without words": "\n" * 60_000 + "transparent_hugepage sysctl smp_affinity",
    "lines with a blank": ("\n" + " " * 28) * 32_000 + "transparent_hugepage sysctl",
    "keys in one word": "sysctl\n" + "net.a$" * 10_000,
    "assignments": "A=1 " * 240_000 + "/opt/y",
    "commands": "/a/b;" * 190_000,
    "nothing but ends": ";" * 900_000,
    "brackets": "(" * 30_000 + "sysctl",
    "exits": "if x\n  exit 0\n" * 4_000 + "sysctl -w net.core.rmem_max=1",
    "documents": "cat <<E\n" * 7_000 + "sysctl",
    "quotations": "ssh '" * 10_000 + "sysctl",
    "sentences": 'die "run sysctl now" ' * 3_000,
    "names that a shell completes": "/sys/kernel/" * 5_000 + " /sys/kernel/a*" * 300,
    "blanks of a document": "ssh " + " " * 60_000 + "<<\nsysctl",
    "documents elsewhere": "ssh h 'a' <<E\n" * 4_000 + "sysctl",
    "functions": "f(){ x; }; " * 5_000 + "sysctl",
    "functions without an end": "f(){ " * 12_000 + "sysctl",
    "conditions": "if a; then " * 5_500 + "sysctl",
    "conditions on paths": "[ " + "/sys/ " * 10_000 + "&& sysctl",
    "substitutions": "$(" * 32_000 + "sysctl",
    "names": "".join(f"x{n};" for n in range(10_000)) + "sysctl",
    "quotations of another kind": 'echo "' * 10_000 + "sysctl",
}


@pytest.mark.parametrize("place", ["/opt/x", "/etc/rc.local", "sh"])
@pytest.mark.parametrize("name", BOMBS)
def test_no_script_takes_a_second(name: str, place: str, fake_host: type[Any]) -> None:
    text = BOMBS[name]
    changes = (
        run(f"/bin/sh -c '{text}'".replace("\n", ";"))
        if place == "sh"
        else script("true\n") | {place: f"#!/bin/sh\n{text}\n"}
    )
    host = corpus.make(fake_host, changes)
    assert is_soon(lambda: corpus.judge(host), 1)


def count_unknown(fake_host: type[Any], changes: Changes) -> int:
    report = corpus.judge(corpus.make(fake_host, changes))
    wanted = [f"net_buffers.{key}" for key in golden.SYSCTLS] + ["hugepages.transparent"]
    return sum(one.id in wanted and one.status == "unknown" for one in report.findings)


@pytest.mark.parametrize("most", [64, 65])
def test_of_too_many_scripts_none_counts_as_read(most: int, fake_host: type[Any]) -> None:
    """The last one may write; of one too many nobody looks, and nothing passes for it."""
    calls = "".join(f"/opt/n{number}\n" for number in range(most))
    changes = service("ExecStart=/bin/sh -c '" + calls.replace("\n", ";") + "'")
    assert count_unknown(fake_host, changes) == (0 if most == 64 else len(golden.SYSCTLS) + 1)


@pytest.mark.parametrize("most", [4096, 4097])
def test_of_too_many_jobs_none_counts_as_read(most: int, fake_host: type[Any]) -> None:
    lines = "@reboot root /bin/true\n" * most
    wants = f"{golden.UNITS}/multi-user.target.wants/cron.service"
    cron: Changes = {wants: "-> /usr/lib/systemd/system/cron.service", "/etc/crontab": lines.replace("true", "x.sh")}
    assert count_unknown(fake_host, cron) == (0 if most == 4096 else len(golden.SYSCTLS) + 1)


def test_of_too_many_units_none_counts_as_read(fake_host: type[Any]) -> None:
    names = " ".join(f"n{number}.service" for number in range(5000))
    changes = {f"{A}.service": f"[Unit]\nWants={names}\n", f"{WANTS}/a.service": f"-> {A}.service"}
    assert count_unknown(fake_host, changes) == len(golden.SYSCTLS) + 1
