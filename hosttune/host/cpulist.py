"""Lists of CPUs in the notations of the kernel, of irqbalance and of systemd: three types, each with its own parser.

The text of a list has the type of its notation, and each parser takes that type alone: `0-N` is a list for the kernel,
none for systemd, and for irqbalance one that bans nothing. What :func:`show` writes is the same set in all three.
Sources: `lib/bitmap-str.c` and `Documentation/admin-guide/kernel-parameters.rst` ("cpu lists") of the Linux kernel;
`bitmap.c` of irqbalance 1.9; `src/shared/cpu-set-util.c` and `src/basic/extract-word.c` of systemd 252 and 257.
Standard library only: the role irq_affinity installs this file on hosts, and the controller's planning of the
roles reads lists with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, NewType

#: `2-3`, `3,2`, `0-31:2/8` (of each group of eight, the first two), `N` for the last CPU, `all`.
KernelList = NewType("KernelList", str)
#: Digits, `-` and `,`: the value of IRQBALANCE_BANNED_CPULIST.
IrqbalanceList = NewType("IrqbalanceList", str)
#: The hexadecimal value of IRQBALANCE_BANNED_CPUS.
IrqbalanceMask = NewType("IrqbalanceMask", str)
#: One assignment of CPUAffinity=: numbers and ranges, apart by commas or white space.
SystemdList = NewType("SystemdList", str)

# The largest CONFIG_NR_CPUS of any architecture is 8192; a longer list is a mistake, not a machine.
MAX_CPU = 8191
# Characters of a list or mask: one that names each of these CPUs alone, and each twice, is shorter.
MAX_LENGTH = 1 << 17
# CPUs that the parts of a list may name in all, each as often as it is named.
MAX_NAMED = 1 << 18
# NR_CPUS of irqbalance as it is built, and the most CPUs that systemd puts into a set.
_IRQBALANCE_CPUS, _SYSTEMD_CPUS = 4096, 8192
_SPACES, _DIGITS = " \t\n\v\f\r", "0123456789"
_HEXADECIMAL = _DIGITS + "abcdefABCDEF"
_PART_ENDS = (",", "")

_NUMBER = "(N|[0-9]+)"
# A stride needs no white space or comma behind it, all else does.
_REGION = re.compile(
    rf"(?:([aA][lL][lL])|{_NUMBER}-{_NUMBER})(?::{_NUMBER}/{_NUMBER}|(?=[\s,]|$))|{_NUMBER}(?=[\s,]|$)", re.ASCII
)
_BETWEEN = re.compile(r"[\s,]*", re.ASCII)
_PART = re.compile(r"[^\s,]*", re.ASCII)
# strtoul(3) with base 0, and the prefixes that systemd adds to it.
_UNSIGNED = re.compile(
    r"\s*(?:(0[bB])\s*[+-]?([01]+)|(0[oO])\s*[+-]?([0-7]+)|[+-]?(?:(0[xX])([0-9a-fA-F]+)|(0)([0-7]*)|()([1-9][0-9]*)))",
    re.ASCII,
)
_BASES = {"0b": 2, "0o": 8, "0x": 16, "0": 8, "": 10}


# --- the kernel -------------------------------------------------------------------------------------------


def parse(text: KernelList, last: int | None = None, *, bounded: bool = False) -> frozenset[int]:
    """Returns the CPUs of a kernel's list; `last` is the number that `N` and `all` stand for.

    Raises ValueError that names the offending part; with `bounded` also for a range that ends beyond `last`, whatever
    its stride leaves of it: the kernel refuses the whole list then (lib/bitmap-str.c, bitmap_set_region()).
    """
    return frozenset(cpu for cpus in _split_parts(text, last, last if bounded else None) for cpu in cpus)


def parse_sequence(text: KernelList, last: int | None = None) -> tuple[int, ...]:
    """Returns the CPUs of a kernel's list in the order in which they are written: `3,0-1` as (3, 0, 1).

    A CPU that is named twice is returned twice. Raises ValueError that names the offending part, also for more
    CPUs than a machine can have.
    """
    cpus: list[int] = []
    for part in _split_parts(text, last):
        if len(cpus) + len(part) > MAX_CPU + 1:
            raise ValueError(f"cpulist {text.strip()[:40]!r}... names more CPUs than any machine has")
        cpus += part
    return tuple(cpus)


def _split_parts(text: str, last: int | None, bound: int | None = None) -> Iterator[Sequence[int]]:
    """Yield the CPUs of each part; bounded in all by MAX_LENGTH and MAX_NAMED, whatever the text says."""
    _check_length(text)
    text = text.partition("\0")[0]
    named, position = 0, 0
    while (position := _find_end(_BETWEEN, text, position)) < len(text):
        match = _REGION.match(text, position)
        if match is None:
            raise ValueError(_describe_part(text[position : _find_end(_PART, text, position)]))
        part, position = match[0], match.end()
        every, first_text, final_text, used_text, group_text, single = match.groups()
        if every:
            first_text, final_text = "0", "N"
        first = _parse_number(first_text or single, part, last)
        final = _parse_number(final_text or single, part, last)
        if final < first:
            raise ValueError(f"cpulist {_shorten(part)} runs backwards")
        if bound is not None and final > bound:
            raise ValueError(f"cpulist {_shorten(part)} names CPU {final}, and the last one is {bound}")
        named += final - first + 1
        if named > MAX_NAMED:
            raise ValueError(f"cpulist {text[:40]!r}... names the same CPUs over and over")
        if used_text is None:
            yield range(first, final + 1)
            if text[position : position + 1] == "\n":
                return
            continue
        used, group = _parse_number(used_text, part, last), _parse_number(group_text, part, last)
        if group == 0 or used > group:
            raise ValueError(_describe_part(part))
        yield [cpu for cpu in range(first, final + 1) if (cpu - first) % group < used]


def _find_end(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def _describe_part(part: str) -> str:
    """Returns what is wrong with a part."""
    part, (span, colon, _) = _shorten(part), part.partition(":")
    first, dash, final = span.partition("-")
    for number in (first, final) if dash else (first,) if span.lower() != "all" else ():
        if not re.fullmatch(_NUMBER, number):
            return f"cpulist {part}: {_shorten(number)} is not a CPU number"
    if colon and not dash and span.lower() != "all":
        return f"cpulist {part}: a stride belongs to a range"
    return f"cpulist {part}: a stride is USED/GROUP with USED <= GROUP"


def _parse_number(text: str, part: str, last: int | None) -> int:
    if text == "N":
        if last is None:
            raise ValueError(f"cpulist {_shorten(part)}: N needs to know the last CPU")
        return last
    digits = text.lstrip("0") or "0"
    if len(digits) > 9 or (cpu := int(digits)) > MAX_CPU:
        raise ValueError(f"cpulist {_shorten(part)}: no machine has a CPU {text[:40]}")
    return cpu


def parse_mask(text: str) -> frozenset[int]:
    """Returns the CPUs of a mask that the kernel shows, such as `00000000,0000000c`. Raises ValueError."""
    _check_length(text)
    words = text.strip().split(",")
    digits = "".join(word.zfill(8) for word in words).lstrip("0")
    if not all(digit in "0123456789abcdefABCDEF" for digit in digits) or not all(words):
        raise ValueError(f"CPU mask {_shorten(text.strip())} is not hexadecimal")
    if len(digits) > (MAX_CPU + 1) // 4:
        raise ValueError(f"CPU mask {_shorten(text.strip())} names more CPUs than any machine has")
    return _list_bits(int(digits or "0", 16))


# --- irqbalance -------------------------------------------------------------------------------------------


class Banned(NamedTuple):
    """The CPUs that irqbalance takes from a list or mask; `fault` says where it stopped reading, if it did."""

    cpus: frozenset[int]
    fault: str = ""


def parse_irqbalance(text: IrqbalanceList) -> Banned:
    """Returns the CPUs that IRQBALANCE_BANNED_CPULIST bans, read as `__bitmap_parselist` does.

    irqbalance stops at what it does not understand, without a word, and what it has read so far stays banned. An empty
    part is CPU 0. Raises ValueError for a text that is longer than any list.
    """
    _check_length(text)
    bits = first = final = 0
    in_range, digit_due = False, True
    for char in _scan(text, _DIGITS):
        if char in _PART_ENDS:
            if not first <= final < _IRQBALANCE_CPUS:
                return _stop(bits, "a range that runs backwards" if first > final else "too large a number", text)
            bits |= (2 << final) - (1 << first)
            first, final, in_range, digit_due = 0, 0, False, True
        elif char == "-" and not digit_due and not in_range:
            final, in_range, digit_due = 0, True, True
        elif char not in _DIGITS:
            return _stop(bits, _name(char), text)
        else:
            final = min(final * 10 + int(char), _IRQBALANCE_CPUS)  # beyond that it is too large, however long
            first = first if in_range else final
            digit_due = False
    return Banned(_list_bits(bits))


def parse_irqbalance_mask(text: IrqbalanceMask) -> Banned:
    """Returns the CPUs that IRQBALANCE_BANNED_CPUS bans, read as `__bitmap_parse` does.

    Each part between commas is 32 bits, however many digits it has. irqbalance stops at what it does not understand,
    and the parts before stay. Raises ValueError for a text that is longer than any mask.
    """
    _check_length(text)
    bits = chunk = digits = 0
    for char in _scan(text, _HEXADECIMAL):
        if char in _PART_ENDS:
            if not digits:
                return _stop(bits, "a part without digits", text)
            bits = bits << 32 | chunk
            if bits >> _IRQBALANCE_CPUS:
                return _stop(bits & (1 << _IRQBALANCE_CPUS) - 1, "more than 4096 bits", text)
            chunk = digits = 0
        elif char not in _HEXADECIMAL:
            return _stop(bits, _name(char), text)
        elif chunk >> 28:
            return _stop(bits, "more than eight digits without a comma", text)
        else:
            chunk, digits = chunk << 4 | int(char, 16), digits + 1
    return Banned(_list_bits(bits))


def _scan(text: str, digits: str) -> Iterator[str]:
    """Yields the characters of a list or mask without white space, and at its end an empty one, unless that is a comma.

    A space stands for white space behind a digit, at which irqbalance stops unless nothing follows.
    """
    previous, seen = "", False
    for char in text:
        if char not in _SPACES:
            if seen and previous in _SPACES:
                yield " "
            yield char
            seen = seen or char in digits
        previous = char
    if previous != ",":
        yield ""


def _name(char: str) -> str:
    return "white space" if char == " " else repr(char)


def _stop(bits: int, what: str, text: str) -> Banned:
    return Banned(_list_bits(bits), f"irqbalance stops reading {_shorten(text)} at {what}")


# --- systemd ----------------------------------------------------------------------------------------------


def parse_systemd(text: SystemdList) -> frozenset[int] | None:
    """Returns the CPUs of one assignment of CPUAffinity=, None for an empty one, which resets those before it.

    Raises ValueError where systemd refuses, and so ignores, the assignment.
    """
    _check_length(text)
    words = _split_words(text)
    bits = 0
    for word in words:
        first_text, final_text = _split_range(word)
        first = _parse_unsigned(first_text, word)
        final = first if final_text is None else _parse_unsigned(final_text, word)
        # One that runs backwards is left out, and what stands beside it counts.
        if final >= first:
            if final >= _SYSTEMD_CPUS:
                raise ValueError(f"CPU list {_shorten(text)}: systemd takes no CPU beyond {_SYSTEMD_CPUS - 1}")
            bits |= (2 << final) - (1 << first)
    return _list_bits(bits) if words else None


def merge_systemd(assignments: Iterable[SystemdList]) -> frozenset[int] | None:
    """Returns the CPUs of all assignments of one CPUAffinity=, None if none is left.

    They add up, an empty one resets those before it, and one that systemd refuses is as if it were not there.
    """
    merged: frozenset[int] | None = None
    for text in assignments:
        try:
            cpus = parse_systemd(text)
        except ValueError:
            continue
        merged = None if cpus is None else cpus | (merged or frozenset())
    return merged


def _split_words(text: str) -> list[str]:
    """Returns words apart by white space and commas, quotes taken off (`extract_first_word`). Raises ValueError."""
    words: list[str] = []
    word: list[str] | None = None
    quote, escaped = "", False
    for char in text.partition("\0")[0]:
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
            word = word or []
            continue
        elif quote and char == quote:
            quote = ""
            continue
        elif not quote and char in "\"'":
            quote, word = char, word or []
            continue
        elif not quote and char in " \t\n\r,":
            if word is not None:
                words.append("".join(word))
            word = None
            continue
        word = word or []
        word.append(char)
    if quote or escaped:
        raise ValueError(f"CPU list {_shorten(text)} ends within a quotation")
    return words if word is None else [*words, "".join(word)]


def _split_range(word: str) -> tuple[str, str | None]:
    """Returns both ends of a range, None for that of a single number: a backslash counts again before the dash, and not
    behind it (`parse_range`). Raises ValueError."""
    first: list[str] = []
    escaped = False
    for at, char in enumerate(word):
        if char == "-" and not escaped:
            return "".join(first), word[at + 1 :]
        escaped = char == "\\" and not escaped
        if not escaped:
            first.append(char)
    if escaped:
        raise ValueError(f"CPU list {_shorten(word)} ends in a backslash")
    return "".join(first), None


def _parse_unsigned(text: str, word: str) -> int:
    """Returns a number as `safe_atou` reads it: hexadecimal, octal or binary by its prefix. Raises ValueError."""
    match = _UNSIGNED.fullmatch(text)
    if match is None:
        raise ValueError(f"CPU list {_shorten(word)}: {_shorten(text)} is not a number")
    prefix, digits = (group for group in match.groups() if group is not None)
    # int() takes time with the square of the length, and systemd refuses what is over 32 bits.
    value = int(digits.lstrip("0")[:40] or "0", _BASES[prefix.lower()])
    if value >> 32 or (value and "-" in text):
        raise ValueError(f"CPU list {_shorten(word)}: {_shorten(text)} is out of range")
    return value


# --- writing ----------------------------------------------------------------------------------------------


def show(cpus: frozenset[int]) -> KernelList:
    """Write a set in the shortest form, `0-1,4`, as the kernel does; the empty set is the empty string.

    irqbalance and systemd read the same set in it.
    """
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return KernelList(",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs))


def show_mask(cpus: frozenset[int]) -> str:
    """Write a set as a mask, `c` or `1,00000000`."""
    digits = f"{sum(1 << cpu for cpu in cpus):x}"
    words = [digits[max(0, end - 8) : end] for end in range(len(digits), 0, -8)]
    return ",".join(reversed(words))


def _list_bits(bits: int) -> frozenset[int]:
    return frozenset(cpu for cpu, digit in enumerate(reversed(f"{bits:b}")) if digit == "1")


def _check_length(text: str) -> None:
    if len(text) > MAX_LENGTH:
        raise ValueError(f"{text[:40]!r}... has {len(text)} characters: longer than any list of CPUs")


def _shorten(text: str) -> str:
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}..."
