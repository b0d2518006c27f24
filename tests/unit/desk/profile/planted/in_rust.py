"""The functions of in_rust.rs, whose library lies beside this file."""

import ctypes
from functools import partial
from pathlib import Path

library = ctypes.CDLL(str(Path(__file__).with_name("libin_rust.so")))
for _name, _kinds in (("add_quotes", 1), ("divide_lots", 1), ("run_inside", 2)):
    getattr(library, _name).argtypes = [ctypes.c_int64] * _kinds
    getattr(library, _name).restype = ctypes.c_double

PLANTED = {
    "add_quotes": (library.add_quotes, 60_000),
    "divide_lots": (library.divide_lots, 30_000),
    "shift_bits": (partial(library.run_inside, 0), 60_000),
    "post_entries": (partial(library.run_inside, 1), 60_000),
    "cross_means": (partial(library.run_inside, 2), 30_000),
}
