"""What a launched program can do with what it is given, and with its names: nothing.

Each test does the attack, on this machine's kernel, as the user nobody.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .launching import AS_NOBODY, BOUND, CPU, SLEEP, Launch, Launcher, lines_until, read_back, statuses, until

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root (sudo .venv/bin/pytest tests/live)"),
]

NOBODY = pwd.getpwnam("nobody")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def granted_latency() -> int:
    with open("/dev/cpu_dma_latency", "rb", buffering=0) as device:
        return int.from_bytes(device.read(4), sys.byteorder, signed=True)


def status_of(text: str) -> dict[str, str]:
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


class TestDescriptors:
    def test_a_program_gets_no_file_of_ours_and_can_give_nothing_back(
        self, launch: Launch, build: Callable[[str], str], tmp_path: Path
    ) -> None:
        process = launch(*AS_NOBODY, "--cpus", str(CPU), "--", build("spoil_files"), "-", "60")
        seen = lines_until(process, "done")
        # The pipe is empty, and has no writer: its end says that the memory is locked.
        assert [line for line in seen if not re.fullmatch(r"could see (/dev/cpu_dma_latency|pipe:\[\d+\])", line)] == []
        code, document = read_back(tmp_path, process.pid)
        assert code == 0, document
        refused = launch("--cpus", str(CPU), "--", "/bin/true")
        said = refused.communicate(timeout=BOUND)[1]
        assert refused.returncode == 1 and f"CPU {CPU} is leased to PID {process.pid}" in said

    def test_a_program_cannot_have_its_record_say_what_it_does(
        self, launch: Launch, build: Callable[[str], str], tmp_path: Path
    ) -> None:
        process = launch(*AS_NOBODY, "--cpus", str(CPU), "--", build("forge_record"), "unlock", "60")
        assert lines_until(process, "done") == []
        until(lambda: re.search(r"VmLck:\s+0 kB", Path(f"/proc/{process.pid}/status").read_text()) is not None)
        code, document = read_back(tmp_path, process.pid)
        broken = {name for name, status in statuses(document).items() if status == "fail"}
        assert code == 1 and broken == {"cpus", "memory_lock"}

    def test_what_it_leaves_behind_keeps_no_lease(
        self, launch: Launch, build: Callable[[str], str], tmp_path: Path
    ) -> None:
        process = launch(*AS_NOBODY, "--no-mlock", "--cpus", str(CPU), "--", build("leave_heir"), "-", "60")
        (line,) = lines_until(process, "done")
        heir = int(line.removeprefix("heir "))
        try:
            process.kill()
            process.wait(BOUND)
            assert Path(f"/proc/{heir}").exists()
            assert launch("--cpus", str(CPU), "--", "/bin/true").wait(BOUND) == 0
        finally:
            os.kill(heir, signal.SIGKILL)

    def test_the_callers_descriptors_stay_with_the_caller(self, launch: Launch, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("secret")
        script = "import os\nfor n in sorted(map(int, os.listdir('/proc/self/fd'))):\n"
        script += "  try: print(n, os.readlink(f'/proc/self/fd/{n}'))\n  except OSError: pass"
        with secret.open("r+") as one, secret.open() as other:
            many = tuple(os.dup(other.fileno()) for _ in range(20))
            words = ("--no-mlock", "--", "/usr/bin/python3", "-c", script)
            process = launch(*AS_NOBODY, *words, pass_fds=(one.fileno(), *many))
            said, error = process.communicate(timeout=BOUND)
            for number in many:
                os.close(number)
        assert process.returncode == 0, error
        assert [line for line in said.splitlines() if int(line.split()[0]) > 2 and "cpu_dma_latency" not in line] == []

    def test_a_closed_standard_output_is_not_the_next_file(self, launch: Launch, tmp_path: Path) -> None:
        process = launch(
            *AS_NOBODY, "--", "/bin/sh", "-c", "echo spoiled; echo spoiled >&2; while :; do sleep 1; done",
            prefix=("/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"),
        )  # fmt: skip
        code, document = read_back(tmp_path, process.pid)
        assert code == 0, document
        assert {os.readlink(f"/proc/{process.pid}/fd/{n}") for n in range(3)} == {os.devnull}

    @pytest.mark.skipif(not os.path.exists("/dev/cpu_dma_latency"), reason="needs /dev/cpu_dma_latency")
    @pytest.mark.parametrize(
        ("deed", "found"),
        [("os.write(n, (100).to_bytes(4, sys.byteorder))", "the kernel at 100"), ("os.close(n)", "closed")],
    )
    def test_a_program_that_takes_back_the_latency(self, launch: Launch, tmp_path: Path, deed: str, found: str) -> None:
        script = (
            "import os, sys, time\nfor n in range(3, 20):\n"
            "  try: path = os.readlink(f'/proc/self/fd/{n}')\n  except OSError: continue\n"
            f"  if path == '/dev/cpu_dma_latency': {deed}\nprint('done', flush=True)\ntime.sleep(60)"
        )
        until(lambda: granted_latency() != 0)  # by what was launched before, and is about to end
        process = launch("--no-mlock", *AS_NOBODY, "--", "/usr/bin/python3", "-c", script)
        assert lines_until(process, "done") == []
        code, document = read_back(tmp_path, process.pid)
        (broken,) = [one for one in document["findings"] if one["status"] == "fail"]
        assert code == 1 and broken["id"] == "attest.cpu_dma_latency" and found in broken["found"]


#: The number of rt_sigaction(2): the C library's function refuses the signals that are its own.
SIGACTION = {"x86_64": 13, "aarch64": 134}


class TestPrivileges:
    SHOW = ("/bin/sh", "-c", "cat /proc/self/status; exec sleep 60")

    def test_nothing_can_be_gained_again(self, launch: Launch, tmp_path: Path, open_folder: Path) -> None:
        """Inheritable and ambient capabilities of the caller, and a program of root's with the setuid bit."""
        (open_folder / "secret").write_text("secret")
        (open_folder / "secret").chmod(0o600)
        shutil.copy("/bin/cat", open_folder / "cat")
        (open_folder / "cat").chmod(0o4755)
        script = f"cat /proc/self/status; {open_folder}/cat {open_folder}/secret; exec sleep 60"
        process = launch(
            *AS_NOBODY, "--no-mlock", "--", "/bin/sh", "-c", f"{script}; echo",
            prefix=("setpriv", "--inh-caps=+sys_admin,+chown", "--ambient-caps=+sys_admin,+chown"),
        )  # fmt: skip
        until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n")
        code, document = read_back(tmp_path, process.pid)
        assert code == 0, document
        process.kill()
        said, error = process.communicate(timeout=BOUND)
        assert "Permission denied" in error and "secret" not in said
        status = status_of(said)
        assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
        assert (status["NoNewPrivs"], status["Umask"], status["Groups"]) == ("1", "0027", str(NOBODY.pw_gid))

    def test_root_that_is_named_has_no_capability_either(self, launch: Launch) -> None:
        process = launch("--user", "root", "--no-mlock", "--", "/bin/cat", "/proc/self/status")
        status = status_of(process.communicate(timeout=BOUND)[0])
        assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}

    def test_root_that_stays_keeps_its_own_and_hands_down_none(self, launch: Launch, tmp_path: Path) -> None:
        prefix = ("setpriv", "--inh-caps=+sys_admin", "--ambient-caps=+sys_admin")
        process = launch("--no-mlock", "--", *self.SHOW, prefix=prefix)
        until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n")
        assert read_back(tmp_path, process.pid)[0] == 0
        process.kill()
        status = status_of(process.communicate(timeout=BOUND)[0])
        assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0 != int(status["CapEff"], 16)
        assert status["NoNewPrivs"] == "1"

    @pytest.mark.parametrize(("words", "mode"), [([], 0o640), (["--umask", "0077"], 0o600), (["--umask", "0"], 0o666)])
    def test_the_callers_umask(self, launch: Launch, open_folder: Path, words: list[str], mode: int) -> None:
        folder = open_folder / "made"
        folder.mkdir()
        os.chown(folder, NOBODY.pw_uid, NOBODY.pw_gid)
        process = launch(
            *AS_NOBODY, *words, "--", "/usr/bin/touch", str(folder / "file"),
            prefix=("/bin/sh", "-c", 'umask 0000; exec "$@"', "sh"),
        )  # fmt: skip
        assert process.wait(BOUND) == 0, process.communicate()
        assert (folder / "file").stat().st_mode & 0o777 == mode

    def test_signals_and_timers_are_as_of_a_new_process(self, launch: Launch) -> None:
        script = (
            "import ctypes, os, signal, sys\n"
            "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
            "ignored = (ctypes.c_uint64 * 4)(1)\n"  # struct sigaction of the kernel: the handler comes first
            f"call = {SIGACTION[os.uname().machine]}\n"
            "for n in (32, 33): assert ctypes.CDLL(None).syscall(call, n, ignored, None, 8) == 0\n"
            "for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, 40): signal.signal(n, signal.SIG_IGN)\n"
            "signal.setitimer(signal.ITIMER_REAL, 3600); signal.setitimer(signal.ITIMER_PROF, 3600)\n"
            "os.execvp(sys.argv[1], sys.argv[1:])"
        )
        show = "cat /proc/self/status; exec python3 -c 'import signal; print(*map(signal.getitimer, range(3)))'"
        process = launch(*AS_NOBODY, "--no-mlock", "--", "/bin/sh", "-c", show, prefix=(sys.executable, "-c", script))
        said, error = process.communicate(timeout=BOUND)
        assert process.returncode == 0, error
        status = status_of(said)
        assert int(status["SigBlk"], 16) == int(status["SigIgn"], 16) == 0
        assert said.endswith("(0.0, 0.0) (0.0, 0.0) (0.0, 0.0)\n")

    def test_keys_of_the_callers_session(self, launch: Launch, build: Callable[[str], str]) -> None:
        number = {"x86_64": (248, 250), "aarch64": (217, 219)}[os.uname().machine]
        script = (
            "import ctypes, os, sys\ncall = ctypes.CDLL(None, use_errno=True).syscall\n"
            f"assert call({number[1]}, 1, None) > 0, os.strerror(ctypes.get_errno())\n"
            f"assert call({number[0]}, b'user', b'launch-test', b'secret', 6, -3) > 0\n"
            "os.execvp(sys.argv[1], sys.argv[1:])"
        )
        command = (build("read_key"), "-", "0")
        process = launch(*AS_NOBODY, "--no-mlock", "--", *command, prefix=(sys.executable, "-c", script))
        said, error = process.communicate(timeout=BOUND)
        assert (said, process.returncode) == ("done\n", 0), error

    def test_a_place_in_a_closed_directory(self, launch: Launch, tmp_path: Path) -> None:
        closed = tmp_path / "closed"
        (closed / "inside").mkdir(parents=True)
        closed.chmod(0o700)
        (closed / "inside" / "secret").write_text("secret")
        process = launch(*AS_NOBODY, "--", "/bin/cat", "secret", cwd=closed / "inside")
        said, error = process.communicate(timeout=BOUND)
        assert said == "" and process.returncode == 1 and "the program starts in /" in error


HOSTILE = {
    "LD_LIBRARY_PATH": "/tmp", "LD_AUDIT": "", "PYTHONSTARTUP": "/tmp/x", "SECRET": "s", "BASH_ENV": "/tmp/x",
    "IFS": "x", "GLIBC_TUNABLES": "", "NOTIFY_SOCKET": "@x", "HOSTTUNE_READY_FD": "1",
}  # fmt: skip


class TestEnvironment:
    SHOW = ("--no-mlock", "--", "/usr/bin/env", "-0")

    def environment(self, process: subprocess.Popen[str]) -> dict[str, str]:
        said, error = process.communicate(timeout=BOUND)
        assert process.returncode == 0, error
        return dict(entry.split("=", 1) for entry in said.split("\0")[:-1])

    def test_nothing_of_the_callers_goes_down(self, launch: Launch) -> None:
        assert self.environment(launch(*AS_NOBODY, *self.SHOW, env=HOSTILE)) == {
            "PATH": PATH, "HOME": NOBODY.pw_dir, "USER": "nobody", "LOGNAME": "nobody", "SHELL": NOBODY.pw_shell,
        }  # fmt: skip
        root = pwd.getpwuid(0)
        assert self.environment(launch(*self.SHOW, env=HOSTILE | {"HOME": "/tmp"})) == {
            "PATH": PATH, "HOME": root.pw_dir, "USER": "root", "LOGNAME": "root", "SHELL": root.pw_shell,
        }  # fmt: skip

    def test_but_what_is_asked_for(self, launch: Launch) -> None:
        words = ("--setenv", "NOTIFY_SOCKET", "--setenv", "SECRET=a=b", "--setenv", "EMPTY=", "--setenv", "HOME=/x")
        made = self.environment(launch(*AS_NOBODY, *words, *self.SHOW, env=HOSTILE))
        wanted = {"NOTIFY_SOCKET": "@x", "SECRET": "a=b", "EMPTY": "", "HOME": "/x"}
        assert made.items() >= wanted.items() and made.keys() == {"PATH", "USER", "LOGNAME", "SHELL", *wanted}

    @pytest.mark.parametrize("word", ["NOT_SET_HERE", "=x", "1X=x", "A B=x", "A\nB=x", "", "Ä=x"])
    def test_what_is_not_set_or_no_name_is_refused(self, launch: Launch, word: str) -> None:
        process = launch("--setenv", word, *self.SHOW)
        said, error = process.communicate(timeout=BOUND)
        assert process.returncode == 2 and said == "" and "Traceback" not in error


class TestWords:
    def test_neither_a_holder_nor_a_thread_orders_a_terminal_or_forges_a_line(
        self, launch: Launch, tmp_path: Path
    ) -> None:
        name = "\nattest: holds\x1b"
        script = (
            f"import os, threading, time\ndef run():\n  open('/proc/thread-self/comm', 'w').write({name!r})\n"
            "  os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)); print('done', flush=True); time.sleep(60)\n"
            "threading.Thread(target=run).start()"
        )
        words = (sys.executable, "-c", script, "\x1b]0;spoiled\x07" + "x" * 5000)
        process = launch("--no-mlock", "--cpus", str(CPU), "--", *words)
        assert lines_until(process, "done") == []
        done = subprocess.run(
            [sys.executable, "-m", "hosttune", "attest", str(process.pid), "--run-dir", str(tmp_path / "run")],
            capture_output=True, text=True, timeout=BOUND, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 1
        assert [line for line in done.stdout.splitlines() if line.startswith("attest:")] == ["attest: does not hold"]
        refused = launch("--cpus", str(CPU), "--", "/bin/true")
        said = refused.communicate(timeout=BOUND)[1]
        assert refused.returncode == 1 and len(said) < 2000
        for text in (done.stdout, said):
            assert all(character.isprintable() or character == "\n" for character in text)


class TestReader:
    #: Its .preinit_array runs before the preload library: leaves the CPU, and fills the pipe that it shares.
    FILLER = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>
static void early(int c, char **v, char **e)
{
    static char text[4096];
    cpu_set_t all;
    int flags = fcntl(2, F_GETFL);
    CPU_ZERO(&all);
    for (int n = 0; n < 64; n++)
        CPU_SET(n, &all);
    sched_setaffinity(0, sizeof all, &all);
    fcntl(2, F_SETFL, flags | O_NONBLOCK);
    while (write(2, text, sizeof text) > 0)
        ;
    while (write(2, text, 1) > 0)
        ;
    fcntl(2, F_SETFL, flags & ~O_NONBLOCK);
}
__attribute__((section(".preinit_array"), used)) static void (*first)(int, char **, char **) = early;
int main(void) { return sleep(60); }
"""

    def test_a_full_pipe_does_not_save_a_program_that_does_not_hold(
        self, launcher: Launcher, open_folder: Path
    ) -> None:
        (open_folder / "filler.c").write_text(self.FILLER)
        subprocess.run(["cc", "-o", open_folder / "filler", open_folder / "filler.c"], check=True, timeout=BOUND)
        command, env = launcher("--attest", *AS_NOBODY, "--cpus", str(CPU), "--", str(open_folder / "filler"))
        unread, pipe = os.pipe()
        program = subprocess.Popen(command, env=env, stderr=pipe, stdin=subprocess.DEVNULL, cwd="/")
        os.close(pipe)
        try:
            assert program.wait(BOUND) == -signal.SIGTERM
        finally:
            program.kill()
            program.wait(BOUND)
            os.close(unread)


@pytest.mark.parametrize("more", [(), ("--no-mlock", *AS_NOBODY)])
def test_many_mappings_do_not_make_attest_wait(launch: Launch, tmp_path: Path, more: tuple[str, ...]) -> None:
    script = (
        "import ctypes, time\nlibc = ctypes.CDLL(None)\nlibc.munlockall()\n"
        "libc.mmap.restype = ctypes.c_void_p\nSIZE = 4096\n"
        "at = libc.mmap(None, ctypes.c_size_t(60000 * SIZE), 0, 0x22, -1, ctypes.c_long(0))\n"
        "for n in range(0, 60000, 2): libc.mprotect(ctypes.c_void_p(at + n * SIZE), ctypes.c_size_t(SIZE), 1)\n"
        "print('done', flush=True); time.sleep(60)"
    )
    process = launch(*more, "--", "/usr/bin/python3", "-c", script)
    assert lines_until(process, "done") == []
    assert Path(f"/proc/{process.pid}/maps").read_text().count("\n") > 60_000
    begun = time.monotonic()
    code, document = read_back(tmp_path, process.pid)
    assert time.monotonic() - begun < 2  # with the start of Python
    (found,) = [one for one in document["findings"] if one["id"] == "attest.memory_lock"]
    if more:
        assert (code, found["status"], document["memory"]) == (0, "na", None)
    else:
        assert (code, found["status"]) == (3, "unknown") and "more than 6 MiB" in found["found"]


@pytest.mark.parametrize("more", [(), ("--attest",)])
def test_a_caller_that_ignores_sigchld(launch: Launch, more: tuple[str, ...]) -> None:
    ignore = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execvp(sys.argv[1], sys.argv[1:])"
    )
    program = launch(*more, "--no-mlock", *AS_NOBODY, "--", "/bin/true", prefix=(sys.executable, "-c", ignore))
    assert "Traceback" not in program.communicate(timeout=BOUND)[1]
    assert program.returncode == 0


def test_json_of_the_record_is_what_the_kernel_says(launch: Launch, tmp_path: Path) -> None:
    """That a promise is in the record at all, and is kept: each by its finding."""
    process = launch(*AS_NOBODY, "--cpus", str(CPU), "--", SLEEP, "60")
    code, document = read_back(tmp_path, process.pid)
    assert code == 0
    wanted = {"no_new_privs", "umask", "terminal", "descriptors", "capabilities", "lease", "memory_lock", "user"}
    assert {name for name in wanted if statuses(document)[name] == "pass"} == wanted
    record = json.loads((tmp_path / "run" / "launch" / f"{process.pid}.json").read_text())
    assert record["leases"] == [CPU] and set(record["capabilities"].values()) == {0} and record["umask"] == 0o027
