"""CPUs 2-3 are out of the scheduler's domains, and nothing but per-CPU kernel threads is allowed there."""


def test_kernel_isolates_the_cpus(text):
    assert text("/sys/devices/system/cpu/isolated") == "2-3"
    assert text("/sys/devices/system/cpu/nohz_full") == "2-3"


def test_this_boot_had_the_arguments(text):
    arguments = text("/proc/cmdline").split()
    isolcpus = [a for a in arguments if a.startswith("isolcpus=")]
    assert len(isolcpus) == 1
    assert {"managed_irq", "domain"} <= set(isolcpus[0].removeprefix("isolcpus=").split(","))
    assert "rcu_nocbs=2-3" in arguments
    assert "irqaffinity=0-1" in arguments


def test_next_boot_has_them_too(text):
    entry = next(line for line in text("/boot/grub/grub.cfg").splitlines() if line.strip().startswith("linux"))
    assert "nohz_full=2-3" in entry.split()


def test_rcu_callbacks_are_offloaded_to_housekeeping(host):
    for cpu in (2, 3):
        pid = host.check_output(f"pgrep -x rcuop/{cpu}")
        affinity = host.check_output(f"taskset -cp {pid}").rpartition(":")[2].strip()
        assert affinity == "0,1" or affinity == "0-1"


def test_pid_1_and_an_ordinary_service_stay_off(host):
    assert host.check_output("grep Cpus_allowed_list /proc/1/status").split()[1] == "0-1"
    shown = host.check_output("systemd-run --quiet --pipe --wait grep Cpus_allowed_list /proc/self/status")
    assert shown.split()[1] == "0-1"


def test_an_unpinned_busy_load_never_runs_there(python):
    seen = python(
        "import json, os, time\n"
        "os.sched_setaffinity(0, range(4))\n"  # allowed everywhere: only the domain keeps it away
        "pids = []\n"
        "for _ in range(4):\n"
        "    pid = os.fork()\n"
        "    if not pid:\n"
        "        end = time.monotonic() + 4\n"
        "        while time.monotonic() < end: pass\n"
        "        os._exit(0)\n"
        "    pids.append(pid)\n"
        "seen, end = set(), time.monotonic() + 2\n"
        "while time.monotonic() < end:\n"
        "    for pid in pids:\n"
        "        seen.add(int(open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[36]))\n"
        "    time.sleep(.05)\n"
        "for pid in pids: os.waitpid(pid, 0)\n"
        "print(json.dumps(sorted(seen)))\n"
    )
    assert seen and set(seen) <= {0, 1}
