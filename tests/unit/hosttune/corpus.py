"""How the hosts of test_corpus_*.py are made and judged: the tuned host with something broken, or written otherwise.

A host is what is changed of the tuned one, and what then becomes of which findings; all that are not named pass. It is
judged as it is, by its snapshot and as a tree of files, and all three say the same.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from hosttune import capture, checker, profile
from hosttune.host import snapshot
from hosttune.host.root import Root, Tree
from hosttune.host.snapshot import Snapshot
from tests.unit.hosttune import golden

#: By path, the new text; `-> TARGET` for a link, `+TEXT` for text that is added, `!ERRNO` for what is refused, None for
#: nothing there.
Changes = dict[str, str | None]
#: By the beginning of a finding's id and `=`, its status.
Expected = dict[str, str]
Hosts = dict[str, tuple[Changes, Expected]]


def make(fake_host: type[Any], changes: Changes) -> Any:
    """Returns the tuned host with the changes."""
    host = golden.make_host(fake_host)
    for path, text in changes.items():
        before = host.read(path).value or ""
        host.links.pop(path, None)
        host.files.pop(path, None)
        if text is None:
            for each in [known for known in host.files if known.startswith(f"{path}/")]:
                del host.files[each]
        elif text.startswith("-> "):
            host.links[path] = text.removeprefix("-> ")
        elif text.startswith("!"):
            host.deny(path, text.removeprefix("!"))
        else:
            host.files[path] = before + text.removeprefix("+") if text.startswith("+") else text
    return host


def replace(path: str, *pairs: str) -> Changes:
    """Returns a change of one file of the tuned host: each text of the pairs is in it, and another takes its place."""
    text = golden.FILES[path]
    for old, new in zip(pairs[::2], pairs[1::2], strict=True):
        assert old in text, old
        text = text.replace(old, new)
    return {path: text}


def without(changes: Changes, word: str) -> Changes:
    """Returns changes of a host whose files do not have the tuned one's lines with a word."""
    files = {path: text for path, text in golden.FILES.items() if word in text}
    assert files, word
    left = {path: "".join(line for line in text.splitlines(keepends=True) if word not in line)
            for path, text in files.items()}  # fmt: skip
    return {**left, **changes}


def apply_fixes(host: Any, directory: Path) -> None:
    """Do what the fixes of all findings that do not pass say, as printed, on the files of a host: `echo TEXT >> FILE`,
    `cp`, `sed -i`, and `systemctl disable`."""
    for finding in judge(host).findings:
        for line in finding.fix.splitlines() if finding.status != "pass" else ():
            words = shlex.split(line)
            if words[:2] == ["systemctl", "disable"]:
                for path in [path for path in host.links if path.endswith(f".wants/{words[2]}")]:
                    del host.links[path]
            elif words[0] == "echo":
                host.files[words[-1]] = f"{host.files.get(words[-1], '')}{words[1]}\n"
            elif words[0] == "cp":
                host.files[words[2]] = host.files[words[1]]
            else:
                assert words[:2] == ["sed", "-i"], line
                file = directory / "file"
                file.write_text(host.files[words[-1]])
                subprocess.run([*words[:-1], str(file)], check=True, timeout=10)
                host.files[words[-1]] = file.read_text()


def judge(root: Root) -> Any:
    """Returns the report on a host."""
    return checker.run_checks(profile.load(None, root), root)


def as_json(report: Any, tree: bool = False) -> bytes:
    """Returns all findings; of a tree without those on queueing disciplines, which no file holds."""
    return msgspec.json.encode([one for one in report.findings if not (tree and one.id.startswith("tcp_bbr.qdisc."))])


def find_wrong(report: Any, expected: Expected) -> dict[str, str]:
    """Returns the findings whose status is another than the expected one, and what is missing."""
    found = {one.id: one.status for one in report.findings}
    for start in expected:
        assert any(f"{id}=".startswith(start) for id in found), f"no finding {start}"
    right = {
        id: next((status for start, status in expected.items() if f"{id}=".startswith(start)), "pass") for id in found
    }
    return {id: status for id, status in found.items() if status != right[id]}


def assert_judged(changes: Changes, expected: Expected, fake_host: type[Any], directory: Path) -> None:
    """Judge a host in all three ways."""
    host = make(fake_host, changes)
    live = judge(host)
    wrong = find_wrong(live, expected)
    assert not wrong, [msgspec.to_builtins(one) for one in live.findings if one.id in wrong]
    assert (live.verdict == "ready") == all(status in ("warn", "na", "pass") for status in expected.values())
    file = directory / "s.json"
    file.write_bytes(snapshot.encode(capture.take_snapshot(host, profile.load(None, host))))
    assert as_json(judge(Snapshot(str(file)))) == as_json(live)
    if not host.denied:
        with lay_out(host, changes, fake_host, directory.parent / "golden") as tree:
            assert as_json(judge(Tree(str(tree))), tree=True) == as_json(live, tree=True)


@contextmanager
def lay_out(host: Any, changes: Changes, fake_host: type[Any], directory: Path) -> Iterator[Path]:
    """Yields a directory with the files of a host: those of the tuned one are written once, and its changes undone."""
    tuned = golden.make_host(fake_host)
    if not directory.exists():
        golden.write_tree(tuned, directory)
    _write(host, changes, directory)
    try:
        yield directory
    finally:
        _write(tuned, changes, directory)


def _write(host: Any, paths: Iterable[str], directory: Path) -> None:
    """Make the files at these paths those of a host; a directory without files is none."""
    for path in paths:
        place = directory / path.lstrip("/")
        place.unlink(missing_ok=True)
        if path in host.links or path in host.files:
            place.parent.mkdir(parents=True, exist_ok=True)
            if path in host.links:
                place.symlink_to(host.links[path])
            else:
                place.write_text(host.files[path])
    for path in paths:
        place = (directory / path.lstrip("/")).parent
        while place.is_dir() and not any(place.iterdir()):
            place.rmdir()
            place = place.parent
