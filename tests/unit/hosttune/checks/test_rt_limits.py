"""rt_limits: both ways to limits, what processes have, and what real-time priority is worth."""

from __future__ import annotations

from types import MappingProxyType

import msgspec
import pytest

from hosttune.checks import rt_limits
from hosttune.checks.rt_limits import Section, UserLimits
from hosttune.host.root import Tree

ETC = "/etc/systemd/system"
LIMITS_D = "/etc/security/limits.d/99-x.conf"
DEFAULTS = "/etc/systemd/system.conf.d/x.conf"
WANTED = Section(users={"trader": UserLimits(memlock="unlimited", rtprio=95, nice=-20, nofile=65536)})
KEYS = ("trader.memlock", "trader.rtprio", "trader.nice", "trader.nofile")
ALL_SET = "LimitMEMLOCK=infinity\nLimitRTPRIO=95\nLimitNICE=-20\nLimitNOFILE=65536\n"


def status(name, uid=1001, ppid=1):
    return f"Name:\t{name}\nPPid:\t{ppid}\nUid:\t{uid}\t{uid}\nThreads:\t1\nCpus_allowed_list:\t0\n"


def proc_limits(memlock="unlimited", rtprio="95", nice="40", nofile="65536"):
    return (
        f"Max open files            {nofile}  {nofile}  files\n"
        f"Max locked memory         {memlock}  {memlock}  bytes\n"
        f"Max nice priority         {nice}  {nice}\n"
        f"Max realtime priority     {rtprio}  {rtprio}\n"
    )


FILES = {
    "/etc/passwd": "root:x:0:0::/:/bin/sh\ntrader:x:1001:1001::/:/bin/sh\n",
    "/etc/group": "trader:x:1001:\n",
    "/etc/pam.d/sshd": "session required pam_limits.so\n",
    LIMITS_D: "trader - memlock unlimited\ntrader - rtprio 95\ntrader - nice -20\ntrader - nofile 65536\n",
    DEFAULTS: "[Manager]\n" + ALL_SET.replace("Limit", "DefaultLimit"),
    "/proc/1/status": status("systemd", 0, 0),
    "/proc/2/status": status("kthreadd", 0, 0),
    "/proc/sys/kernel/osrelease": "6.1.0-28-amd64\n",
}
AGENT = {"/proc/50/status": status("agent"), "/proc/50/limits": proc_limits()}


@pytest.fixture
def run(fake_host):
    def run(changes=None, wanted=WANTED, deny=()):
        contents = {**FILES, **(changes or {})}
        host = fake_host({path: text for path, text in contents.items() if text is not None})
        for path in deny:
            host.deny(path)
        facts = rt_limits.facts(host, wanted)
        return {f.id.removeprefix("rt_limits."): f for f in rt_limits.check(wanted, facts, None)}

    return run


def hops(finding):
    return {name: hop.state for name, hop in finding.hops.items()}


def test_a_tuned_host_passes_before_anything_runs_as_the_user(run):
    found = run()
    assert {key: f.status for key, f in found.items()} == dict.fromkeys(KEYS, "pass")
    assert hops(found["trader.memlock"]) == {"persisted": "ok", "runtime": "na"}
    assert found["trader.nice"].found == {"login": -20, "service": -20}


def test_a_tuned_host_with_the_agent_running(run):
    found = run(AGENT)
    assert {f.status for f in found.values()} == {"pass"}
    assert found["trader.nice"].found == -20
    assert found["trader.memlock"].found == "unlimited"


def test_an_untouched_host_fails_on_both_ways(run):
    found = run({LIMITS_D: None, DEFAULTS: None})
    assert {f.status for f in found.values()} == {"fail"}
    assert found["trader.memlock"].hops["persisted"].value == {"login": "not set", "service": "not set"}
    fix = found["trader.memlock"].fix
    assert "'trader - memlock unlimited'" in fix
    assert "DefaultLimitMEMLOCK=infinity" in fix


class TestLogin:
    def test_without_the_file(self, run):
        found = run({LIMITS_D: None})["trader.rtprio"]
        assert (found.status, hops(found)["persisted"]) == ("fail", "bad")
        assert found.hops["persisted"].value == {"login": "not set", "service": 95}
        assert "DefaultLimit" not in found.fix

    def test_overruled_by_a_later_line(self, run):
        later = {"/etc/security/limits.d/zz.conf": "trader - rtprio 10\n"}
        found = run(later)["trader.rtprio"]
        assert found.status == "fail"
        assert "/etc/security/limits.d/zz.conf:1" in found.hops["persisted"].source

    def test_soft_limit_too_low(self, run):
        later = {"/etc/security/limits.d/zz.conf": "trader soft nofile 1024\n"}
        found = run(later)["trader.nofile"]
        assert found.hops["persisted"].value["login"] == {"soft": 1024, "hard": 65536}

    def test_pam_limits_not_in_the_session(self, run):
        found = run({"/etc/pam.d/sshd": "session required pam_unix.so\n"})["trader.rtprio"]
        assert found.status == "fail"
        assert "sshd" in found.hops["persisted"].value["login"]

    def test_bytes_are_written_as_kib(self, run):
        wanted = Section(users={"trader": UserLimits(memlock=8 << 30)})
        found = run({LIMITS_D: "trader - memlock 8388607\n"}, wanted=wanted)["trader.memlock"]
        assert found.status == "fail"
        assert "trader - memlock 8388608" in found.fix
        assert run({LIMITS_D: "trader - memlock 8388608\n"}, wanted=wanted)["trader.memlock"].status == "pass"

    def test_more_than_wanted_is_enough(self, run):
        assert run({LIMITS_D: FILES[LIMITS_D].replace("95", "99")})["trader.rtprio"].status == "pass"

    def test_a_later_line_with_a_suffix_that_pam_limits_does_not_know(self, run):
        found = run({LIMITS_D: FILES[LIMITS_D] + "trader - memlock 64G\n"})["trader.memlock"]
        assert (found.status, found.hops["persisted"].value["login"]) == ("fail", 65536)

    def test_lines_that_releases_of_pam_read_differently(self, run):
        found = run({LIMITS_D: FILES[LIMITS_D].replace("unlimited", "unlimited all of it")})["trader.memlock"]
        assert (found.status, "differently" in found.hops["persisted"].value["login"]) == ("unknown", True)
        assert run({LIMITS_D: FILES[LIMITS_D].replace("95", "95 x")})["trader.rtprio"].status == "pass"

    @pytest.mark.parametrize("user", ["svc.trader", "_x", "DOMAIN\\user"])
    def test_names_of_users(self, run, user):
        wanted = Section(users={user: UserLimits(rtprio=95)})
        changes = {
            "/etc/passwd": f"root:x:0:0::/:/bin/sh\n{user}:x:1001:1001::/:/bin/sh\n",
            LIMITS_D: f"{user} - rtprio 95\n",
        }
        assert run(changes, wanted=wanted)[f"{user}.rtprio"].status == "pass"

    def test_a_session_without_the_limits_of_another(self, run):
        found = run({"/etc/pam.d/login": "session required pam_limits.so conf=/etc/security/x.conf\n"})["trader.rtprio"]
        assert (found.status, found.hops["persisted"].value["login"]) == ("fail", "not set")


class TestOpenFiles:
    """What fs.nr_open does not allow is not granted."""

    WANTED = Section(users={"trader": UserLimits(nofile=2097152)})
    SET = MappingProxyType(
        {
            LIMITS_D: "trader - nofile 2097152\n",
            DEFAULTS: "[Manager]\nDefaultLimitNOFILE=2097152\n",
            "/proc/sys/fs/nr_open": "1048576\n",
        }
    )
    CONF = "/etc/sysctl.d/x.conf"

    def test_above_the_kernels_bound(self, run):
        found = run(self.SET, wanted=self.WANTED)["trader.nofile"]
        assert found.status == "fail"
        for way in ("login", "service"):
            assert "fs.nr_open, 1048576" in found.hops["persisted"].value[way]
        assert found.fix.splitlines() == [
            "sysctl -w fs.nr_open=2097152",
            "echo 'fs.nr_open = 2097152' >> /etc/sysctl.d/99-zz-desk.conf",
        ]

    @pytest.mark.parametrize(
        ("running", "line", "status"),
        [
            ("2097152", "fs.nr_open = 2097152", "pass"),
            ("2097152", "", "volatile"),  # the next boot has the kernel's own again
            ("1073741816", "", "pass"),  # systemd's
            ("2097152", "fs.nr_open = 1048576", "volatile"),
        ],
    )
    def test_of_the_next_boot(self, run, running, line, status):
        changes = {**self.SET, "/proc/sys/fs/nr_open": f"{running}\n", self.CONF: f"{line}\n"}
        assert run(changes, wanted=self.WANTED)["trader.nofile"].status == status

    def test_a_hard_limit_above_it_leaves_a_login_without(self, run):
        found = run({**self.SET, LIMITS_D: "trader soft nofile 65536\ntrader hard nofile 2097152\n"})["trader.nofile"]
        assert (found.status, "refuses" in found.hops["persisted"].value["login"]) == ("fail", True)

    def test_systemd_bounds_a_service(self, run):
        changes = {**self.SET, LIMITS_D: FILES[LIMITS_D], DEFAULTS: "[Manager]\nDefaultLimitNOFILE=infinity\n"}
        assert (
            run(changes, wanted=Section(users={"trader": UserLimits(nofile=65536)}))["trader.nofile"].status == "pass"
        )


class TestService:
    def unit(self, text, changes=None):
        return {f"{ETC}/agent.service": f"[Service]\n{text}", DEFAULTS: None, **(changes or {})}

    @pytest.mark.parametrize(
        "how",
        [
            "User=trader\n",
            'ExecStart=/usr/local/bin/hosttune launch "--user" "trader" -- /opt/agent\n',
            "ExecStart=/usr/local/bin/hosttune launch --user=trader -- /opt/agent\n",
            "ExecStart=/usr/bin/setpriv --reuid=1001 --init-groups /opt/agent\n",
        ],
    )
    def test_its_own_limits(self, run, how):
        assert {f.status for f in run(self.unit(how + ALL_SET)).values()} == {"pass"}
        found = run(self.unit(how + ALL_SET.replace("95", "10")))["trader.rtprio"]
        assert (found.status, found.hops["persisted"].value["service"]) == ("fail", 10)
        assert found.hops["persisted"].source.endswith(f"service: {ETC}/agent.service")

    def test_another_users_service_does_not_count(self, run):
        found = run(self.unit("User=other\n" + ALL_SET))["trader.rtprio"]
        assert (found.status, found.hops["persisted"].value["service"]) == ("fail", "not set")

    def test_its_own_limit_goes_before_the_default(self, run):
        found = run(self.unit("User=trader\nLimitRTPRIO=10\n", {DEFAULTS: FILES[DEFAULTS]}))
        assert (found["trader.rtprio"].status, found["trader.nice"].status) == ("fail", "pass")

    def test_the_worst_of_several(self, run):
        changes = self.unit("User=trader\n" + ALL_SET, {f"{ETC}/b.service": "[Service]\nUser=trader\n"})
        assert run(changes)["trader.rtprio"].status == "fail"

    def test_drop_ins_of_a_service_that_is_not_installed_yet(self, run):
        changes = {DEFAULTS: None, f"{ETC}/agent.service.d/x.conf": "[Service]\n" + ALL_SET}
        assert {f.status for f in run(changes).values()} == {"pass"}

    @pytest.mark.parametrize("value", ["95K", "high"])
    def test_a_value_that_systemd_ignores(self, run, value):
        found = run({DEFAULTS: f"[Manager]\nDefaultLimitRTPRIO={value}\n"})["trader.rtprio"]
        assert found.status == "fail"
        assert "ignores" in found.hops["persisted"].value["service"]

    def test_what_systemd_ignores_changes_nothing(self, run):
        assert run({DEFAULTS: FILES[DEFAULTS] + "DefaultLimitRTPRIO=95K\n"})["trader.rtprio"].status == "pass"

    @pytest.mark.parametrize(
        "directory",
        ["service.d", "agent-@.service.d", "agent-ldn@.service.d", "agent-ldn@x.service.d", "also.service.d"],
    )
    def test_drop_ins_that_systemd_merges(self, run, directory):
        files = {
            f"{ETC}/agent-ldn@.service": "[Service]\nUser=trader\n" + ALL_SET,
            f"{ETC}/multi-user.target.wants/agent-ldn@x.service": "",
        }
        assert run(files)["trader.memlock"].status == "pass"
        files[f"/usr/local/lib/systemd/system/{directory}/limits.conf"] = "[Service]\nLimitMEMLOCK=64K\n"
        found = run(files)["trader.memlock"]
        if directory == "also.service.d":  # of another unit
            assert found.status == "pass"
            return
        assert (found.status, found.hops["persisted"].value["service"]) == ("fail", 65536)
        assert f"{ETC}/agent-ldn@x.service.d/" in found.fix

    def test_a_service_of_a_package(self, run):
        unit = {"/usr/lib/systemd/system/agent.service": "[Service]\nUser=trader\nLimitRTPRIO=1\n"}
        assert run(unit)["trader.rtprio"].status == "fail"

    @pytest.mark.parametrize("user", ["1001", "%i", "%p"])
    def test_a_user_by_number_and_by_specifier(self, run, user):
        name = "trader@x" if user == "%p" else "x@trader"
        unit = {f"{ETC}/{name}.service": f"[Service]\nUser={user}\nLimitRTPRIO=1\n"}
        assert run(unit)["trader.rtprio"].status == "fail"

    def test_right_only_until_the_next_boot(self, run):
        run_file = "/run/systemd/system.conf.d/x.conf"
        assert run({DEFAULTS: None, run_file: FILES[DEFAULTS]})["trader.rtprio"].status == "volatile"

    def test_wrong_until_the_next_boot(self, run):
        path = "/run/systemd/system/agent.service.d/x.conf"
        found = run({**self.unit("User=trader\n" + ALL_SET), path: "[Service]\nLimitRTPRIO=1\n"})["trader.rtprio"]
        assert (found.status, hops(found)) == ("fail", {"persisted": "ok", "runtime": "bad"})
        assert found.fix == f"rm {path}\nsystemctl daemon-reload"

    def test_an_empty_default_resets_nothing(self, run):
        """The same config_parse_rlimit() of systemd reads both."""
        later = {"/etc/systemd/system.conf.d/z.conf": "[Manager]\nDefaultLimitRTPRIO=\n"}
        assert run(later)["trader.rtprio"].status == "pass"


class TestRunning:
    def test_started_before_the_limits_were_set(self, run):
        found = run({**AGENT, "/proc/50/limits": proc_limits(memlock="8388608")})["trader.memlock"]
        assert (found.status, hops(found)["persisted"], hops(found)["runtime"]) == ("fail", "ok", "bad")
        assert found.found == {"PID 50": 8388608}
        assert found.fix.startswith("for pid in 50; do prlimit --pid $pid --memlock=unlimited:unlimited; done\n# ")

    def test_a_nice_value_is_raised_as_the_kernel_counts_it(self, run):
        found = run({**AGENT, "/proc/50/limits": proc_limits(nice="0")})["trader.nice"]
        assert found.fix.startswith("for pid in 50; do prlimit --pid $pid --nice=40:40; done\n# ")

    def test_set_by_hand(self, run):
        assert run({**AGENT, LIMITS_D: None})["trader.memlock"].status == "volatile"

    def test_many(self, run):
        many = {f"/proc/{pid}/status": status("x") for pid in range(50, 60)}
        many |= {f"/proc/{pid}/limits": proc_limits(rtprio="0") for pid in range(50, 60)}
        found = run(many)["trader.rtprio"]
        assert found.found["and"] == "5 more"
        assert found.fix.startswith(f"for pid in {' '.join(map(str, range(50, 60)))}; do prlimit ")

    def test_unreadable_limits(self, run):
        assert run(AGENT, deny=["/proc/50/limits"])["trader.memlock"].status == "unknown"

    def test_ended_meanwhile(self, run):
        assert run({"/proc/50/status": status("agent")})["trader.memlock"].status == "unknown"
        more = {**AGENT, "/proc/51/status": status("agent")}
        assert run(more)["trader.memlock"].status == "pass"

    def test_hidden_processes(self, run):
        found = run({"/proc/1/status": None})["trader.memlock"]
        assert (found.status, "hidepid" in found.hops["runtime"].value) == ("unknown", True)

    def test_a_pid_namespace_hides_only_kernel_threads(self, run):
        assert run({"/proc/2/status": None})["trader.memlock"].status == "pass"


def test_a_user_that_is_not_there_is_a_warning(run):
    found = run({"/etc/passwd": "root:x:0:0::/:/bin/sh\n"})
    assert {f.status for f in found.values()} == {"warn"}
    assert "no user trader" in found["trader.memlock"].why


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", LIMITS_D, "/etc/security/limits.d", "/etc/pam.d/sshd", DEFAULTS, ETC, "/proc/1/status"],
)
def test_what_cannot_be_read_does_not_pass(run, path):
    found = run(deny=[path])
    assert {f.status for f in found.values()} == {"unknown"}


def test_an_empty_tree_gives_findings_and_no_pass(tmp_path):
    (tmp_path / "proc").mkdir()
    wanted = msgspec.structs.replace(WANTED, sched_rt_runtime_us=-1)
    found = rt_limits.check(wanted, rt_limits.facts(Tree(str(tmp_path)), wanted), None)
    assert {f.status for f in found} == {"unknown"}


def test_only_limits_that_are_asked_for(run):
    assert set(run(wanted=Section(users={"trader": UserLimits(nofile=10)}))) == {"trader.nofile"}


class TestRtRuntime:
    KEY = "/proc/sys/kernel/sched_rt_runtime_us"
    CONF = "/etc/sysctl.d/99.conf"
    ASKED = Section(sched_rt_runtime_us=-1)

    @pytest.mark.parametrize(
        ("running", "line", "status"),
        [("-1", "-1", "pass"), ("950000", "-1", "fail"), ("-1", "950000", "volatile"), ("950000", "950000", "fail")],
    )
    def test_status(self, run, running, line, status):
        changes = {self.KEY: f"{running}\n", self.CONF: f"kernel.sched_rt_runtime_us = {line}\n"}
        assert run(changes, wanted=self.ASKED)["sched_rt_runtime_us"].status == status


class TestFairServer:
    RUNTIME = "/sys/kernel/debug/sched/fair_server/cpu3/runtime"

    def kernel(self, release="6.12.9-amd64", **more):
        return {"/proc/sys/kernel/osrelease": release, "/sys/devices/system/cpu/isolated": "3\n", **more}

    def test_older_kernels_have_none(self, run):
        assert "fair_server" not in run(self.kernel("6.11.0"))

    @pytest.mark.parametrize(("runtime", "status"), [("0", "pass"), ("50000000", "warn")])
    def test_setting(self, run, runtime, status):
        assert run({**self.kernel(), self.RUNTIME: runtime})["fair_server"].status == status

    def test_what_was_read_of_one_cpu_is_not_read_of_all(self, run):
        two = {"/sys/devices/system/cpu/isolated": "2-3\n", self.RUNTIME.replace("3", "2"): "0\n"}
        found = run({**self.kernel(), **two, self.RUNTIME: "0\n"}, deny=[self.RUNTIME])["fair_server"]
        assert (found.status, hops(found)) == ("warn", {"runtime": "unknown"})
        assert "of CPU 3 it could not be read" in found.why
        assert found.fix.startswith("for cpu in 3;")
        assert run({**self.kernel(), **two, self.RUNTIME: "0\n"})["fair_server"].status == "pass"

    def test_its_fix(self, run):
        turn = "for cpu in 3; do echo 0 > /sys/kernel/debug/sched/fair_server/cpu$cpu/runtime; done"
        always = '# at each boot: rt_limits_fair_server_off: "3" of the role rt_limits'
        assert run({**self.kernel(), self.RUNTIME: "50000000"})["fair_server"].fix.splitlines() == [turn, always]
        mount = "mount -t debugfs none /sys/kernel/debug"
        assert run(self.kernel())["fair_server"].fix.splitlines() == [mount, turn, always]
        nothing = {"/sys/devices/system/cpu/isolated": None}
        assert run({**self.kernel(), **nothing})["fair_server"].fix.startswith("isolate CPUs")

    def test_hidden_by_lockdown(self, run):
        changes = self.kernel(**{"/sys/kernel/security/lockdown": "none [integrity] confidentiality"})
        found = run(changes, deny=[self.RUNTIME])["fair_server"]
        assert found.status == "warn"
        assert "lockdown (integrity)" in found.why
        assert hops(found) == {"runtime": "unknown"}

    def test_an_unknown_release(self, run):
        assert run(deny=["/proc/sys/kernel/osrelease"])["fair_server"].status == "unknown"

    def test_of_no_concern_without_real_time(self, run):
        assert "fair_server" not in run(self.kernel(), wanted=Section(users={"trader": UserLimits(nofile=1)}))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"users": {"trader": {"rtprio": 100}}}, "rtprio: 100 is not between 0 and 99"),
        ({"users": {"trader": {"rtprio": -1}}}, "rtprio"),
        ({"users": {"trader": {"nice": -21}}}, "between -20 and 19"),
        ({"users": {"trader": {"nice": 20}}}, "nice"),
        ({"users": {"trader": {"nofile": 0}}}, "nofile"),
        ({"users": {"trader": {"memlock": -1}}}, "memlock"),
        ({"users": {"trader": {"memlock": "64M"}}}, "memlock"),
        ({"users": {"trader": {"rtprio": "95"}}}, "rtprio"),
        ({"users": {"trader": {"core": 0}}}, "core"),
        ({"users": {"@rt": {"rtprio": 9}}}, "not a user name"),
        ({"sched_rt_runtime_us": -2}, "sched_rt_runtime_us"),
        ({"user": {}}, "user"),
    ],
)
def test_sections_that_are_refused(section, message):
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(section, Section)
