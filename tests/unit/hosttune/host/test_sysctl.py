import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosttune.host import sysctl
from hosttune.host.root import Tree
from hosttune.host.sysctl import Assignment

KEY = "net.core.rmem_max"
ETC, RUN, LOCAL, LIB = sysctl.DIRECTORIES
NOTHING = {f"{directory}/README": "" for directory in sysctl.DIRECTORIES}


def deciding(root, key=KEY):
    return sysctl.find_winner(sysctl.read(root, [key]).boot.value, key)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.core.rmem_max", "net/core/rmem_max"),
        ("net/core/rmem_max", "net/core/rmem_max"),
        ("net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ("net/ipv4/conf/eth0.100/rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ("/net//core/rmem_max", "net/core/rmem_max"),
    ],
)
def test_dots_and_slashes(key, path):
    assert sysctl.normalise_key(key) == path


def test_lines():
    text = "\n# c\n; c\na.b=1\n  a.c  =  1 2 \n-a.d = 3\n-a.e\nnonsense\n= 4\n"
    assert sysctl.parse(text, "f") == [
        Assignment("a/b", "1", "f", 4),
        Assignment("a/c", "1 2", "f", 5),
        Assignment("a/d", "3", "f", 6),
        Assignment("a/e", None, "f", 7),
    ]


def test_the_later_file_name_wins_whatever_its_directory(host):
    files = {f"{ETC}/10-a.conf": f"{KEY} = 1", f"{LIB}/50-b.conf": f"\n{KEY} = 2"}
    line = deciding(host({**NOTHING, **files}))
    assert (line.value, line.place) == ("2", f"{LIB}/50-b.conf:2")


def test_of_files_with_one_name_the_one_in_etc_counts(host):
    files = {f"{LIB}/50-a.conf": f"{KEY} = 1", f"{RUN}/50-a.conf": f"{KEY} = 2", f"{ETC}/50-a.conf": ""}
    assert deciding(host({**NOTHING, **files})) is None


def test_a_link_to_dev_null_masks(host, tree):
    files = {f"{LIB}/50-a.conf": f"{KEY} = 1"}
    link = f"{ETC}/50-a.conf"
    live = host({**NOTHING, **files}, links={link: "/dev/null"})
    assert deciding(live) is None
    captured = Tree(tree({**NOTHING, **files, link: "-> /dev/null", sysctl.CONF: ""}))
    assert deciding(captured) is None


def test_a_link_that_leads_nowhere_is_passed_over(host, tree):
    files = {f"{LIB}/50-a.conf": f"{KEY} = 1"}
    link = f"{ETC}/99-sysctl.conf"
    assert deciding(host({**NOTHING, **files}, links={link: "../sysctl.conf"})).value == "1"
    assert deciding(Tree(tree({**NOTHING, **files, link: "-> ../sysctl.conf"}))).value == "1"


def test_hidden_and_other_files_do_not_count(host):
    files = {f"{ETC}/.50-a.conf": f"{KEY} = 1", f"{ETC}/50-a.conf.rpmnew": f"{KEY} = 2"}
    assert deciding(host({**NOTHING, **files})) is None


def test_sysctl_conf_is_last_for_procps_alone(host):
    root = host({**NOTHING, f"{ETC}/99-a.conf": f"{KEY} = 1", sysctl.CONF: f"{KEY} = 2"})
    facts = sysctl.read(root, [KEY])
    assert sysctl.find_winner(facts.boot.value, KEY).value == "1"
    assert sysctl.find_winner(facts.manual.value, KEY).place == f"{sysctl.CONF}:1"


def test_a_named_key_goes_before_any_glob(host):
    lines = f"{KEY} = 1\nnet.core.*_max = 2\nnet.*.rmem_max = 3\n"
    assert deciding(host({**NOTHING, f"{ETC}/a.conf": lines})).value == "1"
    lines = "net.core.*_max = 2\nnet.*.rmem_max = 3\nnet.* = 4\n"
    assert deciding(host({**NOTHING, f"{ETC}/a.conf": lines})).value == "3"
    lines = f"net.core.*_max = 2\n-{KEY}\n"
    assert deciding(host({**NOTHING, f"{ETC}/a.conf": lines})) is None


def test_a_directory_that_cannot_be_listed_decides_nothing(host):
    facts = sysctl.read(host({**NOTHING, f"{ETC}/a.conf": f"{KEY} = 1"}, refused={RUN: "EACCES"}), [KEY])
    assert (facts.boot.state, facts.boot.reason, facts.boot.source) == ("unreadable", "EACCES", RUN)


def test_a_file_that_cannot_be_read_decides_nothing(host):
    facts = sysctl.read(host(NOTHING, refused={f"{ETC}/a.conf": "EACCES"}), [KEY])
    assert (facts.boot.state, facts.boot.source) == ("unreadable", f"{ETC}/a.conf")


FILES = st.dictionaries(
    st.tuples(st.sampled_from(sysctl.DIRECTORIES), st.sampled_from(["10.conf", "50-x.conf", "99.conf", "a.conf"])),
    st.lists(st.tuples(st.sampled_from(["net.core.a", "net/core/a", "net.core.b", "net.core.*"]), st.integers(0, 9))),
    max_size=8,
)


@given(FILES)
def test_precedence_is_that_of_systemd_sysctl(host, files):
    """Against the algorithm of systemd's sysctl.c, done the slow way: a table of options, applied in order."""
    chosen = {}
    for directory in reversed(sysctl.DIRECTORIES):
        chosen |= {name: lines for (place, name), lines in files.items() if place == directory}
    options = {}
    for name in sorted(chosen):
        for key, value in chosen[name]:
            path = key.replace(".", "/")
            options.pop(path, None)
            options[path] = str(value)
    expected = options.get("net/core/a", options.get("net/core/*"))

    text = {
        os.path.join(*place): "".join(f"{key} = {value}\n" for key, value in lines) for place, lines in files.items()
    }
    line = deciding(host({**NOTHING, **text}), "net.core.a")
    assert (line.value if line else None) == expected
