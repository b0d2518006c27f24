"""What the kernel takes of a text; tests/live/test_sysctl_kernel.py asks the kernel itself."""

import pytest

from hosttune.host import sysctl_values


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
