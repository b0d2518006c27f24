"""One way to the terminal: nothing but hosttune/output.py writes to standard output or standard error."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .source_tree import sources

ROOT = Path(__file__).resolve().parents[3]
#: Who may: the boundary itself, the parser that tells argparse's two streams apart, and testhost's own boundary.
BOUNDARY = {"hosttune/output.py", "hosttune/parser.py", "testhost/output.py"}
#: Prints to a program that reads it.
MACHINES = {"tools/wheel_files.py"}
#: Questions to a stream, which write nothing.
QUESTIONS = {"isatty", "fileno", "flush", "encoding"}
STREAMS = {"stdout", "stderr", "__stdout__", "__stderr__"}
#: Modules that write to standard error on their own, or to the screen.
WRITERS = {"logging", "curses", "pprint", "pdb"}
_CYTHON = re.compile(r"\b(?:print|v?f?printf|f?puts|perror|psignal)\s*\(|\bsys\.std|\bstd(?:out|err)\b")
_C = re.compile(r"\b(?:v?d?f?printf|f?puts|f?putc|perror|psignal|syslog)\s*\(")


def _find_in_python(text: str) -> Iterator[tuple[int, str]]:
    tree = ast.parse(text)
    asked = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in QUESTIONS}
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="print" | "input" | "breakpoint")):
                yield node.lineno, "print"
            case ast.Attribute(value=ast.Name(id="sys"), attr=name) if name in STREAMS and id(node) not in asked:
                yield node.lineno, f"sys.{name}"
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="os"), attr="write"), args=[ast.Constant(value=1 | 2), *_]
            ):
                yield node.lineno, "os.write"
            case ast.Call(func=ast.Attribute(value=ast.Name(id="argparse"), attr="ArgumentParser")):
                yield node.lineno, "argparse.ArgumentParser"
            case ast.Call(func=ast.Attribute(value=ast.Name(id="traceback"), attr=name)) if name.startswith("print"):
                yield node.lineno, f"traceback.{name}"
            case ast.ImportFrom(module="sys", names=names):
                yield from ((node.lineno, f"sys.{each.name}") for each in names if each.name in STREAMS)
            case ast.Import(names=names):
                yield from ((node.lineno, each.name) for each in names if each.name.partition(".")[0] in WRITERS)
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in WRITERS:
                yield node.lineno, module


def find_printers(path: Path) -> list[str]:
    """Returns `LINE: WHAT` for each place in a source that writes to the terminal, or may."""
    text = path.read_text()
    if path.suffix == ".py":
        return [f"{line}: {what}" for line, what in sorted(_find_in_python(text))]
    pattern = _CYTHON if path.suffix in (".pyx", ".pxd") else _C
    return [
        f"{number}: {found[0]}"
        for number, line in enumerate(text.splitlines(), 1)
        if not line.lstrip().startswith(("#", "//", "*")) and (found := pattern.search(line))
    ]


def test_there_is_one_way_to_the_terminal() -> None:
    packages = ("hosttune", "agent", "desk")
    paths = [*sources(ROOT, packages), *(ROOT / "testhost").glob("*.py")]
    paths += [path for folder in packages for end in "ch" for path in (ROOT / folder).rglob(f"*.{end}")]
    found = {str(path.relative_to(ROOT)): lines for path in paths if (lines := find_printers(path))}
    for name in BOUNDARY:
        assert found.pop(name, None), f"{name} prints nothing any more"
    # What argparse says of testhost's command line is what a developer typed.
    found["testhost/cli.py"] = [line for line in found["testhost/cli.py"] if "argparse" not in line]
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_the_tools_print_through_it_as_well() -> None:
    found = {
        path.name: [line for line in find_printers(path) if "argparse" not in line]
        for path in (ROOT / "tools").glob("*.py")
        if str(path.relative_to(ROOT)) not in MACHINES
    }
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", "print(1)"),
        ("a.py", "import sys\nsys.stdout.write('x')"),
        ("a.py", "import sys\nsys.stderr.buffer.write(b'x')"),
        ("a.py", "import json, sys\njson.dump(1, sys.stdout)"),
        ("a.py", "from sys import stderr"),
        ("a.py", "import logging.handlers"),
        ("a.py", "from logging import getLogger"),
        ("a.py", "import curses"),
        ("a.py", "import os\nos.write(2, b'x')"),
        ("a.py", "import argparse\nargparse.ArgumentParser()"),
        ("a.py", "import traceback\ntraceback.print_exc()"),
        ("a.pyx", "cdef f():\n    print('x')"),
        ("a.pxd", "cdef inline void f():\n    printf('x')"),
        ("a.c", "void f(void) { fprintf(stderr, 1); }"),
    ],
)
def test_a_printer_is_found(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert len(find_printers(tmp_path / name)) == 1


@pytest.mark.parametrize("text", ["import sys\nsys.stdout.isatty()", "x = 'print(1)'", "import os\nos.write(fd, b'')"])
def test_what_prints_nothing_is_not_found(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.py").write_text(text)
    assert find_printers(tmp_path / "a.py") == []
