"""Nodes to sections: which sections this installation can check, and the module and the schema of each."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import msgspec

from hosttune.profile.nodes import Node, ProfileError, plain

ENTRY_POINTS = "hosttune.checks"


class Section(msgspec.Struct, frozen=True):
    """One section: its name, where it is written, its check module, and the validated `Section` struct."""

    name: str
    place: str
    module: Any
    wanted: Any


class Profile(msgspec.Struct, frozen=True):
    """All sections, in the order in which they are written; `source` says which file or directory."""

    source: str
    sections: list[Section]


def allowed_sections() -> list[str]:
    """Names of all sections that this installation can check."""
    return sorted({*built_in_sections(), *(entry.name for entry in _entry_points())})


def built_in_sections() -> list[str]:
    """Names of the sections that come with hosttune."""
    import pkgutil

    from hosttune import checks

    return sorted(module.name for module in pkgutil.iter_modules(checks.__path__) if module.name[0] != "_")


def build(tree: Node, source: str) -> Profile:
    """Validate each section by its own schema. Raises ProfileError."""
    if not isinstance(tree.value, dict):
        raise ProfileError(f"{tree.place}: a profile is a mapping of sections, for example: tcp_bbr: {{qdisc: fq}}")
    if not tree.value:
        raise ProfileError(f"{source}: the profile is empty; sections: {', '.join(allowed_sections())}")
    return Profile(source, [_section(name, node) for name, node in tree.value.items()])


def _section(name: str, node: Node) -> Section:
    module = _module(name, node)
    try:
        wanted = msgspec.convert(plain(node), module.Section)
    except msgspec.ValidationError as error:
        from hosttune.profile.errors import explain

        raise ProfileError(explain(module.Section, node, name, str(error))) from None
    return Section(name, node.place, module, wanted)


def _module(name: str, node: Node) -> ModuleType:
    if name.isidentifier() and not name.startswith("_"):
        path = f"hosttune.checks.{name}"
        try:
            return importlib.import_module(path)
        except ModuleNotFoundError as error:
            if error.name != path:
                raise ProfileError(f"{node.place}: section {name} needs a Python module: {error}") from None
    for entry in _entry_points():
        if entry.name == name:
            try:
                found: ModuleType = entry.load()
            except Exception as error:
                raise ProfileError(
                    f"{node.place}: section {name}: {entry.value} cannot be loaded: {error!r}"
                ) from error
            return found
    from hosttune.profile.errors import allowed

    raise ProfileError(f"{node.place}: unknown section {name}; {allowed(name, allowed_sections())}")


def _entry_points() -> list[Any]:
    from importlib.metadata import entry_points  # late: 10 ms, and needed only for a desk's own sections

    return list(entry_points(group=ENTRY_POINTS))
