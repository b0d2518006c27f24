"""The environment that the program is given."""

from __future__ import annotations

from hosttune.launch.plan import Plan, User
from hosttune.launch.process import build_environment

TRADER = User("trader", 990, 990, [990], "/home/trader")


def test_the_environment_is_the_target_users_and_names_the_library_first() -> None:
    base = {"HOME": "/root", "LD_PRELOAD": "/usr/lib/libjemalloc.so", "HOSTTUNE_READY_FD": "9", "LANG": "C"}
    made = build_environment(base, Plan(command=["agent"], user=TRADER), 7)
    assert made["LD_PRELOAD"].endswith("/preload/lockall.so:/usr/lib/libjemalloc.so")
    assert (made["HOSTTUNE_READY_FD"], made["HOME"], made["USER"], made["LANG"]) == (
        "7",
        "/home/trader",
        "trader",
        "C",
    )
    plain = build_environment(base, Plan(command=["agent"], lock_memory=False), 7)
    assert plain == {"HOME": "/root", "LD_PRELOAD": "/usr/lib/libjemalloc.so", "LANG": "C"}
