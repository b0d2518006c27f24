"""The kernel command line of this boot and of the next one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, TypeVar

import msgspec

from hosttune.host import cmdline, grub, grub_default, identity
from hosttune.host.forms import NAME, UNINTELLIGIBLE, consists_of
from hosttune.host.root import Fact, Root, derive, make_unreadable
from hosttune.patterns import late_pattern

T = TypeVar("T")

_CONFIGS = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")
# Of titles of menu entries, such as "Debian GNU/Linux, with Linux 6.12.9-amd64 (recovery mode)".
_TITLE = f"{NAME} .,:()/+~'"
_BLS = "/boot/loader/entries"
DEFAULT = "/etc/default/grub"
_KERNEL = late_pattern(r"/vmlinu[xz]-([0-9]{1,4}\.[0-9]{1,4}[A-Za-z0-9._+~-]{0,80})")

#: Debian's GRUB, others' GRUB, and such a one that takes entries of the Boot Loader Specification.
Menu = Literal["grub", "grub2", "bls"]


class Boot(msgspec.Struct, frozen=True):
    """Command lines, with the parameters that a check looks at. `sources` maps the files from which `grub-mkconfig`
    makes the coming one to what they set, in order: they decide nothing until it is run, but they say what is missing.
    `fault` says which of them could not be read. `release` is that of the running kernel, `coming_release` that of the
    one that the menu names, or else the running one's; either may be empty. `menu`: whose tools make the menu. `place`:
    FILE:LINE of the coming command line, where that is written by hand and no tool changes it."""

    booted: Fact[str]
    coming: Fact[str]
    sources: dict[str, str] = {}
    fault: str = ""
    release: str = ""
    coming_release: str = ""
    menu: Menu = "grub"
    place: str = ""

    def evaluate(self) -> grub_default.Result:
        """Returns the arguments that the next menu will have."""
        return grub_default.Result(None, self.fault) if self.fault else grub_default.evaluate(self.sources)

    def find_release(self, line: Fact[str]) -> str:
        """Returns the release of the kernel that gets a command line: this boot's, or else another one."""
        return self.release if line.source == self.booted.source else self.coming_release


def resolve(line: Fact[str], known: bool | None, read: Callable[[cmdline.Arguments, bool], T]) -> Fact[T]:
    """Returns what `read` makes of a command line: it gets the arguments, and whether the kernel is a newer one, as far
    as that is `known`. Unreadable where it is not, and matters."""

    def parse(text: str) -> T:
        args = cmdline.split_arguments(text)
        newer, older = read(args, known is not False), read(args, known is True)
        if newer != older:
            raise ValueError("kernels of other versions read it otherwise, and which version reads it is not known")
        return newer

    return line.map(parse)


def read(root: Root) -> Boot:
    """Read both command lines."""
    booted = root.read("/proc/cmdline").map(cmdline.reduce)
    release = root.read(identity.RELEASE).map(str.strip).value or ""
    coming, of_menu, menu, place = _read_coming(root, booted)
    return Boot(booted, coming, *_read_sources(root), release, of_menu or release, menu, place)


def read_coming(root: Root) -> Fact[str]:
    """Returns the command line of the next boot alone."""
    return _read_coming(root, root.read("/proc/cmdline").map(cmdline.reduce))[0]


def read_line(root: Root) -> Fact[str]:
    """Returns the command line of the next boot, or this boot's where that cannot be read."""
    coming = read_coming(root)
    return root.read("/proc/cmdline").map(cmdline.reduce) if coming.value is None else coming


def _read_coming(root: Root, booted: Fact[str]) -> tuple[Fact[str], str, Menu, str]:
    """Returns the default entry of GRUB, if it was GRUB that started this boot; the release of its kernel, empty where
    its file's name has none; whose menu it is; and where the entry is written by hand, if it is."""
    for path in _CONFIGS:
        entry = derive(root, path, partial(_read_entry, path))
        if entry.state == "absent":
            continue
        title, line, release, bls, place = (*(entry.value or "").split("\n"), "", "", "", "", "")[:5]
        menu: Menu = "grub" if path == _CONFIGS[0] else "bls" if bls else "grub2"
        return _judge_entry(path, entry, booted, title, line), release, menu, place
    none = "no GRUB configuration: what the next boot gets is decided elsewhere"
    return make_unreadable(_CONFIGS[0], none), "", "grub", ""


def _judge_entry(path: str, entry: Fact[str], booted: Fact[str], title: str, line: str) -> Fact[str]:
    """Returns the line of an entry as far as the next boot gets it."""
    if booted.value is None:
        return make_unreadable(path, f"whether GRUB started this boot: {booted.source}: {booted.reason}")
    if not cmdline.is_of_grub(cmdline.split_arguments(booted.value)):
        return make_unreadable(path, "this boot did not come through GRUB (no BOOT_IMAGE= in /proc/cmdline)")
    if entry.value is None:
        return entry
    if "bootconfig" in [name for name, _ in cmdline.split_arguments(line)]:
        return make_unreadable(path, "bootconfig: the initrd holds more arguments, which are not read")
    return Fact("value", line, f"{path}, entry {title!r}")


def _read_entry(path: str, root: Root) -> Fact[str]:
    """Returns the title of the default entry and, on a line each, what a check looks at of its command line, its
    kernel's release, whether the configuration takes entries of the Boot Loader Specification, and where the entry is
    written by hand."""
    config = root.read(path)
    if config.value is None:
        return config
    own = path.replace("grub.cfg", "custom.cfg")
    env = root.read(path.replace("grub.cfg", "grubenv"))
    custom = root.read(own)
    for fact in (env, custom):
        if fact.state == "unreadable":
            return fact
    known = grub.parse_environment(env.value or "")
    try:
        entry = grub.find_default_entry(config.value, known, _read_bls(root), custom.value, cmdline.reduce)
        shown = entry.title if consists_of(entry.title, _TITLE, 128) else UNINTELLIGIBLE
        release = _KERNEL.search(entry.kernel)
        place = entry.place.replace("custom.cfg", own) if entry.place.startswith("custom.cfg:") else entry.place
        told = [shown, entry.line, release[1] if release else "", "bls" if entry.bls else "", place]
        return Fact("value", "\n".join(told), path)
    except ValueError as error:
        return make_unreadable(path, f"not understood: {error}")


def _read_bls(root: Root) -> dict[str, str] | None:
    names = root.list(_BLS)
    entries: dict[str, str] = {}
    for name in names.value or []:
        if name.endswith(".conf"):
            content = root.read(f"{_BLS}/{name}")
            if content.state != "value":
                return None
            entries[name.removesuffix(".conf")] = content.value or ""
    return entries if names.state == "value" else None


def _read_sources(root: Root) -> tuple[dict[str, str], str]:
    paths = [DEFAULT]
    fragments = root.list(f"{DEFAULT}.d")
    # As the shell's `*.cfg` has them: in the order of their bytes, and without hidden ones.
    paths += [f"{DEFAULT}.d/{name}" for name in fragments.value or [] if name.endswith(".cfg") and name[0] != "."]
    facts = {path: root.read(path).map(grub_default.reduce) for path in paths}
    texts = {path: fact.value for path, fact in facts.items() if fact.value is not None}
    faults = [f"{fact.source}: {fact.reason}" for fact in facts.values() if fact.state == "unreadable"]
    if fragments.state == "unreadable":
        faults.insert(0, f"{fragments.source}: {fragments.reason}")
    return texts, next(iter(faults), "")
