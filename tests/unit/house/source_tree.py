"""Reading the tree as text: what each file of Python or Cython imports and cimports, late imports included."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

#: Files that hold what an `import` of Python gives, and what a `cimport` of Cython gives; the first that exists counts.
_PYTHON = (".py", ".pyx", ".pyi", "/__init__.py")
_CYTHON = (".pxd", "/__init__.pxd", ".pyx", "/__init__.py")
_FROM = re.compile(r"^\s*from\s+(?P<module>\.*[\w.]*)\s+(?P<kind>cimport|import)\s+(?P<names>\([^)]*\)|[^\n#]*)", re.M)
_PLAIN = re.compile(r"^\s*(?P<kind>cimport|import)\s+(?P<names>[\w., ]+)", re.M)
_STRING = re.compile(r'("""|\'\'\').*?\1', re.S)


class Import(NamedTuple):
    """One name that a file imports: MODULE.NAME (NAME empty for `import MODULE`), and whether by cimport."""

    line: int
    module: str
    name: str
    cython: bool


def _absolute(path: Path, root: Path, module: str) -> str:
    """Returns the absolute name of a module that the file at path names, perhaps relatively (`.`, `..room`)."""
    level = len(module) - len(module.lstrip("."))
    if not level:
        return module
    parts = path.relative_to(root).parts[:-level]
    return ".".join((*parts, module[level:])).rstrip(".")


def _of_python(path: Path, root: Path) -> Iterator[Import]:
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, "", False)
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(path, root, "." * node.level + (node.module or ""))
            for alias in node.names:
                yield Import(node.lineno, module, alias.name, False)


def _of_cython(path: Path, root: Path) -> Iterator[Import]:
    # Cython's own parser needs a whole compilation; its import lines are plain. Strings keep their line breaks.
    text = _STRING.sub(lambda found: "\n" * found[0].count("\n"), path.read_text())
    for found in _FROM.finditer(text):
        line = text.count("\n", 0, found.start("module")) + 1
        for part in found["names"].strip("()\n ").split(","):
            if name := part.split(" as ")[0].strip():
                yield Import(line, _absolute(path, root, found["module"]), name, found["kind"] == "cimport")
    for found in _PLAIN.finditer(text):
        line = text.count("\n", 0, found.start("kind")) + 1
        for part in found["names"].split(","):
            yield Import(line, part.split(" as ")[0].strip(), "", found["kind"] == "cimport")


def imports(path: Path, root: Path) -> list[Import]:
    """Returns all that the file at path, below root, imports or cimports, in the order of its lines."""
    found = _of_cython(path, root) if path.suffix in (".pyx", ".pxd") else _of_python(path, root)
    return sorted(found)


def _file(root: Path, module: str, cython: bool) -> Path | None:
    base = root.joinpath(*module.split("."))
    for suffix in _CYTHON if cython else _PYTHON:
        if (path := Path(f"{base}{suffix}")).is_file():
            return path
    return None


def target(root: Path, one: Import) -> Path | None:
    """Returns the file below root that an import names, None for a module of others."""
    found = _file(root, f"{one.module}.{one.name}", one.cython) if one.name and one.name != "*" else None
    return found or _file(root, one.module, one.cython)


def sources(root: Path, packages: Iterable[str]) -> list[Path]:
    """Returns the files of Python and Cython in the packages below root, stubs left out (they repeat a module)."""
    found = (path for package in packages for path in (root / package).rglob("*"))
    return sorted(path for path in found if path.suffix in (".py", ".pyx", ".pxd") and "__pycache__" not in path.parts)


def arrows(root: Path, packages: Iterable[str]) -> dict[Path, list[tuple[Path, int]]]:
    """Returns by file of the packages what it imports, with the line: {importer: [(imported, line), ...]}."""
    found: dict[Path, list[tuple[Path, int]]] = {}
    for path in sources(root, packages):
        ends = ((target(root, one), one.line) for one in imports(path, root))
        found[path] = [(end, line) for end, line in ends if end is not None and end != path]
    return found


def circles(graph: dict[Path, list[tuple[Path, int]]]) -> list[list[Path]]:
    """Returns the circles of a graph: its strongly connected components of more than one file (Tarjan 1972)."""
    index: dict[Path, int] = {}
    low: dict[Path, int] = {}
    stack: list[Path] = []
    found: list[list[Path]] = []

    def visit(node: Path) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for end, _ in graph.get(node, ()):
            if end not in index:
                visit(end)
                low[node] = min(low[node], low[end])
            elif end in stack:
                low[node] = min(low[node], index[end])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in graph:
        if node not in index:
            visit(node)
    return found
