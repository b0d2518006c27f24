"""`hosttune launch` and `attest` against this machine's kernel: every promise read back, every refusal named.

Nothing here changes a setting of the machine; it needs root to lease, to place and to change the user.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hosttune.attest import reader
from hosttune.host.root import Live
from hosttune.launch import checks, record, run_directory
from hosttune.launch.facts import LIBRARY, read
from hosttune.launch.identity import read_start_time
from hosttune.launch.plan import Plan

from ..unit.hosttune.launch.promises import ALL_CAPABILITIES, make_record
from .launching import BOUND, CPU, MEMLOCK, SLEEP, Launch, read_back, statuses, until

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root (sudo .venv/bin/pytest tests/live)"),
]


def test_the_preload_library_is_installed() -> None:
    assert os.path.exists(LIBRARY), "the tests need hosttune installed from its wheel"


class TestPromisesKept:
    def test_all_of_them_as_another_user(self, launch: Launch, tmp_path: Path) -> None:
        nobody = pwd.getpwnam("nobody")
        placed = ("--policy", "fifo", "--priority", "7", "--no-busy-poll", "--cpus", str(CPU))
        limits = ("--rlimit", MEMLOCK, "--rlimit", "nofile=512")
        process = launch(*placed, *limits, "--user", "nobody", "--", SLEEP, "60")
        code, document = read_back(tmp_path, process.pid)
        assert code == 0, document
        assert set(statuses(document).values()) <= {"pass", "na"}
        (thread,) = document["threads"]
        assert (thread["policy"], thread["priority"], thread["cpus"]) == ("fifo", 7, str(CPU))
        assert os.path.realpath(document["executable"]) == os.path.realpath(SLEEP)
        # Once more without the code under test: the kernel's own words.
        assert os.sched_getscheduler(process.pid) == os.SCHED_FIFO
        assert os.sched_getparam(process.pid).sched_priority == 7
        assert os.sched_getaffinity(process.pid) == {CPU}
        text = Path(f"/proc/{process.pid}/limits").read_text()
        assert re.search(r"^Max open files +512 +512 ", text, re.MULTILINE)
        text = Path(f"/proc/{process.pid}/status").read_text()
        status = dict(line.split(":", 1) for line in text.splitlines())
        assert set(status["Uid"].split()) == {str(nobody.pw_uid)}
        assert set(status["Gid"].split()) == {str(nobody.pw_gid)}
        assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == 0
        assert int(status["VmLck"].split()[0]) > 0.9 * int(status["VmRSS"].split()[0])

    def test_ordinary_policy_nice_and_timer_slack(self, launch: Launch, tmp_path: Path) -> None:
        process = launch("--nice", "-5", "--cpus", str(CPU), "--", SLEEP, "60")
        code, document = read_back(tmp_path, process.pid)
        assert code == 0, document
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == -5
        assert Path(f"/proc/{process.pid}/timerslack_ns").read_text().strip() == "1"

    def test_children_are_not_locked_and_the_library_leaves_no_trace(self, launch: Launch) -> None:
        script = (
            "import os, subprocess;"
            "print({'LD_PRELOAD', 'HOSTTUNE_READY_FD'} & set(os.environ));"
            "print([line for line in open('/proc/self/status') if line.startswith('VmLck')]);"
            "print(subprocess.run(['/bin/grep', 'VmLck', '/proc/self/status'], capture_output=True).stdout)"
        )
        process = launch("--", sys.executable, "-c", script)
        said, error = process.communicate(timeout=BOUND)
        environment, own, child = said.splitlines()
        assert process.returncode == 0, error
        assert environment == "set()"
        assert int(own.split()[1]) > 1000
        assert int(child.split()[1]) == 0

    def test_its_exit_status_and_default_signals_are_its_own(self, launch: Launch) -> None:
        script = "grep SigIgn /proc/self/status; exit 42"
        process = launch("--no-mlock", "--", "/bin/sh", "-c", script)
        said, _ = process.communicate(timeout=BOUND)
        assert process.returncode == 42
        ignored = int(said.split()[1], 16)
        assert not ignored & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1))

    def test_attest_in_one_command(self, launch: Launch) -> None:
        process = launch("--attest", "--cpus", str(CPU), "--", SLEEP, "2")
        _, said = process.communicate(timeout=BOUND)
        assert process.returncode == 0
        assert "attest: holds" in said
        assert f"{process.pid} other" in said

    def test_forced_findings_are_printed_and_recorded(self, launch: Launch, tmp_path: Path) -> None:
        process = launch("--force", "probe.knob", "--force", "launch.cpus", "--", SLEEP, "60", status="fail")
        code, document = read_back(tmp_path, process.pid)
        assert code == 0, document
        assert document["record"]["forced"] == ["probe.knob"]
        assert document["record"]["preflight"] == {"verdict": "not ready", "summary": {"fail": 1}}
        process.kill()
        said = process.communicate(timeout=BOUND)[1]
        assert "forced: probe.knob is fail" in said
        assert "--force launch.cpus is not needed now" in said


class TestTheProgramThatWorks:
    """It may be another process than the one launched."""

    @pytest.mark.parametrize(("placed", "code", "status"), [(("--cpus", str(CPU)), 1, "fail"), ((), 0, "warn")])
    def test_a_script_that_starts_it_without_exec(
        self, launch: Launch, tmp_path: Path, placed: tuple[str, ...], code: int, status: str
    ) -> None:
        script = tmp_path / "run.sh"
        script.write_text(f"#!/bin/sh\n{SLEEP} 60\necho done\n")
        script.chmod(0o755)
        process = launch(*placed, "--", str(script))
        found: list[int] = []

        def find_sleeper() -> bool:
            """Before it, the launcher has children for its trials."""
            for word in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                with contextlib.suppress(OSError):
                    if Path(f"/proc/{word}/comm").read_text() == "sleep\n":
                        found.append(int(word))
            return bool(found)

        until(find_sleeper)
        (child,) = found
        try:
            answer, document = read_back(tmp_path, process.pid)
            assert (answer, statuses(document)["children"]) == (code, status), document
            (finding,) = [one for one in document["findings"] if one["id"] == "attest.children"]
            assert f"{child} (sleep)" in finding["found"] and "0 kB locked" in finding["found"]
        finally:
            os.kill(child, signal.SIGKILL)

    def test_the_same_script_with_exec(self, launch: Launch, tmp_path: Path) -> None:
        script = tmp_path / "run.sh"
        script.write_text(f"#!/bin/sh\nexec {SLEEP} 60\n")
        script.chmod(0o755)
        process = launch("--no-mlock", "--cpus", str(CPU), "--", str(script))
        code, document = read_back(tmp_path, process.pid)
        assert (code, statuses(document)["children"]) == (0, "pass"), document


class TestRefusals:
    @pytest.mark.parametrize(("status", "code"), [("fail", 1), ("pending", 1), ("volatile", 1), ("unknown", 3)])
    def test_the_host_is_not_ready(self, refused: Callable[..., str], status: str, code: int) -> None:
        said = refused(status=status, code=code)
        assert f"probe.knob: {status}" in said and "because" in said and "turn it" in said

    def test_an_id_that_matches_nothing(self, refused: Callable[..., str]) -> None:
        assert "--force probe" in refused("--force", "probe", code=2)

    def test_a_profile_that_is_wrong(self, refused: Callable[..., str], tmp_path: Path) -> None:
        (tmp_path / "wrong.yml").write_text("no_such_section: {}\n")
        assert "wrong.yml:1" in refused("--profile", str(tmp_path / "wrong.yml"), code=2)

    def test_command_not_found(self, refused: Callable[..., str]) -> None:
        assert "launch.command: fail" in refused("--", "no-such-program-here")

    def test_command_that_the_user_cannot_reach(self, refused: Callable[..., str], tmp_path: Path) -> None:
        private = tmp_path / "private"
        private.mkdir(mode=0o700)
        (private / "agent").write_bytes(Path(SLEEP).read_bytes())
        (private / "agent").chmod(0o755)
        said = refused("--user", "nobody", "--rlimit", MEMLOCK, "--", str(private / "agent"), "1")
        assert "launch.command: fail" in said and "EACCES for nobody" in said

    def test_cpu_that_does_not_exist(self, refused: Callable[..., str]) -> None:
        assert "launch.cpus: fail" in refused("--cpus", "8191")

    @pytest.mark.parametrize("directory", ["/proc/no-such-directory", "/dev/null/x"])
    def test_run_directory_not_writable(self, refused: Callable[..., str], directory: str) -> None:
        assert "launch.run_directory: fail" in refused("--run-dir", directory)

    @pytest.mark.parametrize(
        ("capability", "words", "name"),
        [
            ("sys_nice", ["--policy", "rr", "--priority", "5", "--no-busy-poll"], "privilege.scheduling"),
            ("sys_nice", ["--nice", "-5"], "privilege.scheduling"),
            ("setuid", ["--user", "nobody", "--rlimit", MEMLOCK], "privilege.user"),
            ("setgid", ["--user", "nobody", "--rlimit", MEMLOCK], "privilege.user"),
        ],
    )
    def test_a_missing_capability_is_named(
        self, refused: Callable[..., str], capability: str, words: list[str], name: str
    ) -> None:
        drop = ("setpriv", f"--bounding-set=-{capability}", f"--inh-caps=-{capability}")
        limits = ("prlimit", "--rtprio=0", "--nice=0")
        said = refused(*words, prefix=(*limits, *drop))
        assert f"launch.{name}: fail" in said
        assert f"CAP_{capability.upper()}" in said

    @pytest.mark.parametrize("words", [["--user", "nobody"], []])
    def test_memory_that_may_not_be_locked(self, refused: Callable[..., str], words: list[str]) -> None:
        """With a low hard limit and no capability to raise or ignore it."""
        drop = ("setpriv", "--bounding-set=-sys_resource,-ipc_lock", "--inh-caps=-sys_resource,-ipc_lock")
        said = refused(*words, prefix=("prlimit", "--memlock=65536:65536", *drop))
        assert "launch.privilege.memory_lock: fail" in said and "65536" in said

    def test_a_limit_that_may_not_be_raised(self, refused: Callable[..., str]) -> None:
        drop = ("setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource")
        said = refused("--rlimit", "nofile=4096", prefix=("prlimit", "--nofile=1024:1024", *drop))
        assert "launch.privilege.rlimit.nofile: fail" in said and "CAP_SYS_RESOURCE" in said

    def test_seccomp_or_cgroup_refuses_in_spite_of_the_privilege(self, refused: Callable[..., str]) -> None:
        """A user namespace: CAP_SYS_NICE there does not count here."""
        probe = subprocess.run(["unshare", "--user", "--map-root-user", "true"], capture_output=True)
        if probe.returncode:
            pytest.skip(f"no user namespaces here: {probe.stderr.decode().strip()}")
        words = ("--policy", "fifo", "--priority", "5", "--no-busy-poll")
        said = refused(*words, prefix=("prlimit", "--rtprio=0", "unshare", "--user", "--map-root-user"))
        assert "launch.rt_group: fail" in said and "user namespace" in said

    def test_too_little_locked_memory_is_caught_before_main(self, refused: Callable[..., str]) -> None:
        said = refused("--user", "nobody", "--rlimit", "memlock=64K", code=71)
        assert "mlockall: Cannot allocate memory: RLIMIT_MEMLOCK" in said

    def test_unprivileged(self) -> None:
        """What a user without any right is told; facts only, since it may not read this checkout."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                for name in (resource.RLIMIT_RTPRIO, resource.RLIMIT_NICE):
                    resource.setrlimit(name, (0, 0))
                resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                plan = Plan(command=[SLEEP, "1"], policy="fifo", priority=5, busy_poll=False, run_directory="/proc/x")
                found = {one.id: one.status for one in checks.check(plan, read(Live(), plan))}
                os.write(writer, json.dumps(found).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with open(reader) as pipe:
            found = json.loads(pipe.read())
        os.waitpid(child, 0)
        for name in ("privilege.scheduling", "privilege.memory_lock", "run_directory"):
            assert found[f"launch.{name}"] == "fail"


class TestLease:
    def test_the_second_is_told_who_has_the_cpu(
        self, launch: Launch, refused: Callable[..., str], tmp_path: Path
    ) -> None:
        first = launch("--cpus", str(CPU), "--", SLEEP, "60")
        assert read_back(tmp_path, first.pid)[0] == 0
        said = refused("--cpus", str(CPU))
        assert f"CPU {CPU} is leased to PID {first.pid} ({SLEEP} 60)" in said

    def test_it_ends_with_the_process_however_that_ends(self, launch: Launch, tmp_path: Path) -> None:
        first = launch("--cpus", str(CPU), "--", SLEEP, "60")
        assert read_back(tmp_path, first.pid)[0] == 0
        first.kill()
        first.wait(BOUND)
        second = launch("--cpus", str(CPU), "--", "/bin/true")
        assert second.wait(BOUND) == 0, second.communicate()
        assert not (tmp_path / "run" / "launch" / f"{first.pid}.json").exists(), "a stale record stayed"

    def test_a_launch_killed_half_way_leaves_nothing_behind(self, launch: Launch, tmp_path: Path) -> None:
        killed = launch("--cpus", str(CPU), "--attest", "--", SLEEP, "60", seconds=BOUND)
        time.sleep(0.5)
        killed.kill()
        killed.communicate(timeout=BOUND)  # also waits for an attest reader that would hold the pipe
        assert read_back(tmp_path, killed.pid)[0] == 1
        assert launch("--cpus", str(CPU), "--", "/bin/true").wait(BOUND) == 0


class TestAttestNotices:
    def test_a_process_that_is_not_there(self, tmp_path: Path) -> None:
        code, said = read_back(tmp_path, 4194305)
        assert code == 1 and "no process" in said

    def test_a_process_that_was_not_launched(self, tmp_path: Path) -> None:
        code, said = read_back(tmp_path, os.getpid(), "--wait", "0.2")
        assert code == 3 and "no launch record" in said

    def test_a_record_of_an_earlier_process_with_the_same_pid(self, launch: Launch, tmp_path: Path) -> None:
        process = launch("--", SLEEP, "60")
        assert read_back(tmp_path, process.pid)[0] == 0
        file = tmp_path / "run" / "launch" / f"{process.pid}.json"
        kept = json.loads(file.read_text())
        file.write_text(json.dumps(kept | {"starttime": kept["starttime"] - 1}))
        assert read_back(tmp_path, process.pid, "--wait", "0.2")[0] == 3

    def test_a_process_that_ends_while_it_waits(self, launch: Launch, tmp_path: Path) -> None:
        process = launch("--", SLEEP, "60", seconds=1.0, status="fail")
        assert read_back(tmp_path, process.pid)[0] == 1

    @pytest.mark.parametrize(
        ("name", "change"),
        [
            ("policy", lambda pid: os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))),
            ("cpus", lambda pid: os.sched_setaffinity(pid, os.sched_getaffinity(0))),
            ("nice", lambda pid: os.setpriority(os.PRIO_PROCESS, pid, 3)),
            ("rlimit.nofile", lambda pid: resource.prlimit(pid, resource.RLIMIT_NOFILE, (100, 512))),
        ],
    )
    def test_what_somebody_changed_afterwards(
        self, launch: Launch, tmp_path: Path, name: str, change: Callable[[int], object]
    ) -> None:
        process = launch("--cpus", str(CPU), "--rlimit", "nofile=512", "--", SLEEP, "60")
        assert read_back(tmp_path, process.pid)[0] == 0
        change(process.pid)
        code, document = read_back(tmp_path, process.pid)
        assert code == 1
        assert {one for one, status in statuses(document).items() if status == "fail"} == {name}

    def test_a_program_that_executes_another_and_so_loses_its_lock(self, launch: Launch, tmp_path: Path) -> None:
        process = launch("--", "/bin/sh", "-c", f"exec {SLEEP} 60")
        until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n")
        code, document = read_back(tmp_path, process.pid)
        assert code == 1
        assert {one for one, status in statuses(document).items() if status == "fail"} == {"memory_lock"}
        assert document["memory"]["locked"] == 0

    def test_memory_that_was_unlocked(self, launch: Launch, tmp_path: Path) -> None:
        script = "import ctypes, sys, time; ctypes.CDLL(None).munlockall(); print('x', flush=True); time.sleep(60)"
        process = launch("--", sys.executable, "-c", script)
        assert process.stdout is not None and process.stdout.readline() == "x\n"
        code, document = read_back(tmp_path, process.pid)
        assert code == 1 and statuses(document)["memory_lock"] == "fail"

    def test_a_helper_thread_that_runs_elsewhere(self, launch: Launch, tmp_path: Path) -> None:
        script = (
            "import os, threading, time\n"
            "def helper():\n"
            "    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\n"
            "    print(threading.get_native_id(), flush=True)\n"
            "    time.sleep(60)\n"
            "threading.Thread(target=helper, daemon=True).start()\n"
            "time.sleep(60)\n"
        )
        process = launch("--", sys.executable, "-c", script)
        assert process.stdout is not None
        helper = int(process.stdout.readline())
        code, document = read_back(tmp_path, process.pid)
        assert code == 1 and len(document["threads"]) == 2
        (broken,) = [one for one in document["findings"] if one["status"] == "fail"]
        assert broken["id"] == "attest.policy" and f"({helper})" in broken["found"]


class TestReaderEndsWhatDoesNotHold:
    """The process behind `--attest`, given a target that does not keep its record."""

    def end(self, tmp_path: Path, program: list[str]) -> int:
        target = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
        assert target.stdout is not None and target.stdout.readline() == "x\n"
        run = str(tmp_path / "run")
        started = read_start_time(target.pid)
        promised = make_record(
            pid=target.pid, starttime=started, priority=5, uid=0, gid=0, groups=[], memory_locked=False, leases=[],
            changes_user=False, capabilities=ALL_CAPABILITIES, cpu_dma_latency=None, rlimits={},
        )  # fmt: skip
        run_directory.prepare(run)
        record.write(run, promised)
        handle = os.pidfd_open(target.pid)
        child = os.fork()
        if child == 0:
            reader.read_back(target.pid, handle, run, BOUND)
        try:
            assert select.select([handle], [], [], BOUND)[0], "the target was not ended"
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 1
        finally:
            os.close(handle)
            target.kill()
            target.stdout.close()
        return target.wait(BOUND)

    def test_by_sigterm(self, tmp_path: Path) -> None:
        assert self.end(tmp_path, ["/bin/sh", "-c", "echo x; exec sleep 60"]) == -signal.SIGTERM

    def test_by_sigkill_if_it_must(self, tmp_path: Path) -> None:
        assert self.end(tmp_path, ["/bin/sh", "-c", "trap '' TERM; echo x; exec sleep 60"]) == -signal.SIGKILL
