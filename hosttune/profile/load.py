"""Which files make a profile: one file, a directory, a built-in profile by name, or the default.

Files of a directory are merged: a section may be spread over several, but a key may be given only once.
"""

from __future__ import annotations

import errno
import os

import msgspec

from hosttune.host.root import Live, Root
from hosttune.profile.errors import ProfileError
from hosttune.profile.nodes import Budget, Node, merge, parse, reduce
from hosttune.profile.sections import Profile, allowed_sections, build

PROFILE_D = "/etc/hosttune/profile.d"
BUILT_IN = os.path.join(os.path.dirname(os.path.dirname(__file__)), "profiles")
DEFAULT = "trading"


def load(path: str | None = None, root: Root | None = None) -> Profile:
    """Load a profile: a file, a directory of `*.yml` and `*.yaml`, a built-in one by name, or the default.

    The default is `/etc/hosttune/profile.d` of the host that `root` shows (this machine unless told otherwise) when it
    has files, else the built-in profile; a directory that cannot be listed is an error. A given path is always on this
    machine; a word without a slash or a dot that names a built-in profile is that. Raises ProfileError.
    """
    if path in built_in_profiles():
        return load_built_in(path)
    if path is not None:
        return _load_files(path, Live())
    root = root or Live()
    listing = root.list(PROFILE_D)
    refused = listing.state == "unreadable" and listing.reason in errno.errorcode.values()
    if refused or (listing.state == "value" and _list_files(PROFILE_D, root)):
        loaded = _load_files(PROFILE_D, root)
        return msgspec.structs.replace(loaded, own=frozenset(section.name for section in loaded.sections))
    return msgspec.structs.replace(load_built_in(), own=frozenset())


def load_built_in(name: str = DEFAULT) -> Profile:
    """Load a profile that comes with hosttune."""
    return _load_files(os.path.join(BUILT_IN, f"{name}.yml"), Live(), f"built-in profile {name}")


def built_in_profiles() -> list[str]:
    """Returns the names of the profiles that come with hosttune."""
    return sorted(name.removesuffix(".yml") for name in os.listdir(BUILT_IN) if name.endswith(".yml"))


def load_text(text: str, file: str) -> Profile:
    """Load a profile from the text of one file. Raises ProfileError."""
    return build(parse(text, file), file)


def reduce_file(text: str) -> str:
    """Returns a file of a profile without comments, and of sections that are not known the names alone; every key stays
    on its line. Raises ValueError for what is not a profile."""
    return reduce(_parse_sections(text), frozenset(allowed_sections()).__contains__)


def list_sections(text: str) -> list[str]:
    """Returns the names of the sections in a file of a profile. Raises ValueError for what is not one."""
    return list(_parse_sections(text).value)


def _parse_sections(text: str) -> Node:
    try:
        node = parse(text, "")
    except ProfileError:
        raise ValueError("it cannot be used as a profile") from None
    if not isinstance(node.value, dict):
        raise ValueError("it is not a mapping of sections")
    return node


def _load_files(path: str, root: Root, source: str | None = None) -> Profile:
    listing = root.list(path)
    if listing.state == "value":
        files = _list_files(path, root)
        if not files:
            raise ProfileError(f"{path}: no *.yml or *.yaml file in this directory")
    elif listing.reason == "ENOTDIR":
        files = [path]
    else:
        names = "" if "/" in path else f"; built-in profiles: {', '.join(built_in_profiles())}"
        raise ProfileError(f"{path}: cannot be read ({listing.reason or listing.state}){names}")
    tree: Node | None = None
    budget = Budget()
    for file in files:
        text = root.read(file)
        if text.state != "value" or text.value is None:
            raise ProfileError(f"{file}: cannot be read ({text.reason or text.state})")
        parsed = parse(text.value, file, budget)
        tree = parsed if tree is None else merge(tree, parsed)
    assert tree is not None
    return build(tree, source or path)


def _list_files(directory: str, root: Root) -> list[str]:
    names = root.list(directory).value or []
    return [f"{directory.rstrip('/')}/{name}" for name in names if _is_profile(name)]


def _is_profile(name: str) -> bool:
    return name.endswith((".yml", ".yaml")) and not name.startswith(".")
