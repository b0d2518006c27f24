"""What the kernel takes of a text; tests/live/test_sysctl_kernel.py asks the kernel itself."""

import time

import pytest

from hosttune.host import sysctl_values
from tests.cpu_time import is_within


@pytest.mark.parametrize(
    ("word", "number"),
    [
        ("0", 0),
        ("67108864", 67108864),
        ("0x4000000", 67108864),
        ("0X4A", 74),
        ("020", 16),
        ("00", 0),
        ("-1", -1),
        ("-0x10", -16),
        ("18446744073709551615", (1 << 64) - 1),
        ("00000000000000000007", 7),
    ],
)
def test_a_number(word, number):
    assert sysctl_values.read_number(word) == number


@pytest.mark.parametrize(
    "word",
    [
        *("", "-", "+1", "1_0", "0b1", "0o7", "0x", "0xg", "08", "1a", "1.5", "1e3", "64M", "--1", "- 1", "-0", "-00"),
        *("１", "٣", "1\r", "1\v", "1\0", "1,", "18446744073709551616", "000000000000000000007"),
    ],
)
def test_a_word_that_the_kernel_refuses(word):
    assert sysctl_values.read_number(word) is None


@pytest.mark.parametrize(
    ("text", "count", "numbers"),
    [
        ("5", 1, [5]),
        (" \v\f\r5\t", 1, [5]),
        ("5 # packets", 1, [5]),
        ("5 6 7", 1, [5]),
        ("5 # packets", 3, None),
        ("5 6", 3, [5, 6]),
        ("5\t6\n 7 x", 3, [5, 6, 7]),
        ("5 6 7 8", 3, [5, 6, 7]),
        ("5,6,7", 3, None),
        ("", 1, None),
        ("  ", 3, None),
        (" " * 4094 + "5", 1, [5]),
        (" " * 4095 + "5", 1, None),
    ],
)
def test_as_many_numbers_as_the_file_holds(text, count, numbers):
    assert sysctl_values.read_numbers(text, count) == numbers


MASK, PORTS = "net/core/rps_default_mask", "net/ipv4/ip_local_reserved_ports"


@pytest.mark.parametrize(
    ("path", "text", "bits"),
    [
        (MASK, "8", {3}),
        (MASK, "010", {4}),
        (MASK, "00000000,000000F3", {0, 1, 4, 5, 6, 7}),
        (MASK, "1,0", {32}),
        (MASK, ",0 00000001,", {0}),
        (MASK, "", set()),
        (MASK, "0x1", None),
        (MASK, "000000001", None),
        (MASK, "-1", None),
        (MASK, "1g", None),
        (PORTS, "9000,9001,9002", {9000, 9001, 9002}),
        (PORTS, "5,9000-9002,", {5, 9000, 9001, 9002}),
        (PORTS, "0x10-021", {16, 17}),
        (PORTS, "", set()),
        (PORTS, "9000, 9001", None),
        (PORTS, "9000 9001", None),
        (PORTS, "9000,,9001", None),
        (PORTS, ",", None),
        (PORTS, "9005-9004", None),
        (PORTS, "-5", None),
        (PORTS, "9000-", None),
        (PORTS, "65536", None),
        ("net/core/rmem_max", "8", None),
    ],
)
def test_a_mask_and_ranges(path, text, bits):
    found = sysctl_values.read_set(path, text)
    assert (None if found is None else {bit for bit in range(1 << 16) if found >> bit & 1}) == bits


def test_a_long_mask_and_long_ranges_take_no_time():
    start = time.process_time()
    for text in ("f," * 2047, "1-65535," * 500, "9" * 4095, "-" * 4095, "1" * 100_000):
        for path in (MASK, PORTS):
            sysctl_values.read_set(path, text)
    assert is_within(time.process_time() - start, 1)
