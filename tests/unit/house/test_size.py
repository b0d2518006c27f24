"""Files and functions of a size that one reads at a sitting; a longer one gives its reason in its docstring."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = ("agent", "desk", "hosttune", "testhost", "plugins", "roles", "tools", "benchmarks", "tests")
#: Lines.
FILE, FUNCTION = 450, 90
#: What a docstring says where a file or a function is longer.
REASON = re.compile(r"\bOne (file|function) because\b")

_HEAD = re.compile(r"^( *)(?:cdef|cpdef|def)\b[^=\n]*?(\w+)\(", re.M)


def _python(text: str) -> Iterator[tuple[str, int, str]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1, ast.get_docstring(node) or ""


def _cython(text: str) -> Iterator[tuple[str, int, str]]:
    """By indentation: a function ends before the next line that is not deeper than its head."""
    lines = text.splitlines()
    for found in _HEAD.finditer(text):
        first = text.count("\n", 0, found.start())
        head = first  # its last line: the signature may be longer than one
        while head < len(lines) - 1 and not lines[head].rstrip().endswith(":"):
            head += 1
        last = head
        for number in range(head + 1, len(lines)):
            line = lines[number]
            if line.strip() and len(line) - len(line.lstrip()) <= len(found[1]):
                break
            if line.strip():
                last = number
        docstring = re.match(r'\s*"""(.*?)"""', "\n".join(lines[head + 1 : last + 1]), re.S)
        yield found[2], last - first + 1, docstring[1] if docstring else ""


def too_long(path: Path) -> list[str]:
    """Returns a line for the file, and for each function in it, that is too long and gives no reason."""
    text = path.read_text()
    found = []
    lines = text.count("\n")
    opening = re.search(r'"""(.*?)"""', text, re.S)
    if lines > FILE and not (opening and REASON.search(opening[1])):
        found.append(f"{path}: {lines} lines, allowed: {FILE}")
    functions = _cython(text) if path.suffix in (".pyx", ".pxd") else _python(text)
    for name, size, docstring in functions:
        if size > FUNCTION and not REASON.search(docstring):
            found.append(f"{path}: {name}: {size} lines, allowed: {FUNCTION}")
    return found


def test_nothing_is_too_long() -> None:
    paths = (p for folder in FOLDERS for p in (ROOT / folder).rglob("*") if p.suffix in (".py", ".pyx", ".pxd"))
    assert [line for path in sorted(paths) for line in too_long(path)] == []


@pytest.mark.parametrize(
    ("suffix", "head", "body"),
    [
        (".py", "def long(a,\n         b):\n", "    a = b\n"),
        (".pyx", "cdef int long(int a) noexcept:\n", "    a = 1\n"),
    ],
)
def test_a_long_one_is_found(tmp_path: Path, suffix: str, head: str, body: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text(head + FUNCTION * body + "\ncdef int b = 1\n" * (suffix == ".pyx"))
    (line,) = too_long(path)
    assert "long: 9" in line
    path.write_text(head + '    """Adds. One function because of its table."""\n' + FUNCTION * body)
    assert too_long(path) == []
    path.write_text('"""A file."""\n' + FILE * "A = 1\n")
    assert len(too_long(path)) == 1
    path.write_text('"""A file. One file because of its table."""\n' + FILE * "A = 1\n")
    assert too_long(path) == []
