"""Nodes to sections: which sections this installation can check, and the module and the schema of each."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterable
from functools import cache, partial
from types import ModuleType
from typing import Any

import msgspec

from hosttune.profile.errors import ProfileError
from hosttune.profile.nodes import Node, drop_places, find_place, show

ENTRY_POINTS = "hosttune.checks"


class Section(msgspec.Struct, frozen=True):
    """One section: its name, where it is written, its check module, and the validated `Section` struct."""

    name: str
    place: str
    module: Any
    wanted: Any


class Profile(msgspec.Struct, frozen=True):
    """All sections, in the order in which they are written; `source` says which file or directory.

    `own` are the names of those that the host itself states, where it was asked, and None where the caller named a
    profile.
    """

    source: str
    sections: list[Section]
    own: frozenset[str] | None = None


def allowed_sections() -> list[str]:
    """Returns the names of all sections that this installation can check."""
    return sorted({*built_in_sections(), *(entry.name for entry in _list_entry_points())})


def built_in_sections() -> list[str]:
    """Returns the names of the sections that come with hosttune."""
    import pkgutil

    from hosttune import checks

    return sorted(module.name for module in pkgutil.iter_modules(checks.__path__) if module.name[0] != "_")


def list_kept(sections: Iterable[Section]) -> dict[str, Callable[[str], str]]:
    """Returns what may be kept of a host for these sections, besides what is kept for any: rules by pattern of paths.

    A section's module says so in a function `kept(wanted)`; see :mod:`hosttune.host.kept`.
    """
    rules: dict[str, Callable[[str], str]] = {}
    for section in sections:
        if hasattr(section.module, "kept"):
            with contextlib.suppress(Exception):  # of a desk's own: then its files are not kept
                rules.update(section.module.kept(section.wanted))
    return rules


def build(tree: Node, source: str) -> Profile:
    """Validate each section by its own schema. Raises ProfileError."""
    if not isinstance(tree.value, dict):
        raise ProfileError(f"{tree.place}: a profile is a mapping of sections, for example: tcp_bbr: {{qdisc: fq}}")
    if not tree.value:
        raise ProfileError(f"{source}: the profile is empty; sections: {', '.join(allowed_sections())}")
    return Profile(source, [_read_section(name, node) for name, node in tree.value.items()])


def _read_section(name: str, node: Node) -> Section:
    module = _find_module(name, node)
    value = drop_places(node)
    try:
        wanted = msgspec.convert(value, module.Section)
    except msgspec.ValidationError as error:
        from hosttune.config_errors import explain

        locate = partial(find_place, node)
        raise ProfileError(explain(error, module.Section, value, locate, name=name, syntax="yaml")) from None
    return Section(name, node.place, module, wanted)


def _find_module(name: str, node: Node) -> ModuleType:
    if name.isidentifier() and not name.startswith("_"):
        path = f"hosttune.checks.{name}"
        try:
            return importlib.import_module(path)
        except ModuleNotFoundError as error:
            if error.name != path:
                raise ProfileError(f"{node.place}: section {name} needs a Python module: {error}") from None
    for entry in _list_entry_points():
        if entry.name == name:
            try:
                found: ModuleType = entry.load()
            except Exception as error:
                raise ProfileError(
                    f"{node.place}: section {name}: {entry.value} cannot be loaded: {error!r}"
                ) from error
            return found
    from hosttune.config_errors import allow_names

    raise ProfileError(f"{node.place}: unknown section {show(name)}; {allow_names(name, allowed_sections())}")


def _list_entry_points() -> list[Any]:
    return _find_entry_points(tuple(sys.path))


@cache
def _find_entry_points(path: tuple[str, ...]) -> list[Any]:
    """Returns the entry points of all packages on a path for modules, each path's looked up once."""
    from importlib.metadata import entry_points  # late: 10 ms, and needed only for a desk's own sections

    return list(entry_points(group=ENTRY_POINTS))
