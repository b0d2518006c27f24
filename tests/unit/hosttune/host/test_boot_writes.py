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
    ],
)
def test_a_command(command, writes):
    found = boot_writes.parse(command, "x")
    assert found == [Write(path, value, "x") for path, value in writes]
    assert boot_writes.parse(boot_writes.reduce(command), "x") == found
    kept = units.reduce(f"[Service]\nExecStartPre={command}\n")
    assert units.reduce(kept) == kept
    assert boot_writes.parse(kept.partition("ExecStartPre=")[2], "x") == found


def test_a_comment_of_a_script_writes_nothing():
    assert boot_writes.parse(f"#!/bin/sh\n# echo never > {THP}\nexit 0\n", "x") == []


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
