"""The kernel command line of this boot and of the next one."""

from __future__ import annotations

from functools import partial

import msgspec

from hosttune.host import cmdline, grub, grub_default
from hosttune.host.forms import NAME, UNINTELLIGIBLE, consists_of
from hosttune.host.root import Fact, Root, derive, make_unreadable

_CONFIGS = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")
# Of titles of menu entries, such as "Debian GNU/Linux, with Linux 6.12.9-amd64 (recovery mode)".
_TITLE = f"{NAME} .,:()/+~'"
_BLS = "/boot/loader/entries"
DEFAULT = "/etc/default/grub"


class Boot(msgspec.Struct, frozen=True):
    """Command lines, with the parameters that a check looks at. `sources` maps the files from which `grub-mkconfig`
    makes the coming one to what they set, in order: they decide nothing until it is run, but they say what is missing.
    `fault` says which of them could not be read."""

    booted: Fact[str]
    coming: Fact[str]
    sources: dict[str, str] = {}
    fault: str = ""

    def evaluate(self) -> grub_default.Result:
        """Returns the arguments that the next menu will have."""
        return grub_default.Result(None, self.fault) if self.fault else grub_default.evaluate(self.sources)


def read(root: Root) -> Boot:
    """Read both command lines."""
    booted = root.read("/proc/cmdline").map(cmdline.reduce)
    return Boot(booted, _read_coming(root, booted), *_read_sources(root))


def _read_coming(root: Root, booted: Fact[str]) -> Fact[str]:
    """Returns the default entry of GRUB, if it was GRUB that started this boot."""
    for path in _CONFIGS:
        entry = derive(root, path, partial(_read_entry, path))
        if entry.state == "absent":
            continue
        if booted.value is None:
            return make_unreadable(path, f"whether GRUB started this boot: {booted.source}: {booted.reason}")
        if "BOOT_IMAGE" not in [name for name, _ in cmdline.split_arguments(booted.value)]:
            return make_unreadable(path, "this boot did not come through GRUB (no BOOT_IMAGE= in /proc/cmdline)")
        if entry.value is None:
            return entry
        title, _, line = entry.value.partition("\n")
        if "bootconfig" in [name for name, _ in cmdline.split_arguments(line)]:
            return make_unreadable(path, "bootconfig: the initrd holds more arguments, which are not read")
        return Fact("value", line, f"{path}, entry {title!r}")
    return make_unreadable(_CONFIGS[0], "no GRUB configuration: what the next boot gets is decided elsewhere")


def _read_entry(path: str, root: Root) -> Fact[str]:
    """Returns the title of the default entry and, on a second line, what a check looks at of its command line."""
    config = root.read(path)
    if config.value is None:
        return config
    env = root.read(path.replace("grub.cfg", "grubenv"))
    custom = root.read(path.replace("grub.cfg", "custom.cfg"))
    for fact in (env, custom):
        if fact.state == "unreadable":
            return fact
    text = grub.insert_custom(config.value, custom.value or "")
    try:
        title, line = grub.find_default_entry(text, grub.parse_environment(env.value or ""), _read_bls(root))
        shown = title if consists_of(title, _TITLE, 128) else UNINTELLIGIBLE
        return Fact("value", f"{shown}\n{cmdline.reduce(line)}", path)
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
