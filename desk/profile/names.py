"""What a frame of a profiler is: its component, and its function's name without what a compiler puts around it."""

import functools
import mmap
import os
import re

#: The components, as the table has them.
PYTHON, CYTHON, NUMBA, RUST, C, KERNEL = "Python", "Cython", "Numba", "Rust", "C", "kernel"
#: Bytes of a library that are looked at for its compiler's marks.
_MOST_BYTES = 256 << 20
_BY_SUFFIX = {
    ".py": PYTHON, ".pyx": CYTHON, ".pxd": CYTHON, ".pxi": CYTHON, ".rs": RUST,
    ".c": C, ".h": C, ".cc": C, ".cpp": C, ".cxx": C, ".hpp": C, ".S": C,
}  # fmt: skip
_ADDRESS = re.compile(r"0x[0-9a-f]{1,16}")
_CYTHON_NAME = re.compile(r"__pyx_(?:fuse_\d+)?(?:pw|pf|f|gb|mdef|specialmethod)_(.*)")
_RUST_HASH = re.compile(r"::h[0-9a-f]{16}$")
#: What others' functions are carried out by: the interpreter, C's library, the loader.
_RUNTIME = re.compile(
    r"(lib)?python\d[\d.]*(\.so.*)?|lib(c|m|pthread|gcc_s|stdc\+\+)[.-].*|ld-linux.*|\[(vdso|vsyscall)\]"
)
_INTERPRETER_NAME = re.compile(r"_?Py(_|[A-Z])\w*|__Pyx_\w+")


def read_address(name: str) -> int | None:
    """Returns the address that stands where a profiler knows no name; None: it is a name."""
    return int(name, 16) if _ADDRESS.fullmatch(name) else None


def find_component(name: str, file: str) -> str:
    """Returns the component of a function that a profiler has found by name in a file: a source, a library, or "<...>"
    for what Python made from no file."""
    if name.startswith("numba:"):
        return NUMBA
    if file.startswith("["):
        return KERNEL if file.startswith(("[kernel", "[guest")) else C
    if file.startswith("<"):
        return PYTHON
    if name.startswith("__pyx_"):
        return CYTHON
    suffix = os.path.splitext(file)[1]
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if _RUST_HASH.search(name):
        return RUST
    return find_compiler(file)


@functools.lru_cache(maxsize=1024)
def find_compiler(path: str) -> str:
    """Returns the component of a library by the marks that compilers leave in it; C for one that cannot be read.

    Source: rustc writes its version into the section .comment; the symbols that Cython makes begin with __pyx_.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return C
    try:
        size = min(os.fstat(descriptor).st_size, _MOST_BYTES)
        if not size:
            return C
        with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as data:
            if data[:4] != b"\x7fELF":
                return C
            if data.find(b"__pyx_") >= 0:
                return CYTHON
            return RUST if data.find(b"rustc version") >= 0 else C
    except (OSError, ValueError):
        return C
    finally:
        os.close(descriptor)


def is_runtime(component: str, name: str, file: str) -> bool:
    """Returns whether the time in a frame is its caller's: the interpreter carries out Python, C's library what any
    compiled function asks of it, and Cython's own helpers what Cython has made."""
    if component in (PYTHON, KERNEL):
        return False
    return bool(_INTERPRETER_NAME.fullmatch(name) or _RUNTIME.fullmatch(os.path.basename(file)))


def show_function(name: str, component: str) -> str:
    """Returns a function's name as its author wrote it, as far as the symbol says so."""
    if component == NUMBA:
        return name.removeprefix("numba:")
    if component == RUST:
        return _RUST_HASH.sub("", name)
    if component == CYTHON and (found := _CYTHON_NAME.fullmatch(name)):
        return _show_cython(found[1])
    return name


def _show_cython(rest: str) -> str:
    """Returns the function's name in a symbol of Cython: length and name of package, module and class, and behind them
    a number and the name."""
    at = 0
    while (number := re.match(r"\d{1,4}", rest[at:])) and int(number[0]) <= len(rest) - at - number.end():
        end = at + number.end() + int(number[0])
        if end == len(rest) or (rest[end] != "_" and not rest[end].isdigit()):
            break
        at = end
    name = rest[at:].lstrip("_")
    return re.sub(r"^\d+(?=[A-Za-z_])", "", name) or rest
