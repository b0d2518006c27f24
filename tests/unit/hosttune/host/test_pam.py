"""pam_limits: its grammar, which of its lines wins, and which sessions run it."""

import pytest

from hosttune.host import limits_lines, pam, pam_lines, sshd
from hosttune.host.limits import UNLIMITED, Limit
from hosttune.host.users import User

TRADER = User("trader", 1001, 1001, frozenset({"trader", "rt"}), frozenset({1001, 2000}))
ROOT = User("root", 0, 0, frozenset({"root"}), frozenset({0}))
FIRST = {item: Limit(5, 5) for item in ("memlock", "rtprio", "nice")} | {"nofile": Limit(1048576, 1048576)}
NR_OPEN = 1048576


def resolve(*lines, who=TRADER, first=FIRST, grammar="1.5"):
    (found,) = pam.resolve([limits_lines.parse("\n".join(lines), "f")[grammar]], who, first, NR_OPEN)
    return {item: fact.value and (fact.value.soft, fact.value.hard) for item, fact in found.items()}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["trader - rtprio 95"], {"rtprio": (95, 95)}),
        (["trader soft rtprio 5", "trader hard rtprio 95"], {"rtprio": (5, 95)}),
        (["trader - memlock 64"], {"memlock": (65536, 65536)}),  # KiB
        (["trader - memlock unlimited"], {"memlock": (UNLIMITED, UNLIMITED)}),
        (["trader - memlock -1"], {"memlock": (UNLIMITED, UNLIMITED)}),
        (["trader - memlock -"], {"memlock": (UNLIMITED, UNLIMITED)}),
        (
            ["trader - memlock unlimited", "trader - memlock 64G"],
            {"memlock": (65536, 65536)},
        ),  # the tail does not count
        (["trader - nofile 0x40"], {"nofile": (0, 0)}),
        (["TRADER - NOFILE 7", "trader - NoFile 9"], {"nofile": (9, 9)}),  # names of users alone mind the case
        (["trader - memlock 18014398509481983"], {"memlock": (UNLIMITED, UNLIMITED)}),
        (["trader - rtprio -5"], {"rtprio": (2**64 - 5, 2**64 - 5)}),
        (["trader - nofile unlimited"], {"nofile": (NR_OPEN, NR_OPEN)}),
        (["trader - nofile 18446744073709551615"], {"nofile": (NR_OPEN, NR_OPEN)}),
        (["trader - nofile 18446744073709551616"], {"nofile": (NR_OPEN, NR_OPEN)}),
        (["trader - rtprio 18446744073709551615"], {"rtprio": (UNLIMITED, UNLIMITED)}),
        (["trader - nice -20"], {"nice": (40, 40)}),
        (["trader - nice -1"], {"nice": (21, 21)}),  # a number here, not "unlimited"
        (["trader - nice unlimited"], {}),
        (["trader - nofile 1", "* - nofile 9"], {"nofile": (1, 1)}),  # the user beats everybody
        (["@rt - nofile 1", "* - nofile 9"], {"nofile": (1, 1)}),
        (["trader - nofile 1", "@rt - nofile 9"], {"nofile": (1, 1)}),
        (["trader - nofile 1", "trader - nofile 9"], {"nofile": (9, 9)}),  # among equals the later
        (["trader soft nofile 7", "@rt - nofile 9"], {"nofile": (7, NR_OPEN)}),  # `-` ends at the taken soft limit
        (["trader hard nofile 7", "@rt - nofile 9"], {"nofile": (7, 7)}),
        (["* - nofile 9"], {"nofile": (9, 9)}),
        (["@other - nofile 9", "other - nofile 9"], {}),
        (["%rt - nofile 9", "% - nofile 9"], {}),  # those count logins
        (["1000:1005 - nofile 9"], {"nofile": (9, 9)}),
        ([":1001 - nofile 9"], {"nofile": (9, 9)}),
        (["2000: - nofile 9"], {}),
        (["a:b - nofile 9", ": - nofile 9", "1:2:3 - nofile 9"], {}),
        (["@:2000 - nofile 9"], {"nofile": (9, 9)}),
        (["@1999: - nofile 9"], {}),  # a range looks at the primary group alone
        (["# trader - nofile 9", "trader - nofile 9 # why"], {"nofile": (9, 9)}),
        (["trader hard nofile 9"], {"nofile": (9, 9)}),  # the other half is process 1's
        (["trader hard nofile 65536"], {"nofile": (1024, 65536)}),  # its soft limit of open files at most 1024
        (["trader soft rtprio 95"], {"rtprio": (5, 5)}),
        (["trader soft nofile 9", "trader hard nofile 4"], {"nofile": (4, 4)}),
        (["trader - nofile many", "trader - cpu 3", "trader", "trader x nofile 3", "trader - nofile"], {}),
        (["trader - nofile 9", "trader -"], {}),  # pam_limits leaves this user alone
        (["trader - nofile 9", "@rt -"], {}),
        (["trader - nofile 9", "* -"], {"nofile": (9, 9)}),
    ],
)
def test_precedence(lines, expected):
    assert resolve(*lines) == expected


def test_root_is_meant_only_by_name_and_number():
    assert resolve("* - nofile 9", "@root - nofile 9", who=ROOT) == {}
    assert resolve("root - nofile 9", who=ROOT) == {"nofile": (9, 9)}
    assert resolve("0:5 - nofile 9", who=ROOT) == {"nofile": (9, 9)}


def test_half_a_pair_needs_the_limits_of_process_1():
    (fact,) = pam.resolve([limits_lines.parse("trader hard rtprio 9", "f")["1.5"]], TRADER, {}, NR_OPEN)[0].values()
    assert (fact.state, "/proc/1/limits" in fact.reason) == ("unreadable", True)
    (fact,) = pam.resolve([limits_lines.parse("trader - nofile unlimited", "f")["1.5"]], TRADER, FIRST, None)[
        0
    ].values()
    assert (fact.state, "nr_open" in fact.reason) == ("unreadable", True)


@pytest.mark.parametrize(
    ("line", "old", "new"),
    [
        ("trader - memlock unlimited more", {"memlock": (UNLIMITED, UNLIMITED)}, {}),
        ("trader - memlock unlimited\r", {"memlock": (UNLIMITED, UNLIMITED)}, {}),
        ("trader - memlock 64 G", {"memlock": (65536, 65536)}, {"memlock": (65536, 65536)}),
        ("trader\f-\fmemlock\f64", {"memlock": (65536, 65536)}, {}),
        ("\vtrader\t- memlock  64 \t", {"memlock": (65536, 65536)}, {"memlock": (65536, 65536)}),
    ],
)
def test_releases_of_pam_that_read_a_line_differently(line, old, new):
    kept = limits_lines.reduce(line)
    for text in (line, kept, limits_lines.reduce(kept)):
        assert (resolve(text), resolve(text, grammar="1.6")) == (old, new)


def test_a_line_that_old_releases_read_in_pieces():
    comment = "#" + " " * 1100
    assert limits_lines.parse(f"{comment}\ntrader - nofile 1\n", "f")["1.5"][0].place == "f:2"
    with pytest.raises(ValueError, match="line 1 is longer"):
        limits_lines.parse("#" * 1023 + "trader - nofile 1", "f")


def test_what_is_kept_of_a_file_is_what_decides():
    text = "# secret\ntrader - nofile 9 # secret\n\n@rt hard core secret\nhunter2 - memlock secret\n"
    assert limits_lines.reduce("trader - nofile 9secret\ntrader - memlock unlimited secret\n") == (
        "trader - nofile 9\ntrader - memlock unlimited ...\n"
    )
    assert limits_lines.reduce(text) == "\ntrader - nofile 9\n\n\n\n"


def read(host, service="sshd"):
    return pam.read_sessions(host).value[service].runs


def test_files_in_the_order_of_pam_limits(fake_host):
    host = fake_host(
        {
            "/etc/pam.d/sshd": "session required pam_limits.so\n",
            "/etc/security/limits.conf": "trader - nofile 1\n",
            "/etc/security/limits.d/90-b.conf": "trader - nofile 3\n",
            "/etc/security/limits.d/20-a.conf": "trader - nofile 2\n",
            "/etc/security/limits.d/99-c.conf.bak": "trader - nofile 4\n",
            "/etc/security/limits.d/.z.conf": "trader - nofile 5\n",
        }
    )
    ((*paths,),) = [[path for path, _ in run] for run in read(host)]
    top = "/etc/security"
    assert paths == [f"{top}/limits.conf", f"{top}/limits.d/20-a.conf", f"{top}/limits.d/90-b.conf"]
    assert pam.read_sessions(host.deny("/etc/security/limits.d/20-a.conf")).state == "unreadable"
    session = {"/etc/pam.d/sshd": "session required pam_limits.so\n"}
    assert read(fake_host(session)) == [[]]
    assert pam.read_sessions(fake_host(session).deny("/etc/security/limits.d")).state == "unreadable"


def test_a_session_may_name_the_file(fake_host):
    host = fake_host(
        {
            "/etc/pam.d/sshd": "session required pam_limits.so debug conf=/etc/security/desk.conf\n",
            "/etc/security/limits.conf": "trader - nofile 1\n",
            "/etc/security/desk.conf": "trader - nofile 2\n",
        }
    )
    assert read(host) == [[("/etc/security/desk.conf", "trader - nofile 2\n")]]
    host.files["/etc/pam.d/sshd"] = "session required pam_limits.so conf=/opt/desk.conf\n"
    assert pam.read_sessions(host).state == "unreadable"


@pytest.mark.parametrize(
    ("pam_d", "expected"),
    [
        ({"sshd": "session required pam_limits.so\n"}, {"sshd": 1}),
        ({"sshd": "Session\\\n required /lib/security/pam_limits.so\n"}, {"sshd": 1}),
        ({"sshd": "session [success=1 default=ignore] pam_limits.so\n"}, {"sshd": 1}),
        ({"sshd": "# session required pam_limits.so\n", "su": ""}, {"sshd": 0}),
        ({"sshd": "auth required pam_limits.so\n"}, {"sshd": 0}),
        ({"sshd": "@include common\n", "common": "session required pam_limits.so\n"}, {"sshd": 1}),
        ({"sshd": "session include auth\n", "auth": "-session optional pam_limits.so\n"}, {"sshd": 1}),
        ({"sshd": "@include sshd\n"}, {"sshd": 0}),
        ({"sshd": "@include a.b\n", "a.b": "session required pam_limits.so\n"}, {"sshd": 1}),
        ({"sshd": "@include nowhere\n", "login": "session required pam_limits.so"}, {"sshd": 0, "login": 1}),
        ({}, {"other": 1}),
    ],
)
def test_pam_limits_in_the_session(fake_host, pam_d, expected):
    for reduce in (str, pam_lines.reduce):
        host = fake_host({f"/etc/pam.d/{name}": reduce(text) for name, text in pam_d.items()})
        found = pam.read_sessions(host).value
        assert {service: len(session.runs) for service, session in found.items()} == expected


@pytest.mark.parametrize(
    ("line", "runs"),
    [
        ("session sufficient pam_permit.so", 0),
        ("session [default=done] pam_permit.so", 0),
        ("session [success=done] pam_permit.so", 0),
        ("session [default=1] pam_permit.so", 0),
        ("session [default=ignore success=1] pam_permit.so", 0),
        ("session [success=ok default=1] pam_permit.so", 1),
        ("session sufficient pam_x.so", None),
        ("session [success=1 default=ignore] pam_succeed_if.so user = trader", None),
        ("session [default=2]pam_x.so\nsession optional pam_y.so", 0),
        ("session [success=1 default=ignore] pam_succeed_if.so user = trader\nsession required pam_x.so", 1),
        ("session [success=1 default=ignore] pam_x.so\nsession requisite pam_deny.so", 1),
        ("session required pam_x.so\nsession requisite pam_y.so\nsession optional pam_z.so", 1),
        ("session [success=ok ignore=ignore module_unknown=ignore default=bad] pam_selinux.so close", 1),
        ("auth sufficient pam_x.so\naccount [default=1] pam_y.so", 1),
        ("session substack end", 1),
        ("session include end", 0),
        ("@include end", 0),
        ("@include /etc/pam.d/end", 0),
        ("@include .end", None),
        ("session include /opt/pam.d/end", None),
        ("session include ../pam.d/end", None),
    ],
)
def test_what_leads_past_pam_limits(fake_host, line, runs):
    """None: not known."""
    files = {"sshd": f"{line}\nsession required pam_limits.so\nsession optional pam_z.so\n"}
    files["end"] = "session sufficient pam_permit.so\n"
    for reduce in (str, pam_lines.reduce):
        session = pam.read_sessions(
            fake_host({f"/etc/pam.d/{name}": reduce(text) for name, text in files.items()})
        ).value["sshd"]
        assert (bool(session.doubt), len(session.runs)) == (runs is None, runs or 0)


def test_a_stack_of_many_lines_and_of_many_ways_is_not_told(fake_host):
    jumps = "session [success=1 default=ignore] pam_x.so\n"
    runs = "".join(f"{jumps}session required pam_limits.so conf=/etc/security/{n}.conf\n" for n in range(120))
    loops = "session include sshd\n" * 50
    for text in (runs, "session optional pam_x.so\n" * 100000, "session substack sshd\n", loops):
        for kept in (text, pam_lines.reduce(text)):
            found = pam.read_sessions(fake_host({"/etc/pam.d/sshd": kept})).value["sshd"]
            assert found.doubt or not found.runs
    assert pam_lines.find_runs("sshd", {"/etc/pam.d/sshd": runs}.get) == ["..."]


USE_PAM = "Include /etc/ssh/sshd_config.d/*.conf\n"
REDHAT = "Include /etc/crypto-policies/back-ends/opensshserver.config\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"sshd_config": "UsePAM yes\n"}, True),
        ({"sshd_config": '\tusepam="TRUE" # yes\n'}, True),
        ({"sshd_config": "UsePAM no\nUsePAM yes\n"}, False),
        ({"sshd_config": "#UsePAM yes\n"}, False),
        ({"sshd_config": "Port 22\nMatch User x\n UsePAM yes\n"}, False),
        ({"sshd_config": f"{USE_PAM}UsePAM yes\n"}, True),
        ({"sshd_config": f"{USE_PAM}UsePAM yes\n", "sshd_config.d/a.conf": "UsePAM no\n"}, False),
        ({"sshd_config": f"UsePAM yes\n{USE_PAM}", "sshd_config.d/a.conf": "UsePAM no\n"}, True),
        (
            {
                "sshd_config": "include sshd_config.d/*.conf\nUsePAM no\n",
                "sshd_config.d/b.conf": "UsePAM no\n",
                "sshd_config.d/a.conf": "UsePAM yes\n",
            },
            True,
        ),
        ({"sshd_config": f"{USE_PAM}UsePAM yes\n", "sshd_config.d/a.conf": "Match User x\nInclude /x\n"}, True),
        ({"sshd_config": f"{USE_PAM}UsePAM yes\n", "sshd_config.d/a": "UsePAM no\n"}, True),
        ({"sshd_config": USE_PAM, "sshd_config.d/50-redhat.conf": f"{REDHAT}UsePAM yes\n"}, True),
        ({"sshd_config": "Include /opt/x\nUsePAM yes\n"}, None),
        ({"sshd_config": "UsePAM yes\nInclude /opt/x\n"}, True),
        ({"sshd_config": "UsePAM perhaps\n"}, None),
        ({"sshd_config": f"{USE_PAM}UsePAM yes\n", "sshd_config.d/a.conf": USE_PAM}, None),
        ({"sshd_config.d/a.conf": "UsePAM no\n"}, "absent"),
    ],
)
def test_whether_sshd_uses_pam(fake_host, files, expected):
    for reduce in (str, sshd.reduce):
        fact = sshd.read_use_pam(fake_host({f"/etc/ssh/{name}": reduce(text) for name, text in files.items()}))
        assert (fact.value if fact.state == "value" else None if fact.state == "unreadable" else fact.state) is expected
    denied = fake_host({f"/etc/ssh/{name}": text for name, text in files.items()}).deny("/etc/ssh/sshd_config")
    assert sshd.read_use_pam(denied).state == "unreadable"


def test_pam_that_cannot_be_read(fake_host):
    assert pam.read_sessions(fake_host().deny("/etc/pam.d/sshd")).state == "unreadable"
    host = fake_host({"/etc/pam.d/sshd": "@include x\n"}).deny("/etc/pam.d/x")
    assert pam.read_sessions(host).state == "unreadable"


@pytest.mark.parametrize(
    ("release", "grammars"),
    [
        ('ID=debian\nVERSION_ID="12"\n', ("1.5",)),
        ('ID=debian\nVERSION_ID="13"\n', ("1.6",)),
        ('ID=ubuntu\nVERSION_ID="24.04"\n', ("1.5",)),
        ('ID=ubuntu\nVERSION_ID="25.10"\n', limits_lines.GRAMMARS),
        ('ID="rhel"\nVERSION_ID="9.4"\n', limits_lines.GRAMMARS),
        ("ID=debian\n", limits_lines.GRAMMARS),
        ("ID=debian\nVERSION_ID=sid\n", limits_lines.GRAMMARS),
        ("", limits_lines.GRAMMARS),
    ],
)
def test_the_grammar_of_a_release(fake_host, release, grammars):
    assert pam.read_grammars(fake_host({"/etc/os-release": release})) == grammars
