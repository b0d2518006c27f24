"""Limits as systemd has them and as a process has them, and the users that they are for."""

import pytest

from hosttune.host import accounts, limits, limits_lines, users
from hosttune.host.limits import UNLIMITED, Limit
from hosttune.host.users import User
from tests.cpu_time import is_soon

TRADER = User("trader", 1001, 1001, frozenset({"trader", "rt"}), frozenset({1001, 2000}))


def test_user_and_groups(fake_host):
    host = fake_host(
        {
            "/etc/passwd": "root:x:0:0::/:/bin/sh\nbad\ntrader:x:1001:1001::/:/bin/sh\n",
            "/etc/group": "root:x:0:\ntrader:x:1001:\nrt:x:2000:a,trader\nbad\n",
        }
    )
    assert accounts.read_users(host, ["trader"])["trader"].value == TRADER
    assert accounts.read_users(host, ["nobody"])["nobody"].state == "absent"
    assert accounts.read_users(fake_host().deny("/etc/passwd"), ["trader"])["trader"].state == "unreadable"


@pytest.mark.parametrize(
    ("item", "text", "expected"),
    [
        ("memlock", "infinity", (UNLIMITED, UNLIMITED)),
        ("memlock", "64M", (64 << 20, 64 << 20)),
        ("memlock", "1.5K", (1536, 1536)),
        ("memlock", "1G 512M", (1536 << 20, 1536 << 20)),
        ("memlock", "10B", (10, 10)),
        ("memlock", "7", (7, 7)),
        ("memlock", "1E", (1 << 60, 1 << 60)),
        ("memlock", "2P:3E", (2 << 50, 3 << 60)),
        ("memlock", "3T 2G 1K 5", ((3 << 40) + (2 << 30) + 1029,) * 2),
        ("nofile", "1024:524288", (1024, 524288)),
        ("nofile", "0x40", (64, 64)),
        ("nofile", "0100", (64, 64)),
        ("nofile", "0b11:0o17", (3, 15)),
        ("nice", "-20", (40, 40)),
        ("nice", "+5", (15, 15)),
        ("nice", "40", (40, 40)),
        ("rtprio", "95", (95, 95)),
    ],
)
def test_systemd_values(item, text, expected):
    limit = limits.parse_systemd(item, text)
    assert (limit.soft, limit.hard) == expected


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ("rtprio", "9K"),
        ("nofile", "many"),
        ("nofile", "08"),
        ("nofile", "5:4"),
        ("nofile", "1:2:3"),
        ("nofile", "-1"),
        ("nofile", "18446744073709551615"),
        ("memlock", ""),
        ("memlock", "64k"),
        ("memlock", "512M 1G"),
        ("memlock", "16E"),
        ("memlock", "-1"),
        ("nice", "-x"),
        ("nice", "-21"),
        ("nice", "+20"),
        ("nice", "41"),
        ("nice", "infinity"),
    ],
)
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
    def read():
        return accounts.read_users(fake_host({"/etc/passwd": users.reduce_passwd(text)}), ["none"])["none"]

    assert is_soon(read, 1.9)
    assert read().state == "absent"


@pytest.mark.parametrize(
    ("item", "value", "soft"),
    [
        ("memlock", "unlimited", UNLIMITED), ("memlock", 65536, 65536), ("rtprio", 95, 95), ("nofile", 65536, 65536),
        ("nofile", "unlimited", UNLIMITED), ("nice", -20, 40), ("nice", 5, 15), ("nice", 0, 20),
    ],
)  # fmt: skip
def test_what_is_written_for_systemd_is_read_as_that(item: str, value: int | str, soft: int) -> None:
    assert limits.parse_systemd(item, limits_lines.write_systemd(item, value)).soft == soft
