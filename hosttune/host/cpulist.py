"""The kernel's two notations for sets of CPUs, parsed in one place.

Sources: `Documentation/admin-guide/kernel-parameters.rst` ("cpu lists") and `lib/bitmap-str.c` of the
Linux kernel: `2-3`, `3,2`, `0-31:2/8` (of each group of eight, the first two), `N` for the last CPU,
`all`; masks are hexadecimal words of 32 bits, most significant first, separated by commas.
Standard library only: the role irq_affinity installs this file on hosts, and the controller's planning of the
roles reads lists with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

# The largest CONFIG_NR_CPUS of any architecture is 8192; a longer list is a mistake, not a machine.
MAX_CPU = 8191
# Characters of a list or mask: one that names each of these CPUs alone, and each twice, is shorter.
MAX_LENGTH = 1 << 17
# CPUs that the parts of a list may name in all, each as often as it is named.
MAX_NAMED = 1 << 18


def parse(text: str, last: int | None = None) -> frozenset[int]:
    """Returns the CPUs of a cpulist; `last` is the number that `N` and `all` stand for.

    Raises ValueError that names the offending part.
    """
    return frozenset(cpu for cpus in _split_parts(text, last) for cpu in cpus)


def parse_sequence(text: str, last: int | None = None) -> tuple[int, ...]:
    """Returns the CPUs of a cpulist in the order in which they are written: `3,0-1` as (3, 0, 1).

    A CPU that is named twice is returned twice. Raises ValueError that names the offending part, also for more
    CPUs than a machine can have.
    """
    cpus: list[int] = []
    for part in _split_parts(text, last):
        if len(cpus) + len(part) > MAX_CPU + 1:
            raise ValueError(f"cpulist {text.strip()[:40]!r}... names more CPUs than any machine has")
        cpus += part
    return tuple(cpus)


def _split_parts(text: str, last: int | None) -> Iterator[Sequence[int]]:
    """Yield the CPUs of each part; bounded in all by MAX_LENGTH and MAX_NAMED, whatever the text says."""
    _check_length(text)
    text = text.strip()
    if text in ("", "(null)"):
        return
    named = 0
    for part in text.split(","):
        part = part.strip()
        if not part:
            continue
        if part.lower() == "all":
            part = "0-N"
        span, _, stride = part.partition(":")
        first_text, dash, last_text = span.partition("-")
        first = _parse_number(first_text, part, last)
        final = _parse_number(last_text, part, last) if dash else first
        if final < first:
            raise ValueError(f"cpulist {_shorten(part)} runs backwards")
        named += final - first + 1
        if named > MAX_NAMED:
            raise ValueError(f"cpulist {text[:40]!r}... names the same CPUs over and over")
        if not stride:
            yield range(first, final + 1)
            continue
        used_text, slash, group_text = stride.partition("/")
        used, group = _parse_number(used_text, part, None), _parse_number(group_text, part, None) if slash else 0
        if not slash or not 0 < used <= group:
            raise ValueError(f"cpulist {_shorten(part)}: a stride is USED/GROUP with 0 < USED <= GROUP")
        yield [cpu for cpu in range(first, final + 1) if (cpu - first) % group < used]


def parse_mask(text: str) -> frozenset[int]:
    """Returns the CPUs of a hexadecimal mask such as `00000000,0000000c`. Raises ValueError."""
    _check_length(text)
    words = text.strip().removeprefix("0x").split(",")
    digits = "".join(word.zfill(8) for word in words).lstrip("0")
    if not all(digit in "0123456789abcdefABCDEF" for digit in digits) or not all(words):
        raise ValueError(f"CPU mask {_shorten(text.strip())} is not hexadecimal")
    if len(digits) > (MAX_CPU + 1) // 4:
        raise ValueError(f"CPU mask {_shorten(text.strip())} names more CPUs than any machine has")
    bits = int(digits or "0", 16)
    return frozenset(cpu for cpu in range(bits.bit_length()) if bits >> cpu & 1)


def show(cpus: frozenset[int]) -> str:
    """Write a set in the kernel's shortest form, `0-1,4`; the empty set is the empty string."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def show_mask(cpus: frozenset[int]) -> str:
    """Write a set as a mask, `c` or `1,00000000`."""
    digits = f"{sum(1 << cpu for cpu in cpus):x}"
    words = [digits[max(0, end - 8) : end] for end in range(len(digits), 0, -8)]
    return ",".join(reversed(words))


def _parse_number(text: str, part: str, last: int | None) -> int:
    if text in ("N", "n"):
        if last is None:
            raise ValueError(f"cpulist {_shorten(part)}: N needs to know the last CPU")
        return last
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"cpulist {_shorten(part)}: {_shorten(text)} is not a CPU number")
    if len(text) > 9 or (cpu := int(text)) > MAX_CPU:
        raise ValueError(f"cpulist {_shorten(part)}: no machine has a CPU {text[:40]}")
    return cpu


def _check_length(text: str) -> None:
    if len(text) > MAX_LENGTH:
        raise ValueError(f"{text[:40]!r}... has {len(text)} characters: longer than any list of CPUs")


def _shorten(text: str) -> str:
    return repr(text) if len(text) <= 80 else f"{text[:80]!r}..."
