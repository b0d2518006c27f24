"""Limits by PAM, by systemd, and as a process has them."""

import time

import pytest

from hosttune.host import limits
from hosttune.host.limits import UNLIMITED, Limit, User

TRADER = User("trader", 1001, 1001, frozenset({"trader", "rt"}), frozenset({1001, 2000}))
ROOT = User("root", 0, 0, frozenset({"root"}), frozenset({0}))


def pam(*lines, who=TRADER):
    found = limits.resolve_pam_lines(limits.parse_pam_limits("\n".join(lines), "f"), who)
    return {item: (limit.soft, limit.hard) for item, limit in found.items()}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["trader - rtprio 95"], {"rtprio": (95, 95)}),
        (["trader soft rtprio 5", "trader hard rtprio 95"], {"rtprio": (5, 95)}),
        (["trader - memlock 64"], {"memlock": (65536, 65536)}),  # KiB
        (["trader - memlock unlimited"], {"memlock": (UNLIMITED, UNLIMITED)}),
        (["trader - memlock -1"], {"memlock": (UNLIMITED, UNLIMITED)}),
        (["trader - nice -20"], {"nice": (40, 40)}),
        (["trader - nice -1"], {"nice": (21, 21)}),  # a number here, not "unlimited"
        (["trader - nofile 1", "* - nofile 9"], {"nofile": (1, 1)}),  # the user beats everybody
        (["@rt - nofile 1", "* - nofile 9"], {"nofile": (1, 1)}),
        (["trader - nofile 1", "@rt - nofile 9"], {"nofile": (1, 1)}),
        (["trader - nofile 1", "trader - nofile 9"], {"nofile": (9, 9)}),  # among equals the later
        (["* - nofile 9"], {"nofile": (9, 9)}),
        (["@other - nofile 9", "other - nofile 9"], {}),
        (["1000:1005 - nofile 9"], {"nofile": (9, 9)}),
        ([":1001 - nofile 9"], {"nofile": (9, 9)}),
        (["2000: - nofile 9"], {}),
        (["@:2000 - nofile 9"], {"nofile": (9, 9)}),
        (["@1999: - nofile 9"], {}),  # a range looks at the primary group alone
        (["# trader - nofile 9", "trader - nofile 9 # why"], {"nofile": (9, 9)}),
        (["trader hard nofile 9"], {"nofile": (0, 9)}),  # no soft limit is set
        (["trader soft nofile 9", "trader hard nofile 4"], {"nofile": (4, 4)}),
        (["trader - nofile many", "trader - cpu 3", "trader", "trader x nofile 3", "trader - nofile -5"], {}),
        (["trader - nofile 9", "trader -"], {}),  # pam_limits leaves this user alone
    ],
)
def test_pam_precedence(lines, expected):
    assert pam(*lines) == expected


def test_root_is_meant_only_by_name():
    assert pam("* - nofile 9", "@root - nofile 9", who=ROOT) == {}
    assert pam("root - nofile 9", who=ROOT) == {"nofile": (9, 9)}


def test_files_in_the_order_of_pam_limits(fake_host):
    host = fake_host(
        {
            "/etc/security/limits.conf": "trader - nofile 1\n",
            "/etc/security/limits.d/90-b.conf": "trader - nofile 3\n",
            "/etc/security/limits.d/20-a.conf": "trader - nofile 2\n",
            "/etc/security/limits.d/99-c.conf.bak": "trader - nofile 4\n",
        }
    )
    files = limits.read_pam_files(host).value
    assert limits.resolve_pam_lines(
        [line for path, text in files for line in limits.parse_pam_limits(text, path)], TRADER
    )["nofile"] == Limit(3, 3, "/etc/security/limits.d/90-b.conf:1")
    assert limits.read_pam_files(host.deny("/etc/security/limits.d/20-a.conf")).state == "unreadable"
    assert limits.read_pam_files(fake_host()).value == []
    assert limits.read_pam_files(fake_host().deny("/etc/security/limits.d")).state == "unreadable"


def test_user_and_groups(fake_host):
    host = fake_host(
        {
            "/etc/passwd": "root:x:0:0::/:/bin/sh\nbad\ntrader:x:1001:1001::/:/bin/sh\n",
            "/etc/group": "root:x:0:\ntrader:x:1001:\nrt:x:2000:a,trader\nbad\n",
        }
    )
    assert limits.read_users(host, ["trader"])["trader"].value == TRADER
    assert limits.read_users(host, ["nobody"])["nobody"].state == "absent"
    assert limits.read_users(fake_host().deny("/etc/passwd"), ["trader"])["trader"].state == "unreadable"


@pytest.mark.parametrize(
    ("pam_d", "expected"),
    [
        ({"sshd": "session required pam_limits.so\n"}, {"sshd": True}),
        ({"sshd": "session required /lib/security/pam_limits.so\n"}, {"sshd": True}),
        ({"sshd": "# session required pam_limits.so\n", "su": ""}, {"sshd": False}),
        ({"sshd": "auth required pam_limits.so\n"}, {"sshd": False}),
        ({"sshd": "@include common\n", "common": "session required pam_limits.so\n"}, {"sshd": True}),
        ({"sshd": "session include auth\n", "auth": "-session optional pam_limits.so\n"}, {"sshd": True}),
        ({"sshd": "@include sshd\n"}, {"sshd": False}),
        ({"sshd": "@include nowhere\n", "login": "session required pam_limits.so"}, {"sshd": False, "login": True}),
        ({}, {}),
    ],
)
def test_pam_limits_in_the_session(fake_host, pam_d, expected):
    host = fake_host({f"/etc/pam.d/{name}": text for name, text in pam_d.items()})
    assert limits.read_pam_enabled(host).value == expected


def test_pam_that_cannot_be_read(fake_host):
    assert limits.read_pam_enabled(fake_host().deny("/etc/pam.d/sshd")).state == "unreadable"
    host = fake_host({"/etc/pam.d/sshd": "@include x\n"}).deny("/etc/pam.d/x")
    assert limits.read_pam_enabled(host).state == "unreadable"


@pytest.mark.parametrize(
    ("item", "text", "expected"),
    [
        ("memlock", "infinity", (UNLIMITED, UNLIMITED)),
        ("memlock", "64M", (64 << 20, 64 << 20)),
        ("nofile", "1024:524288", (1024, 524288)),
        ("nice", "-20", (40, 40)),
        ("nice", "+5", (15, 15)),
        ("nice", "40", (40, 40)),
        ("rtprio", "95", (95, 95)),
    ],
)
def test_systemd_values(item, text, expected):
    limit = limits.parse_systemd(item, text)
    assert (limit.soft, limit.hard) == expected


@pytest.mark.parametrize(("item", "text"), [("rtprio", "9K"), ("nofile", "many"), ("memlock", ""), ("nice", "-x")])
def test_systemd_values_that_are_none(item, text):
    with pytest.raises(ValueError):
        limits.parse_systemd(item, text)


def test_limits_of_a_process():
    text = (
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max open files            1024                 524288               files     \n"
        "Max locked memory         unlimited            unlimited            bytes     \n"
        "Max nice priority         0                    40                   \n"
    )
    assert limits.parse_proc(text) == {
        "memlock": Limit(UNLIMITED, UNLIMITED),
        "nice": Limit(0, 40),
        "nofile": Limit(1024, 524288),
    }


@pytest.mark.parametrize(
    "text", ["user12:x:12:34:::\n" * 580_000, ":" * 10_000_000, "a" * 10_000_000, "a:x:1:1\n" * 650_000]
)
def test_a_large_passwd_is_read_within_two_seconds(fake_host, text):
    start = time.process_time()
    found = limits.read_users(fake_host({"/etc/passwd": limits.reduce_users(text)}), ["none"])["none"]
    assert time.process_time() - start < 1.9
    assert found.state == "absent"
