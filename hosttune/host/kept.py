"""What is read of a host for a check: of each file only what a check looks at, in a form that its parser reads as the
file itself, and of each directory only the names that lead there.

:data:`RULES` is a list of what is allowed. A check of this host reads through it just as a snapshot of the host does,
so both come to the same verdict, and neither shows what else a file holds. In a pattern, `*` stands for any text within
a name, `#` for digits. A rule takes the text of a file and returns what is kept of it; it raises ValueError, which
makes the file unreadable, without repeating what it does not understand.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from hosttune.host import boot_jobs, login_shell, owners, pam_lines, sysctl_values, systemd
from hosttune.host.root import Fact, Names, Root, Table, derive, make_unreadable

Rule = Callable[[str], str]

_MANAGER = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd")
_UNITS = systemd.SEARCH
_DROP_INS = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
_SYSCTLS = "/proc/sys/"
_CPU = "/sys/devices/system/cpu"
_NODE = "/sys/devices/system/node"

#: Pattern of files to the rule for them: `MODULE.FUNCTION` in hosttune.host.
RULES: dict[str, str] = {
    "/proc/cmdline": "cmdline.reduce",
    owners.ACTIVE_PROFILE: "owners.reduce_active",
    owners.POST_LOADED: "owners.reduce_active",
    owners.PROFILE_MODE: "owners.reduce_mode",
    owners.TUNED_MAIN: "owners.reduce_main",
    **dict.fromkeys((f"{top}/*/tuned.conf" for top in owners.PROFILES), "owners.reduce_profile"),
    "/proc/modules": "modules.reduce_loaded",
    "/proc/meminfo": "hugepages.reduce_meminfo",
    "/proc/interrupts": "irq.reduce_interrupts",
    "/proc/irq/default_smp_affinity": "forms.keep_number_list",
    "/proc/irq/#/smp_affinity_list": "forms.keep_number_list",
    "/proc/irq/#/effective_affinity_list": "forms.keep_number_list",
    "/proc/#/status": "process.reduce_status",
    "/proc/#/comm": "process.reduce_comm",
    "/proc/#/cgroup": "process.reduce_cgroup",
    "/proc/#/environ": "irqbalance.reduce_environment",
    "/proc/#/limits": "limits.reduce_proc",
    "/proc/#/task/#/status": "process.reduce_status",
    "/proc/#/task/#/stat": "process.reduce_stat",
    "/proc/sys/kernel/hostname": "forms.keep_word",
    "/proc/sys/kernel/osrelease": "forms.keep_word",
    "/proc/sys/net/core/default_qdisc": "forms.keep_word",
    "/proc/sys/net/ipv4/tcp_congestion_control": "forms.keep_word",
    "/proc/sys/net/ipv4/tcp_available_congestion_control": "forms.keep_words",
    "/proc/sys/net/ipv4/tcp_allowed_congestion_control": "forms.keep_words",
    **dict.fromkeys(
        (f"/proc/sys/{path}" for path in sorted(sysctl_values.MASKS | sysctl_values.RANGES)), "sysctl_values.keep_set"
    ),
    "/sys/kernel/irq/#/actions": "irq.reduce_actions",
    "/sys/kernel/debug/irq/irqs/#": "irq.reduce_flags",
    **dict.fromkeys(
        [
            *(f"{_CPU}/{name}" for name in ("possible", "online", "isolated", "nohz_full")),
            f"{_CPU}/cpu#/topology/thread_siblings_list",
            "/sys/fs/cgroup/cpuset.cpus.isolated",
            *(f"{_NODE}/node#/hugepages/hugepages-#kB/{name}_hugepages" for name in ("nr", "free", "surplus")),
            *(f"/sys/kernel/mm/hugepages/hugepages-#kB/{name}_hugepages" for name in ("nr", "free", "surplus")),
            "/sys/kernel/debug/sched/fair_server/cpu#/runtime",
        ],
        "forms.keep_number_list",
    ),
    "/sys/kernel/mm/transparent_hugepage/enabled": "forms.keep_choice",
    "/sys/kernel/mm/transparent_hugepage/hugepages-#kB/enabled": "forms.keep_choice",
    "/sys/kernel/security/lockdown": "forms.keep_choice",
    "/lib/modules/*/modules.builtin": "modules.reduce_builtin",
    "/lib/modules/*/modules.dep": "modules.reduce_needs",
    "/etc/passwd": "users.reduce_passwd",
    "/etc/group": "users.reduce_group",
    "/etc/nsswitch.conf": "users.reduce_nsswitch",
    "/etc/security/*.conf": "limits_lines.reduce",
    "/etc/security/limits.d/*.conf": "limits_lines.reduce",
    **dict.fromkeys((f"{directory}/*" for directory in pam_lines.DIRECTORIES), "pam_lines.reduce"),
    **dict.fromkeys((*login_shell.FILES, f"{login_shell.DIRECTORY}/*{login_shell.END}"), "login_shell.reduce"),
    "/etc/ssh/sshd_config": "sshd.reduce",
    "/etc/ssh/sshd_config.d/*.conf": "sshd.reduce",
    "/etc/crypto-policies/back-ends/opensshserver.config": "sshd.reduce",
    "/etc/os-release": "pam.reduce_release",
    "/etc/default/grub": "grub_default.reduce",
    "/etc/default/grub.d/*.cfg": "grub_default.reduce",
    **dict.fromkeys((boot_jobs.CRONTAB, f"{boot_jobs.CRON_D}/*"), "units.reduce_crontab"),
    **dict.fromkeys((boot_jobs.INTERFACES, f"{boot_jobs.INTERFACES_D}/*"), "units.reduce_interfaces"),
    **dict.fromkeys((boot_jobs.CLOUD_CFG, *boot_jobs.CLOUD_DATA, f"{boot_jobs.CLOUD_D}/*.cfg"), "units.reduce_bootcmd"),
    **dict.fromkeys((f"{top}/{boot_jobs.UDEV_RULES}/*{boot_jobs.UDEV_END}" for top in _DROP_INS), "units.reduce_udev"),
    **dict.fromkeys(boot_jobs.OF_ROOT, "units.reduce_crontab_of_root"),
    **dict.fromkeys((boot_jobs.SYSFS_CONF, f"{boot_jobs.SYSFS_D}/*.conf"), "boot_jobs.reduce_sysfs"),
    "/etc/sysctl.conf": "sysctl.reduce",
    **dict.fromkeys((f"{top}/sysctl.d/*.conf" for top in _DROP_INS), "sysctl.reduce"),
    **dict.fromkeys((f"{top}/modules-load.d/*.conf" for top in _DROP_INS), "modules.reduce_at_boot"),
    **dict.fromkeys((f"{top}/modprobe.d/*.conf" for top in _DROP_INS), "modules.reduce_blocks"),
    **dict.fromkeys((f"{top}/tmpfiles.d/*.conf" for top in _DROP_INS), "tmpfiles.reduce"),
    **dict.fromkeys(
        [f"{top}/{name}" for top in _MANAGER for name in ("system.conf", "system.conf.d/*.conf")],
        "units.reduce_manager",
    ),
    **dict.fromkeys(
        [f"{top}/{name}" for top in _UNITS for name in ("*.service", "*.service.d/*.conf", "service.d/*.conf")],
        "units.reduce",
    ),
    **dict.fromkeys(
        [
            f"{top}/{name}"
            for top in _UNITS
            for kind in systemd.STARTERS
            for name in (f"*{kind}", f"*{kind}.d/*.conf", f"{kind[1:]}.d/*.conf")
        ],
        "units.reduce_starter",
    ),
    **dict.fromkeys(
        [f"{top}/{name}" for top in _UNITS for name in ("*.target", "*.target.d/*.conf", "target.d/*.conf")],
        "units.reduce_target",
    ),
    **dict.fromkeys(
        [f"{top}/irqbalance.service{name}" for top in _UNITS for name in ("", ".d/*.conf")], "units.reduce_irqbalance"
    ),
}

#: The same for files at any depth: the beginning and the end of their paths.
DEEP_RULES = {("/proc/sys/", ""): "sysctl.reduce_value", ("/sys/devices/", "/irq"): "forms.keep_number_list"}

#: Of a link at one of these the target is kept; a drop-in may be one to /dev/null.
LINKS = (
    *(f"{directory}/*" for directory in pam_lines.DIRECTORIES),
    "/etc/crypto-policies/back-ends/opensshserver.config",
    "/proc/#/exe",
    "/sbin/init",
    "/sys/class/net/*",
    "/sys/class/net/*/device",
    *login_shell.FILES,
    *(
        pattern
        for pattern in RULES
        if pattern.endswith((".conf", ".service", ".target", ".sh", boot_jobs.UDEV_END, *systemd.STARTERS))
    ),
)

#: Names that a check looks for in directories, and no file that it reads.
NAMES = (
    "/boot/grub/grub.cfg",
    "/boot/grub2/grub.cfg",
    "/etc/init.d/procps",
    "/etc/hosttune/profile.d/*.yml",
    "/etc/hosttune/profile.d/*.yaml",
    "/var/lib/hosttune/stated/*.yml",
    *(f"{directory}/S*" for directory in boot_jobs.RUNLEVELS),
    *(f"{directory}/*" for directory in boot_jobs.HOOKS),
    boot_jobs.CLOUD_OFF,
    # What systemd-rc-local-generator made.
    "/run/systemd/generator/multi-user.target.wants/rc-local.service",
    *(
        f"{top}/*.{kind}/*.{type}"
        for top in _UNITS
        for kind in ("wants", "requires", "upholds")
        for type in ("service", "target", "timer", "path", "socket")
    ),
)

OMITTED = "left out: no check of hosttune's own reads it"
# Of numbers in names: those of processes, interrupts, and CPUs, and sizes of pages in kB.
_MAX_DIGITS = 20
_NOT_TEXT = "a name in it is not UTF-8"


class _Node:
    """A directory or file of the patterns: what leads on from it, and the rule of a file."""

    def __init__(self) -> None:
        self.names: dict[str, _Node] = {}
        self.globs: list[tuple[str, str, bool, _Node]] = []  # prefix, suffix, only digits between them
        self.rule: str | Rule | None = None
        self.link = False

    def add(self, part: str) -> _Node:
        """Returns the node that a part of a pattern leads to."""
        mark = "#" if "#" in part else "*"
        if mark not in part:
            return self.names.setdefault(part, _Node())
        prefix, _, suffix = part.partition(mark)
        for known in self.globs:
            if known[:3] == (prefix, suffix, mark == "#"):
                return known[3]
        self.globs.append((prefix, suffix, mark == "#", _Node()))
        return self.globs[-1][3]

    def find(self, name: str) -> Iterator[_Node]:
        """Yield the nodes that a name leads to: that of the name itself first."""
        if name in self.names:
            yield self.names[name]
        for prefix, suffix, digits, node in self.globs:
            if _fits(name, prefix, suffix, digits):
                yield node


def _fits(name: str, prefix: str, suffix: str, digits: bool) -> bool:
    """Returns whether a name fits a pattern; as of glob(7), one that begins with a dot does not fit a wildcard."""
    if not name.startswith(prefix) or not name.endswith(suffix) or len(name) < len(prefix) + len(suffix):
        return False
    if digits:
        middle = name[len(prefix) : len(name) - len(suffix)] if suffix else name[len(prefix) :]
        return middle.isascii() and middle.isdigit() and len(middle) <= _MAX_DIGITS
    return bool(prefix) or name[:1] != "."


class Patterns:
    """Which files, links and names of a host are allowed. `more`: rules beside :data:`RULES`, which go before them."""

    def __init__(self, more: Mapping[str, Rule] | None = None) -> None:
        more = more or {}
        asked = frozenset(path.removeprefix(_SYSCTLS) for path in more if path.startswith(_SYSCTLS))
        self._top = _Node()
        self._found: dict[str, list[_Node]] = {"": [self._top]}
        for pattern, rule in RULES.items():
            self._add(pattern).rule = partial(_reduce_sysctls, asked) if rule == "sysctl.reduce" else rule
        for pattern in LINKS:
            self._add(pattern).link = True
        for pattern in (*NAMES, *more):
            self._add(pattern)
        for pattern, given in more.items():
            self._add(pattern).rule = given

    def find_rule(self, path: str) -> str | Rule | None:
        """Returns the rule for a file, None if there is none, as for what dropins.read_lasting() derives of a link."""
        if path.endswith(":links"):
            return None
        directory, _, name = path.rpartition("/")
        for node in self._find(directory):
            for below in node.find(name):
                if below.rule is not None:
                    return below.rule
        return next((rule for ends, rule in DEEP_RULES.items() if _lies_between(path, *ends)), None)

    def allows_link(self, path: str) -> bool:
        """Returns whether the target of a link may be kept."""
        return any(node.link for node in self._find(path))

    def choose_names(self, path: str, names: list[str]) -> list[str] | None:
        """Returns those of the names in a directory that lead to what is allowed; None if none could."""
        if _lies_between(path, _SYSCTLS, ""):
            return names
        if _lies_between(path, "/sys/devices/", "/msi_irqs"):
            return [name for name in names if _fits(name, "", "", True)]
        nodes = self._find(path.rstrip("/"))
        if not any(node.names or node.globs for node in nodes):
            return None
        exact = {name for node in nodes for name in node.names}
        globs = [glob for node in nodes for glob in node.globs]
        # Most directories are asked for endings alone, and some have hundreds of names.
        endings = tuple(suffix for prefix, suffix, digits, _ in globs if not prefix and not digits)
        others = [glob for glob in globs if glob[0] or glob[2]]
        return [
            name
            for name in names
            if name in exact
            or (name.endswith(endings) and not name.startswith("."))
            or any(_fits(name, *glob[:3]) for glob in others)
        ]

    def _add(self, pattern: str) -> _Node:
        node = self._top
        for part in pattern.strip("/").split("/"):
            node = node.add(part)
        return node

    def _find(self, path: str) -> list[_Node]:
        found = self._found.get(path)
        if found is None:
            directory, _, name = path.rpartition("/")
            found = [below for node in self._find(directory) for below in node.find(name)] if name else []
            self._found[path] = found
        return found


def reduce_root(root: Root, more: Mapping[str, Rule] | None = None) -> Root:
    """Returns a root through the patterns; one that is behind them already as it is."""
    return root if getattr(root, "reduced", False) else Kept(root, Patterns(more))


class Kept:
    """Another root, of which only what the patterns allow is read.

    What no rule allows is read as it is: a desk's own check on this host may look at it. Only a snapshot leaves it out.
    """

    reduced = True

    def __init__(self, root: Root, patterns: Patterns | None = None) -> None:
        self.root = root
        self.source, self.taken = root.source, root.taken
        self.patterns = patterns or Patterns()
        self._rules: dict[str, Rule] = {}

    def read(self, path: str) -> Fact[str]:
        """Returns what is kept of a file."""
        rule = self.patterns.find_rule(path)
        fact = self.root.read(path)
        if rule is None or fact.value is None:
            return fact
        if isinstance(rule, str):
            if rule not in self._rules:
                self._rules[rule] = _load(rule)
            rule = self._rules[rule]
        return fact.map(rule)

    def list(self, path: str) -> Fact[Names]:
        """Returns the names that lead to what is kept."""
        fact = self.root.list(path)
        names = None if fact.value is None else self.patterns.choose_names(path, fact.value)
        if names is None:
            return fact
        return Fact("value", names, path) if all(map(_is_text, names)) else make_unreadable(path, _NOT_TEXT)

    def link(self, path: str) -> Fact[str]:
        """Returns the target of a link."""
        fact = self.root.link(path)
        return fact if fact.value is None or _is_text(fact.value) else make_unreadable(path, _NOT_TEXT)

    def netlink(self, request: str) -> Fact[Table]:
        """Returns the table: it holds names of interfaces and numbers."""
        fact = self.root.netlink(request)
        texts = [value for row in fact.value or () for value in row.values() if isinstance(value, str)]
        return fact if all(map(_is_text, texts)) else make_unreadable(fact.source, _NOT_TEXT)

    def later(self, seconds: float) -> tuple[Kept, float] | None:
        """Returns the same host later, through the same patterns."""
        second = self.root.later(seconds)
        return None if second is None else (type(self)(second[0], self.patterns), second[1])

    def derive(self, path: str, make: Callable[[Root], Fact[str]]) -> Fact[str]:
        """Returns what `make` takes of the host behind the patterns."""
        return derive(self.root, path, make)


def _load(rule: str) -> Rule:
    module, _, name = rule.partition(".")
    found: Any = getattr(importlib.import_module(f"hosttune.host.{module}"), name)
    return found  # type: ignore[no-any-return]


def _reduce_sysctls(asked: frozenset[str], text: str) -> str:
    from hosttune.host import sysctl

    return sysctl.reduce(text, asked)


def _lies_between(path: str, start: str, end: str) -> bool:
    return path.startswith(start) and path.endswith(end) and not {"..", "."} & set(path.split("/"))


def _is_text(name: str) -> bool:
    return name.isascii() or name == name.encode("utf-8", "replace").decode("utf-8")
