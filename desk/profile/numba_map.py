"""Runs in the profiled process: the addresses, sizes and names of Numba's functions, as Numba makes them.

Written for the process's own interpreter, which may have neither `desk` nor Numba: the standard library only. The map
is /tmp/perf-PID.map, which perf reads by itself. Source: tools/perf/Documentation/jit-interface.txt of Linux; System V
Application Binary Interface, "Symbol Table"; numba.core.codegen of Numba 0.61 to 0.68.
"""

import os
import re
import struct
import sys
from importlib.abc import Loader, MetaPathFinder
from types import ModuleType
from typing import Any

_TARGET = "numba.core.codegen"
_SYMTAB, _FUNCTION = 2, 2
#: Functions that are remembered at most.
MOST = 100_000


def map_path(pid: int) -> str:
    """Returns the path of the map of a process."""
    return f"/tmp/perf-{pid}.map"


def list_symbols(elf: bytes) -> "list[tuple[str, int, int, int]]":
    """Returns name, section, offset in it and size of each function that an ELF object defines; none for bytes that are
    no 64-bit little-endian ELF. Every offset is checked against the length."""
    found = []
    try:
        if elf[:6] != b"\x7fELF\x02\x01":
            return []
        at, size, count = struct.unpack_from("<Q10xHH", elf, 40)
        sections = [struct.unpack_from("<IIQQQQIIQQ", elf, at + size * i) for i in range(count)]
        for section in sections:
            if section[1] == _SYMTAB and section[9]:
                names = sections[section[6]]
                texts = elf[names[4] : names[4] + names[5]]
                for symbol in range(section[4], section[4] + section[5], section[9]):
                    name, info, _, where, value, length = struct.unpack_from("<IBBHQQ", elf, symbol)
                    if info & 15 == _FUNCTION and length and where:
                        text = texts[name : texts.index(b"\0", name)].decode("ascii", "replace")
                        found.append((text, where, value, length))
    except (struct.error, IndexError, ValueError):
        return []
    return found


def show_name(symbol: str) -> "tuple[str, str]":
    """Returns the module and the function's name in a symbol of Numba, ("", symbol) for one of another form.

    Source: numba.core.itanium_mangler: `_ZN`, then length and name of each part, and behind the last one `B` and what
    tells versions of it apart; $ and _ with two hexadecimal digits stand for other characters.
    """
    prefix, found, rest = symbol.partition("_ZN")
    parts = []
    while found and (number := re.match(r"\d{1,4}", rest)):
        end = number.end() + int(number[0])
        parts.append(rest[number.end() : end])
        rest = rest[end:]
    if not parts:
        return "", symbol
    words = [re.sub(r"[$_]([0-9a-f]{2})", _show_character, part) for part in parts]
    if prefix in ("", "cfunc."):
        wrapped = words[0] == "cpython" and len(words) > 2
        words = words[1:] if wrapped else words
    return ".".join(words[:-1]), words[-1]


def _show_character(match: "re.Match[str]") -> str:
    character = chr(int(match[1], 16))
    return character if character in "<>.$ ," else match[0]


class Map:
    """The functions that were found, and the map of this process. `problem`: why there is no map; "": there is one, or
    nothing was compiled yet."""

    def __init__(self) -> None:
        self.functions: list[tuple[int, int, str, str]] = []  # address, size, module, name
        self.problem = ""
        self._descriptor = -1
        self._objects: list[bytes] = []

    def install(self) -> None:
        """Learn of each function from the moment that Numba is imported."""
        sys.meta_path.insert(0, _Finder(self))

    def watch(self, codegen: ModuleType) -> None:
        """Learn of each function that numba.core.codegen makes, or takes out of its cache."""
        try:
            library: Any = codegen.CPUCodeLibrary
            jit: Any = codegen.JITCodeLibrary
            compiled, cached, finalize = (
                library.__dict__["_object_compiled_hook"].__func__,
                library.__dict__["_object_getbuffer_hook"].__func__,
                jit.__dict__["_finalize_specific"],
            )
        except (AttributeError, KeyError) as error:
            self.problem = f"this Numba has another inside, without {error}"
            return

        def note_compiled(cls: Any, module: Any, data: bytes) -> Any:
            self._objects.append(bytes(data))
            return compiled(cls, module, data)

        def note_cached(cls: Any, module: Any) -> Any:
            data = cached(cls, module)
            if data:
                self._objects.append(bytes(data))
            return data

        def note_finalized(own: Any) -> None:
            finalize(own)
            objects, self._objects = self._objects, []
            for data in objects:
                self.add_object(data, own._codegen._engine.get_function_address)

        library._object_compiled_hook = classmethod(note_compiled)
        library._object_getbuffer_hook = classmethod(note_cached)
        jit._finalize_specific = note_finalized

    def add_object(self, elf: bytes, find_address: Any) -> None:
        """Add the functions of an ELF object that is loaded. find_address: of a global symbol; 0: it has none."""
        symbols = list_symbols(elf)
        bases = {}
        for name, section, value, _ in symbols:
            if section not in bases and (address := find_address(name)):
                bases[section] = address - value
        rows = [
            (bases[section] + value, size, *show_name(name))
            for name, section, value, size in symbols
            if section in bases
        ][: max(0, MOST - len(self.functions))]
        self.functions += rows
        self._write(rows)

    def _write(self, rows: "list[tuple[int, int, str, str]]") -> None:
        if self.problem or not rows:
            return
        try:
            if self._descriptor < 0:
                self._descriptor = create_map(map_path(os.getpid()))
            text = "".join(f"{address:x} {size:x} numba:{name}\n" for address, size, _, name in rows)
            os.write(self._descriptor, text.encode("ascii", "replace"))
        except OSError as error:
            self.problem = f"{map_path(os.getpid())}: {error.strerror}"


def create_map(path: str) -> int:
    """Returns a descriptor of a new map, which nobody else has made, nor can write. One that a process of this user,
    with the same pid, has left is removed. Raises OSError: FileExistsError for what is another user's, and for a link.
    """
    try:
        if os.lstat(path).st_uid == os.geteuid():
            os.unlink(path)
    except FileNotFoundError:
        pass
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


class _Finder(MetaPathFinder):
    """Wraps the loader of _TARGET once, and is gone."""

    def __init__(self, own: Map) -> None:
        self._map = own

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != _TARGET:
            return None
        sys.meta_path.remove(self)
        import importlib.util

        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._map)
        return spec


class _Loader(Loader):
    def __init__(self, loader: Any, own: Map) -> None:
        self._loader, self._map = loader, own

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._map.watch(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
