"""docs/desk_status.md: the screen that it shows is one that this build prints for the same things."""

import re
from pathlib import Path

import msgspec

from agent.shm.ring import Fill
from desk.status.document import as_text, describe

from .test_judge import USAGE, make_engine, make_process, make_reading

PAGE = (Path(__file__).parents[4] / "docs" / "desk_status.md").read_text()


def strip_numbers(text: str) -> list[str]:
    return [" ".join(re.sub(r"[-\d,.]+", "N", line).split()) for line in text.splitlines()]


def test_the_screen_is_as_shown() -> None:
    found = re.search(r"^```text\n(.*?)^```$", PAGE, re.M | re.S)
    assert found
    shown = strip_numbers(found[1])
    numbers = dict.fromkeys([f"module[{word}]" for word in ("events", "max_km", "mean_km", "refused")], 1)
    usage = msgspec.structs.replace(USAGE, nice=0)
    now = make_reading(
        engines=(make_engine(path="/run/trading_agent/main.segment"),),
        rings={"/run/trading_agent/events.ring": Fill(1 << 20, 0, True, True)},
        processes=(make_process(name="worker.geo", numbers=numbers, texts={"module": "geo_cython"}),),
        usage={7: usage}, unknown=("desk process sync: has never run here, and desk.toml has it",),
    )  # fmt: skip
    process = msgspec.structs.replace(now.processes[0], uptime=9.0, numbers=numbers | {"module[events]": 0})
    before = msgspec.structs.replace(now, at=now.at - 1, processes=(process,))
    for line in strip_numbers(as_text(describe(before, now))):
        if line.startswith("main "):  # the engine is this process, of which no usage is read here
            line = line.removesuffix("N N N")
            assert any(one.startswith(line) for one in shown), line
        else:
            assert any(one.startswith(line) or line in one for one in shown), line
