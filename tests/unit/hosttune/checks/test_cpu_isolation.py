"""cpu_isolation: each hop, each trap, and nothing that passes unread."""

from __future__ import annotations

import msgspec
import pytest

from hosttune.checks import cpu_isolation
from hosttune.checks._isolated_cpus import Sample
from hosttune.checks.cpu_isolation import Section
from hosttune.host import irq, process
from hosttune.host.process import Task, Tasks
from hosttune.host.root import Fact, Observed, Tree

CPU = "/sys/devices/system/cpu"
GOOD = "isolcpus=managed_irq,domain,2-3 nohz_full=2-3 rcu_nocbs=2-3 irqaffinity=0-1"
WANTED = Section(isolated="2-3", nohz_full="2-3", rcu_nocbs="2-3", managed_irq=True)


def status(name, ppid=1, cpus="0-1"):
    return f"Name:\t{name}\nState:\tS\nPPid:\t{ppid}\nUid:\t0\t0\nThreads:\t1\nCpus_allowed_list:\t{cpus}\n"


def files(booted=GOOD, coming=GOOD, isolated="2-3", nohz="2-3", default="3"):
    tasks = {1: ("systemd", 0, "0-1"), 2: ("kthreadd", 0, "0-1"), 3: ("rcuop/2", 2, "0-1"), 4: ("rcuop/3", 2, "0-1")}
    return {
        "/proc/cmdline": f"BOOT_IMAGE=/vmlinuz ro {booted}\n",
        "/boot/grub/grub.cfg": f"menuentry 'Linux' {{\n linux /vmlinuz ro {coming}\n}}\n",
        f"{CPU}/possible": "0-3\n",
        f"{CPU}/online": "0-3\n",
        f"{CPU}/isolated": f"{isolated}\n",
        f"{CPU}/nohz_full": f"{nohz}\n",
        "/proc/irq/default_smp_affinity": f"{default}\n",
        "/etc/systemd/system.conf.d/x.conf": "[Manager]\nCPUAffinity=0-1\n",
        **{f"/proc/{pid}/status": status(*task) for pid, task in tasks.items()},
    }


@pytest.fixture
def run(fake_host):
    def run(changes=None, wanted=WANTED, observed=None, deny=(), **kwargs):
        contents = {**files(**kwargs), **(changes or {})}
        host = fake_host({path: text for path, text in contents.items() if text is not None})
        for path in deny:
            host.deny(path)
        facts = cpu_isolation.facts(host, wanted)
        return {f.id.removeprefix("cpu_isolation."): f for f in cpu_isolation.check(wanted, facts, observed)}

    return run


def hops(finding):
    return {name: hop.state for name, hop in finding.hops.items()}


def test_a_tuned_host_passes(run):
    found = run()
    assert {key: f.status for key, f in found.items()} == dict.fromkeys(
        ["isolated", "managed_irq", "nohz_full", "rcu_nocbs", "irqaffinity", "systemd", "threads"], "pass"
    )
    assert all(not (f.why or f.fix or f.reboot) for f in found.values())


def test_an_untouched_host_fails_and_says_how_to_mend_it(run):
    found = run({"/etc/systemd/system.conf.d/x.conf": None, "/proc/1/status": status("systemd", 0, "0-3"),
                 "/proc/3/status": None, "/proc/4/status": None},
                booted="quiet", coming="quiet", isolated="", nohz="(null)", default="f")  # fmt: skip
    assert {f.status for f in found.values()} == {"fail"}
    assert all(f.why and f.fix for f in found.values())
    assert "isolcpus=managed_irq,domain,2-3" in found["isolated"].fix
    assert found["isolated"].fix == found["managed_irq"].fix
    assert found["isolated"].reboot
    assert "irqaffinity=0-1" in found["irqaffinity"].fix
    assert "CPUAffinity=0-1" in found["systemd"].fix


@pytest.mark.parametrize("key", ["isolated", "managed_irq", "nohz_full", "rcu_nocbs", "irqaffinity"])
def test_persisted_but_not_booted_is_pending(run, key):
    gone = {"/proc/3/status": None, "/proc/4/status": None}
    found = run(gone, booted="quiet", isolated="", nohz="", default="f")[key]
    assert (found.status, found.reboot) == ("pending", True)
    assert hops(found)["persisted"] == "ok"


@pytest.mark.parametrize("key", ["isolated", "managed_irq", "nohz_full", "rcu_nocbs", "irqaffinity"])
def test_booted_but_not_persisted_is_volatile(run, key):
    found = run(coming="quiet")[key]
    assert found.status == "volatile"
    assert hops(found)["persisted"] in ("bad", "absent")


def test_a_forgotten_update_grub_is_named(run):
    found = run({"/etc/default/grub.d/80-x.cfg": f'GRUB_CMDLINE_LINUX="{GOOD}"'}, coming="quiet")
    assert found["isolated"].fix == "update-grub"


def test_a_later_file_that_sets_the_arguments_anew_is_named(run):
    drop_ins = {
        "/etc/default/grub": 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n',
        "/etc/default/grub.d/80-hosttune-cpu_isolation.cfg": "GRUB_CMDLINE_LINUX_DEFAULT="
        f'"$GRUB_CMDLINE_LINUX_DEFAULT {GOOD}"',
        "/etc/default/grub.d/90-hoster.cfg": 'GRUB_CMDLINE_LINUX_DEFAULT="nomodeset"\n',
    }
    found = run(drop_ins, coming="nomodeset")
    assert found["isolated"].fix.startswith("mv /etc/default/grub.d/90-hoster.cfg /etc/default/grub.d/00-90-hoster.cfg")


def test_another_value_is_replaced_where_it_stands(run):
    found = run({"/etc/default/grub": 'GRUB_CMDLINE_LINUX="isolcpus=3 quiet"\n'}, coming="isolcpus=3 quiet")
    assert found["isolated"].fix.splitlines()[0].startswith("sed -i -E ")
    assert found["isolated"].fix.splitlines()[0].endswith(" /etc/default/grub")


@pytest.mark.parametrize(("online", "status"), [("0-3", "pass"), ("0-2", "fail"), ("0-1", "fail")])
def test_an_isolated_cpu_that_is_offline_is_not_ready(run, online, status):
    found = run({f"{CPU}/online": f"{online}\n"})["isolated"]
    assert found.status == status
    if status == "fail":
        assert found.fix.splitlines()[-1] == f"echo 1 > {CPU}/cpu3/online"


@pytest.mark.parametrize("word", ["nosmt", "mds=full,nosmt"])
def test_a_second_hardware_thread_that_is_kept_offline(run, word):
    line, first = f"{GOOD} {word}", {f"{CPU}/online": "0-2\n", f"{CPU}/cpu2/topology/thread_siblings_list": "2\n"}
    found = run(first, booted=line, coming=line)["isolated"]
    assert [found.status, *map(hops(found).get, ("persisted", "booted"))] == ["fail", "bad", "bad"]
    assert f"{word} keeps CPU 3 offline" in found.why
    first["/etc/default/grub"] = f'GRUB_CMDLINE_LINUX="quiet {word}"\n'
    assert word in run(first, booted=line, coming=line)["isolated"].fix.splitlines()[0]


def test_where_entries_are_of_the_boot_loader_specification_grubby_changes_them(run):
    menu = {"/boot/grub/grub.cfg": None, "/boot/grub2/grub.cfg": "blscfg\n"}
    entry = "title a\nlinux /vmlinuz-5.14.0-1.el9.x86_64\noptions ro isolcpus=3 maxcpus=2\n"
    found = run({**menu, "/boot/loader/entries/a.conf": entry})["isolated"]
    assert found.fix == (
        "grubby --update-kernel=ALL --remove-args='isolcpus maxcpus' --args=isolcpus=managed_irq,domain,2-3"
    )
    menu["/boot/grub2/grub.cfg"] = "menuentry a {\nlinux /vmlinuz ro isolcpus=3\n}\n"
    found = run({**menu, "/etc/default/grub": "GRUB_CMDLINE_LINUX='isolcpus=3'\n"})["isolated"]
    sed, echo, make = found.fix.splitlines()
    assert sed.endswith(" /etc/default/grub") and echo.endswith(" >> /etc/default/grub")
    assert make == "grub2-mkconfig -o /boot/grub2/grub.cfg"


def test_an_unreadable_list_of_cpus_that_are_online_is_unknown(run):
    assert run(deny=[f"{CPU}/online"])["isolated"].status == "unknown"


@pytest.mark.parametrize(
    ("argument", "isolated", "word"),
    [
        ("isolcpus=managed_irq,2-3", "", "without the flag domain"),
        ("isolcpus=2 isolcpus=2-3", "2", "refuses it"),
        ("isolcpus=do-main,2-3", "", "illegal character"),
    ],
)
def test_isolcpus_that_does_less_than_it_seems(run, argument, isolated, word):
    found = run(booted=argument, coming=argument, isolated=isolated)["isolated"]
    assert found.status == "fail"
    assert word in found.why
    asked = "bad" if isolated else "absent"
    assert hops(found) == {"persisted": asked, "booted": asked, "runtime": "bad"}


def test_sets_are_compared_and_not_spellings(run):
    argument = "isolcpus=domain,managed_irq,3,2 nohz_full=2-N rcu_nocbs=0-3:1/1 irqaffinity=1,0"
    wanted = Section(isolated="3,2", nohz_full="2-N", rcu_nocbs="2-3", managed_irq=True, irqaffinity="0-1")
    found = run(booted=argument, coming=argument, wanted=wanted)
    assert {f.status for f in found.values()} == {"pass"}


def test_more_than_planned_is_not_as_planned(run):
    found = run(booted="isolcpus=1-3", coming="isolcpus=1-3", isolated="1-3")
    assert found["isolated"].status == "fail"


def test_a_kernel_without_nohz_full(run):
    found = run({f"{CPU}/nohz_full": None})["nohz_full"]
    assert (found.status, found.found) == ("fail", "not supported by this kernel")
    assert "CONFIG_NO_HZ_FULL" in found.why


def test_a_cpuset_partition_isolates_now_but_not_at_the_next_boot(run):
    changes = {"/sys/fs/cgroup/cpuset.cpus.isolated": "2-3\n"}
    found = run(changes, booted="quiet", coming="quiet", isolated="")["isolated"]
    assert found.status == "volatile"
    assert "partition" in found.why
    assert "partition" in found.hops["runtime"].value


class TestRcuNocbs:
    def test_threads_of_every_cpu_prove_nothing_without_the_argument(self, run):
        """From Linux 5.17 on they exist for all CPUs as soon as one is offloaded."""
        found = run(booted="isolcpus=2-3 rcu_nocbs=1")["rcu_nocbs"]
        assert found.status == "pending"
        assert hops(found)["runtime"] == "bad"

    def test_implied_by_nohz_full(self, run):
        found = run(booted="nohz_full=2-3", coming="nohz_full=2-3")["rcu_nocbs"]
        assert found.status == "pass"

    def test_missing_threads(self, run):
        found = run({"/proc/4/status": None})["rcu_nocbs"]
        assert found.status == "fail"
        assert "CPU 3" in found.found

    def test_threads_that_may_run_on_isolated_cpus(self, run):
        found = run({"/proc/4/status": status("rcuop/3", 2, "0-3")})["rcu_nocbs"]
        assert found.status == "fail"
        assert "taskset" in found.fix

    def test_group_threads_are_no_callback_threads(self, run):
        found = run({"/proc/4/status": status("rcuog/3", 2)})["rcu_nocbs"]
        assert found.status == "fail"

    def test_a_pid_namespace_hides_them(self, run):
        gone = {"/proc/2/status": None, "/proc/3/status": None, "/proc/4/status": None}
        found = run(gone)["rcu_nocbs"]
        assert found.status == "unknown"
        assert "PID namespace" in found.hops["runtime"].value


def test_irqaffinity_of_the_running_kernel_is_mended_without_a_reboot(run):
    found = run(default="f")["irqaffinity"]
    assert (found.status, found.reboot) == ("fail", False)
    assert found.fix == "echo 3 > /proc/irq/default_smp_affinity"


class TestSystemd:
    def test_not_systemd(self, run):
        found = run({"/proc/1/status": status("init", 0)})["systemd"]
        assert (found.status, found.found) == ("na", "PID 1 is init")

    def test_without_a_drop_in_it_is_volatile(self, run):
        found = run({"/etc/systemd/system.conf.d/x.conf": None})["systemd"]
        assert (found.status, hops(found)["persisted"]) == ("volatile", "absent")
        assert found.fix.splitlines()[0] == "mkdir -p /etc/systemd/system.conf.d"
        assert found.fix.splitlines()[1].endswith(">> /etc/systemd/system.conf.d/zz-desk.conf")

    def test_reset_by_a_later_drop_in(self, run):
        found = run({"/etc/systemd/system.conf.d/z.conf": "[Manager]\nCPUAffinity=\n"})["systemd"]
        assert found.status == "volatile"
        text = "printf '%s\\n' '' '[Manager]' CPUAffinity= CPUAffinity=0-1"
        assert found.fix == f"{text} >> /etc/systemd/system.conf.d/z.conf\nsystemctl daemon-reexec"

    def test_values_add_up(self, run):
        found = run({"/etc/systemd/system.conf.d/z.conf": "[Manager]\nCPUAffinity=1, 3\n"})["systemd"]
        assert (hops(found)["persisted"], found.hops["persisted"].value) == ("bad", "0-1,3")

    def test_the_command_line_goes_first(self, run):
        found = run(coming=f"{GOOD} systemd.cpu_affinity=0-3")["systemd"]
        assert hops(found)["persisted"] == "bad"
        assert found.fix == "take systemd.cpu_affinity= off the kernel's command line, or make it 0-1"

    def test_pid_1_on_isolated_cpus(self, run):
        found = run({"/proc/1/status": status("systemd", 0, "0-3")})["systemd"]
        assert (found.status, found.reboot) == ("fail", True)

    @pytest.mark.parametrize("refused", ["numa", "0-N", "0-1,x", "'0"])
    def test_what_systemd_refuses_is_as_if_it_were_not_there(self, run, refused):
        path = "/etc/systemd/system.conf.d/x.conf"
        assert run({path: f"[Manager]\nCPUAffinity={refused}\n"})["systemd"].status == "volatile"
        found = run({path: f"[Manager]\nCPUAffinity=0\nCPUAffinity={refused}\n"})["systemd"]
        assert (found.status, found.hops["persisted"].value) == ("pass", "0")
        found = run(coming=f"{GOOD} systemd.cpu_affinity=2-N")["systemd"]
        assert found.status == "pass"

    def test_not_asked_for(self, run):
        assert "systemd" not in run(wanted=Section(isolated="2-3", systemd=False))


def test_only_what_is_asked_for_is_checked(run):
    assert set(run(wanted=Section(isolated="2-3", systemd=False))) == {"isolated", "irqaffinity", "threads"}


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/boot/grub/grub.cfg", "isolated"),
        ("/boot/grub/grub.cfg", "managed_irq"),
        ("/boot/grub/grub.cfg", "rcu_nocbs"),
        (f"{CPU}/isolated", "isolated"),
        (f"{CPU}/nohz_full", "nohz_full"),
        ("/proc/cmdline", "managed_irq"),
        ("/proc/cmdline", "rcu_nocbs"),
        ("/proc/irq/default_smp_affinity", "irqaffinity"),
        ("/etc/systemd/system.conf.d/x.conf", "systemd"),
        ("/proc/1/status", "systemd"),
        ("/proc/1/status", "threads"),
    ],
)
def test_what_cannot_be_read_does_not_pass(run, path, key):
    found = run(deny=[path])[key]
    assert found.status == "unknown"
    assert found.why and found.fix


def test_a_host_without_a_known_boot_loader(run):
    found = run({"/boot/grub/grub.cfg": None})["isolated"]
    assert (found.status, hops(found)["persisted"]) == ("unknown", "unknown")
    assert "isolcpus" in found.fix


class TestCpusThatAreNotThere:
    def test_beyond_the_host(self, run):
        found = run(wanted=Section(isolated="2-40"))["isolated"]
        assert found.status == "fail"
        assert "CPU 4-40 does not exist here" in found.fix

    def test_a_list_that_means_nothing_here(self, run):
        found = run(wanted=Section(isolated="8-N"))
        assert {key: f.status for key, f in found.items()} == {"isolated": "unknown"}
        assert "0-3" in found["isolated"].why

    def test_offline_cpus_are_no_siblings(self, run):
        changes = {f"{CPU}/online": "0-2", f"{CPU}/cpu2/topology/thread_siblings_list": "2-3"}
        assert "siblings" not in run(changes, wanted=Section(isolated="2"))
        found = run({**changes, f"{CPU}/online": "0-3"}, wanted=Section(isolated="2"))["siblings"]
        assert (found.status, found.found) == ("warn", "3")


def test_an_empty_tree_gives_findings_and_no_pass(tmp_path):
    (tmp_path / "proc").mkdir()
    facts = cpu_isolation.facts(Tree(str(tmp_path)), WANTED)
    found = {each.id: each.status for each in cpu_isolation.check(WANTED, facts, None)}
    assert found.pop("cpu_isolation.siblings") == "warn"  # the worst that there is to find
    assert set(found.values()) == {"unknown"}


# --- threads and ticks ---


class TestThreadsAtRest:
    def test_wide_ones_where_nothing_is_isolated(self, run):
        found = run({"/proc/9/status": status("cron", 1, "0-3")}, isolated="")["threads"]
        assert found.status == "fail"
        assert found.found == "may run there: cron[9]"
        assert found.fix.startswith("for thread in 9; do taskset -pc 0-1 $thread; done\n# ")

    def test_wide_ones_are_a_warning_where_the_scheduler_keeps_them_away(self, run):
        assert run({"/proc/9/status": status("cron", 1, "0-3")})["threads"].status == "warn"

    def test_those_placed_there_and_the_kernels_own_are_welcome(self, run):
        more = {
            "/proc/9/status": status("agent", 1, "3"),
            "/proc/10/status": status("ksoftirqd/3", 2, "3"),
            "/proc/11/status": status("kswapd0", 2, "0-3"),
        }
        found = run(more)["threads"]
        assert found.status == "pass"
        assert found.found == {"may run there": 0, "placed there": 1, "kernel threads that may run there": 1}

    def test_many(self, run):
        more = {f"/proc/{pid}/status": status(f"t{pid}", 1, "0-3") for pid in range(100, 120)}
        assert run(more, isolated="")["threads"].found.endswith("and 12 more")


def task(tid, comm="x", *, cpus=(0, 1, 2, 3), last=2, ticks=0, switches=0, kernel=False):
    return Task(tid, tid, comm, kernel, 0, False, frozenset(cpus), last, ticks, switches)


def observed(before, after, loc=((0, 0), (0, 0)), seconds=2.0, missing=""):
    def sample(tasks, counts):
        rows = {"LOC": irq.Row((2, 3), f"{counts[0]} {counts[1]}", "Local timer interrupts")}
        return Sample(Fact("value", rows, "/proc/interrupts"), Tasks(tasks, missing))

    return Observed(sample(before, loc[0]), sample(after, loc[1]), seconds)


class TestThreadsObserved:
    @pytest.mark.parametrize("change", [{"ticks": 1}, {"switches": 1}])
    def test_one_that_ran_there_fails(self, run, change):
        found = run(observed=observed([task(9)], [task(9, **change)]))["threads"]
        assert (found.status, hops(found)["effective"]) == ("fail", "bad")
        assert found.found == "ran there: x[9]"

    def test_one_that_slept_or_ran_elsewhere_does_not(self, run):
        for after in (task(9), task(9, last=1, ticks=5)):
            assert run(observed=observed([task(9)], [after]))["threads"].status == "pass"

    def test_a_new_one(self, run):
        assert run(observed=observed([], [task(9)]))["threads"].status == "fail"

    def test_those_that_belong_there(self, run):
        after = [task(9, "agent", cpus=[3], last=3, ticks=9), task(7, "kworker/2:1", cpus=[2], kernel=True, ticks=9)]
        found = run(observed=observed([], after))["threads"]
        assert found.status == "pass"
        assert found.hops["effective"].value == {"ran there": "none", "the kernel's own there": "kworker/2:1[7]"}

    def test_a_kernel_thread_that_could_have_gone_elsewhere(self, run):
        found = run(observed=observed([], [task(9, "kswapd0", kernel=True)]))["threads"]
        assert found.status == "fail"

    def test_unseen_is_unknown(self, run):
        found = run(observed=observed([], [], missing="hidden"))["threads"]
        assert (found.status, hops(found)["effective"]) == ("unknown", "unknown")


class TestTicks:
    @pytest.mark.parametrize(
        ("counts", "status"), [((0, 20), "pass"), ((0, 21), "warn"), ((0, 99), "warn"), ((100, 0), "fail")]
    )
    def test_rate(self, run, counts, status):
        found = run(observed=observed([], [], ((0, 0), counts)))["ticks"]
        assert found.status == status
        assert found.found == {"cpu2": counts[0] / 2, "cpu3": counts[1] / 2}

    def test_only_if_watched_and_asked_for(self, run):
        assert "ticks" not in run()
        assert "ticks" not in run(wanted=Section(isolated="2-3"), observed=observed([], []))

    def test_no_such_row_or_no_table(self, run):
        watched = observed([], [])
        watched.after.interrupts.value.pop("LOC")
        assert run(observed=watched)["ticks"].status == "unknown"
        watched.after.interrupts = Fact("unreadable", None, "/proc/interrupts", "EACCES")
        assert run(observed=watched)["ticks"].status == "unknown"

    def test_offline(self, run):
        found = run(wanted=Section(isolated="1", nohz_full="1"), observed=observed([], []))["ticks"]
        assert found.status == "na"


def test_sample(fake_host):
    stat = "9 (a b) S " + " ".join(["0"] * 35) + " 3 0 0\n"
    table = "     CPU0\nLOC:   7   Local timer interrupts\n"
    host = fake_host({"/proc/9/status": status("a b"), "/proc/9/task/9/stat": stat, "/proc/interrupts": table})
    sample = cpu_isolation.sample(host)
    assert sample.interrupts.value["LOC"].counts == {0: 7}
    assert (sample.tasks.seen[0].last_cpu, isinstance(sample.tasks, process.Tasks)) == (3, True)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "isolated"),
        ({"isolated": ""}, "names no CPU"),
        ({"isolated": "3-2"}, "runs backwards"),
        ({"isolated": "a"}, "not a CPU number"),
        ({"isolated": "2", "nohz_full": "2:1"}, "nohz_full.*stride"),
        ({"isolated": "9999"}, "no machine"),
        ({"isolated": 3}, "str"),
        ({"isolated": "2", "managed_irq": "yes"}, "bool"),
        ({"isolated": "2", "isolcpus": "2"}, "isolcpus"),
    ],
)
def test_sections_that_are_refused(section, message):
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(section, Section)
