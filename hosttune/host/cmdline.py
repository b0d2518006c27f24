"""What the kernel makes of a command line. Pure: text in, plain data out. Of the standard library only: roles plan
with it on the controller.

Sources in the Linux kernel: `lib/cmdline.c` (`next_arg`, `get_option`), `kernel/params.c` (`parse_args`),
`kernel/smp.c` (maxcpus=, nr_cpus= and nosmp), `kernel/cpu.c` (nosmt, mitigations=), `arch/x86/kernel/cpu/bugs.c`
(mds= and the like), `arch/x86/kernel/smpboot.c` (possible_cpus=),
`kernel/time/tick-sched.c` (nohz=), `kernel/sched/isolation.c` (isolcpus= and nohz_full=), `kernel/rcu/tree_nocb.h`
(rcu_nocbs=), `kernel/irq/irqdesc.c` (irqaffinity=); `Documentation/admin-guide/kernel-parameters.txt`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from hosttune.host import boot_pages, cpulist, sysctl_lines, sysctl_values, thp_anon
from hosttune.host.cpulist import KernelList, SystemdList
from hosttune.host.forms import CPU_LIST, NAME, UNINTELLIGIBLE, consists_of, is_since
from hosttune.host.hugetlb import POLICIES
from hosttune.host.module_names import BLACKLISTS, is_sought
from hosttune.patterns import late_pattern

Arguments = tuple[tuple[str, str | None], ...]

#: Characters. The longest command line that any architecture takes has 4 KiB; bootconfig may add 32 KiB.
MAX_LENGTH = 1 << 16

_FLAGS = ("nohz", "domain", "managed_irq")
#: The kernel boots on this CPU, which keeps the time, and takes the interrupts that no other CPU is given.
BOOT_CPU = 0
# White space to the kernel: ASCII's, and the byte that is a space in Latin-1. Source: lib/ctype.c.
_SPACE = " \t\n\v\f\r\xa0"

#: Parameters that list modules to load, or not to load.
MODULE_LISTS = ("modules_load", *BLACKLISTS)
#: How many CPUs are brought up, and how many there may be at all.
MOST_CPUS = ("maxcpus", "nr_cpus", "possible_cpus")
#: One CPU alone; of each core one hardware thread. Either may have a value.
ONE_CPU, ONE_THREAD = "nosmp", "nosmt"
#: Parameters that keep CPUs from being brought up.
FEWER_CPUS = (*MOST_CPUS, ONE_CPU, ONE_THREAD)
#: Parameters that may have the same effect as `nosmt`, on a CPU with the fault that they are for; and which values do.
MITIGATIONS = ("mitigations", "l1tf", "mds", "tsx_async_abort", "mmio_stale_data", "retbleed")
# Values of numa= that change which nodes there are, by how they begin. Source: arch/x86/mm/numa.c (numa_setup).
_NUMA = ("off", "fake=", "noacpi")
_L1TF = ("full", "full,force", "flush,nosmt")
# Takes a unit, for systemd; and the units of which a check asks whether one is masked.
_MASK = "systemd.mask"
_MASKED = ("rc-local", "systemd-modules-load", "systemd-sysctl", "systemd-tmpfiles-setup")
_CPU_LISTS = ("nohz_full", "rcu_nocbs", "irqaffinity", "systemd.cpu_affinity")
#: Parameters that a check looks at.
PARAMETERS = frozenset(
    (
        "BOOT_IMAGE", "bootconfig", "isolcpus", "nohz", *FEWER_CPUS, *MITIGATIONS, *_CPU_LISTS,
        *boot_pages.PARAMETERS, "numa", "transparent_hugepage", "thp_anon", _MASK, *MODULE_LISTS,
    )
)  # fmt: skip
_ILLEGAL_FLAG = "x!"
_NUMBER = late_pattern(r"(-?)(0[xX][0-9a-fA-F]+|[0-9]*)")
# Of parameters that set a sysctl. Source: fs/proc/proc_sysctl.c (process_sysctl_arg).
_SYSCTL = ("sysctl.", "sysctl/")


class Isolation(NamedTuple):
    """The sets that isolcpus= and nohz_full= of one command line come to, taken together.

    `ticks` tells whether nohz= has the tick go on all the same, and `most` how many CPUs are brought up, None for all;
    `single`: of each core only the first hardware thread; `maybe_single`: words that may come to that (MITIGATIONS).
    `remarks` says in words which parameter the kernel ignores or takes otherwise than it reads.
    """

    domain: frozenset[int] = frozenset()
    managed_irq: frozenset[int] = frozenset()
    nohz: frozenset[int] = frozenset()
    remarks: tuple[str, ...] = ()
    ticks: bool = False
    most: int | None = None
    single: bool = False
    maybe_single: str = ""

    @property
    def started(self) -> frozenset[int]:
        """The CPUs out of the scheduler's domains, as far as they are brought up; which threads of cores that are, the
        line does not tell."""
        return frozenset(cpu for cpu in self.domain if self.most is None or cpu < self.most)

    @property
    def tickless(self) -> frozenset[int]:
        """The CPUs whose tick stops."""
        return frozenset() if self.ticks else self.nohz


def is_of_grub(args: Arguments) -> bool:
    """Returns whether it is GRUB that handed a command line to the kernel: it names the kernel's file in it."""
    return any(name == "BOOT_IMAGE" for name, _ in args)


def split_arguments(cmdline: str) -> Arguments:
    """Split a command line as the kernel does: double quotes protect spaces, `--` ends its part.

    Names have `-` turned into `_`, which the kernel treats alike but in those of sysctls; a value is None if there is
    no `=`. Raises ValueError for more than any kernel takes.
    """
    if len(cmdline) > MAX_LENGTH:
        raise ValueError(f"{len(cmdline)} characters; no kernel takes more than {MAX_LENGTH}")
    found: list[tuple[str, str | None]] = []
    for word in _split_words(_to_bytes(cmdline)):
        name, value = _split_word(word)
        if name == "--" and value is None:
            break
        found.append((name if name.startswith(_SYSCTL) else name.replace("-", "_"), value))
    return tuple(found)


def find_sysctl(name: str) -> str:
    """Returns the path below /proc/sys that an argument sets, as `sysctl.net.core.somaxconn=4096` does, "" for none."""
    return sysctl_lines.normalise_key(f"/{name[7:].replace('.', '/')}") if name.startswith(_SYSCTL) else ""


def reduce(cmdline: str) -> str:
    """Returns a command line with the parameters that a check looks at, and nothing else of it. Raises ValueError.

    The kernel makes of them what it makes of the whole line.
    """
    words = []
    for name, value in split_arguments(cmdline):
        if name not in PARAMETERS and not _is_sought_sysctl(name):
            continue
        if value is None:
            words.append(name)
            continue
        value = _keep_value(name, value)
        words.append(f'{name}="{value}"' if set(_SPACE) & set(value) else f"{name}={value}")
    return " ".join(words)


def _keep_value(name: str, value: str) -> str:
    if name.startswith(_SYSCTL):
        return sysctl_values.keep_numbers(value)
    if name == "isolcpus":
        flags, value = _keep_flags(value)
        return flags + _keep_cpus(value)
    if name in _CPU_LISTS:
        return _keep_cpus(value)
    if name in boot_pages.PARAMETERS:
        return boot_pages.reduce(name, value)
    if name in MODULE_LISTS:
        value = ",".join(filter(is_sought, value.split(",")))
        return value if consists_of(value, f"{NAME},", MAX_LENGTH) else UNINTELLIGIBLE
    if name == _MASK:
        return value if value.removesuffix(".service") in _MASKED else UNINTELLIGIBLE
    if name == "nohz":
        return "off" if _is_off(value) else "on"
    if name in MOST_CPUS:
        return str(_parse_number(value)) if value else ""
    if name == "numa":
        return next((start for start in _NUMA if value.startswith(start)), UNINTELLIGIBLE)
    if name in MITIGATIONS:
        return value if consists_of(value, f"{NAME},;", 64) else UNINTELLIGIBLE
    if name == ONE_THREAD:
        return value if value == "force" else UNINTELLIGIBLE
    if name == "thp_anon":
        return thp_anon.reduce(value)
    return value if name == "transparent_hugepage" and value in POLICIES else UNINTELLIGIBLE


def _is_sought_sysctl(name: str) -> bool:
    return find_sysctl(name).startswith(sysctl_values.SOUGHT) and consists_of(name, f"{NAME}./:", 256)


def _is_off(value: str) -> bool:
    """Returns whether kstrtobool() of the kernel reads a value as false, by its first characters."""
    return value[:1] in tuple("0nNfF") or value[:2].lower() == "of"


def _keep_cpus(value: str) -> str:
    """Returns a list of CPUs as it is, or the parts of it before the one that no list has."""
    if consists_of(value, CPU_LIST + _SPACE, MAX_LENGTH):
        return value
    legal = value[: len(value) - len(value.lstrip(CPU_LIST + _SPACE))]
    return legal.rstrip(CPU_LIST.replace(",", "").replace(" ", "")) + UNINTELLIGIBLE


def _parse_number(text: str) -> int:
    """Returns the number that get_option() of the kernel reads: as in C, 0 for none, and at most so much."""
    match = _NUMBER.match(text)
    sign, digits = (match[1], match[2]) if match else ("", "")
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits[:1] == "0" else 10
    if base == 8:
        digits = digits[: len(digits) - len(digits.lstrip("01234567"))]
    return int(f"{sign}{digits[:16] or 0}", base)


def _find_most(args: Arguments) -> tuple[int | None, str]:
    """Returns how many CPUs are brought up, None for all, and the words that say so.

    Of maxcpus= the last counts, and 0 is the CPU that boots alone, as with nosmp; of nr_cpus= the smallest does.
    """
    brought: int | None = None
    most: list[int] = []
    words: list[str] = []
    for name, value in args:
        if name == ONE_CPU:
            brought = 0
        elif name in MOST_CPUS and value:
            number = _parse_number(value)
            if name == "maxcpus":
                brought = number if number >= 0 else None
            elif number > 0:
                most.append(number)
        else:
            continue
        words.append(name if value is None else f"{name}={value}")
    if brought is not None:
        most.append(max(1, brought))
    return min(most, default=None), ", ".join(words)


def has_set_for_each_kind(release: str) -> bool | None:
    """Returns whether a kernel has a set of CPUs for each kind of isolation; before Linux 5.18 there is one for all.

    None where the release does not tell. Source: `kernel/sched/isolation.c` (`housekeeping_setup`).
    """
    return is_since(release, (5, 18))


def find_last(args: Arguments, name: str) -> str | None:
    """Returns the value of the last `name=`, which is the one that counts for most parameters."""
    values = [value for key, value in args if key == name and value is not None]
    return values[-1] if values else None


def find_numa(args: Arguments) -> list[str]:
    """Returns the words that change which NUMA nodes there are."""
    return [f"numa={value}" for name, value in args if name == "numa" and value is not None and value.startswith(_NUMA)]


def resolve_isolation(
    args: Arguments,
    last_cpu: int | None,
    present: frozenset[int] | None = None,
    has_nohz: bool = True,
    by_kind: bool = True,
) -> Isolation:
    """Work out isolcpus= and nohz_full= in the order given; `last_cpu` is what `N` stands for.

    A later parameter may add kinds of isolation, but one that gives a kind a second, different set is refused as a
    whole. `present`: the CPUs that are there at boot, all unless given. `has_nohz`: whether the kernel is built with
    CONFIG_NO_HZ_FULL. `by_kind`: whether kinds may have different sets (:func:`has_set_for_each_kind`). Raises
    ValueError if a list needs `last_cpu` and it is None.
    """
    if present is None and last_cpu is not None:
        present = frozenset(range(last_cpu + 1))
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
        if "nohz" in kinds and not has_nohz:
            remarks.append(f"{shown}: the kernel is built without CONFIG_NO_HZ_FULL, so it drops all of it")
            continue
        cpus = _parse_cpus(text, last_cpu)
        if not cpus:
            remarks.append(f"{shown}: not a list of CPUs that this host can have, so the kernel drops all of it")
            continue
        if present is not None and present <= cpus:
            remarks.append(f"{shown}: names every CPU, so the kernel keeps CPU {BOOT_CPU} out of it")
            cpus -= {BOOT_CPU}
        contradicted = any(sets.get(kind, cpus) != cpus for kind in kinds)
        if contradicted or (not by_kind and any(each != cpus for each in sets.values())):
            reason = "" if contradicted else " (before Linux 5.18 both have to name the same CPUs)"
            remarks.append(f"{shown}: contradicts an earlier isolcpus= or nohz_full={reason}, so the kernel refuses it")
            continue
        if name == "isolcpus" and "domain" not in kinds:
            remarks.append(f"{shown}: without the flag domain it isolates nothing from the scheduler")
        if "nohz" in kinds and BOOT_CPU in cpus:
            remarks.append(f"{shown}: the kernel keeps the tick of CPU {BOOT_CPU}, on which it boots")
        sets.update(dict.fromkeys(kinds, cpus))
    none: frozenset[int] = frozenset()
    nohz = sets.get("nohz", none) - {BOOT_CPU}
    if ticks := bool(nohz) and _is_off(find_last(args, "nohz") or ""):
        remarks.append("nohz_full= has no effect with nohz=off, which has the tick go on")
    most, words = _find_most(args)
    domain = sets.get("domain", none)
    if most is not None and most <= max(domain, default=0):
        remarks.append(f"isolcpus= names a CPU that {words} does not bring up")
    single = any(name == ONE_THREAD for name, _ in args)
    maybe = "" if single else " ".join(_find_mitigations(args))
    return Isolation(domain, sets.get("managed_irq", none), nohz, tuple(remarks), ticks, most, single, maybe)


def _find_mitigations(args: Arguments) -> list[str]:
    """Returns the words that take all threads of a core but the first offline, on a CPU with the fault.

    Of most parameters a `nosmt` once said stays, unless `off` comes last.
    """
    if find_last(args, "mitigations") == "off":
        return []
    found = []
    for name in MITIGATIONS:
        given = [value for key, value in args if key == name and value is not None]
        if name in ("mitigations", "l1tf"):
            given = given[-1:]
        taking = [value for value in given if value in _L1TF or "nosmt" in re.split("[,;]", value)]
        if name != "l1tf":
            taking = [value for value in taking if "nosmt" in value]
        if taking and given[-1] != "off":
            found.append(f"{name}={taking[-1]}")
    return found


def resolve_rcu_nocbs(
    args: Arguments, last_cpu: int | None, has_nohz: bool = True, by_kind: bool = True
) -> frozenset[int]:
    """Returns the CPUs whose RCU callbacks are offloaded: the last rcu_nocbs=, and, implied, nohz_full=.

    Without a list it names no CPU, and a list that the kernel cannot read means all CPUs. Raises ValueError if
    `last_cpu` is needed and None.
    """
    offloaded = resolve_isolation(args, last_cpu, has_nohz=has_nohz, by_kind=by_kind).nohz
    given = [value for name, value in args if name == "rcu_nocbs"]
    if given and given[-1] is not None:
        cpus = _parse_cpus(given[-1], last_cpu)
        offloaded |= _parse_cpus("all", last_cpu) or frozenset() if cpus is None else cpus
    return offloaded


def resolve_irqaffinity(args: Arguments, last_cpu: int | None) -> frozenset[int] | None:
    """Returns the CPUs on which interrupts start, None if irqaffinity= is not given.

    The kernel adds the CPU on which it boots, and of a list that it cannot read it takes what stands before the fault.
    Raises ValueError if `last_cpu` is needed and None.
    """
    text = find_last(args, "irqaffinity")
    if text is None:
        return None
    cpus: frozenset[int] = frozenset({BOOT_CPU})
    for part in re.split(f"[{_SPACE},]+", text):
        taken = _parse_cpus(part, last_cpu)
        if taken is None:
            break
        cpus |= taken
    return cpus


def fits_irqaffinity(cpus: frozenset[int], wanted: frozenset[int], isolated: frozenset[int]) -> bool:
    """Returns whether interrupts start where they shall; the kernel adds the CPU on which it boots."""
    return cpus == wanted or (cpus == wanted | {BOOT_CPU} and BOOT_CPU not in isolated)


def resolve_systemd(args: Arguments) -> frozenset[int] | None:
    """Returns the CPUs that the command line has PID 1 run on, None if it says nothing of them.

    systemd warns of a list that it cannot read, and goes on as if it were not there.
    """
    cpus = None
    for name, value in args:
        if name == "systemd.cpu_affinity" and value is not None:
            try:
                cpus = cpulist.parse_systemd(SystemdList(value))
            except ValueError:
                continue
    return cpus


def _keep_flags(value: str) -> tuple[str, str]:
    """Returns the flags of an isolcpus= value that mean something, and the rest; an illegal one for one that is so."""
    kinds, text = _split_flags(value)
    if text is None:
        return _ILLEGAL_FLAG, ""
    return ("".join(f"{kind}," for kind in kinds) if value[:1].isalpha() else ""), text


def _to_bytes(text: str) -> str:
    """Returns a text with a character for each byte of it, as the kernel reads it."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("latin-1")


def _split_words(cmdline: str) -> list[str]:
    """Returns the words between white space that is not between double quotes."""
    words: list[list[str]] = [[]]
    for number, part in enumerate(cmdline.strip(_SPACE).split('"')):
        if number:
            words[-1].append('"')
        if number % 2:
            words[-1].append(part)
            continue
        first, *others = re.split(f"[{_SPACE}]+", part)
        words[-1].append(first)
        words += [[other] for other in others]
    return [text for word in words if (text := "".join(word))]


def _split_word(word: str) -> tuple[str, str | None]:
    """Returns the name and the value of a word: a quote at either end of the word, or of the value, is taken off."""
    quoted = word.startswith('"')
    word = word[1:] if quoted else word
    equals = word.find("=", 1)
    name, value = (word, None) if equals < 0 else (word[:equals], word[equals + 1 :])
    if value is not None and value.startswith('"'):
        inner = value[1:]
        ended = inner.endswith('"')
        value, quoted = inner.removesuffix('"'), quoted and not ended
    if quoted and value is None:
        name = name.removesuffix('"')
    elif quoted and value is not None:
        value = value.removesuffix('"')
    return name, value


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
    """Returns the CPUs of a list, None if the kernel refuses it; it refuses one with a CPU that cannot be there."""
    if last_cpu is None and ("n" in text.lower() or "all" in text.lower()):
        raise ValueError(f"{text!r} needs to know the last CPU")
    try:
        return cpulist.parse(KernelList(text), last_cpu, bounded=True)
    except ValueError:
        return None
