"""The kernel command line of this boot and of the next one."""

from __future__ import annotations

import msgspec

from hosttune.host import cmdline, dropins, grub
from hosttune.host.root import Fact, Root, make_unreadable

_CONFIGS = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")
_BLS = "/boot/loader/entries"


class Boot(msgspec.Struct, frozen=True):
    """Command lines. `sources` maps the files that `grub-mkconfig` reads to their text: they decide
    nothing by themselves, but they say whether a rebuild of the menu was forgotten."""

    booted: Fact[str]
    coming: Fact[str]
    sources: dict[str, str] = {}


def read(root: Root) -> Boot:
    """Read both command lines."""
    booted = root.read("/proc/cmdline").map(str.strip)
    return Boot(booted, _read_coming(root, booted), _read_sources(root))


def find_source(boot: Boot, argument: str) -> str:
    """Returns the file below /etc/default that asks for `argument=`, or an empty string."""
    for path, content in reversed(boot.sources.items()):
        lines = (line for line in content.splitlines() if not line.lstrip().startswith("#"))
        if any(f"{argument}=" in line for line in lines):
            return path
    return ""


def _read_coming(root: Root, booted: Fact[str]) -> Fact[str]:
    """Returns the default entry of GRUB, if it was GRUB that started this boot."""
    for path in _CONFIGS:
        config = dropins.read_text(root, path)
        if config.state == "absent":
            continue
        if config.state == "unreadable":
            return config
        names = [name for name, _ in cmdline.split_arguments(booted.value or "")]
        if booted.state == "value" and "BOOT_IMAGE" not in names:
            return make_unreadable(path, "this boot did not come through GRUB (no BOOT_IMAGE= in /proc/cmdline)")
        env = dropins.read_text(root, path.replace("grub.cfg", "grubenv"))
        if env.state == "unreadable":
            return env
        try:
            title, line = grub.find_default_entry(
                config.value or "", grub.parse_environment(env.value or ""), _read_bls(root)
            )
        except ValueError as error:
            return make_unreadable(path, f"not understood: {error}")
        return Fact("value", line, f"{path}, entry {title!r}")
    return make_unreadable(_CONFIGS[0], "no GRUB configuration: what the next boot gets is decided elsewhere")


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


def _read_sources(root: Root) -> dict[str, str]:
    paths = ["/etc/default/grub"]
    fragments = root.list("/etc/default/grub.d")
    paths += [f"/etc/default/grub.d/{name}" for name in fragments.value or [] if name.endswith(".cfg")]
    facts = {path: root.read(path) for path in paths}
    return {path: fact.value for path, fact in facts.items() if fact.value is not None}
