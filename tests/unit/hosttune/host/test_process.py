"""Threads from /proc, with races, foreign PID namespaces and hidden processes."""

import pytest

from hosttune.host import process
from hosttune.host.root import Fact


def status(name, *, ppid=1, uid=1000, cpus="0-3", threads=1, state="S (sleeping)", switches=(3, 4)):
    return (
        f"Name:\t{name}\nUmask:\t0022\nState:\t{state}\nTgid:\t1\nPid:\t1\nPPid:\t{ppid}\n"
        f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\nThreads:\t{threads}\nCpus_allowed:\tf\nCpus_allowed_list:\t{cpus}\n"
        f"voluntary_ctxt_switches:\t{switches[0]}\nnonvoluntary_ctxt_switches:\t{switches[1]}\n"
    )


def stat(name, *, cpu, utime=5, stime=6):
    fields = ["S", *["0"] * 10, str(utime), str(stime), *["0"] * 23, str(cpu), "0", "0"]
    return f"7 ({name}) {' '.join(fields)}\n"


THREAD = {"status": status("many", threads=2), "stat": stat("many", cpu=1)}
BASE = {
    "/proc/cmdline": "",
    "/proc/1/status": status("systemd", ppid=0, uid=0),
    "/proc/2/status": status("kthreadd", ppid=0, uid=0),
    "/proc/9/status": status("ksoftirqd/1", ppid=2, uid=0, cpus="1"),
}


def test_processes_and_kernel_threads(fake_host):
    tasks = process.read_tasks(fake_host(BASE))
    assert tasks.missing == ""
    assert [(t.comm, t.kernel, t.bound) for t in tasks.seen] == [
        ("systemd", False, False),
        ("kthreadd", True, False),
        ("ksoftirqd/1", True, True),
    ]
    assert tasks.seen[0].cpus == {0, 1, 2, 3}
    assert tasks.seen[0].switches == 7


def test_threads_are_read_only_where_there_are_several_and_if_asked(fake_host):
    host = fake_host(
        {
            **BASE,
            "/proc/50/status": status("java", threads=2),
            "/proc/50/task/50/status": status("java", threads=2),
            "/proc/50/task/51/status": status("gc (x) ", cpus="2", state="R (running)"),
            "/proc/50/task/51/stat": stat("gc (x) ", cpu=2),
        }
    )
    assert [t.tid for t in process.read_tasks(host).seen] == [1, 2, 9, 50, 51]
    assert [t.tid for t in process.read_tasks(host, threads=False).seen] == [1, 2, 9, 50]
    last = process.read_tasks(host, placement=True).seen[-1]
    assert (last.last_cpu, last.ticks, last.running, last.uid) == (2, 11, True, 1000)


def test_a_process_that_ends_meanwhile_is_no_trouble(fake_host, monkeypatch):
    host = fake_host(BASE)
    names = [*host.list("/proc").value, "60"]
    listing = host.list
    monkeypatch.setattr(host, "list", lambda path: Fact("value", names, path) if path == "/proc" else listing(path))
    assert process.read_tasks(host).missing == ""
    # While its directory is there, the process is.
    host.files["/proc/60/comm"] = "there\n"
    assert process.read_tasks(host).missing == "/proc/60/status: missing"


def test_a_thread_that_was_not_read_is_missing(fake_host):
    """And one that has ended meanwhile is not."""
    files = {**BASE, "/proc/50/status": status("many", threads=2)}
    files |= {f"/proc/50/task/{tid}/{name}": text for tid in (50, 51) for name, text in THREAD.items()}
    whole = process.read_tasks(fake_host(files), placement=True)
    assert (whole.missing, [task.tid for task in whole.seen if task.pid == 50]) == ("", [50, 51])
    for path in ("/proc/50/task", "/proc/50/task/51/status"):
        assert process.read_tasks(fake_host(files).deny(path)).missing == f"{path}: EACCES"
    denied = fake_host(files).deny("/proc/50/task/51/stat").deny("/proc/50/task/50/stat")
    assert process.read_tasks(denied, placement=True).missing == "/proc/50/task/50/stat: EACCES, and 1 more"
    assert process.read_tasks(fake_host({**BASE, "/proc/50/status": status("x", threads=2)})).missing == ""
    lost = {path: text for path, text in files.items() if path != "/proc/50/task/51/status"}
    assert process.read_tasks(fake_host(lost)).missing == "/proc/50/task/51/status: missing"
    ended = {path: text for path, text in files.items() if not path.startswith("/proc/50/task/51/")}
    assert process.read_tasks(fake_host(ended)).missing == ""


def test_a_status_that_is_cut_off_is_missing(fake_host):
    text = status("x")
    for end in range(len(text)):
        read = process.read_tasks(fake_host({**BASE, "/proc/50/status": text[:end]}))
        known = next((task for task in read.seen if task.pid == 50), None)
        assert known is not None or read.missing.startswith("/proc/50/status: not understood"), text[:end]
        assert known is None or (known.cpus, known.uid) == ({0, 1, 2, 3}, 1000), text[:end]


def test_what_may_be_missing_is_said(fake_host):
    no_kernel = {"/proc/1/status": status("init", ppid=0)}
    assert "PID namespace" in process.read_tasks(fake_host(no_kernel)).missing
    hidden = {"/proc/70/status": status("mine")}
    assert "hidepid" in process.read_tasks(fake_host(hidden)).missing
    denied = fake_host(BASE).deny("/proc/80/status")
    assert process.read_tasks(denied).missing == "/proc/80/status: EACCES"
    broken = fake_host({**BASE, "/proc/90/status": "Name:\tx\nCpus_allowed_list:\t0-\n"})
    assert "not understood" in process.read_tasks(broken).missing
    assert process.read_tasks(fake_host({"/proc/cmdline": ""})).seen == []
    assert "no processes" in process.read_tasks(fake_host({"/proc/cmdline": ""})).missing
    assert "EACCES" in process.read_tasks(fake_host().deny("/proc")).missing


def build_service(uids="0\t0\t0\t0", comm="irqbalance", exe="/usr/sbin/irqbalance", cgroup="0::/user.slice/x\n"):
    files = {
        "/proc/1/comm": "systemd\n",
        "/proc/5/comm": f"{comm}\n",
        "/proc/5/status": f"Name:\t{comm}\nUid:\t{uids}\n",
        "/proc/5/cgroup": cgroup,
    }
    return files, {"/proc/5/exe": exe}


def find_service(host):
    return process.find_service_pids(host, "irqbalance", "irqbalance.service", {"/usr/sbin/irqbalance"})


OWN = "0::/system.slice/irqbalance.service\n"


@pytest.mark.parametrize(
    ("changes", "pids"),
    [
        ({}, [5]),
        ({"exe": "/usr/sbin/irqbalance (deleted)"}, [5]),  # its package was upgraded
        ({"exe": "/opt/irqbalance", "cgroup": OWN}, [5]),
        ({"exe": "/opt/irqbalance", "cgroup": "3:cpu:/x\n1:name=systemd:/system.slice/irqbalance.service/a\n"}, [5]),
        ({"comm": "irqbalance-x"}, []),
        # The name alone: an unprivileged user's, a set-user-ID program that one started, another program of root's.
        ({"uids": "1000\t1000\t1000\t1000"}, []),
        ({"uids": "1000\t0\t0\t0"}, []),
        ({"uids": "0\t1000\t0\t0"}, []),
        ({"uids": "1000\t1000\t1000\t1000", "cgroup": OWN}, []),
        ({"exe": "/tmp/irqbalance"}, []),
        ({"exe": "/tmp/irqbalance", "cgroup": "0::/user.slice/a/system.slice/irqbalance.service\n"}, []),
        ({"exe": "/tmp/irqbalance", "cgroup": "0::/system.slice/irqbalance.service.d\n"}, []),
        ({"exe": "/tmp/irqbalance", "cgroup": "9:freezer:/system.slice/irqbalance.service\n"}, []),
    ],
)
def test_a_service_is_known_by_its_user_and_its_program_not_by_its_name(host, changes, pids):
    files, links = build_service(**changes)
    assert find_service(host(files, links=links)).value == pids


def test_a_process_of_which_nobody_can_tell_is_unknown(host):
    files, links = build_service()
    for path in ("/proc/5/status", "/proc/5/comm"):
        assert find_service(host(files, links=links, refused={path: "EACCES"})).state == "unreadable"
    assert find_service(host(files, refused={"/proc/5/exe": "EACCES"})).reason == "EACCES"
    assert find_service(host({**files, "/proc/5/cgroup": OWN}, refused={"/proc/5/exe": "EACCES"})).value == [5]
    gone = {path: text for path, text in files.items() if path != "/proc/5/status"}
    assert find_service(host(gone, links=links)).reason == "missing"
    assert find_service(host({"/proc/5/comm": "a"})).state == "unreadable"
    assert find_service(host({"/proc/cmdline": ""})).state == "unreadable"


def full_stat(name, *, flags=0, nice=0, start=77, priority=0, policy=0):
    fields = ["S", *["0"] * 5, str(flags), *["0"] * 9, str(nice), "0", "0", str(start), *["0"] * 16, "3"]
    return f"7 ({name}) {' '.join([*fields, str(priority), str(policy)])} 0 0\n"


def test_threads_as_the_scheduler_has_them(fake_host):
    host = fake_host(
        {
            "/proc/7/task/7/stat": full_stat("a) (b", nice=-5),
            "/proc/7/task/7/status": status("a", cpus="0-1"),
            "/proc/7/task/10/stat": full_stat("rt", policy=1, priority=80),
            "/proc/7/task/10/status": status("rt", cpus="3"),
            "/proc/7/task/9/stat": full_stat("kworker", policy=9, flags=0x00200000),
            "/proc/7/task/9/status": status("kworker"),
        }
    )
    assert process.read_threads(host, 7) == [
        process.Thread(7, "a) (b", "other", 0, -5, frozenset({0, 1})),
        process.Thread(9, "kworker", "9", 0, 0, frozenset({0, 1, 2, 3}), kernel=True),
        process.Thread(10, "rt", "fifo", 80, 0, frozenset({3})),
    ]
    assert process.read_threads(host, 8) == []
    assert [thread.tid for thread in process.read_threads(host, 7, frozenset({3, 9}))] == [9, 10]
    host.files["/proc/7/task/11/stat"] = full_stat("its status is missing")
    with pytest.raises(ValueError, match=r"^/proc/7/task/11/status: missing$"):
        process.read_threads(host, 7)


def test_one_process_is_named_by_number_and_start(fake_host):
    host = fake_host({"/proc/7/stat": full_stat("x", start=4711), "/proc/8/stat": "8 (x) S 1"}).deny("/proc/9/stat")
    started = {
        pid: host.read(f"/proc/{pid}/stat").map(lambda text: process.parse_stat(text).start_time)
        for pid in (7, 8, 9, 10)
    }
    assert started[7].value == 4711
    assert "not understood: 4 fields" in started[8].reason
    assert started[9].state == "unreadable"
    assert started[10].state == "absent"


def test_capabilities():
    text = "Name:\tx\nCapInh:\t0000000000000001\nCapPrm:\t00000000a80425fb\nCapEff:\t0000000000000080\nCapBnd:\tff\n"
    assert process.parse_capabilities(text) == {
        "CapInh": 1, "CapPrm": 0xA80425FB, "CapEff": 0x80, "CapBnd": 255, "CapAmb": 0,
    }  # fmt: skip
    assert process.parse_capabilities(f"{text}CapAmb:\t10\n")["CapAmb"] == 16
    with pytest.raises(ValueError):
        process.parse_capabilities("Name:\tx\n")
