"""What the kernel makes of a command line. Pure: text in, plain data out.

Sources in the Linux kernel: `lib/cmdline.c` (`next_arg`), `kernel/params.c` (`parse_args`),
`kernel/sched/isolation.c` (isolcpus= and nohz_full=), `kernel/rcu/tree_nocb.h` (rcu_nocbs=),
`kernel/irq/irqdesc.c` (irqaffinity=); `Documentation/admin-guide/kernel-parameters.txt`.
"""

from __future__ import annotations

import re

import msgspec

from hosttune.host import cpulist
from hosttune.host.cpulist import KernelList
from hosttune.host.forms import CPU_LIST, DIGITS, NAME, UNINTELLIGIBLE, consists_of
from hosttune.host.hugetlb import POLICIES
from hosttune.host.module_names import is_sought

Arguments = tuple[tuple[str, str | None], ...]

#: Characters. The longest command line that any architecture takes has 4 KiB; bootconfig may add 32 KiB.
MAX_LENGTH = 1 << 16

_FLAGS = ("nohz", "domain", "managed_irq")

_SIZE = f"{DIGITS}KMGkmg"
#: Parameters that list modules to load, or not to load.
MODULE_LISTS = ("modules_load", "module_blacklist", "modprobe.blacklist")
#: Parameters that a check looks at, and the characters of their values.
PARAMETERS = {
    "BOOT_IMAGE": "",
    **dict.fromkeys(("isolcpus", "nohz_full", "rcu_nocbs", "irqaffinity", "systemd.cpu_affinity"), CPU_LIST),
    "default_hugepagesz": _SIZE,
    "hugepagesz": _SIZE,
    "hugepages": f"{DIGITS}:,",
    "transparent_hugepage": "",
    **dict.fromkeys(MODULE_LISTS, f"{NAME},"),
}
_ILLEGAL_FLAG = "x!"


class Isolation(msgspec.Struct, frozen=True):
    """The sets that isolcpus= and nohz_full= of one command line come to, taken together.

    `remarks` says in words which parameter the kernel ignores or takes otherwise than it reads.
    """

    domain: frozenset[int] = frozenset()
    managed_irq: frozenset[int] = frozenset()
    nohz: frozenset[int] = frozenset()
    remarks: tuple[str, ...] = ()


def split_arguments(cmdline: str) -> Arguments:
    """Split a command line as the kernel does: double quotes protect spaces, `--` ends its part.

    Names have `-` turned into `_`, which the kernel treats alike; a value is None if there is no `=`. Raises
    ValueError for more than any kernel takes.
    """
    if len(cmdline) > MAX_LENGTH:
        raise ValueError(f"{len(cmdline)} characters; no kernel takes more than {MAX_LENGTH}")
    found: list[tuple[str, str | None]] = []
    for word in _split_words(cmdline):
        if word == "--":
            break
        quoted = word.startswith('"')
        word = word[1:] if quoted else word
        if quoted and word.endswith('"'):
            word = word[:-1]
        name, equals, value = word.partition("=")
        if not name:
            name, equals, value = word, "", ""
        if value.startswith('"'):
            value = value[1:].removesuffix('"')
        found.append((name.replace("-", "_"), value if equals else None))
    return tuple(found)


def reduce(cmdline: str) -> str:
    """Returns a command line with the parameters that a check looks at, and nothing else of it. Raises ValueError."""
    words = []
    for name, value in split_arguments(cmdline):
        characters = PARAMETERS.get(name)
        if characters is None:
            continue
        if value is None:
            words.append(name)
            continue
        flags = ""
        if name == "isolcpus":
            flags, value = _keep_flags(value)
        elif name in MODULE_LISTS:
            value = ",".join(filter(is_sought, value.split(",")))
        known = consists_of(value, characters, MAX_LENGTH) or (name == "transparent_hugepage" and value in POLICIES)
        value = flags + (value if known else UNINTELLIGIBLE)
        words.append(f'{name}="{value}"' if " " in value else f"{name}={value}")
    return " ".join(words)


def find_last(args: Arguments, name: str) -> str | None:
    """Returns the value of the last `name=`, which is the one that counts for most parameters."""
    values = [value for key, value in args if key == name and value is not None]
    return values[-1] if values else None


def resolve_isolation(args: Arguments, last_cpu: int | None) -> Isolation:
    """Work out isolcpus= and nohz_full= in the order given; `last_cpu` is what `N` stands for.

    A later parameter may add kinds of isolation, but one that gives a kind a second, different set is
    refused as a whole. Raises ValueError if a list needs `last_cpu` and it is None.
    """
    sets: dict[str, frozenset[int]] = {}
    remarks: list[str] = []
    for name, value in args:
        if name not in ("isolcpus", "nohz_full") or value is None:
            continue
        shown = f"{name}={value}"
        kinds, text = (["nohz"], value) if name == "nohz_full" else _split_flags(value)
        if text is None:
            remarks.append(f"{shown}: a flag holds an illegal character, so the kernel drops all of it")
            continue
        cpus = _parse_cpus(text, last_cpu)
        if not cpus:
            remarks.append(f"{shown}: not a list of CPUs, so the kernel drops all of it")
            continue
        if any(sets.get(kind, cpus) != cpus for kind in kinds):
            remarks.append(f"{shown}: contradicts an earlier isolcpus= or nohz_full=, so the kernel refuses it")
            continue
        if name == "isolcpus" and "domain" not in kinds:
            remarks.append(f"{shown}: without the flag domain it isolates nothing from the scheduler")
        sets.update(dict.fromkeys(kinds, cpus))
    none: frozenset[int] = frozenset()
    return Isolation(sets.get("domain", none), sets.get("managed_irq", none), sets.get("nohz", none), tuple(remarks))


def resolve_rcu_nocbs(args: Arguments, last_cpu: int | None) -> frozenset[int]:
    """Returns the CPUs whose RCU callbacks are offloaded: rcu_nocbs= and, implied, nohz_full=.

    A list that the kernel cannot read means all CPUs. Raises ValueError if `last_cpu` is needed and None.
    """
    offloaded = resolve_isolation(args, last_cpu).nohz
    text = find_last(args, "rcu_nocbs")
    if text is not None:
        if (cpus := _parse_cpus(text, last_cpu)) is None:
            cpus = cpulist.parse(KernelList("all"), last_cpu)
        offloaded |= cpus
    return offloaded


def resolve_cpus(args: Arguments, name: str, last_cpu: int | None) -> frozenset[int]:
    """Returns the CPUs of the last `name=`, none if it is not given or the kernel cannot read it."""
    return _parse_cpus(find_last(args, name) or "", last_cpu) or frozenset()


def _keep_flags(value: str) -> tuple[str, str]:
    """Returns the flags of an isolcpus= value that mean something, and the rest; an illegal one for one that is so."""
    kinds, text = _split_flags(value)
    if text is None:
        return _ILLEGAL_FLAG, ""
    return ("".join(f"{kind}," for kind in kinds) if value[:1].isalpha() else ""), text


def _split_words(cmdline: str) -> list[str]:
    """Returns the words between white space that is not between double quotes."""
    words: list[list[str]] = [[]]
    for number, part in enumerate(cmdline.strip().split('"')):
        if number:
            words[-1].append('"')
        if number % 2:
            words[-1].append(part)
            continue
        first, *others = re.split(r"\s+", part)
        words[-1].append(first)
        words += [[other] for other in others]
    return [text for word in words if (text := "".join(word))]


def _split_flags(value: str) -> tuple[list[str], str | None]:
    """Take the flags off an isolcpus= value; the list is None if the kernel drops the parameter."""
    kinds: list[str] = []
    while value[:1].isalpha():
        flag, comma, rest = value.partition(",")
        if flag in _FLAGS and comma:
            kinds.append(flag)
        elif not all(c.isascii() and (c.isalpha() or c == "_") for c in flag):
            return kinds, None
        value = rest
    return kinds or ["domain"], value


def _parse_cpus(text: str, last_cpu: int | None) -> frozenset[int] | None:
    if last_cpu is None and ("n" in text.lower() or "all" in text.lower()):
        raise ValueError(f"{text!r} needs to know the last CPU")
    try:
        return cpulist.parse(KernelList(text), last_cpu)
    except ValueError:
        return None
