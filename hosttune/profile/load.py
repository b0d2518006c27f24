"""The intended state of a host: YAML with one section per role, from one file or a profile.d directory.

Section NAME is described by the `Section` struct in `hosttune.checks.NAME`, or in a module that a package
registers under that name in the entry point group `hosttune.checks`. Only modules of sections that are
present get imported. Files of a directory are merged: a section may be spread over several, but a key may
be given only once.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import msgspec
import yaml

from hosttune.host.root import Live, Root

PROFILE_D = "/etc/hosttune/profile.d"
BUILT_IN = os.path.join(os.path.dirname(os.path.dirname(__file__)), "profiles")
DEFAULT = "trading"
ENTRY_POINTS = "hosttune.checks"

MAX_NODES = 20_000  # aliases may repeat a node: this bounds what a small file can grow to
MAX_DEPTH = 20


class ProfileError(Exception):
    """A profile that cannot be used: file, line, what was found and what is allowed."""


class Node(msgspec.Struct):
    """A YAML value, and the file and line where it (or the key that holds it) is written."""

    value: Any
    file: str
    line: int

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


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


def load(path: str | None = None, root: Root | None = None) -> Profile:
    """Load a profile: a file, a directory of `*.yml` and `*.yaml`, a built-in one by name, or the default.

    The default is `/etc/hosttune/profile.d` of the host that `root` shows (this machine unless told
    otherwise) when it has files, else the built-in profile. A given path is always on this machine; a
    word without a slash or a dot that names a built-in profile is that. Raises ProfileError.
    """
    if path in built_in_profiles():
        return load_built_in(path)
    if path is not None:
        return _load(path, Live())
    root = root or Live()
    if root.list(PROFILE_D).state == "value" and _files(PROFILE_D, root):
        return _load(PROFILE_D, root)
    return load_built_in()


def load_built_in(name: str = DEFAULT) -> Profile:
    """Load a profile that comes with hosttune."""
    return _load(os.path.join(BUILT_IN, f"{name}.yml"), Live(), f"built-in profile {name}")


def built_in_profiles() -> list[str]:
    """Names of the profiles that come with hosttune."""
    return sorted(name.removesuffix(".yml") for name in os.listdir(BUILT_IN) if name.endswith(".yml"))


def load_text(text: str, file: str) -> Profile:
    """Load a profile from the text of one file. Raises ProfileError."""
    return _build(_parse(text, file), file)


def allowed_sections() -> list[str]:
    """Names of all sections that this installation can check."""
    return sorted({*built_in_sections(), *(entry.name for entry in _entry_points())})


def built_in_sections() -> list[str]:
    """Names of the sections that come with hosttune."""
    import pkgutil

    from hosttune import checks

    return sorted(module.name for module in pkgutil.iter_modules(checks.__path__) if module.name[0] != "_")


def _load(path: str, root: Root, source: str | None = None) -> Profile:
    listing = root.list(path)
    if listing.state == "value":
        files = _files(path, root)
        if not files:
            raise ProfileError(f"{path}: no *.yml or *.yaml file in this directory")
    elif listing.reason == "ENOTDIR":
        files = [path]
    else:
        names = "" if "/" in path else f"; built-in profiles: {', '.join(built_in_profiles())}"
        raise ProfileError(f"{path}: cannot be read ({listing.reason or listing.state}){names}")
    tree: Node | None = None
    for file in files:
        text = root.read(file)
        if text.state != "value" or text.value is None:
            raise ProfileError(f"{file}: cannot be read ({text.reason or text.state})")
        parsed = _parse(text.value, file)
        tree = parsed if tree is None else _merge(tree, parsed, ())
    assert tree is not None
    return _build(tree, source or path)


def _files(directory: str, root: Root) -> list[str]:
    names = root.list(directory).value or []
    return [f"{directory.rstrip('/')}/{name}" for name in names if _is_profile(name)]


def _is_profile(name: str) -> bool:
    return name.endswith((".yml", ".yaml")) and not name.startswith(".")


# --- YAML to nodes ---


def _parse(text: str, file: str) -> Node:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        top = yaml.compose(text, loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
        raise ProfileError(f"{line}: not valid YAML: {error.problem or error}") from None
    except yaml.YAMLError as error:
        raise ProfileError(f"{file}: not valid YAML: {error}") from None
    if top is None:
        return Node({}, file, 1)
    budget = iter(range(MAX_NODES))
    return _node(top, file, top.start_mark.line + 1, 0, budget)


def _node(node: Any, file: str, line: int, depth: int, budget: Iterator[int]) -> Node:
    place = f"{file}:{line}"
    if depth > MAX_DEPTH or next(budget, None) is None:
        raise ProfileError(f"{place}: nested too deep or too large for a profile")
    if isinstance(node, yaml.ScalarNode):
        return Node(_scalar(node, place), file, line)
    if isinstance(node, yaml.SequenceNode):
        items = [_node(item, file, item.start_mark.line + 1, depth + 1, budget) for item in node.value]
        return Node(items, file, line)
    entries: dict[str, Node] = {}
    for key, value in node.value:
        key_line = key.start_mark.line + 1
        name = _key(key, f"{file}:{key_line}")
        if name in entries:
            raise ProfileError(f"{file}:{key_line}: {name} is given twice, first at {entries[name].place}")
        entries[name] = _node(value, file, key_line, depth + 1, budget)
    return Node(entries, file, line)


def _key(node: Any, place: str) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise ProfileError(f"{place}: a key must be a plain word")
    if node.tag == "tag:yaml.org,2002:merge":
        raise ProfileError(f"{place}: merge keys (<<) are not supported, write the keys out")
    if node.tag != "tag:yaml.org,2002:str":
        raise ProfileError(f"{place}: YAML reads the key {node.value} as {_kind(node)}, quote it: '{node.value}'")
    return str(node.value)


def _scalar(node: Any, place: str) -> Any:
    text = str(node.value)
    match node.tag.rpartition(":")[2]:
        case "str":
            return text
        case "null":
            return None
        case "bool":
            return text.lower() in ("yes", "true", "on")
        case "int":
            return _integer(text, place)
        case "float":
            try:
                return float(text.replace("_", ""))
            except ValueError:
                pass
    raise ProfileError(f"{place}: YAML reads {text} as {_kind(node)}, quote it if it is text: '{text}'")


def _integer(text: str, place: str) -> int:
    """Decimal and 0x only: YAML 1.1 also reads 010 as 8 and 1:30 as 90, which nobody means here."""
    digits = text.replace("_", "").lstrip("+-")
    sign = -1 if text.startswith("-") else 1
    if digits.isdigit() and (digits == "0" or digits[0] != "0"):
        return sign * int(digits)
    if digits.startswith("0x"):
        return sign * int(digits, 16)
    raise ProfileError(
        f"{place}: YAML reads {text} as a number in base 2, 8 or 60; write it in decimal, or quote it if it is text"
    )


def _kind(node: Any) -> str:
    tag = node.tag.rpartition(":")[2]
    words = {"bool": "true or false", "int": "a number", "float": "a number", "null": "nothing"}
    return words.get(tag, f"a {tag}")


def _merge(first: Node, second: Node, path: tuple[str, ...]) -> Node:
    if not (isinstance(first.value, dict) and isinstance(second.value, dict)):
        name = ".".join(path) or "the whole profile"
        raise ProfileError(f"{second.place}: {name} is given twice, first at {first.place}")
    entries = dict(first.value)
    for key, node in second.value.items():
        entries[key] = _merge(entries[key], node, (*path, key)) if key in entries else node
    return Node(entries, first.file, first.line)


def plain(node: Node) -> Any:
    """The value without its places."""
    if isinstance(node.value, dict):
        return {key: plain(item) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    return node.value


# --- nodes to sections ---


def _build(tree: Node, source: str) -> Profile:
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
