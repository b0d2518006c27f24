"""Documents from elsewhere, as commands take them: one line and exit status 2, within 2 s and 256 MiB."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cpu_time import is_within

SECONDS, BYTES = 2.0, 256 << 20
HEAD = b'{"format":"hosttune-snapshot","version":2,"tool":"0","source":"s","moments":['
FINDING = '{"id":"a.b","status":"fail","wanted":%s,"found":1}'
SUMMARY = json.dumps(dict.fromkeys(("fail", "pending", "volatile", "unknown", "warn", "pass", "na"), 0))
REPORT = f'{{"host":{{}},"verdict":"ready","summary":{SUMMARY},"findings":[%s]}}'
_CODE = """
import resource, sys
from hosttune.cli import main
code = main(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:"))  # since the exec
print(f"\\n{int(peak) * 1024} {used.ru_utime + used.ru_stime}")
sys.exit(code)
"""


def run(*arguments: str, stdin: int | None = None) -> tuple[int, str, str, float]:
    """Returns exit status, standard output but its last line, standard error, and the CPU seconds."""
    command = [sys.executable, "-P", "-c", _CODE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=stdin)
    *out, used = done.stdout.splitlines() or [""]
    memory, seconds = map(float, used.split())
    assert memory <= BYTES, f"{memory / (1 << 20):.0f} MiB"
    assert is_within(seconds, SECONDS)
    return done.returncode, "\n".join(out).rstrip("\n"), done.stderr, seconds


def repeat(piece: str, size: int) -> str:
    return piece * (size // len(piece))


PROFILES = {
    "60 MB": repeat("a: 1\n", 60_000_000),
    "nodes": "a: [" + repeat("1,", 1_000_000) + "]",
    "keys": "a: {" + "".join(f"k{n}: 1, " for n in range(70_000)) + "}",
    "depth": "a: " + repeat("[", 1_000_000),
    "depth of blocks": "".join(f"{' ' * n}a:\n" for n in range(1000)),
    "aliases": "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))]),
    "one scalar": "a: '" + repeat("x", 1_000_000) + "'",
    "5,000 digits": "rt_limits:\n  sched_rt_runtime_us: " + "9" * 5000,
    "a hexadecimal of 5,000 digits": "rt_limits:\n  sched_rt_runtime_us: 0x" + "f" * 5000,
    "a key that is a number": "tcp_bbr:\n  5: fq",
    "a key that is a list": "tcp_bbr:\n  ? [a]\n  : fq",
    "a key with a line end": 'tcp_bbr:\n  "a\\nb\\e[2J": fq',
    "NUL": "tcp_bbr:\n  qdisc: f\0q",
    "a tag": "tcp_bbr:\n  qdisc: !!python/object/apply:os.system [x]",
    "infinity": "tcp_bbr:\n  qdisc: 1.0e+999",
}
SNAPSHOTS = {
    "a bomb": gzip.compress(bytes(60_000_000), 9, mtime=0),
    "moments": HEAD + b"{}," * 3_000_000 + b"{}]}",
    "entries": HEAD + b'{"read":{' + b",".join(b'"%d":{"absent":""}' % n for n in range(500_000)) + b"}}]}",
    "names": HEAD + b'{"list":{"/a":{"value":[' + b'"",' * 3_000_000 + b'""]}}}]}',
    "a long text": HEAD + b'{"read":{"/proc/cmdline":{"value":"' + b"\\ud83d\\ude00" + b"a" * 9_000_000 + b'"}}}]}',
    "depth": HEAD + repeat("[", 9_000_000).encode(),
    "depth before": b'{"x":' + repeat('{"a":', 9_000_000).encode(),
    "5,000 digits": HEAD + b'{}],"seconds":' + b"9" * 5000 + b"}",
    "nothing": b"",
    "UTF-16": HEAD.decode().encode("utf-16"),
}
REPORTS = {
    "arrays": REPORT % (FINDING % ("[" + repeat("[],", 9_000_000) + "[]]")),
    "depth": REPORT % (FINDING % (repeat("[", 500) + repeat("]", 500))),
    "more depth": REPORT % (FINDING % repeat("[", 9_000_000)),
    "5,000 digits": REPORT % (FINDING % ("9" * 5000)),
    "400 digits": REPORT % (FINDING % ("9" * 400)),
    "numbers of statuses": REPORT.replace(SUMMARY, "{}") % "",
}


def check_refusal(code: int, out: str, err: str) -> None:
    assert (code, out) == (2, "")
    assert err.startswith("hosttune: ") and len(err.splitlines()) == 1 and len(err) < 1000, err


@pytest.mark.parametrize("text", PROFILES.values(), ids=PROFILES)
def test_a_profile(tmp_path: Path, text: str) -> None:
    file = tmp_path / "p.yml"
    file.write_text(text)
    code, out, err, _ = run("check", "--profile", str(file))
    check_refusal(code, out, err)
    assert err.startswith(f"hosttune: {file}:")


@pytest.mark.parametrize(
    ("text", "line"),
    [("5,000 digits", 2), ("a key that is a number", 2), ("a key that is a list", 2), ("NUL", 2), ("a tag", 2)],
)
def test_a_profile_is_refused_with_the_line_of_the_key(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "p.yml").write_text(PROFILES[text])
    assert run("check", "--profile", str(tmp_path / "p.yml"))[2].startswith(f"hosttune: {tmp_path}/p.yml:{line}:")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_a_profile_in_another_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "p.yml").write_bytes("tcp_bbr: {qdisc: fqé}\n".encode(encoding))
    code, out, err, _ = run("check", "--profile", str(tmp_path / "p.yml"))
    check_refusal(code, out, err)
    assert f"{tmp_path}/p.yml:1: not valid YAML" in err


def test_a_profile_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "p.yml").write_text("\ufefftcp_bbr: {qdics: fq}\n")
    assert "unknown key tcp_bbr.qdics" in run("check", "--profile", str(tmp_path / "p.yml"))[2]


def test_many_files_of_a_profile_have_one_budget(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}.yml").write_text("x" + f"{number}: [{'1, ' * 1000}]")
    code, out, err, _ = run("check", "--profile", str(tmp_path))
    check_refusal(code, out, err)
    assert "too large" in err


@pytest.mark.parametrize("text", SNAPSHOTS.values(), ids=SNAPSHOTS)
def test_a_snapshot(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "s.json"
    file.write_bytes(text)
    code, out, err, _ = run("check", "--profile", "trading", "--snapshot", str(file))
    if b"cmdline" in text:
        assert code == 3  # a document like any other, which leaves everything unknown
        return
    check_refusal(code, out, err)
    assert err.startswith(f"hosttune: {file}: ")


@pytest.mark.parametrize("text", REPORTS.values(), ids=REPORTS)
def test_a_report(tmp_path: Path, text: str) -> None:
    (tmp_path / "good").write_text(REPORT % "")
    (tmp_path / "bad").write_text(text)
    for names in (("good", "bad"), ("bad", "good")):
        code, out, err, _ = run("diff", *(str(tmp_path / name) for name in names))
        check_refusal(code, out, err)
        assert err.startswith(f"hosttune: {tmp_path}/bad: ")


def test_a_report_of_many_findings_is_one(tmp_path: Path) -> None:
    (tmp_path / "r").write_text(REPORT % ",".join([FINDING % 1] * 50_000))
    assert run("diff", str(tmp_path / "r"), str(tmp_path / "r"))[0] == 0


@pytest.mark.parametrize("command", [["diff", "{}", "{}"], ["check", "--snapshot", "{}"], ["check", "--profile", "{}"]])
@pytest.mark.parametrize("kind", ["fifo", "device", "directory"])
def test_what_is_no_file_makes_nobody_wait(tmp_path: Path, command: list[str], kind: str) -> None:
    place = tmp_path / "x"
    {"fifo": os.mkfifo, "device": lambda at: os.symlink("/dev/zero", at), "directory": os.mkdir}[kind](place)
    begin = time.monotonic()
    check_refusal(*run(*(word.format(place) for word in command))[:3])
    assert time.monotonic() - begin < 10  # the start of Python on a busy machine; a FIFO would be for ever


def test_a_pipe_that_the_caller_hands_over_is_read(tmp_path: Path) -> None:
    (tmp_path / "good").write_text(REPORT % "")
    with subprocess.Popen(["sh", "-c", f"sleep 0.3; cat {tmp_path}/good"], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        code, out, err, _ = run("diff", "/dev/stdin", str(tmp_path / "good"), stdin=writer.stdout.fileno())
    assert (code, err) == (0, "")
    assert "READY" in out


@pytest.mark.parametrize("path", ["proc/cmdline", "proc/interrupts", "etc/systemd/system/a.service", "etc/passwd"])
@pytest.mark.parametrize("piece", ["a", "\n", "a=b \\\n", '"', "0-8191,"])
def test_a_tree_with_a_file_of_ten_megabytes(tmp_path: Path, path: str, piece: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(repeat(piece, 10_000_000))
    assert run("check", "--root", str(tmp_path), "--profile", "trading")[0] == 3


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_a_snapshot_goes_to_standard_output(tmp_path: Path, name: str) -> None:
    code, out, err, _ = run("snapshot", "--root", str(tmp_path), "-o", name)
    assert (code, err) == (0, "")
    assert json.loads(out.rpartition("}")[0] + "}")["format"] == "hosttune-snapshot"
    assert os.path.islink("/dev/stdout")


@pytest.mark.parametrize(
    ("name", "words"),
    [("/dev/full", "a place of the kernel's"), ("/proc/self/fd/2", "a place of the kernel's"), ("{}", "a directory")],
)
def test_a_snapshot_replaces_no_device(tmp_path: Path, name: str, words: str) -> None:
    name = name.format(tmp_path)
    code, out, err, _ = run("snapshot", "--root", str(tmp_path), "-o", name)
    check_refusal(code, out, err)
    assert err.startswith(f"hosttune: {name}: cannot be written: found {words}")
