"""What the kernel makes of a text that is written to a file below /proc/sys. Pure: text in, numbers out.

Source: `kernel/sysctl.c` of the Linux kernel (`proc_get_long`, `strtoul_lenient`, `do_proc_dointvec`,
`do_proc_doulongvec_minmax`), `lib/kstrtox.c` (`_parse_integer_fixup_radix`), `include/linux/ctype.h` (`isspace`).
"""

from __future__ import annotations

import re

from hosttune.patterns import late_pattern

#: Characters that the kernel skips before a number, and those that may follow one.
_SKIPPED = " \t\n\v\f\r"
_ENDS = " \t\n"
_NUMBER = late_pattern(r"-?(?:0[xX](?=[0-9a-fA-F])([0-9a-fA-F]+)|0([0-7]*)|([1-9][0-9]*))", re.ASCII)
_NEXT = late_pattern(rf"[{_SKIPPED}]*([^{_ENDS}]*)")

#: Characters of one number, the sign and the prefix counted: one of more is refused, whatever its value.
_MOST_DIGITS = 20
_ULONG_MAX = (1 << 64) - 1
# Of one write: a page, less one byte for the NUL.
_MOST = 4095


def read_number(word: str) -> int | None:
    """Returns the number that the kernel reads in a word, None for a word that it refuses.

    `0x10` and `020` are 16. `+16`, `1_6`, `0b10000`, `0o20`, `08` and digits of other scripts are refused;
    so is `-0`, by the files that hold no negative numbers.
    """
    match = _NUMBER.fullmatch(word) if len(word) <= _MOST_DIGITS else None
    if match is None:
        return None
    hexadecimal, octal, decimal = match.groups()
    value = int(hexadecimal, 16) if hexadecimal else int(octal or "0", 8) if octal is not None else int(decimal)
    negative = word.startswith("-")
    if value > _ULONG_MAX or (negative and not value):
        return None
    return -value if negative else value


def read_numbers(text: str, count: int) -> list[int] | None:
    """Returns the numbers that a file of `count` numbers takes of a text, None for a text that the kernel refuses.

    The kernel reads at most so many, and leaves those for which the text has none as they were. What stands after the
    last is not looked at: `5 # packets` is 5 for a file of one number, and refused by a file of three.
    """
    numbers: list[int] = []
    at, text = 0, text[:_MOST]
    while len(numbers) < count:
        match = _NEXT.match(text, at)
        word = match[1] if match is not None else ""
        if match is None or not word:
            break
        number = read_number(word)
        if number is None:
            return None
        numbers.append(number)
        at = match.end()
    return numbers or None
