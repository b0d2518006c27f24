"""The segment's words come from the C header by their names: whoever reorders the header changes no other file."""

import ctypes
import importlib.util
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent import limits
from agent.shm import _segment, request
from agent.shm import segment as shm

from ..conftest import Hand

ROOT = Path(__file__).parents[4]
HEADER = ROOT / "agent" / "shm" / "include" / "agent_shm.h"
LISTS = {"AGENT_COUNTERS": _segment.counters, "AGENT_HISTOGRAMS": _segment.histograms, "AGENT_LIMITS": _segment.limits,
         "AGENT_SYMBOL_FIELDS": _segment.symbol_fields}  # fmt: skip


def declared(macro: str, header: str) -> list[str]:
    """Returns the entries of one of the header's lists, without the line's end."""
    body = re.search(rf"#define {macro}\(X\) \\\n(.*?)\n\n", header, re.S)
    assert body
    return [line.strip().removesuffix("\\").strip() for line in body[1].split("\n")]


@pytest.mark.parametrize("macro", LISTS)
def test_the_table_is_the_headers_list(macro: str) -> None:
    entries = declared(macro, HEADER.read_text())
    found = LISTS[macro]()
    assert [re.match(r"X\((\w+), ", entry)[1] for entry in entries] == list(found)  # type: ignore[index]
    assert all(f'"{word.text}")' in entry for entry, word in zip(entries, found.values(), strict=True))


def test_the_declarations_for_cython_have_every_word() -> None:
    """A word that is not declared there cannot be written by the engine; one too many does not compile."""
    text = (HEADER.parents[1] / "segment.pxd").read_text()
    structs = {"agent_counters": _segment.counters, "agent_histograms": _segment.histograms,
               "agent_limits": _segment.limits, "agent_symbol": _segment.symbol_fields}  # fmt: skip
    for struct, words in structs.items():
        body = re.search(rf"    struct {struct}:\n((?:        .*\n)+)", text)
        assert body
        assert set(re.findall(r"(\w+)$", body[1], re.M)) == set(words())


def test_offsets_are_those_that_a_segment_itself_describes(hand: Callable[..., Hand], tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_bytes(hand().segment)
    for name, word in _segment.counters().items():
        assert shm.counter_offset(path, name) == word.offset and word.kind in ("counter", "gauge")


def test_every_limit_of_the_segment_is_one_of_the_users(hand: Callable[..., Hand]) -> None:
    scaled = {limit.word for limit in limits.LIMITS.values() if limit.word}
    assert scaled | {"rate_interval_ns", "rate_burst_ns"} == set(_segment.limits()) == set(hand().reading.limits)


def reorder(header: str) -> str:
    """Returns the header with each of its lists turned round."""
    for macro in LISTS:
        entries = declared(macro, header)
        old = " \\\n".join(f"    {entry}" for entry in entries)
        assert old in header
        header = header.replace(old, " \\\n".join(f"    {entry}" for entry in reversed(entries)))
    return header


@pytest.fixture(scope="module")
def reordered(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """agent.replay._replay, whose gate and limits are the engine's, compiled with a reordered header."""
    place = tmp_path_factory.mktemp("reordered")
    (place / "agent_shm.h").write_text(reorder(HEADER.read_text()))
    subprocess.run([sys.executable, "-m", "cython", "-3", ROOT / "agent/replay/_replay.pyx", "-o", place / "_replay.c"],
                   cwd=ROOT, check=True, timeout=300)  # fmt: skip
    subprocess.run(["cc", "-shared", "-fPIC", "-O0", "-w", "-DPy_LIMITED_API=0x030b0000", "-DCYTHON_LIMITED_API=1",
                    f"-I{place}", f"-I{ROOT}/agent/strategy/include", f"-I{sysconfig.get_paths()['include']}",
                    place / "_replay.c", "-o", place / "_replay.so"], check=True, timeout=300)  # fmt: skip
    spec = importlib.util.spec_from_file_location("_replay", place / "_replay.so")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_limits_go_to_the_right_words_of_a_reordered_header(
    reordered: Any, hand: Callable[..., Hand], tmp_path: Path
) -> None:
    h = hand()  # its strategy, for another path
    h.orders = [(100.01, 5)]
    wanted = {name: number for number, name in enumerate(_segment.limits(), 1000)} | {"kill": 0, "collar_ppm": 10**7}
    replay = reordered.Replay(
        strategy=ctypes.addressof(h._table), state=ctypes.addressof(h._state), symbols=[b"BTCUSDT"],
        feed_format="csv", limits=wanted,
    )  # fmt: skip
    reading = shm.decode(replay.segment_bytes, "reordered")
    assert list(reading.limits) == list(reversed(_segment.limits())) and reading.limits == wanted
    assert [*reading.counters] == list(reversed(_segment.counters()))
    # And as the gate reads them: an order of 5 passes max_size = 5, and not 4.
    allowed = ", ".join(reading.limits)
    with pytest.raises(ValueError, match=f"limit: 'max_sice', allowed: {allowed}"):
        replay.limits(kill=1, max_sice=1)
    for size, counter in ((5, "orders_sent"), (4, "reject_size")):
        replay.limits(**wanted | {"max_size": size, "max_notional": 0, "duplicate_ns": 0, "rate_interval_ns": 0})
        before = shm.decode(replay.segment_bytes, "reordered").counters
        replay.run(b"170000000000000000%d,BTCUSDT,100.00,1,100.01,2\n" % (9 - size))
        after = shm.decode(replay.segment_bytes, "reordered").counters
        changed = {name for name in after if after[name] != before[name]}
        assert counter in changed and {"orders_sent", "reject_size"} & changed == {counter}
    # From outside, by what the segment says of itself: agents of two builds on one host.
    path = tmp_path / "s"
    path.write_bytes(replay.segment_bytes)
    request.set_limits(path, {"max_size": 7})
    assert shm.read(path).limits == reading.limits | {"max_size": 7, "max_notional": 0, "duplicate_ns": 0,
                                                      "rate_interval_ns": 0}  # fmt: skip
    here = _segment.limits()["max_size"].offset
    assert path.read_bytes()[here : here + 8] != (7).to_bytes(8, "little")
