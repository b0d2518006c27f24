import json
import os
import subprocess
import sys

import pytest

from hosttune import cli

PROFILE = "net_buffers: {sysctl: {net.core.rmem_max: 5}}\n"


@pytest.fixture
def captured(tree, tmp_path):
    """A profile, and a tree that holds it, with all that can decide it."""

    def make(value="5", persisted="5"):
        files = {f"/{d}/sysctl.d/README": "" for d in ("etc", "run", "usr/local/lib", "usr/lib")}
        files |= {f"/{d}/systemd/system/README": "" for d in ("etc", "usr/lib")}
        files["/proc/sys/net/core/rmem_max"] = value
        files["/etc/sysctl.d/x.conf"] = f"net.core.rmem_max = {persisted}"
        profile = tmp_path / "p.yml"
        profile.write_text(PROFILE)
        return ["--root", tree(files), "--profile", str(profile)]

    return make


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_ready(capsys, captured):
    code, out, err = run(capsys, "check", *captured())
    assert (code, err) == (0, "")
    assert out.startswith("READY") and out.splitlines()[-1] == "READY  1 pass"


def test_not_ready(capsys, captured):
    code, out, _ = run(capsys, "check", *captured("4"))
    assert code == 1 and out.startswith("NOT READY")
    assert "sysctl -w net.core.rmem_max=5" in out


def test_an_option_has_its_whole_name(capsys, captured):
    with pytest.raises(SystemExit) as end:
        cli.main([str(each) for each in ["check", *captured(), "--form", "json"]])
    assert end.value.code == 2
    assert "unrecognized arguments: --form json" in capsys.readouterr().err


def test_could_not_tell(capsys, captured, tmp_path):
    arguments = captured()
    (tmp_path / "proc/sys/net/core/rmem_max").unlink()
    code, out, _ = run(capsys, "check", *arguments)
    assert code == 3 and out.startswith("UNKNOWN")


@pytest.mark.parametrize(("value", "persisted"), [("5", "5"), ("4", "5"), ("5", "4")])
def test_formats_and_snapshots_agree(capsys, captured, tmp_path, value, persisted):
    arguments = captured(value, persisted)
    file = tmp_path / "s.json.gz"
    code, text, _ = run(capsys, "check", *arguments)
    assert run(capsys, "check", *arguments, "--format", "json")[0] == code
    snapshot, out, err = run(capsys, "snapshot", *arguments, "-o", file)
    assert (snapshot, out) == (0, "")
    assert err.startswith(f"{file}: ") and "secrets left out" in err
    again = run(capsys, "check", "--snapshot", file, "--profile", arguments[-1], "--format", "json")
    report = json.loads(again[1])
    assert again[0] == code
    assert report["verdict"].upper() == text.splitlines()[-1].split("  ")[0]
    assert report["host"]["source"] == f"snapshot {file} (tree {arguments[1]})"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "--root", "/no/such"], "--root /no/such: No such file or directory"),
        (["check", "--root", "/etc/passwd"], "Not a directory"),
        (["check", "--profile", "/no/such.yml"], "/no/such.yml: cannot be read (ENOENT)"),
        (["check", "--snapshot", "/no/such"], "/no/such: cannot be read: No such file"),
        (["check", "--snapshot", "/etc/passwd"], "/etc/passwd: not a snapshot"),
        (["check", "--root", "/", "--observe", "1"], "--observe needs the live host"),
        (["snapshot", "--root", "/", "--observe", "1"], "--observe needs the live host"),
        (["snapshot", "--root", "{tmp}", "-o", "/no/such/file"], "/no/such/file: cannot be written: No such file"),
        (["diff", "/no/such", "/no/such"], "/no/such: cannot be read: No such file"),
        (["diff", "/etc/passwd", "/etc/passwd"], "/etc/passwd: not a report of"),
    ],
)
def test_what_cannot_be_used_is_said_and_ends_2(capsys, tmp_path, arguments, words):
    code, out, err = run(capsys, *(argument.replace("{tmp}", str(tmp_path)) for argument in arguments))
    assert (code, out) == (2, "")
    assert err.startswith("hosttune: ") and words in err and len(err.splitlines()) == 1


def test_a_wrong_profile_ends_2(capsys, tmp_path):
    (tmp_path / "p.yml").write_text("tcp_bbr: {qdics: fq}")
    code, out, err = run(capsys, "check", "--profile", tmp_path / "p.yml")
    assert (code, out) == (2, "")
    assert err.startswith(f"hosttune: {tmp_path}/p.yml:1: unknown key tcp_bbr.qdics; did you mean qdisc?")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["chekc"],
        ["check", "--format", "xml"],
        ["check", "--observe", "0"],
        ["check", "--observe", "soon"],
        ["check", "--observe", "nan"],
        ["check", "--root", "a", "--snapshot", "b"],
        ["diff", "one"],
    ],
)
def test_wrong_arguments_end_2(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: hosttune" in capsys.readouterr().err


def test_diff(capsys, captured, tmp_path):
    for name, value in (("before", "4"), ("after", "5")):
        arguments = captured(value)
        (tmp_path / name).write_text(run(capsys, "check", *arguments, "--format", "json")[1])
    code, out, _ = run(capsys, "diff", tmp_path / "before", tmp_path / "after")
    assert code == 0
    assert "net_buffers.net.core.rmem_max | fail     4" in out
    code, out, _ = run(capsys, "diff", tmp_path / "before", tmp_path / "after", "--format", "json")
    document = json.loads(out)
    assert code == 0
    assert (document["before"]["verdict"], document["after"]["verdict"]) == ("not ready", "ready")
    (row,) = document["findings"]
    assert row["id"] == "net_buffers.net.core.rmem_max"
    assert (row["before"]["found"], row["after"]["found"]) == ("4", "5")


@pytest.mark.parametrize(
    ("choice", "environment", "coloured"),
    [("auto", {}, False), ("always", {"NO_COLOR": "1"}, True), ("never", {}, False)],
)
def test_colour(capsys, captured, monkeypatch, choice, environment, coloured):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ("\x1b" in run(capsys, "check", *captured(), "--color", choice)[1]) == coloured


def command(*arguments, **options):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(
        [sys.executable, "-P", *arguments], env=environment, timeout=60, text=True, capture_output=True, **options
    )


def test_a_reader_that_has_seen_enough(captured):
    """The verdict stays the exit status, and Python does not complain about the pipe."""
    arguments = " ".join(captured("4"))
    done = command(
        "-c",
        f"""
import os, subprocess, sys
read, write = os.pipe()
os.close(read)
done = subprocess.run([sys.executable, "-P", "-m", "hosttune", "check", *{arguments.split()!r}], stdout=write,
                      stderr=subprocess.PIPE, text=True)
print(done.returncode, repr(done.stderr))
""",
    )
    assert done.stdout == "1 ''\n"


@pytest.mark.parametrize("format_", ["text", "json"])
def test_a_check_starts_no_process(format_):
    """Of this very machine, with all sections: netlink, files, and nothing else."""
    done = command(
        "-c",
        f"""
import sys
started = []
events = ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn")
sys.addaudithook(lambda event, _: started.append(event) if event in events else None)
from hosttune import cli, profile
code = cli.main(["check", "--profile", profile.BUILT_IN + "/trading.yml", "--format", {format_!r}])
print(code in (0, 1, 3), started, file=sys.stderr)
""",
    )
    assert done.stderr.splitlines()[-1] == "True []", done.stderr


HEAVY = ("pyroute2", "dataclasses", "subprocess", "shutil", "logging", "asyncio", "importlib.metadata", "json",
         "pathlib")  # fmt: skip


@pytest.mark.parametrize("launches", [False, True])
def test_start_up_imports_nothing_heavy(captured, launches):
    """Nor does a launch whose preflight was made before import the checks, and what reads a profile."""
    arguments = ["launch", "--preflight", "/nonesuch", "--", "/bin/true"] if launches else ["check", *captured()]
    names = (*HEAVY, "yaml", "hosttune.checks", "hosttune.profile") if launches else HEAVY
    done = command(
        "-c",
        f"""
import sys
from hosttune import cli
cli.main({arguments!r})
names = {names!r}
print([name for name in sys.modules if name.split(".")[0] in names or name in names], file=sys.stderr)
""",
    )
    assert done.stderr.splitlines()[-1] == "[]"
