"""Hosts with something of a login broken, or merely written otherwise: PAM, sshd, and where pam_limits reads."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.hosttune import corpus, golden
from tests.unit.hosttune.corpus import Changes, Hosts

from .test_corpus_limits import DEFAULTS, ITEMS, OWN, bad, late

SSHD, LOGIN = "/etc/pam.d/sshd", "/etc/pam.d/login"


def pam(*lines: str, service: str = SSHD) -> Changes:
    return {service: "".join(f"{line}\n" for line in lines)}


def sshd(*lines: str) -> Changes:
    return pam("Port 22", *lines, service="/etc/ssh/sshd_config")


RUN, UNIX = "session required pam_limits.so", "session required pam_unix.so"
COMMON, VENDOR = "/etc/pam.d/common-session", "/usr/lib/pam.d"
NO_PAM: Changes = {SSHD: None, LOGIN: None}
SSHD_D = "/etc/ssh/sshd_config.d"
POLICIES = "Include /etc/crypto-policies/back-ends/opensshserver.config\n"
#: Of Debian 12: openssh-server, login and libpam-runtime.
DEBIAN: dict[str, str] = {
    SSHD: f"""@include common-auth
account    required     pam_nologin.so
@include common-account
session [success=ok ignore=ignore module_unknown=ignore default=bad]        pam_selinux.so close
session    required     pam_loginuid.so
session    optional     pam_keyinit.so force revoke
@include common-session
session    optional     pam_motd.so  motd=/run/motd.dynamic
session    optional     pam_mail.so standard noenv # [1]
{RUN}
session    required     pam_env.so # [1]
session [success=ok ignore=ignore module_unknown=ignore default=bad]        pam_selinux.so open
@include common-password
""",
    "/etc/pam.d/common-session": """session	[default=1]			pam_permit.so
# here's the fallback if no module succeeds
session	requisite			pam_deny.so
session	required			pam_permit.so
session	required	pam_unix.so
session	optional			pam_sss.so
session	optional	pam_systemd.so
""",
}
#: Of RHEL 9: openssh-server, and authselect's profile sssd.
REDHAT: dict[str, str] = {
    SSHD: """auth       substack     password-auth
auth       include      postlogin
session    required     pam_selinux.so close
session    required     pam_loginuid.so
session    required     pam_selinux.so open env_params
session    required     pam_namespace.so
session    optional     pam_keyinit.so force revoke
session    optional     pam_motd.so
session    include      password-auth
session    include      postlogin
""",
    "/etc/pam.d/password-auth": """auth        required      pam_env.so
session     optional      pam_keyinit.so revoke
session     required      pam_limits.so
-session    optional      pam_systemd.so
session     [success=1 default=ignore] pam_succeed_if.so service in crond quiet use_uid
session     required      pam_unix.so
session     optional      pam_sss.so
""",
    "/etc/pam.d/postlogin": """session     optional                   pam_umask.so silent
session     [success=1 default=ignore] pam_succeed_if.so service !~ gdm* service !~ su* quiet
session     [default=1]   pam_lastlog.so nowtmp showfailed
session     optional      pam_lastlog.so silent noupdate showfailed
""",
    "/etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\nSubsystem sftp /usr/libexec/openssh/sftp-server\n",
    f"{SSHD_D}/50-redhat.conf": f"{POLICIES}SyslogFacility AUTHPRIV\nUsePAM yes\n",
    "/etc/crypto-policies/back-ends/opensshserver.config": "Ciphers aes256-gcm@openssh.com\n",
}

HOSTS: Hosts = {
    "optional": (pam("session optional pam_limits.so"), {}),
    "in brackets": (pam("session [success=ok default=ignore] pam_limits.so"), {}),
    "by its path": (pam("session required /lib/x86_64-linux-gnu/security/pam_limits.so"), {}),
    "with a word": (pam("session required pam_limits.so debug set_all"), {}),
    "of another kind": (pam("account required pam_limits.so"), bad(*ITEMS)),
    "a comment": (pam("#session required pam_limits.so"), bad(*ITEMS)),
    "only in what is included": (
        {**pam("@include common-session"), "/etc/pam.d/common-session": "session required pam_limits.so\n"},
        {},
    ),
    "in what is included as a session": (
        {**pam("session include common-session"), "/etc/pam.d/common-session": "session required pam_limits.so\n"},
        {},
    ),
    "in a substack": (
        {**pam("session substack common-session"), "/etc/pam.d/common-session": "session required pam_limits.so\n"},
        {},
    ),
    "over two lines": (pam("session required \\", "  pam_limits.so"), {}),
    "a sufficient line before": (pam("session sufficient pam_permit.so", RUN), bad(*ITEMS)),
    "a line before that is done": (pam("session [success=done default=ignore] pam_permit.so", RUN), bad(*ITEMS)),
    "a sufficient line before that may fail": (pam("session sufficient pam_x.so", RUN), bad(*ITEMS, status="unknown")),
    "a sufficient line after": (pam(RUN, "session sufficient pam_permit.so"), {}),
    "a jump over it": (pam("session [default=1] pam_permit.so", RUN, UNIX), bad(*ITEMS)),
    "a jump that may be over it": (
        pam("session [success=1 default=ignore] pam_succeed_if.so quiet user = trader", RUN, UNIX),
        bad(*ITEMS, status="unknown"),
    ),
    "a jump to it": (pam("session [success=1 default=ignore] pam_succeed_if.so quiet user = x", UNIX, RUN), {}),
    "a jump over a substack to it": (
        {
            **pam("session [success=1 default=ignore] pam_succeed_if.so quiet", "session substack x", RUN),
            "/etc/pam.d/x": f"{UNIX}\n{UNIX}\n",
        },
        {},
    ),
    "a jump over the first line of what is included": (
        {
            **pam("session [success=1 default=ignore] pam_succeed_if.so quiet", "session include x"),
            "/etc/pam.d/x": f"{RUN}\n{UNIX}\n",
        },
        bad(*ITEMS, status="unknown"),
    ),
    "a sufficient line in a substack before": (
        {**pam("session substack x", RUN), "/etc/pam.d/x": "session sufficient pam_permit.so\n"},
        {},
    ),
    "a second run that may be passed over": (
        pam("session [success=1 default=ignore] pam_succeed_if.so service in crond", RUN, RUN),
        {},
    ),
    "as Debian has it": (DEBIAN, {}),
    "as Debian has it, without": ({**DEBIAN, SSHD: DEBIAN[SSHD].replace(RUN, UNIX)}, bad(*ITEMS)),
    "as RHEL has it": (REDHAT, {}),
    "included by its path": (
        {**pam("@include /etc/pam.d/common-session"), "/etc/pam.d/common-session": f"{RUN}\n"},
        {},
    ),
    "included by its path, with another file": (
        {
            **pam(RUN, "session include /etc/pam.d/x"),
            "/etc/pam.d/x": f"{RUN} conf=/etc/security/x.conf\n",
            "/etc/security/x.conf": "trader - rtprio 1\n",
        },
        bad("rtprio"),
    ),
    "included from elsewhere": (pam(RUN, "session include /opt/x"), bad(*ITEMS, status="unknown")),
    "nothing in the distribution's files": (
        {**NO_PAM, f"{VENDOR}/sshd": f"{UNIX}\n", f"{VENDOR}/login": f"{UNIX}\n"},
        bad(*ITEMS),
    ),
    "in the distribution's files": ({**NO_PAM, f"{VENDOR}/sshd": f"{RUN}\n", f"{VENDOR}/login": f"{RUN}\n"}, {}),
    "in one of the distribution's files": ({SSHD: None, f"{VENDOR}/sshd": f"{UNIX}\n"}, bad(*ITEMS)),
    "the distribution's file is not read": ({f"{VENDOR}/sshd": f"{UNIX}\n"}, {}),
    "the distribution's file is refused": ({SSHD: None, f"{VENDOR}/sshd": "!EACCES"}, bad(*ITEMS, status="unknown")),
    "in what is included of the distribution": (
        {**pam("@include common-session"), COMMON: None, f"{VENDOR}/common-session": f"{RUN}\n", LOGIN: None},
        {},
    ),
    "not in what is included of the distribution": (
        {**pam("@include common-session"), f"{VENDOR}/common-session": f"{RUN}\n"},
        bad(*ITEMS),
    ),
    "a session below /run": ({SSHD: "-> /run/sshd", "/run/sshd": f"{RUN}\n"}, bad(*ITEMS)),
    "a session that is a link": ({SSHD: "-> ../x/sshd", "/etc/x/sshd": f"{RUN}\n"}, {}),
    "limits.conf below /run": (
        {OWN: None, "/etc/security/limits.conf": "-> /run/l.conf", "/run/l.conf": golden.FILES[OWN]},
        bad(*ITEMS),
    ),
    "limits.conf is a link": (
        {OWN: None, "/etc/security/limits.conf": "-> ../l.conf", "/etc/l.conf": golden.FILES[OWN]},
        {},
    ),
    "conf= below /run": (
        {
            **pam(f"{RUN} conf=/etc/security/x.conf"),
            "/etc/security/x.conf": "-> /run/x.conf",
            "/run/x.conf": golden.FILES[OWN],
        },
        bad(*ITEMS),
    ),
    "sshd uses PAM": (sshd("Include /etc/ssh/sshd_config.d/*.conf", "UsePAM yes"), {}),
    "sshd uses no PAM": (sshd("UsePAM no"), bad(*ITEMS)),
    "sshd uses no PAM unless it is told": (sshd("#UsePAM yes"), bad(*ITEMS)),
    "sshd uses no PAM by a drop-in": (
        {**sshd("Include /etc/ssh/sshd_config.d/*.conf", "UsePAM yes"), f"{SSHD_D}/a.conf": "UsePAM no\n"},
        bad(*ITEMS),
    ),
    "sshd uses PAM by a drop-in": (
        {**sshd("Include /etc/ssh/sshd_config.d/*.conf"), f"{SSHD_D}/50-redhat.conf": f"{POLICIES}UsePAM yes\n"},
        {},
    ),
    "sshd uses no PAM, in a drop-in that is read later": (
        {**sshd("UsePAM yes", "Include /etc/ssh/sshd_config.d/*.conf"), f"{SSHD_D}/a.conf": "UsePAM no\n"},
        {},
    ),
    "sshd includes what is not known": (sshd("Include /opt/x", "UsePAM yes"), bad(*ITEMS, status="unknown")),
    "sshd's file is refused": ({"/etc/ssh/sshd_config": "!EACCES"}, bad(*ITEMS, status="unknown")),
    "only at the console": (pam("session required pam_unix.so"), bad(*ITEMS)),
    "only by ssh": (pam("session required pam_unix.so", service=LOGIN), bad(*ITEMS)),
}
PROFILE_D = "/etc/profile.d/x.sh"
#: Shell that every login runs.
SHELLS: Hosts = {
    "locked memory": ({PROFILE_D: "ulimit -l 64\n"}, bad("memlock")),
    "locked memory, in /etc/profile": ({"/etc/profile": "PS1='# '\numask 022; ulimit -l 64\n"}, bad("memlock")),
    "locked memory, for bash": ({"/etc/bash.bashrc": '[ -z "$PS1" ] && true\nulimit -l 64\n'}, bad("memlock")),
    "no locked memory": ({PROFILE_D: "ulimit -l 0\n"}, bad("memlock")),
    "the soft limit": ({PROFILE_D: "ulimit -S -l 64\n"}, bad("memlock")),
    "both, as bash reads it": ({PROFILE_D: "ulimit -SHl 64\n"}, bad("memlock", status="unknown")),
    "both, and enough": ({PROFILE_D: "ulimit -SHn 65536\n"}, {}),
    "the hard limit below the soft one": ({PROFILE_D: "ulimit -H -l 64\n"}, {}),
    "both, one by one": ({PROFILE_D: "ulimit -Sl 64\nulimit -Hl 64\n"}, bad("memlock")),
    "priority": ({PROFILE_D: "command ulimit -r 0 2>/dev/null\n"}, bad("rtprio")),
    "the nice value": ({PROFILE_D: "ulimit -e 0 || true\n"}, bad("nice")),
    "files": ({PROFILE_D: "ulimit -n 1024 > /dev/null 2>&1\n"}, bad("nofile")),
    "files, by a quoted word": ({PROFILE_D: 'ulimit -n "1024"\n'}, bad("nofile")),
    "enough files": ({PROFILE_D: "ulimit -n 65536\n"}, {}),
    "all files that there are": ({PROFILE_D: "ulimit -n $(ulimit -Hn)\nulimit -Sn hard\n"}, {}),
    "nothing that it may": ({PROFILE_D: "ulimit -n 1048577\nulimit -l unlimited\n"}, {}),
    "what no limit here is": ({PROFILE_D: "ulimit -c 0\nulimit -u 100 -s unlimited\nulimit -a\nulimit -n\n"}, {}),
    "lower, and lower no more": ({PROFILE_D: "ulimit -Sn 1024\nulimit -Sn 65536\n"}, {}),
    "of one user": ({PROFILE_D: "if [ $USER = oracle ]; then\n  ulimit -l 64\nfi\n"}, bad("memlock", status="unknown")),
    "of a value that is not known": ({PROFILE_D: "ulimit -l $LOCKED\n"}, bad("memlock", status="unknown")),
    "perhaps, and then for sure": ({PROFILE_D: "[ -e /x ] && ulimit -l 65\nulimit -l 64\n"}, bad("memlock")),
    "of root alone": (
        {PROFILE_D: 'if [ "$(id -u)" = 0 ]; then ulimit -l 64; fi\n'},
        bad("memlock", status="unknown"),
    ),
    "evaluated": ({PROFILE_D: 'eval "ulimit -l 64"\n'}, bad("memlock")),
    "with a variable before": ({PROFILE_D: "LC_ALL=C ulimit -l 64\n"}, bad("memlock")),
    "with another limit, which dash refuses": ({PROFILE_D: "ulimit -c 0 -l 64\n"}, bad("memlock", status="unknown")),
    "of a substitution": ({PROFILE_D: 'ulimit -l "$(getconf X)"\n'}, bad("memlock", status="unknown")),
    "of arithmetic": ({PROFILE_D: "ulimit -n $((512*2))\n"}, bad("nofile", status="unknown")),
    "in a shell of its own": ({PROFILE_D: "(ulimit -l 64; make)\n"}, {}),
    "twice on a line": ({PROFILE_D: "ulimit -Sl 64; ulimit -Hl 64\n"}, bad("memlock")),
    "told, and done": ({PROFILE_D: 'echo "setting ulimit -l 64"\nulimit -l 64\n'}, bad("memlock")),
    "if it is not so low already": (
        {PROFILE_D: '[ "$(ulimit -n)" -gt 1024 ] && ulimit -n 1024\n'},
        bad("nofile", status="unknown"),
    ),
    "in a file of RHEL": ({"/etc/profile.d/sh.local": "ulimit -l 64\n"}, bad("memlock")),
    "only told": ({PROFILE_D: "# ulimit -l 64\necho 'run ulimit -l 64'\n"}, {}),
    "another name": ({"/etc/profile.d/x.csh": "ulimit -l 64\n", "/etc/profile.d/x": "ulimit -l 64\n"}, {}),
    "refused": ({PROFILE_D: "!EACCES"}, bad(*ITEMS, status="unknown")),
    "below /run": ({PROFILE_D: "-> /run/x.sh", "/run/x.sh": "ulimit -l 64\n"}, {}),
}


@pytest.mark.parametrize("name", SHELLS)
def test_a_login_shell(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    corpus.assert_judged(*SHELLS[name], fake_host, tmp_path)


@pytest.mark.parametrize("name", [name for name in SHELLS if name != "refused"])
def test_the_fix_of_a_login_shell(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    changes = SHELLS[name][0]
    host = corpus.make(fake_host, changes)
    corpus.apply_fixes(host, tmp_path)
    assert all(one.status == "pass" for one in corpus.judge(host).findings)
    for path in changes:  # shell still
        subprocess.run(["bash", "-n"], input=host.files.get(path, ""), text=True, check=True, timeout=10)


@pytest.mark.parametrize("name", HOSTS)
def test_a_host(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    corpus.assert_judged(*HOSTS[name], fake_host, tmp_path)


def test_the_fix_leaves_the_distributions_file(fake_host: type[Any]) -> None:
    """It adds to a copy in /etc, which libpam reads in its place."""
    report = corpus.judge(corpus.make(fake_host, {SSHD: None, f"{VENDOR}/sshd": f"{UNIX}\n"}))
    fixes = [one.fix.splitlines()[:2] for one in report.findings if one.status != "pass"]
    assert fixes == [[f"mkdir -p /etc/pam.d; cp {VENDOR}/sshd {SSHD}", f"echo '{RUN}' >> {SSHD}"]] * len(ITEMS)


AGENT = "/etc/systemd/system/agent.service"
AGENT_PAM, AGENT_CONF = "/etc/pam.d/agent", "/etc/security/agent.conf"
NO_DEFAULTS: Changes = {DEFAULTS: "[Manager]\n"}


def service(name: str, *limits: str) -> Changes:
    lines = "".join(f"{line}\n" for line in limits)
    return {AGENT: f"[Service]\nUser=trader\nPAMName={name}\nExecStart=/usr/bin/agent\n{lines}"}


#: Services of systemd that open a PAM session.
SERVICES: Hosts = {
    "lower": (
        {
            **service("agent", "LimitMEMLOCK=infinity"),
            **pam(f"{RUN} conf={AGENT_CONF}", service=AGENT_PAM),
            AGENT_CONF: "* - nofile 65536\ntrader - memlock 64\ntrader - rtprio 95\ntrader - nice -20\n",
        },
        bad("memlock"),
    ),
    "enough": ({**NO_DEFAULTS, **service("login")}, {}),
    "enough, by the unit's name": (
        {**NO_DEFAULTS, **service("%p"), **pam(RUN, service=AGENT_PAM)},
        {},
    ),
    "none of pam_limits": ({**service("agent"), **pam(UNIX, service=AGENT_PAM)}, {}),
    "none of pam_limits, and nothing else": (
        {**NO_DEFAULTS, **service("agent"), **pam(UNIX, service=AGENT_PAM)},
        bad(*ITEMS),
    ),
    "may run": (
        {**service("agent"), **pam("session sufficient pam_x.so", RUN, service=AGENT_PAM)},
        bad(*ITEMS, status="unknown"),
    ),
    "of no file": ({**service("agent"), "/etc/pam.d/other": f"{RUN}\n"}, {}),
    "of a name that is not understood": (service("a/b"), bad(*ITEMS, status="unknown")),
    "of a name in capitals": ({**NO_DEFAULTS, **service("Agent"), **pam(RUN, service=AGENT_PAM)}, {}),
    "of no file at all": (service("agent"), bad(*ITEMS, status="unknown")),
    "refused": ({**service("agent"), AGENT_PAM: "!EACCES"}, bad(*ITEMS, status="unknown")),
    "no line for it": (
        {**service("agent"), **pam(f"{RUN} conf={AGENT_CONF}", service=AGENT_PAM), AGENT_CONF: "# nothing\n"},
        bad(*ITEMS, status="unknown"),
    ),
    "of another user": (
        {
            AGENT: "[Service]\nUser=other\nPAMName=agent\nExecStart=/usr/bin/agent\n",
            **pam(f"{RUN} conf={AGENT_CONF}", service=AGENT_PAM),
            AGENT_CONF: "* - memlock 64\n",
        },
        {},
    ),
    "reset": ({**service("agent\nPAMName="), **pam(f"{RUN} conf=/x", service=AGENT_PAM)}, {}),
}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    corpus.assert_judged(*SERVICES[name], fake_host, tmp_path)


def test_the_fix_of_a_service(fake_host: type[Any]) -> None:
    report = corpus.judge(corpus.make(fake_host, SERVICES["lower"][0]))
    (found,) = [one for one in report.findings if one.status != "pass"]
    assert found.fix == f"echo 'trader - memlock unlimited' >> {AGENT_CONF}"


NSSWITCH = "/etc/nsswitch.conf"
SSS: Changes = {NSSWITCH: "# x\npasswd: files sss\ngroup:\tfiles [SUCCESS=merge] sss\n"}
OF_GROUP = golden.FILES[OWN].replace("trader", "@traders")
OF_ALL = golden.FILES[OWN].replace("trader", "*")
NO_USER: Changes = {"/etc/passwd": "root:x:0:0:root:/root:/bin/bash\n"}
UNKNOWN = bad(*ITEMS, status="unknown")
#: Hosts of which a directory service may know more users and groups.
DIRECTORIES: Hosts = {
    "a group that is not there": ({**SSS, OWN: OF_GROUP}, UNKNOWN),
    "a group that is not there, of files": (
        {NSSWITCH: "passwd: files\ngroup: compat systemd\n", OWN: OF_GROUP},
        bad(*ITEMS),
    ),
    "a group that is not there, without the file": ({OWN: OF_GROUP}, bad(*ITEMS)),
    "a group that is not there, of users elsewhere": ({NSSWITCH: "passwd: files sss\n", OWN: OF_GROUP}, bad(*ITEMS)),
    "a group that is not there, by initgroups": ({NSSWITCH: "initgroups: sss\n", OWN: OF_GROUP}, UNKNOWN),
    "a group that is not there, refused": ({NSSWITCH: "!EACCES", OWN: OF_GROUP}, UNKNOWN),
    "a group that may lower": ({**SSS, OWN: OF_ALL, **late("@quants - memlock 64")}, bad("memlock", status="unknown")),
    "a group that may take off all limits": ({**SSS, OWN: OF_ALL, **late("@quants -")}, UNKNOWN),
    "a group that may lower, behind the user": ({**SSS, **late("@quants - memlock 64")}, {}),
    "a group that may raise": ({**SSS, OWN: OF_ALL, **late("@quants - memlock unlimited")}, {}),
    "a group by number that may lower": (
        {**SSS, OWN: OF_ALL, **late("@:4000 - rtprio 1")},
        bad("rtprio", status="unknown"),
    ),
    "a range of primary groups": ({**SSS, OWN: OF_ALL, **late("@4000:5000 - rtprio 1")}, {}),
    "another range of users": ({**SSS, **late("4000:5000 - rtprio 1")}, {}),
    "a user that is not there": ({**SSS, **NO_USER}, bad(*ITEMS, status="warn")),
    "a user that is not there, in a group": ({**SSS, **NO_USER, OWN: OF_GROUP}, UNKNOWN),
    "a user that is not there, of a range": (
        {**SSS, **NO_USER, **late("4000:5000 - rtprio 1")},
        {**bad(*ITEMS, status="warn"), **bad("rtprio", status="unknown")},
    ),
}


@pytest.mark.parametrize("name", DIRECTORIES)
def test_a_directory_service(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    corpus.assert_judged(*DIRECTORIES[name], fake_host, tmp_path)


def test_nobody_adds_a_user_that_a_directory_service_may_have(fake_host: type[Any]) -> None:
    report = corpus.judge(corpus.make(fake_host, {**SSS, **NO_USER}))
    fixes = [one.fix for one in report.findings if one.status == "warn"]
    assert len(fixes) == len(ITEMS) and all(fix.startswith("getent passwd trader") for fix in fixes)
