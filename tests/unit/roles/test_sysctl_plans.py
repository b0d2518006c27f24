"""What the roles net_buffers and tcp_bbr set, the check judges as right, whatever the host and the inventory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hosttune import checker, profile
from hosttune.host import module_names, qdisc
from tests.examples import TIMES
from tests.unit.hosttune.conftest import FakeHost
from tests.unit.roles.hosts import make_host
from tests.unit.roles.plans import action

ROLES = Path(__file__).resolve().parents[3] / "roles"
PLANS = {role: action.load(role) for role in ("net_buffers", "tcp_bbr")}
DEFAULTS = {role: yaml.safe_load((ROLES / role / "defaults/main.yml").read_text()) for role in PLANS}
RELEASE = "6.1.0-28-rt-amd64"
CONTROLS = ("reno", "cubic", "bbr", "dctcp")
QDISCS = ("pfifo_fast", "fq", "fq_codel", "cake")
LATE = {"net.netfilter.nf_conntrack_max": 1048576, "net.bridge.bridge-nf-call-iptables": 0}
MORE = {"net.ipv4.conf.all.rp_filter": 0, "net.core.somaxconn": 4096, "net.ipv4.ip_local_port_range": [1024, 65535]}


def render(role: str, template: str, plan: dict[str, Any]) -> str:
    """Returns what Ansible makes of a template of a role."""
    environment = jinja2.Environment(
        trim_blocks=True, keep_trailing_newline=True, loader=jinja2.FileSystemLoader(ROLES)
    )
    environment.filters["to_nice_yaml"] = lambda value, indent, sort_keys=True: yaml.safe_dump(
        value, sort_keys=sort_keys
    )
    return environment.get_template(f"{role}/templates/{template}.j2").render({f"__{role}_plan": plan})


def test_an_interface_that_is_not_there() -> None:
    variables = {"tcp_bbr_congestion_control": "cubic", "tcp_bbr_qdisc": "fq", "tcp_bbr_interfaces": ["eth0", "eth9"]}
    paths = {"/sys/class/net/eth0": "", "/sys/class/net/eth9": None}
    assert set(paths) <= set(PLANS["tcp_bbr"].list_reads({"variables": variables, "refuse": True}, image=False))
    assert PLANS["tcp_bbr"].plan(variables, host=make_host())["modules"]
    with pytest.raises(ValueError, match=r"^tcp_bbr_interfaces: eth9: the host has no such network interface$"):
        PLANS["tcp_bbr"].plan(variables, host=make_host(**paths))
    assert PLANS["tcp_bbr"].plan(variables, refuse=False)["modules"]


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("install tcp_bbr /bin/false", True),
        ("# x\n blacklist\ttcp-bbr", True),
        ("install sch_fq /bin/true", True),
        ("install sch_fq /sbin/modprobe --ignore-install sch_fq", False),
        ("alias tcp_bbr tcp_vegas", True),
        ("#blacklist tcp_bbr\noptions tcp_bbr a=1\nblacklist tcp_vegas\ninstall", False),
    ],
)
def test_a_module_that_modprobe_d_keeps_out(text: str, refused: bool) -> None:
    variables = {"tcp_bbr_congestion_control": "bbr", "tcp_bbr_qdisc": "fq", "tcp_bbr_interfaces": []}
    path = "/usr/lib/modprobe.d/x.conf"
    assert "files:/usr/lib/modprobe.d/*.conf" in PLANS["tcp_bbr"].list_reads(
        {"variables": variables, "refuse": True}, image=False
    )
    host = make_host(**{path: text})
    assert PLANS["tcp_bbr"].plan(variables, host=make_host(**{path: text, "/etc/modprobe.d/x.conf": ""}))["modules"]
    assert PLANS["tcp_bbr"].plan(variables, refuse=False, host=host)["modules"]
    if refused:
        with pytest.raises(ValueError, match=rf"^{path}:[12] keeps the module (tcp_bbr|sch_fq) from being loaded: "):
            PLANS["tcp_bbr"].plan(variables, host=host)
    else:
        assert PLANS["tcp_bbr"].plan(variables, host=host)["modules"] == ["tcp_bbr", "sch_fq"]


@settings(max_examples=150 * TIMES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_what_the_roles_set_is_judged_as_right(data: st.DataObject) -> None:
    sysctl = {**DEFAULTS["net_buffers"]["net_buffers_sysctl"], **MORE}
    asked = {key: sysctl[key] for key in data.draw(st.lists(st.sampled_from(sorted(sysctl)), unique=True))}
    late = {key: LATE[key] for key in data.draw(st.lists(st.sampled_from(sorted(LATE)), unique=True))}
    missing = data.draw(st.sampled_from([(), ("net.core.busy_poll", "net.core.busy_read"), tuple(asked)[:2]]))
    indexed = data.draw(st.booleans())
    places = st.sampled_from(["builtin", "module", None])
    kernel = {f"tcp_{name}": data.draw(places) for name in CONTROLS[1:]} | {"tcp_reno": None}
    kernel |= {f"sch_{name}": data.draw(places) for name in QDISCS[1:]} | {"sch_pfifo_fast": None}
    control, queue = data.draw(st.sampled_from(CONTROLS)), data.draw(st.sampled_from(QDISCS))
    variables = {
        "tcp_bbr_congestion_control": control, "tcp_bbr_qdisc": queue, "tcp_bbr_interfaces": [],
        "tcp_bbr_require_fq": data.draw(st.booleans()),
    }  # fmt: skip
    path = "/proc/sys/"
    found: dict[str, Any] = {
        f"{path}{key.replace('.', '/')}": None if key in missing else "1" for key in {**asked, **late}
    }
    available = ["reno", *(name for name in CONTROLS[1:] if kernel[f"tcp_{name}"] == "builtin")]
    found[f"{path}net/ipv4/tcp_available_congestion_control"] = " ".join(available)
    found[f"{path}net/core/default_qdisc"] = "pfifo_fast"
    if indexed:
        found |= {f"module:{name}": place for name, place in kernel.items()}
    read = make_host(**found)
    read.defaults = {**DEFAULTS["net_buffers"], **DEFAULTS["tcp_bbr"]}
    try:
        buffers = PLANS["net_buffers"].plan({**asked, **late}, True, read)
        bbr = PLANS["tcp_bbr"].plan(variables, True, read)
    except ValueError:
        return  # refused, before anything is changed
    if not indexed and (kernel[f"tcp_{control}"] is None and control != "reno"):
        return  # the kernel refuses the value
    loaded = {
        str(module_names.find_owner(key.replace(".", "/"))) for key in late
    }  # by hand, so that the keys are there
    loaded |= {f"tcp_{control}"} & {name for name, place in kernel.items() if place == "module"}
    values = {**buffers["values"], **bbr["values"]}
    allowed = " ".join(dict.fromkeys([*available, *([control] if "congestion_control" in bbr["section"] else [])]))
    files = {
        "/etc/sysctl.d/99-zz-hosttune-net_buffers.conf": render("net_buffers", "sysctl.conf", buffers),
        "/etc/sysctl.d/99-zz-hosttune-tcp_bbr.conf": render("tcp_bbr", "sysctl.conf", bbr),
        "/etc/modules-load.d/hosttune-net_buffers.conf": render("net_buffers", "modules.conf", buffers),
        "/etc/modules-load.d/hosttune-tcp_bbr.conf": render("tcp_bbr", "modules.conf", bbr),
        "/usr/lib/sysctl.d/50-default.conf": "net.ipv4.conf.*.rp_filter = 2\nnet.core.rmem_max = 5\n",
        "/proc/cmdline": "quiet\n",
        "/proc/sys/kernel/osrelease": RELEASE,
        f"/lib/modules/{RELEASE}/modules.builtin": "".join(
            f"kernel/x/{name}.ko\n" for name, place in kernel.items() if place == "builtin"
        ),
        f"/lib/modules/{RELEASE}/modules.dep": "",
        "/proc/modules": "".join(f"{name} 1 1 - Live 0x0\n" for name in sorted(loaded)),
        f"{path}net/ipv4/tcp_available_congestion_control": f"{allowed}\n",
        f"{path}net/ipv4/tcp_allowed_congestion_control": f"{allowed}\n",
        **{name: " ".join(map(str, value if isinstance(value, list) else [value])) for name, value in values.items()},
    }
    statements = [render("net_buffers", "profile.yml", buffers)] if buffers["sysctl"] else []
    statements += [render("tcp_bbr", "profile.yml", bbr)] if bbr["section"] else []
    row = {"interface": "eth0", "kind": queue, "handle": 0, "parent": qdisc.ROOT}
    root = FakeHost(files)
    root.links["/sys/class/net/eth0/device"] = "../../0000:00:03.0"
    root.tables["qdisc"] = [row]
    for statement in statements:
        report = checker.run_checks(profile.load_text(statement, "p.yml"), root)
        assert {each.status for each in report.findings} <= {"pass"}, (statement, report)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("net.ipv4.conf.eth0.rp_filter", "without an interface name"),
        ("net.ipv6.neigh.eth0.gc_stale_time", "without an interface name"),
        ("net.ipv4.tcp_low_latency", "the kernel ignores this key since 4.14"),
    ],
)
def test_keys_that_no_check_would_judge_as_right_are_refused(key: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PLANS["net_buffers"].plan({key: 1})


def test_the_key_of_a_module_that_is_not_loaded_is_refused_with_its_name() -> None:
    (key, value), *_ = LATE.items()
    host = make_host(**{f"/proc/sys/{key.replace('.', '/')}": None})
    with pytest.raises(ValueError, match="the module nf_conntrack makes it and is not loaded: modprobe nf_conntrack"):
        PLANS["net_buffers"].plan({key: value}, True, host)
    assert PLANS["net_buffers"].plan({key: value})["modules"] == ["nf_conntrack"]
