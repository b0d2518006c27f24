"""Compiled modules found by name, whatever language they are written in and whatever they do: strategies, workers.

Nothing here imports NumPy or Numba, nor what only listing modules needs, so that a native one starts fast.
"""

import importlib
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from hosttune import files


class Kind(NamedTuple):
    """What makes a kind of compiled modules.

    key: of the configuration that names one; package: of the built-in ones; name: of a built-in one's object in its
    module; symbol: of a shared object; capsule: the name of a capsule; definition: the class of what Numba compiles;
    error: the class of what is raised, with a line each; read_capsule: returns the address in a capsule of that name,
    or raises ValueError for anything else.
    """

    key: str
    package: str
    name: str
    symbol: str
    capsule: str
    definition: type
    error: type[Exception]
    read_capsule: Callable[[object], int]


class Found(NamedTuple):
    """What was found: the address of its table and what owns the memory there, or what Numba has to compile."""

    address: int
    owner: object


def list_files(kind: Kind) -> list[Path]:
    """Returns the sources and libraries of the built-in modules, which an editable build keeps in two places."""
    import importlib.resources

    return [Path(str(f)) for f in importlib.resources.files(kind.package).iterdir()]


def list_names(kind: Kind) -> list[str]:
    """Returns the names of the built-in modules that are installed, whatever they are written in, sorted."""
    names = {f.name.split(".")[0] for f in list_files(kind) if f.suffix in (".py", ".so")}
    return sorted(n.removeprefix("lib") for n in names if not n.startswith("_"))


def _is_built_in_module(kind: Kind, name: str) -> bool:
    """Returns whether name is a built-in module in Python or Cython: asked first, since listing the files is slow."""
    return name.isidentifier() and name[0] != "_" and importlib.util.find_spec(f"{kind.package}.{name}") is not None


def _find_library(kind: Kind, name: str) -> Path:
    """Returns the path, without symbolic links, of a shared object that is given by its path. Raises the kind's error
    unless it is this user's or root's, and nobody else can write to it or put another in its place: it is code."""
    from agent.shm import place

    try:
        path = Path(files.find_path(name))
        os.close(place.open_file(path, os.O_RDONLY))
    except OSError as error:
        raise kind.error(f"{kind.key}: {place.explain(error, Path(name))}") from None
    return path


def load_library(kind: Kind, name: str, path: Path) -> Found:
    """Returns what is in a shared object. Raises the kind's error when it cannot be loaded, or lacks the symbol."""
    import ctypes  # of no use to the others, and slow

    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise kind.error(f"{kind.key}: {name}: {error}") from None
    try:
        symbol = ctypes.c_char.in_dll(library, kind.symbol)
    except ValueError:
        raise kind.error(f"{kind.key}: {name}: has no symbol {kind.symbol}") from None
    return Found(ctypes.addressof(symbol), library)


def find(kind: Kind, name: str) -> Found:
    """Find a compiled module: a built-in one, MODULE:OBJECT (a definition for Numba, or a capsule), or the path of a
    shared object. Returns it; the address is 0 where the owner is a definition, which Numba has yet to compile. Raises
    the kind's error when there is no such module."""
    if "/" in name or name.endswith(".so"):
        return load_library(kind, name, _find_library(kind, name))
    module, _, attribute = name.partition(":")
    if not attribute and not _is_built_in_module(kind, name):
        for library in list_files(kind):
            if library.name == f"lib{name}.so":
                return load_library(kind, name, library)
        if name not in list_names(kind):
            missing = " (built where cargo's rustc is installed)" if _is_rust(kind, name) else ""
            raise kind.error(
                f"{kind.key}: found {name!r}{missing}, allowed: {', '.join(list_names(kind))}, MODULE:OBJECT, or a path"
            )
    if not attribute:
        module, attribute = f"{kind.package}.{name}", kind.name
    try:
        # On Python's own path (PYTHONPATH): the working directory is not code.
        found = getattr(importlib.import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise kind.error(
            f"{kind.key}: found {name!r}, allowed: {', '.join(list_names(kind))}, MODULE:OBJECT, or a path ({error})"
        ) from None
    except (Exception, SystemExit) as error:  # the module is the user's: anything may go wrong in it
        raise kind.error(f"{kind.key}: {name!r}: {type(error).__name__}: {error}") from None
    if isinstance(found, kind.definition):
        return Found(0, found)
    try:
        return Found(kind.read_capsule(found), found)
    except ValueError:
        raise kind.error(
            f"{kind.key}: {name!r} is a {type(found).__name__}; allowed: a {kind.definition.__name__}, "
            f"or a capsule {kind.capsule}"
        ) from None


def _is_rust(kind: Kind, name: str) -> bool:
    """Returns whether a built-in module that is not installed is one in Rust: its Python twin is always there."""
    return name.endswith("_rust") and name.removesuffix("_rust") in list_names(kind)
