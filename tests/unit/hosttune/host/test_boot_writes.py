"""What services write at boot, and that what is kept of their commands says the same."""

import pytest

from hosttune.host import boot_writes, units
from hosttune.host.boot_writes import Write

THP = "/sys/kernel/mm/transparent_hugepage/enabled"
POOL = "/sys/devices/system/node/node{}/hugepages/hugepages-2048kB/nr_hugepages"


@pytest.mark.parametrize(
    ("command", "writes"),
    [
        (f"/bin/sh -c 'echo never > {THP}'", [(THP, "never")]),
        (f'/bin/bash -c "echo never | tee {THP} >/dev/null"', [(THP, "never")]),
        (f"/bin/sh -c 'if [ -f {THP} ]; then echo never >{THP}; fi'", [(THP, "never")]),
        (f"/bin/sh -c 'test -w {THP} && echo \"never\" > {THP}'", [(THP, "never")]),
        (f"/bin/sh -c 'printf never > {THP}; echo 8 > {POOL.format(0)}'", [(THP, "never"), (POOL.format(0), "8")]),
        (f"/bin/sh -c 'echo never > {THP.replace('enabled', 'defrag')}'", []),
        (f"/bin/sh -c 'grep -q never {THP}'", []),
        (f"/bin/sh -c 'for n in 0 1; do echo 8 > {POOL.format('$n')}; done'", [(POOL.format("*"), "?")]),
        (f"/usr/bin/dd of={THP}", [(THP, "?")]),
        (
            "/bin/sh -c 'cd /sys/kernel/mm/transparent_hugepage && echo never > enabled'",
            [("?transparent_hugepage", "?")],
        ),
        ("/usr/sbin/sshd -D", []),
        (f"/bin/echo never > {THP}", []),
        (f"+/usr/bin/env A=1 sh -c 'echo never > {THP}'", [(THP, "never")]),
        (f"/bin/true ; /bin/bash -euo pipefail -c 'echo never > {THP}'", [(THP, "never")]),
        (f"/bin/sh -c 'for n in 0 1; do echo 8 > {POOL.format('$$n')}; done'", [(POOL.format("*"), "?")]),
        (f"/usr/bin/tee {THP}", [(THP, "?")]),
        ("/sbin/sysctl -w vm.nr_hugepages=0", [("?nr_hugepages", "?")]),
        ("/sbin/sysctl -n vm.nr_hugepages", []),
        ("/bin/dd of=/proc/sys/vm/nr_hugepages", [("?nr_hugepages", "?")]),
        ("/usr/bin/hugeadm --thp-never", [("?transparent_hugepage", "?"), ("?nr_hugepages", "?")]),
        (f"/bin/sh -c 'echo set # > {THP}'", []),
    ],
)
def test_a_command(command, writes):
    found = boot_writes.parse_command(command, "x")
    assert found == [Write(path, value, "x") for path, value in writes]
    assert boot_writes.parse(boot_writes.reduce_command(command), "x") == found
    kept = units.reduce(f"[Service]\nExecStartPre={command}\n")
    assert units.reduce(kept) == kept
    assert boot_writes.parse_command(kept.partition("ExecStartPre=")[2], "x") == found


def test_a_comment_of_a_script_writes_nothing():
    assert boot_writes.parse(f"#!/bin/sh\n# echo never > {THP}\nexit 0\n", "x") == []


@pytest.mark.parametrize(
    ("script", "values"),
    [
        (f"#!/bin/sh\necho never > {THP}\n", ["never"]),
        (f"#! /usr/bin/env bash\necho never > {THP}\n", ["never"]),
        (f"echo never > {THP}\n", []),
        (f"#!/usr/bin/perl\necho never > {THP}\n", ["?"]),
        (f"#!/bin/sh\nexit 0\necho never > {THP}\n", []),
        (f"#!/bin/sh\nexec /opt/x \\\n --y\necho never > {THP}\n", []),
        (f"#!/bin/sh\nexec >/var/log/x 2>&1\necho never > {THP}\n", ["never"]),
        (f"#!/bin/sh\nif x; then\n  exit 1\nfi\necho never > {THP}\n", ["never"]),
        (f"#!/bin/sh\nif x; then\nexit 1\nfi\necho never > {THP}\n", ["?"]),
        (f"#!/bin/sh\ncat <<E\nexit 0\nE\necho never > {THP}\n", ["never"]),
        (f"#!/bin/sh\nsh <<E\nexit 0\nE\necho never > {THP}\n", ["?"]),
        (f"#!/bin/sh\nx || exit 1\necho never > {THP}\nexit 0\n", ["never"]),
    ],
)
def test_a_script(script, values):
    found = boot_writes.parse_script(script, "x")
    assert [write.value for write in found] == values
    kept = boot_writes.reduce_script(script)
    assert boot_writes.parse_script(kept, "x") == found
    assert boot_writes.reduce_script(kept) == kept


def test_a_timer_keeps_its_service_and_a_unit_that_it_has_conditions():
    assert units.reduce_starter("[Timer]\nOnCalendar=daily\nUnit=a@%i.service\n") == "[Timer]\nUnit=a@%i.service\n"
    kept = units.reduce(f"[Unit]\nConditionHost=secret\nConditionPathExists={THP}\nAssertUser=\n")
    assert kept == "[Unit]\nConditionPathExists=...\nAssertPathExists=\n"


def test_a_password_is_not_kept():
    assert "hunter2" not in boot_writes.reduce(f"/bin/sh -c 'echo hunter2 > {THP}; tool --password=hunter2'")


def test_units_from_everywhere_that_are_enabled(host):
    command = f"[Service]\nExecStart=/bin/sh -c 'echo never > {THP}'\n"
    wants = "/etc/systemd/system/multi-user.target.wants"
    files = {
        "/usr/lib/systemd/system/vendor.service": command,
        f"{wants}/vendor.service": "",
        "/etc/systemd/system/off.service": command,
        "/etc/systemd/system/t@.service": command,
        f"{wants}/t@1.service": "",
        "/etc/systemd/system/d.service": "[Service]\nExecStart=/bin/true\n",
        "/etc/systemd/system/d.service.d/x.conf": command.replace("ExecStart", "ExecStartPost"),
        f"{wants}/d.service": "",
    }
    places = [write.place for write in boot_writes.read(host(files)).value]
    assert sorted(places) == [
        "/etc/systemd/system/d.service.d/x.conf",
        "/etc/systemd/system/t@.service",
        "/usr/lib/systemd/system/vendor.service",
    ]
    refused = host(files, refused={"/etc/systemd/system/d.service": "EACCES"})
    assert boot_writes.read(refused).reason == "EACCES"
