"""Documents from elsewhere, mutated: a snapshot, a profile and a report are read or refused in one line, and no more.

Each process mutates valid documents of its own kind for its share of FUZZ_INPUTS inputs (10 million of each kind). What
a document may come to is bounded before it is parsed; so small inputs find what there is to find.
"""

import json
import multiprocessing
import os
import random
import resource
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from hosttune import profile
from hosttune.errors import UsageError
from hosttune.findings import Finding, Hop, Host, summarise_findings
from hosttune.host import snapshot
from hosttune.profile import ProfileError, nodes
from hosttune.report.check import CheckReport, read_report
from hosttune.report.diff import Difference
from hosttune.report.document import Page
from tests.cpu_time import is_within

INPUTS = int(os.environ.get("FUZZ_INPUTS", "10000000"))
PROCESSES = max(1, len(os.sched_getaffinity(0)))
#: Of all that a process may use; and of one input.
BYTES, SECONDS = 256 << 20, 2.0

pytestmark = pytest.mark.long

SNAPSHOTS = [
    json.dumps({"format": snapshot.FORMAT, "version": 2, "tool": "0", "source": "live", "moments": [moment]}).encode()
    for moment in (
        {},
        {
            "read": {
                "/proc/cmdline": {"value": "isolcpus=2"},
                "/a": {"absent": "ENOENT"},
                "/b": {"unreadable": "EACCES"},
            }
        },
        {"list": {"/proc": {"value": ["1", "2"]}}, "link": {"/l": {"value": "t"}}},
        {"netlink": {"qdisc": {"value": [{"interface": "e", "kind": None, "handle": 1, "parent": 4294967295}]}}},
    )
] + [
    b'{"format":"hosttune-snapshot","version":2,"tool":"0","source":"s","moments":[{},{}],"seconds":5.0,'
    b'"taken":"2025-01-31T06:00:00Z"}'
]
PROFILES = [
    b"net_buffers: {sysctl: {net.core.rmem_max: 67108864, net.ipv4.tcp_rmem: [4096, 131072]}}\n",
    b"tcp_bbr:\n  congestion_control: bbr\n  qdisc: fq  # why\n  require_fq: false\n",
    b"hugepages: {pages: {2M: {node0: 512}}, transparent: never}\n",
    b"irq_affinity:\n  housekeeping: &c '0-1'\n  irqbalance: banned\n  queues: {eth0: *c}\n",
    b'cpu_isolation: {isolated: "2-3", nohz_full: 2-N, managed_irq: yes}\n',
    b"rt_limits: {users: {trader: {memlock: unlimited, nice: -20}}, sched_rt_runtime_us: -1}\n",
    b"a: !!float 1.5e+3\nb: 0x1f\nc: ~\nd: |\n  text\n? e\n: >-\n  f\n",
]
_HOPS = {"runtime": Hop("bad", {"cpu1": [1, 2.5]}, "/f")}
_FINDING = Finding(id="a.b", status="fail", wanted=[1], found=None, hops=_HOPS, why="w", fix="f")
_HOST: Host = {"hostname": "h", "kernel": None, "cpus": 2, "time": None, "source": "live", "profile": "p.yml"}
REPORTS = [CheckReport(summarise_findings(_HOST, found)).as_data() for found in ([], [_FINDING])]

MARKS = [b"{", b"}", b"[", b"]", b'"', b":", b",", b"\n", b" ", b"\\", b"\x00", b"\xff", b"\xed\xa0\x80", b"*c", b"&c "]
MARKS += [
    b"- ",
    b"? ",
    b"<<: ",
    b"!!int ",
    b"%",
    b"9" * 400,
    b"1e999",
    b"-",
    b"null",
    b"true",
    b"\\ud800",
    b"\xef\xbb\xbf",
]


def mutate(random_: random.Random, seeds: list[bytes]) -> bytes:
    """Returns a seed with a few pieces changed, lost, repeated or put in from another."""
    text = bytearray(random_.choice(seeds))
    for _ in range(random_.randrange(1, 5)):
        at = random_.randrange(len(text) + 1)
        end = min(len(text), at + random_.randrange(9))
        match random_.randrange(5):
            case 0:
                text[at:end] = b""
            case 1:
                text[at:at] = random_.choice(MARKS) * random_.choice((1, 1, 1, 2, 30))
            case 2:
                text[at:end] = text[at:end] * random_.randrange(1, 6)
            case 3:
                other = random_.choice(seeds)
                start = random_.randrange(len(other))
                text[at:end] = other[start : start + random_.randrange(20)]
            case _:
                text[at:end] = random_.randbytes(end - at)
    return bytes(text)


def read_snapshot(text: bytes) -> str:
    """Read a snapshot as the command does, all that it holds."""
    try:
        data = snapshot.decode(text, "f")
    except snapshot.SnapshotError as error:
        return _check_line(str(error))
    for moment in data.moments:
        for entries in (moment.read, moment.list, moment.link, moment.netlink):
            for path, entry in entries.items():
                entry.fact(path)
    return "read"


def read_profile(text: bytes) -> str:
    """Read a profile as the command does, and what a snapshot keeps of it: that reads as the same."""
    decoded = text.decode("utf-8", "replace")
    try:
        node = nodes.parse(decoded, "p.yml")
    except ProfileError as error:
        line = str(error)
        assert line.startswith("p.yml"), line
        return _check_line(line)
    if isinstance(node.value, dict):
        again = nodes.parse(nodes.reduce(node, lambda name: True), "p.yml")
        assert again.value == node.value
    try:
        profile.load_text(decoded, "p.yml")
    except ProfileError as error:
        return _check_line(str(error))
    return "read"


def read_reports(text: bytes) -> str:
    """Read a report as `hosttune diff` does, and compare it with itself."""
    try:
        report = read_report(text)
    except ValueError as error:
        return _check_line(str(error))
    Difference(report, report).as_text(Page())
    CheckReport(report).as_text(Page())
    return "read"


def _check_line(text: str) -> str:
    assert text and len(text) < 2000, text
    return "refused"


def _fuzz(read: Callable[[bytes], str], seeds: list[bytes], count: int, seed: int) -> tuple[Counter[str], int, Any]:
    """Returns how many inputs ended how, the memory that the process took, and the input that broke the rules."""
    random_, found = random.Random(seed), Counter[str]()
    for _ in range(count):
        text = mutate(random_, seeds)
        begin = time.process_time()
        try:
            found[read(text)] += 1
        except Exception as error:
            return found, 0, (text[:2000], repr(error)[:500])
        if not is_within(time.process_time() - begin, SECONDS):
            return found, 0, (text[:2000], "too slow")
    return found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, None


KINDS: dict[str, tuple[Callable[[bytes], str], list[bytes]]] = {
    "snapshot": (read_snapshot, SNAPSHOTS),
    "profile": (read_profile, PROFILES),
    "report": (read_reports, [json.dumps(json.loads(snapshot.msgspec.json.encode(each))).encode() for each in REPORTS]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_document_does_more_than_be_read_or_refused(kind: str) -> None:
    read, seeds = KINDS[kind]
    for seed in seeds:
        read(seed)
    shares = [(read, seeds, INPUTS // PROCESSES + (n < INPUTS % PROCESSES), n) for n in range(PROCESSES)]
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        done = pool.starmap(_fuzz, shares)
    assert [broken for _, _, broken in done if broken] == []
    total = sum((found for found, _, _ in done), Counter[str]())
    assert sum(total.values()) == INPUTS
    assert set(total) == {"read", "refused"}, total
    assert max(memory for _, memory, _ in done) <= BYTES
    print(f"{kind}: {dict(total)}")


def test_the_loop_sees_an_exception() -> None:
    def broken(text: bytes) -> str:
        raise UsageError("x")

    assert _fuzz(broken, [b"a"], 5, 1)[2] is not None
