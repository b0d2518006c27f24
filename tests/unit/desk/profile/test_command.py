"""`desk profile -- COMMAND` and `--pid`: what goes through to the program, and what is said where it cannot be told."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from desk.cli.main import main
from desk.profile import tools
from desk.profile.run import read_map
from hosttune import files

from .cases import PROFILE, profile

BUSY = """
import gc, sys, time
def parse(n):
    return sum(i % 7 for i in [*range(n)])
def spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        parse(2000)
def wait_a_little():
    time.sleep(0.002)
class Keeper:
    def keep(self):
        return bytearray(1 << 20)
if __name__ == "__main__":
    for _ in range(40):
        wait_a_little()
    kept = [Keeper().keep() for _ in range(7)]
    gc.collect()
    spin(float(sys.argv[1]))
    print("said by the program")
"""


def run(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROFILE, *words], capture_output=True, text=True, timeout=60, **more)


def read_json(text: str) -> Any:
    """Returns the document behind the lines that say which run it is."""
    return json.loads(text[text.index("{\n") :])


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "busy.py"
    path.write_text(BUSY)
    return str(path)


def test_all_profilers_make_one_table(program: str, tmp_path: Path) -> None:
    done, saved = profile(["--rounds", "2", "--", sys.executable, program, "0.4"], tmp_path / "out")
    assert done.returncode == 0, done.stderr
    spots = {spot["function"]: spot for spot in saved["spots"]}
    tried = {tool["name"]: tool for tool in saved["profilers"]}
    assert list(tried) == ["py-spy", "perf", "cprofile", "calls", "line_profiler", "memray"]
    assert all(tool["ran"] for name, tool in tried.items() if name != "perf"), tried
    assert tried["perf"]["ran"] or tried["perf"]["why"]
    assert saved["main"] == "py-spy" and len(saved["rounds"]) == 2 and saved["rounds"][0]["samples"] > 10
    assert saved["spots"][0]["function"].startswith("parse")
    parse = spots["parse"]
    assert parse["call_p50_us"] > 1 and parse["call_mean_us"] > 1 and parse["calls"] > 10 and len(parse["seconds"]) == 2
    assert spots["Keeper.keep" if "Keeper.keep" in spots else "keep"]["allocated_bytes"] >= 7 << 20
    assert sum(saved["pauses"]["collections"]) >= 1 and saved["pauses"]["max_us"] > 0
    assert saved["lines"][0]["function"].endswith(("parse", "spin")) and saved["lines"][0]["line"] > 3
    count = done.stderr.count("desk: run ")
    assert done.stdout == "said by the program\n" * count and count >= 7
    assert "<svg" in (tmp_path / "out/flame.svg").read_text()
    assert json.loads((tmp_path / "out/flame.speedscope.json").read_text())["profiles"]
    for head in ("share", "p50 us", "allocs", "GC pauses", "Python"):
        assert head in done.stderr


def test_the_median_of_a_call_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "case.py"
    path.write_text(
        "import time\ndef nap(n):\n    time.sleep(n)\n"
        "def spin(n):\n    for _ in range(n): pass\n    if n == 3: raise ValueError\n"
        "def count():\n    yield from range(9)\n"
        "for n in [0.002] * 30 + [0.05]: nap(n); sum(count())\n"
        "for n in [200_000] * 40 + [3]:\n    try: spin(n)\n    except ValueError: pass\n"
    )
    done = run("--with", "cprofile,calls", "--format", "json", "--", sys.executable, str(path))
    spots = {spot["function"]: spot for spot in read_json(done.stderr)["spots"]}
    assert (
        spots["nap"]["calls"] == 31
        and 2000 <= spots["nap"]["call_p50_us"] < 40_000 <= 31 * spots["nap"]["call_mean_us"]
    )
    assert spots["spin"]["calls"] == 41 and spots["spin"]["call_p50_us"] > 300
    assert spots.get("count", {}).get("call_p50_us") is None  # one call of a generator is many


@pytest.mark.parametrize("how", [["-c", "import sys; sys.exit(7)"], ["-c", "1 / 0"]], ids=["exit", "error"])
def test_the_exit_code_is_the_programs(how: list[str]) -> None:
    done = run("--with", "py-spy,cprofile", "--", sys.executable, *how)
    assert done.returncode == (7 if "sys" in how[1] else 1)
    assert "cprofile" in done.stderr and "not run: the run before ended with an error" in done.stderr
    assert ("ZeroDivisionError" in done.stderr) == ("sys" not in how[1])


def test_a_program_that_a_signal_ends() -> None:
    done = run("--with", "cprofile", "--", sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    assert done.returncode == 128 + 9
    assert "ended without its exit handlers" in done.stderr and "no hot spot" in done.stderr


def test_a_program_that_ends_at_once() -> None:
    done = run("--with", "py-spy", "--", sys.executable, "-S", "-c", "pass")
    assert done.returncode in (0, 3) and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--", "/nonexistent/x"], "found no program of this name"),
        (["--", "python3"], "found an interpreter without a program"),
        (["--with", "gdb", "--", "true"], "found 'gdb', allowed: all, py-spy"),
        (["--rate", "5000", "--", "true"], "at most 1000"),
        (["--pid", "4194305"], "found no process"),
        (["--pid", "1", "--", "true"], "found no way or several"),
        ([], "found no way or several"),
        (["--out", "/proc/x", "--", "true"], "--out /proc/x"),
    ],
)
def test_what_cannot_be_asked(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_file_that_no_kernel_runs(tmp_path: Path) -> None:
    path = tmp_path / "odd"
    path.write_bytes(b"\x00\x01 nothing")
    path.chmod(0o755)
    done = run("--with", "perf", "--", str(path))
    if "not measured: perf is not installed" in done.stderr:
        pytest.skip("needs perf")
    assert done.returncode == 2 and done.stderr.endswith("odd: Exec format error\n"), done.stderr


def test_a_program_that_is_not_python() -> None:
    done = run("--with", "py-spy,memray", "--", "/bin/true")
    assert done.returncode == 3
    assert done.stderr.count("not measured: the program is not Python") == 2


def test_a_profiler_that_is_absent(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(tools, "_SYSTEM", ())
    monkeypatch.setattr(tools.sysconfig, "get_path", lambda name: "/nonexistent")
    assert main(["profile", "--with", "py-spy,perf", "--", sys.executable, "-c", "pass"]) == 3
    said = capfd.readouterr().err
    assert "not measured: py-spy is not installed (pip install 'hosttune[desk-tools]')" in said
    assert "not measured: perf is not installed (apt-get install linux-perf)" in said


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'Error: Permission Denied: try again with sudo' >&2; exit 1", "Permission Denied"),
        ("exit 0", "py-spy did not attach"),
        ("kill -9 $$", "py-spy ended with -9"),
        ("echo Sampling process; echo nonsense > /dev/null; sleep 0.1", "py-spy's result: No such file"),
        ("echo Sampling process; while [ $1 != --output ]; do shift; done; echo {} > $2", "not of speedscope's format"),
    ],
)
def test_a_profiler_that_fails(
    script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "py-spy").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "py-spy").chmod(0o755)
    monkeypatch.setattr(tools.sysconfig, "get_path", lambda name: str(tmp_path))
    assert main(["profile", "--with", "py-spy", "--", sys.executable, "-c", "print('it ran')"]) == 3
    found = capfd.readouterr()
    assert said in found.err and "not measured" in found.err and found.out == "it ran\n"


def test_a_profiler_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "py-spy").write_text("#!/bin/sh\nexec sleep 100\n")
    (tmp_path / "py-spy").chmod(0o755)
    monkeypatch.setattr(tools, "_ATTACH", 0.3)
    monkeypatch.setattr(tools.sysconfig, "get_path", lambda name: str(tmp_path))
    begun = time.monotonic()
    assert main(["profile", "--with", "py-spy", "--", sys.executable, "-c", "pass"]) == 3
    assert time.monotonic() - begun < 10
    assert "py-spy did not attach within 0.3 s" in capfd.readouterr().err


def test_a_setting_that_forbids_it_is_named() -> None:
    said = "Error: No permission to enable cycles event. perf_event_paranoid setting is 4"
    assert "kernel.perf_event_paranoid is " in tools._explain_refusal("perf", said)
    assert tools._explain_refusal("perf", "another error") == ""


def _start(*words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([*PROFILE, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            start_new_session=True)  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_go_to_the_program(number: int, tmp_path: Path) -> None:
    path = tmp_path / "waits.py"
    path.write_text(
        "import signal, sys, time\n"
        "def end(number, frame):\n    print('told', number); sys.exit(5)\n"
        "for n in (2, 15): signal.signal(n, end)\n"
        "print('ready', flush=True)\n"
        "end_at = time.time() + 30\nwhile time.time() < end_at: pass\n"
    )
    asked = _start("--with", "py-spy,cprofile", "--", sys.executable, str(path))
    try:
        assert asked.stdout and asked.stdout.readline() == "ready\n"
        time.sleep(0.5)
        asked.send_signal(number)
        out, said = asked.communicate(timeout=30)
    finally:
        asked.kill()
    assert out == f"told {int(number)}\n" and asked.returncode == 5
    assert "waits.py" in said and "not run: the run before ended" in said


def test_no_process_is_left_when_desk_is_killed_at_the_gate(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text("print('over', flush=True)\n")
    asked = _start("--with", "cprofile", "--", sys.executable, str(tmp_path / "child.py"))
    asked.kill()
    assert asked.communicate(timeout=30)[0] in ("", "over\n")  # its output is closed: nobody is left who holds it


def test_files_are_new_and_no_link_is_followed(program: str, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep")
    out = tmp_path / "out"
    out.mkdir()
    for name in ("profile.json", "profile.html", "flame.svg", "flame.speedscope.json"):
        (out / name).symlink_to(precious)
    done, saved = profile(["--with", "py-spy", "--", sys.executable, program, "0.2"], out)
    assert done.returncode == 0 and saved["main"] == "py-spy"
    assert precious.read_text() == "keep" and not (out / "flame.svg").is_symlink()
    assert not list(out.glob(".*"))


def test_a_directory_where_a_file_should_be(program: str, tmp_path: Path) -> None:
    (tmp_path / "out/profile.json").mkdir(parents=True)
    done = run("--out", str(tmp_path / "out"), "--with", "cprofile", "--", sys.executable, program, "0.1")
    assert done.returncode == 2 and "profile.json" in done.stderr and "Traceback" not in done.stderr
    assert "cProfile" in done.stderr or "share" in done.stderr  # the table is told before


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def fail(path: object, data: bytes, mode: int = 0) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(files, "replace_file", fail)
    words = ["--with", "cprofile", "--out", str(tmp_path), "--", sys.executable, "-c", "sum(range(9))"]
    assert main(["profile", *words]) == 2
    said = capfd.readouterr().err
    assert f"{tmp_path}/profile.json: No space left on device" in said and "share" in said


def test_hostile_names_give_the_terminal_no_order(tmp_path: Path) -> None:
    path = tmp_path / "evil\x1b[2J\n.py"
    path.write_text("def spin():\n    for _ in range(9_000_000): pass\nspin()\n")
    done = run("--with", "py-spy,cprofile", "--", sys.executable, str(path))
    assert done.returncode == 0 and "\x1b" not in done.stderr and "evil\\u001b" in done.stderr


def _wait_for_ready(process: "subprocess.Popen[str]") -> None:
    assert process.stdout and process.stdout.readline() == "ready\n"


def test_a_process_that_runs(tmp_path: Path) -> None:
    path = tmp_path / "runs.py"
    path.write_text(BUSY.replace('if __name__ == "__main__":', "print('ready', flush=True)\nspin(60)\nif 0:"))
    with subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True) as process:
        try:
            _wait_for_ready(process)
            words = ["--pid", str(process.pid), "--seconds", "1", "--rounds", "3", "--format", "json"]
            done = run(*words)
            assert process.poll() is None
        finally:
            process.kill()
    saved = json.loads(done.stdout)
    tried = {tool["name"]: tool for tool in saved["profilers"]}
    if "ermission" in tried["py-spy"]["why"]:
        pytest.skip(tried["py-spy"]["why"])
    assert done.returncode == 0, done.stderr
    assert saved["spots"][0]["function"].startswith("parse") and len(saved["rounds"]) == 3
    assert saved["rounds"][0]["cpu_s"] > 0.2 and saved["rounds"][0]["samples"] > 20
    assert "attaches to no process" in tried["memray"]["why"]
    assert "only the process itself knows them" in saved["pauses_why"]


def test_sampling_that_is_asked_to_end_has_what_it_saw(tmp_path: Path) -> None:
    path = tmp_path / "runs.py"
    path.write_text(BUSY.replace('if __name__ == "__main__":', "print('ready', flush=True)\nspin(60)\nif 0:"))
    with subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True) as process:
        try:
            _wait_for_ready(process)
            asked = _start("--pid", str(process.pid), "--with", "py-spy", "--seconds", "50", "--format", "json")
            time.sleep(3)
            asked.send_signal(signal.SIGINT)
            out, said = asked.communicate(timeout=20)
        finally:
            process.kill()
            asked.kill()
    saved = json.loads(out)
    if not saved["profilers"][0]["ran"]:
        pytest.skip(saved["profilers"][0]["why"])
    assert asked.returncode == 0, said
    assert saved["spots"][0]["function"].startswith("parse") and saved["rounds"][0]["wall_s"] < 15


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_a_process_of_another_user_is_not_looked_at() -> None:
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            tools.attach_py_spy(os.getppid(), 100, False, "speedscope", Path("/nonexistent/x"), 1.0)
        except tools.ToolError as error:
            os._exit(7 if "py-spy" in str(error) else 8)
        except OSError as error:
            os._exit(7 if error.errno == errno.EACCES else 9)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_process_whose_name_is_no_text_has_a_profile() -> None:
    script = "import ctypes, time; ctypes.CDLL(None).prctl(15, b'a\\xff\\x1b[2J'); print(flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None and child.stdout.readline() == b"\n"
        words = ["desk", "profile", "--with", "cprofile", "--pid", str(child.pid)]
        done = subprocess.run([sys.executable, "-P", "-m", *words], capture_output=True, timeout=60)
        assert done.returncode == 3 and b"Traceback" not in done.stderr, done.stderr
        assert b"(a\xef\xbf\xbd\\u001b[2J)" in done.stdout
    finally:
        child.kill()
        child.communicate(timeout=30)


def test_the_map_of_somebody_else_is_not_believed(tmp_path: Path) -> None:
    path = Path(f"/tmp/perf-{os.getpid()}.map")
    assert not path.exists()
    (tmp_path / "map").write_text("1000 20 numba:evil\n")
    path.symlink_to(tmp_path / "map")
    try:
        found, why = read_map(os.getpid())
        assert found == [] and "symbolic link" in why
        path.unlink()
        path.write_text("1000 20 numba:f\n")
        path.chmod(0o666)
        found, why = read_map(os.getpid())
        assert found == [] and "mode 0666" in why
        path.chmod(0o644)
        assert [one.name for one in read_map(os.getpid())[0]] == ["f"]
    finally:
        path.unlink()
    assert "there is no" in read_map(os.getpid())[1]


def test_the_end_of_the_interpreter_is_not_the_programs_time(tmp_path: Path) -> None:
    path = tmp_path / "case.py"
    path.write_text(
        "import time\n"
        "def spin():\n    end = time.process_time() + 0.5\n    while time.process_time() < end: pass\n"
        "class Slow:\n    def __del__(self):\n        end = time.time() + 2\n        while time.time() < end: pass\n"
        "spin()\nkept = Slow()\n"
    )
    done = run("--with", "py-spy", "--format", "json", "--", sys.executable, str(path))
    saved = read_json(done.stderr)
    assert saved["spots"][0]["function"] == "spin", saved["spots"][:3]
    assert saved["profilers"][0]["why"] == ""
    assert not [spot for spot in saved["spots"] if spot["function"] == "Slow.__del__" and spot["share"] > 0.3]
