"""Hosts with something about limits, PAM, systemd's units or other owners broken, or merely written otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.hosttune import corpus, golden
from tests.unit.hosttune.corpus import Changes, Expected, Hosts, replace

LIMITS_D = "/etc/security/limits.d"
OWN, LATE = f"{LIMITS_D}/99-hosttune-rt_limits.conf", f"{LIMITS_D}/zz.conf"
ETC, LIB = golden.UNITS, "/usr/lib/systemd/system"
DEFAULTS = "/etc/systemd/system.conf.d/hosttune-rt_limits.conf"
SET = "LimitMEMLOCK=infinity\nLimitRTPRIO=95\nLimitNICE=-20\nLimitNOFILE=65536\n"
AGENT = f"[Service]\nUser=trader\nExecStart=/opt/agent\n{SET}"
ITEMS = ("memlock", "rtprio", "nice", "nofile")
PROFILES = ("/etc/hosttune/profile.d/rt_limits.yml", "/var/lib/hosttune/stated/rt_limits.yml")


def bad(*items: str, status: str = "volatile") -> Expected:
    return {f"rt_limits.trader.{item}=": status for item in items}


def late(*lines: str) -> Changes:
    return {LATE: "".join(f"{line}\n" for line in lines)}


def own(old: str, new: str) -> Changes:
    return replace(OWN, old, new)


def unit(drop_in: str = "", path: str = "agent.service.d/zz.conf", name: str = "agent.service") -> Changes:
    """The agent's unit sets all, and a drop-in says more."""
    found: Changes = {f"{ETC}/{name}": AGENT}
    return found | ({f"{ETC}/{path}": drop_in} if drop_in else {})


def limit(line: str, path: str = "agent.service.d/zz.conf", name: str = "agent.service") -> Changes:
    return unit(f"[Service]\n{line}\n", path, name)


def started(command: str, limit: str = "LimitRTPRIO=1") -> Changes:
    return {f"{ETC}/x.service": f"[Service]\nExecStart={command}\n{limit}\n"}


def of_manager(old: str, new: str) -> Changes:
    return replace(DEFAULTS, old, new)


def tuned(text: str) -> Changes:
    """TuneD runs at the next boot, with a profile."""
    return {
        f"{LIB}/tuned.service": "[Service]\nExecStart=/usr/sbin/tuned -l -P\n",
        f"{ETC}/multi-user.target.wants/tuned.service": f"-> {LIB}/tuned.service",
        "/etc/tuned/active_profile": "desk\n",
        "/etc/tuned/desk/tuned.conf": text,
    }


HOSTS: Hosts = {
    # --- values of limits.conf ---
    "64G": (late("trader - memlock 64G"), bad("memlock")),
    "64 blank G": (late("trader - memlock 64 G"), bad("memlock")),
    "KiB": (late("trader - memlock 67108864"), bad("memlock")),
    "minus one": (own("memlock unlimited", "memlock -1"), {}),
    "INFINITY": (own("memlock unlimited", "memlock INFINITY"), {}),
    "a word that is none": (own("memlock unlimited", "memlock max"), bad("memlock")),
    "unlimited with a tail": (own("memlock unlimited", "memlock unlimited;"), bad("memlock")),
    "hexadecimal": (own("rtprio 95", "rtprio 0x5f"), bad("rtprio")),
    "a zero in front": (own("rtprio 95", "rtprio 095"), {}),
    "a plus": (own("rtprio 95", "rtprio +95"), {}),
    "higher": (own("rtprio 95", "rtprio 99"), {}),
    "lower": (own("rtprio 95", "rtprio 94"), bad("rtprio")),
    "a percent sign": (own("rtprio 95", "rtprio 95%"), {}),
    "nice above": (own("nice -20", "nice -19"), bad("nice")),
    "nice below what there is": (own("nice -20", "nice -25"), {}),
    "nice without a sign": (own("nice -20", "nice 20"), bad("nice")),
    "nofile as many as may be": (own("nofile 65536", "nofile 1048576"), {}),
    "nofile one too many": (own("nofile 65536", "nofile 1048577"), bad("nofile")),
    "nofile unlimited": (own("nofile 65536", "nofile unlimited"), {}),
    "nofile in thousands": (own("nofile 65536", "nofile 64k"), bad("nofile")),
    # --- lines of limits.conf ---
    "soft and hard": (own("trader - rtprio 95", "trader soft rtprio 95\ntrader hard rtprio 95"), {}),
    "hard alone": (own("trader - rtprio 95", "trader hard rtprio 95"), bad("rtprio")),
    "soft above hard": (own("trader - rtprio 95", "trader soft rtprio 95\ntrader hard rtprio 50"), bad("rtprio")),
    "capitals": (own("trader - rtprio", "trader - RTPRIO"), {}),
    "the user in capitals": (own("trader - rtprio", "TRADER - rtprio"), bad("rtprio")),
    "both for a dash": (own("trader - rtprio", "trader both rtprio"), bad("rtprio")),
    "an item that is none": (own("rtprio 95", "rt_priority 95"), bad("rtprio")),
    "an equals sign": (own("rtprio 95", "rtprio = 95"), bad("rtprio")),
    "a remark": (own("rtprio 95", "rtprio 95 # why"), {}),
    "tabs and blanks": (own("trader - rtprio 95", "  trader\t -\t\trtprio   95  "), {}),
    "all users": (own("trader - rtprio", "* - rtprio"), {}),
    "all users, later and wrong": (late("* - rtprio 0"), {}),
    "a group": (own("trader - rtprio", "@rt - rtprio"), {}),
    "the primary group": (own("trader - rtprio", "@trader - rtprio"), {}),
    "a group by number": (own("trader - rtprio", "@:2000 - rtprio"), {}),
    "the user by number": (own("trader - rtprio", ":1001 - rtprio"), {}),
    "the user's number alone": (own("trader - rtprio", "1001 - rtprio"), bad("rtprio")),
    "users from a number on": (own("trader - rtprio", "1000: - rtprio"), {}),
    "users beyond": (own("trader - rtprio", "1002: - rtprio"), bad("rtprio")),
    "another user, later": (late("root - rtprio 0", "trader2 - rtprio 0"), {}),
    "the user, later and wrong": (late("trader - rtprio 0"), bad("rtprio")),
    "the user, earlier and wrong": ({f"{LIMITS_D}/00.conf": "trader - rtprio 0\n"}, {}),
    "limits.conf is read first": ({"/etc/security/limits.conf": "trader - rtprio 0\n"}, {}),
    "all in limits.conf": ({OWN: None, "/etc/security/limits.conf": golden.FILES[OWN]}, {}),
    "not called conf": ({OWN: None, f"{LIMITS_D}/99-hosttune": golden.FILES[OWN]}, bad(*ITEMS)),
    "below /run": ({OWN: "-> /run/limits.conf", "/run/limits.conf": golden.FILES[OWN]}, bad(*ITEMS)),
    "CRLF": ({OWN: golden.FILES[OWN].replace("\n", "\r\n")}, {}),
    "CRLF on Debian 13": (
        {OWN: golden.FILES[OWN].replace("\n", "\r\n"), **replace("/etc/os-release", '"12"', '"13"')},
        bad("memlock"),
    ),
    "CRLF on another system": (
        {OWN: golden.FILES[OWN].replace("\n", "\r\n"), **replace("/etc/os-release", "debian", "other")},
        bad("memlock", status="unknown"),
    ),
    "no end of line": ({OWN: golden.FILES[OWN].rstrip("\n")}, {}),
    # --- values of units ---
    "units: in bytes": (limit("LimitMEMLOCK=64G"), bad("memlock")),
    "units: infinity": (limit("LimitMEMLOCK=infinity"), {}),
    "units: unlimited is no word": (limit("LimitMEMLOCK=unlimited"), {}),
    "units: -1 is no word": (limit("LimitMEMLOCK=-1"), {}),
    "units: in quotes": (limit('LimitRTPRIO="1"'), {}),
    "units: a remark": (limit("LimitRTPRIO=1 # x"), {}),
    "units: lower": (limit("LimitRTPRIO=94"), bad("rtprio")),
    "units: blanks": (limit("LimitRTPRIO = 1"), bad("rtprio")),
    "units: small letters": (limit("LimitRtprio=1"), {}),
    "units: nice as the kernel counts": (limit("LimitNICE=40"), {}),
    "units: nice as the kernel counts, less": (limit("LimitNICE=39"), bad("nice")),
    "units: nice with a sign": (limit("LimitNICE=+5"), bad("nice")),
    "units: octal": (limit("LimitNOFILE=0200000"), {}),
    "units: with a unit": (limit("LimitNOFILE=64K"), {}),
    "units: soft alone is too low": (limit("LimitNOFILE=1024:65536"), bad("nofile")),
    "units: soft above hard": (limit("LimitNOFILE=65536:1024"), {}),
    "units: an empty one resets nothing": (limit("LimitRTPRIO=1\nLimitRTPRIO="), bad("rtprio")),
    "units: an empty one resets nothing that is right": (limit("LimitRTPRIO=95\nLimitRTPRIO="), {}),
    "units: the last counts": (limit("LimitRTPRIO=1\nLimitRTPRIO=95"), {}),
    "units: another section": (unit("[Unit]\nLimitRTPRIO=1\n"), {}),
    "units: no section": (unit("LimitRTPRIO=1\n"), {}),
    "units: a comment": (limit("#LimitRTPRIO=1\n;LimitRTPRIO=1"), {}),
    "units: goes on in the next line": (limit("LimitRTPRIO=\\\n1"), bad("rtprio")),
    "units: CRLF": (limit("LimitRTPRIO=1\r"), bad("rtprio")),
    # --- places of drop-ins ---
    "drop-ins: of the type": (limit("LimitRTPRIO=1", "service.d/x.conf"), bad("rtprio")),
    "drop-ins: of the type, and the unit's own after it": (
        {**limit("LimitRTPRIO=1", "service.d/x.conf"), f"{ETC}/agent.service.d/a.conf": "[Service]\nLimitRTPRIO=95\n"},
        bad("rtprio"),
    ),
    "drop-ins: of a prefix": (
        limit("LimitRTPRIO=1", "agent-.service.d/x.conf", "agent-a.service"),
        bad("rtprio"),
    ),
    "drop-ins: of a longer prefix": (
        limit("LimitRTPRIO=1", "agent-a-.service.d/x.conf", "agent-a-b.service"),
        bad("rtprio"),
    ),
    "drop-ins: of another prefix": (limit("LimitRTPRIO=1", "agen-.service.d/x.conf"), {}),
    "drop-ins: not called conf": (limit("LimitRTPRIO=1", "agent.service.d/x.cfg"), {}),
    "drop-ins: hidden": (limit("LimitRTPRIO=1", "agent.service.d/.x.conf"), {}),
    "drop-ins: of a namesake that is no service": (limit("LimitRTPRIO=1", "agent.socket.d/x.conf"), {}),
    "drop-ins: of the template": (
        {
            f"{ETC}/agent@.service": AGENT,
            f"{ETC}/agent@.service.d/x.conf": "[Service]\nLimitRTPRIO=1\n",
            f"{ETC}/multi-user.target.wants/agent@a.service": f"-> {ETC}/agent@.service",
        },
        bad("rtprio"),
    ),
    "drop-ins: of the instance": (
        {
            f"{ETC}/agent@.service": AGENT,
            f"{ETC}/agent@a.service.d/x.conf": "[Service]\nLimitRTPRIO=1\n",
            f"{ETC}/multi-user.target.wants/agent@a.service": f"-> {ETC}/agent@.service",
        },
        bad("rtprio"),
    ),
    "drop-ins: of another instance": (
        {
            f"{ETC}/agent@.service": AGENT,
            f"{ETC}/agent@b.service.d/x.conf": "[Service]\nNice=1\n",
            f"{ETC}/multi-user.target.wants/agent@a.service": f"-> {ETC}/agent@.service",
        },
        {},
    ),
    "drop-ins: of the distribution": (
        {**unit(), f"{LIB}/agent.service.d/zz.conf": "[Service]\nLimitRTPRIO=1\n"},
        bad("rtprio"),
    ),
    "drop-ins: masked by a namesake": (
        {**unit("[Service]\nNice=0\n"), f"{LIB}/agent.service.d/zz.conf": "[Service]\nLimitRTPRIO=1\n"},
        {},
    ),
    "drop-ins: masked": (
        {
            **unit(),
            f"{LIB}/agent.service.d/zz.conf": "[Service]\nLimitRTPRIO=1\n",
            f"{ETC}/agent.service.d/zz.conf": "-> /dev/null",
        },
        {},
    ),
    "drop-ins: below /usr/local/lib": (
        {**unit(), "/usr/local/lib/systemd/system/agent.service.d/x.conf": "[Service]\nLimitRTPRIO=1\n"},
        bad("rtprio"),
    ),
    "drop-ins: below /lib": (
        {**unit(), "/lib/systemd/system/agent.service.d/x.conf": "[Service]\nLimitRTPRIO=1\n"},
        bad("rtprio"),
    ),
    "drop-ins: by an alias": (
        {
            **unit(),
            f"{ETC}/desk.service": f"-> {ETC}/agent.service",
            f"{ETC}/desk.service.d/x.conf": "[Service]\nLimitRTPRIO=1\n",
        },
        bad("rtprio"),
    ),
    "another user's unit": ({f"{ETC}/x.service": "[Service]\nUser=bob\nLimitRTPRIO=1\n"}, {}),
    "the user by number in a unit": ({f"{ETC}/x.service": "[Service]\nUser=1001\nLimitRTPRIO=1\n"}, bad("rtprio")),
    "the user by a drop-in": (
        {f"{ETC}/x.service": "[Service]\nLimitRTPRIO=1\n", f"{ETC}/x.service.d/u.conf": "[Service]\nUser=trader\n"},
        bad("rtprio"),
    ),
    "the user's number by setpriv": (started("/usr/bin/setpriv --reuid=1001 --init-groups /opt/a"), bad("rtprio")),
    "the user's number by setpriv, enough": (started("/usr/bin/setpriv --reuid=1001 /opt/a", "LimitRTPRIO=95"), {}),
    "another number by setpriv": (started("/usr/bin/setpriv --reuid=1002 /opt/a"), {}),
    "the user by start-stop-daemon": (
        started("/sbin/start-stop-daemon --start --chuid trader:rt --exec /opt/a -- -x"),
        bad("rtprio"),
    ),
    "a user that start-stop-daemon looks for": (started("/sbin/start-stop-daemon -S -u trader -x /opt/a"), {}),
    "the user by chpst": (started("/usr/bin/chpst -u trader:rt /opt/a"), bad("rtprio")),
    "the user by su": (started('/bin/su - -c "/opt/a -x" trader'), bad("rtprio", status="unknown")),
    "the user's number by sudo": (started("/usr/bin/sudo -u '#1001' /opt/a"), bad("rtprio", status="unknown")),
    "the user by su, enough": (started("/bin/su trader -c /opt/a", "LimitRTPRIO=95"), {}),
    "another user by su": (started("/bin/su bob -c '/opt/a su trader'"), {}),
    "the user by setpriv": (
        {f"{ETC}/x.service": "[Service]\nExecStart=/usr/bin/setpriv --reuid trader /opt/a\nLimitRTPRIO=1\n"},
        bad("rtprio"),
    ),
    # --- the manager ---
    "defaults: lower": (of_manager("RTPRIO=95", "RTPRIO=9"), bad("rtprio")),
    "defaults: higher": (of_manager("RTPRIO=95", "RTPRIO=99"), {}),
    "defaults: none": ({DEFAULTS: None}, bad(*ITEMS)),
    "defaults: none, and a unit that sets all": ({DEFAULTS: None, **unit()}, {}),
    "defaults: in system.conf": ({DEFAULTS: None, "/etc/systemd/system.conf": golden.FILES[DEFAULTS]}, {}),
    "defaults: system.conf goes before": ({"/etc/systemd/system.conf": "[Manager]\nDefaultLimitRTPRIO=1\n"}, {}),
    "defaults: a later file": (
        {"/etc/systemd/system.conf.d/zz.conf": "[Manager]\nDefaultLimitRTPRIO=1\n"},
        bad("rtprio"),
    ),
    "defaults: an earlier file": ({"/etc/systemd/system.conf.d/00.conf": "[Manager]\nDefaultLimitRTPRIO=1\n"}, {}),
    "defaults: a later file for users": (
        {"/etc/systemd/user.conf.d/zz.conf": "[Manager]\nDefaultLimitRTPRIO=1\n"},
        {},
    ),
    "defaults: of the distribution": (
        {DEFAULTS: None, "/usr/lib/systemd/system.conf.d/x.conf": golden.FILES[DEFAULTS]},
        {},
    ),
    "defaults: a later file of the distribution": (
        {"/usr/lib/systemd/system.conf.d/zz.conf": "[Manager]\nDefaultLimitRTPRIO=1\n"},
        bad("rtprio"),
    ),
    "defaults: the wrong section": (of_manager("[Manager]", "[Service]"), bad(*ITEMS)),
    "defaults: small letters": (of_manager("[Manager]", "[manager]"), bad(*ITEMS)),
    # --- processes ---
    "its limits refused": ({"/proc/900/limits": "!EACCES"}, bad(*ITEMS, status="unknown")),
    "its limits cut off": (
        {
            "/proc/900/limits": golden.FILES["/proc/900/limits"].replace(
                "Max realtime priority     95", "Max realtime priority     9"
            )
        },
        bad("rtprio", status="fail"),
    ),
    "its status refused": (
        {"/proc/900/status": "!EACCES", "/proc/900/task/900/status": "!EACCES"},
        {**bad(*ITEMS, status="unknown"), "cpu_isolation.threads": "unknown", "cpu_isolation.rcu": "unknown"},
    ),
    "no such user": (
        replace("/etc/passwd", "trader:x:1001", "bob:x:1001"),
        bad(*ITEMS, status="warn"),
    ),
    # --- other owners ---
    "TuneD: another policy": (tuned("[vm]\ntransparent_hugepages=always\n"), {"hugepages.transparent": "volatile"}),
    "TuneD: the same policy": (tuned("[vm]\ntransparent_hugepages=never\n"), {}),
    "TuneD: a sysctl that our files win": (tuned("[sysctl]\nnet.core.rmem_max=212992\n"), {}),
    "TuneD: a sysctl that wins": (
        {
            **tuned("[sysctl]\nnet.core.rmem_max=212992\n"),
            "/etc/tuned/tuned-main.conf": "reapply_sysctl = 0\n",
        },
        {"net_buffers.net.core.rmem_max": "volatile"},
    ),
    "TuneD: included": (
        {
            **tuned("[main]\ninclude=base\n"),
            "/usr/lib/tuned/base/tuned.conf": "[vm]\ntransparent_hugepages=always\n",
        },
        {"hugepages.transparent": "volatile"},
    ),
    "TuneD: not enabled": (
        {
            **tuned("[vm]\ntransparent_hugepages=always\n"),
            f"{ETC}/multi-user.target.wants/tuned.service": None,
        },
        {},
    ),
    "TuneD: masked": (
        {**tuned("[vm]\ntransparent_hugepages=always\n"), f"{ETC}/tuned.service": "-> /dev/null"},
        {},
    ),
    "thermald": (
        {
            f"{LIB}/thermald.service": "[Service]\nExecStart=/usr/sbin/thermald\n",
            f"{ETC}/multi-user.target.wants/thermald.service": f"-> {LIB}/thermald.service",
        },
        {"other_owners.thermald": "warn"},
    ),
    # --- what the roles stated ---
    "a section is lost": ({"/etc/hosttune/profile.d/tcp_bbr.yml": None}, {"tcp_bbr=": "fail"}),
}


@pytest.mark.parametrize("name", HOSTS)
def test_a_host(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    corpus.assert_judged(*HOSTS[name], fake_host, tmp_path)
