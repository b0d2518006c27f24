"""Symbols' names reach init(), in every language."""

import ctypes
import importlib.util
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import strategy
from agent.strategy import Strategy, StrategyError, compile_numba, find_symbol

from .test_loader import no_cc, no_rust

LONGEST = "1000000MOGUSDT-PERPS"
WANTED = ("ETHUSDT", LONGEST, "ETH", "ETHUSDTX", "")
C = """
#include "agent_strategy.h"
static int32_t init(void *state, const struct agent_params *params)
{
    int64_t *found = state;
    found[0] = agent_find_symbol(params, "ETHUSDT");
    found[1] = agent_find_symbol(params, "1000000MOGUSDT-PERPS");
    found[2] = agent_find_symbol(params, "ETH");
    found[3] = agent_find_symbol(params, "ETHUSDTX");
    found[4] = agent_find_symbol(params, "");
    return 0;
}
static int32_t on_event(void *state, const struct agent_event *event, struct agent_order *orders) { return 0; }
struct agent_strategy agent_strategy = {
    .abi = AGENT_ABI, .size = sizeof(struct agent_strategy), .state_size = 40, .init = init, .on_event = on_event };
__attribute__((constructor)) static void set_layout(void) { agent_strategy.layout = agent_layout_hash(); }
"""
RUST = """
mod agent_abi;
use agent_abi::{Event, Order, Params, Strategy};
use core::ffi::c_void;
unsafe extern "C" fn init(state: *mut c_void, params: *const Params) -> i32 {
    let (found, params) = (&mut *(state as *mut [i64; 5]), &*params);
    for (i, name) in ["ETHUSDT", "1000000MOGUSDT-PERPS", "ETH", "ETHUSDTX", ""].iter().enumerate() {
        found[i] = params.find(name).map_or(-1, |index| index as i64);
    }
    0
}
unsafe extern "C" fn on_event(_: *mut c_void, _: *const Event, _: *mut Order) -> i32 { 0 }
#[no_mangle]
pub static agent_strategy: Strategy = Strategy::of::<[i64; 5]>(init, on_event);
"""
CYTHON = """
# cython: language_level=3
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset
from agent.strategy.abi cimport *

cdef int32_t init(void *state, const agent_params *params) noexcept nogil:
    cdef int64_t *found = <int64_t *> state
    found[0] = agent_find_symbol(params, b"ETHUSDT")
    found[1] = agent_find_symbol(params, b"1000000MOGUSDT-PERPS")
    found[2] = agent_find_symbol(params, b"ETH")
    found[3] = agent_find_symbol(params, b"ETHUSDTX")
    found[4] = agent_find_symbol(params, b"")
    return 0

cdef int32_t on_event(void *state, const agent_event *event, agent_order *orders) noexcept nogil:
    return 0

cdef agent_strategy table
memset(&table, 0, sizeof(table))
table.abi, table.size, table.layout, table.state_size = AGENT_ABI, sizeof(agent_strategy), agent_layout_hash(), 40
table.init = init
table.on_event = on_event
STRATEGY = PyCapsule_New(&table, "agent.strategy", NULL)
"""


def check(loaded: strategy.Loaded) -> None:
    """Five indices are the state: those of WANTED."""

    def find(*names: str) -> list[int]:
        prepared = strategy.prepare(loaded, 1, 2, 3, names)
        return list((ctypes.c_int64 * 5).from_address(prepared.state))

    assert find("BTCUSDT", "ETHUSDT", LONGEST) == [1, 2, -1, -1, -1]
    assert find("ETHUSDTX", *[f"S{i}" for i in range(253)], "ETH", "ETHUSDT") == [255, -1, 254, 0, -1]
    assert find("") == [-1, -1, -1, -1, 0]
    with pytest.raises(StrategyError, match=r"^strategy\.symbols: found .*'x{24}', allowed: at most 23 bytes$"):
        find("x" * 24)
    with pytest.raises(StrategyError, match=r"^strategy\.symbols: found 257 symbols and 0 values, allowed: at m"):
        find(*["S"] * 257)


def compile_source(*command: str, directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_numba() -> None:
    def init(state, params):  # type: ignore[no-untyped-def]
        state.found[0] = find_symbol(params, b"ETHUSDT")
        state.found[1] = find_symbol(params, b"1000000MOGUSDT-PERPS")
        state.found[2] = find_symbol(params, b"ETH")
        state.found[3] = find_symbol(params, b"ETHUSDTX")
        state.found[4] = find_symbol(params, b"")
        return 0

    def on_event(state, event, orders):  # type: ignore[no-untyped-def]
        return 0

    check(compile_numba.compile_strategy(Strategy(on_event, [("found", "i8", (5,))], init)))


@no_cc
def test_c(tmp_path: Path) -> None:
    (tmp_path / "named.c").write_text(C)
    compile_source("cc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-I", str(strategy.include()), "named.c",
                   "-o", "named.so", directory=tmp_path)  # fmt: skip
    check(strategy.load(str(tmp_path / "named.so")))


@no_rust
def test_rust(tmp_path: Path) -> None:
    (tmp_path / "named.rs").write_text(RUST)
    shutil.copy(strategy.include() / "agent_abi.rs", tmp_path)
    compile_source("rustc", "--edition", "2021", "--crate-type", "cdylib", "-C", "panic=abort", "-O", "named.rs",
                   "-o", "named.so", directory=tmp_path)  # fmt: skip
    check(strategy.load(str(tmp_path / "named.so")))


@no_cc
@pytest.mark.skipif(importlib.util.find_spec("Cython") is None, reason="no Cython")
def test_cython(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "named_cython.pyx").write_text(CYTHON)
    include = str(strategy.include())
    compile_source(sys.executable, "-m", "cython", "-3", "-I", f"{include}/../../..", "named_cython.pyx",
                   directory=tmp_path)  # fmt: skip
    compile_source("cc", "-O2", "-shared", "-fPIC", "-I", sysconfig.get_path("include"), "-I", include,
                   "named_cython.c", "-o", "named_cython.so", directory=tmp_path)  # fmt: skip
    monkeypatch.syspath_prepend(str(tmp_path))
    check(strategy.load("named_cython:STRATEGY"))


names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=0, max_size=23)


@settings(deadline=None)
@given(given_names=st.lists(names, min_size=1, max_size=5), wanted=names)
def test_a_name_is_found_where_it_is_first(given_names: list[str], wanted: str) -> None:
    """The function itself, on the records that Numba sees."""
    import numpy as np

    from agent.strategy.types import PARAMS

    params = np.zeros(1, PARAMS).view(np.recarray)
    params["symbols"] = len(given_names)
    for index, name in enumerate(given_names):
        params["names"][0, index]["text"][: len(name)] = list(name.encode())
    record = params[0]
    found = find_symbol(record, wanted.encode())
    assert found == (given_names.index(wanted) if wanted in given_names else -1)
