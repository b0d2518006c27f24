"""What the kernel makes of a text that is written to a file below /proc/sys. Pure: text in, numbers out.

Source: `kernel/sysctl.c` of the Linux kernel (`proc_get_long`, `strtoul_lenient`, `do_proc_dointvec`,
`do_proc_doulongvec_minmax`, `proc_do_large_bitmap`), `lib/kstrtox.c` (`_parse_integer_fixup_radix`), `lib/bitmap-str.c`
(`bitmap_parse`), `net/core/sysctl_net_core.c`, `net/ipv4/sysctl_net_ipv4.c`, `include/linux/ctype.h` (`isspace`).
"""

from __future__ import annotations

import re

from hosttune.host.forms import DIGITS, NAME, UNINTELLIGIBLE, consists_of
from hosttune.host.sysctl_lines import WILDCARDS, matches
from hosttune.patterns import late_pattern

#: Beginning of the paths below /proc/sys that a profile may name, and of those that a check asks for.
SOUGHT = ("net/", "vm/nr_hugepages", "kernel/sched_rt_runtime_us", "fs/nr_open")
#: Paths below /proc/sys that hold a mask of CPUs, and those that hold ranges of ports.
MASKS = frozenset({"net/core/rps_default_mask", "net/core/flow_limit_cpu_bitmap"})
RANGES = frozenset({"net/ipv4/ip_local_reserved_ports"})
HEXADECIMAL = f"{DIGITS}abcdefABCDEF"
#: Keys that hold words, and that a check asks for.
WORD_KEYS = frozenset(
    {"net/core/default_qdisc", "net/ipv4/tcp_congestion_control", "net/ipv4/tcp_allowed_congestion_control"}
)
_SETS = MASKS | RANGES
#: Characters of a value that is looked at.
MAX_VALUE = 4096
_PORTS = 1 << 16

#: Characters that the kernel skips before a number, and those that may follow one.
_SKIPPED = " \t\n\v\f\r"
_ENDS = " \t\n"
_NUMBER = late_pattern(r"-?(?:0[xX](?=[0-9a-fA-F])([0-9a-fA-F]+)|0([0-7]*)|([1-9][0-9]*))", re.ASCII)
_NEXT = late_pattern(rf"[{_SKIPPED}]*([^{_ENDS}]*)")
_BETWEEN_GROUPS = late_pattern(rf"[{_SKIPPED},]+")
_PARTS = late_pattern(r"[ \t]+|[^ \t]+")
# A number, or what somebody takes for one and the kernel does not.
_LIKE_NUMBER = late_pattern(r"[+-]{0,2}(?:0[xX][0-9a-fA-F]{1,16}|(?:0[bBoO])?[0-9][0-9_.,]{0,22}[kKmMgGtT]?)", re.ASCII)

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


def read_set(path: str, text: str) -> int | None:
    """Returns the bits that one of MASKS or RANGES takes of a text, None for another path, and for what it refuses."""
    text = text.strip(_SKIPPED)
    if len(text) > _MOST:
        return None
    return _read_mask(text) if path in MASKS else _read_ranges(text) if path in RANGES else None


def _read_mask(text: str) -> int | None:
    """Returns a mask: hexadecimal digits without a prefix, of 32 bits between two commas or blanks."""
    groups = [group for group in _BETWEEN_GROUPS.split(text) if group]
    if not all(consists_of(group, HEXADECIMAL, 8) for group in groups):
        return None
    return int("0" + "".join(group.rjust(8, "0") for group in groups), 16)


def _read_ranges(text: str) -> int | None:
    """Returns the bits of `9000,9002-9004`; a blank is refused, and a comma may end it."""
    bits = 0
    for part in text.removesuffix(",").split(",") if text else ():
        first, dash, last = part.partition("-")
        low = read_number(first)
        high = read_number(last) if dash else low
        if low is None or high is None or not 0 <= low <= high < _PORTS:
            return None
        bits |= (1 << (high + 1)) - (1 << low)
    return bits


def is_numeric(value: str) -> bool:
    """Returns whether a value is of numbers alone."""
    words = value.split() if len(value) <= MAX_VALUE else [""]
    return len(words) <= 64 and all(map(_is_number, words))


def _is_number(word: str) -> bool:
    digits = word[1:] if word[:1] in ("+", "-") else word
    if digits[:2] in ("0x", "0X"):
        return len(digits) > 2 and consists_of(digits[2:], HEXADECIMAL, 16)
    return digits != "" and consists_of(digits, DIGITS, 20)


def keep_numbers(value: str) -> str:
    """Returns a value with what is like a number left in it: the kernel may refuse it, or look no further."""
    kept = []
    for part in _PARTS.findall(value[:MAX_VALUE]):
        number = part.lstrip("\v\f")
        like = not number.strip() or _LIKE_NUMBER.fullmatch(number)
        kept.append(part if like else UNINTELLIGIBLE)
        if not like:
            break
    return "".join(kept)


def keep_set(text: str) -> str:
    """Returns the text of a file of MASKS or RANGES. Raises ValueError for what it cannot hold."""
    if not consists_of(text.strip(), f"{HEXADECIMAL}xX,- \t", MAX_VALUE * 16):
        raise ValueError("it holds other than a mask or ranges")
    return text


def may_match(pattern: str) -> bool:
    """Returns whether a key with a wildcard may mean one that a check asks for."""
    first, _, _ = pattern.partition("/")
    return not WILDCARDS.isdisjoint(pattern) and any(matches(key.partition("/")[0], first) for key in SOUGHT)


def keep_value(path: str, value: str, asked: frozenset[str]) -> str:
    """Returns what is kept of a value that is written to a path below /proc/sys, which may be a glob: numbers, and a
    word of WORD_KEYS and of what is `asked` for."""
    if is_numeric(value) or (path in _SETS and consists_of(value, f"{HEXADECIMAL}xX,- \t", 4096)):
        return value
    for keys, longest in ((WORD_KEYS, 15), (asked, 64)):
        known = all(consists_of(word, f"{NAME}.,:+", longest) for word in value.split()[:33])
        if known and len(value) <= 1024 and (path in keys or any(matches(key, path) for key in keys)):
            return value
    return keep_numbers(value)
