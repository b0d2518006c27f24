"""Valid inputs that the fuzzer of the market data decoders starts from, and what it must have reached."""

from agent.exchange import feed
from agent.exchange.generator import binaryfile, session
from agent.protocols import formats

_CSV_HEADER = formats.find("csv").header.encode()
#: By feed format: messages that the simulator does not generate.
_MORE = {
    "binance": [b'{"e":"depthUpdate","s":"X"}', b'{"result":null,"id":1,"x":[[1,{"a":"\\u00e9"}],-1.5e+3,true]}'],
    "csv": [
        b"1700000000000000000,AAPL,189.01,300,189.02,1200",
        b"1700000000000000001,BTCUSDT,61837.63000000,0.5,61837.64,1.25,,",
        b"1700000000000000002,BTCUSDT,,,,,61837.63000000,0.00100000",
        b"1700000000000000003,ZVZZT,10,1,0,0,10.0001,5",
        b"9223372036854775807,!~,0,0,92233720368.54775807,1,,",
        _CSV_HEADER,
        b"",
    ],
}


def _generate(form: str) -> list[bytes]:
    """Returns messages of a feed format: generated ones, and what no generator writes."""
    generated = feed.generated(200, seed=5, form=form)
    messages = [generated.text[a:b] for a, b in zip(generated.offsets, generated.offsets[1:], strict=False)]
    return messages + _MORE.get(form, [])


def seeds() -> dict[str, list[bytes]]:
    """Returns the seeds of each decoder."""
    day = session(seed=5, messages=6000, symbols=3)
    by_type: dict[int, list[bytes]] = {}
    for message in day:
        by_type.setdefault(message[0], []).append(message)
    stamped = [b"1700000000000000000 " + tick + b"\r\n" for tick in _generate("binance")[:50]]
    lines = _generate("csv")
    files = [binaryfile(day[i : i + 1 + i % 40], end_of_session=i % 3 == 0) for i in range(0, 560, 7)]
    return {form.name: _generate(form.name) for form in formats.FORMATS if form.ticks} | {
        "itch": [message for several in by_type.values() for message in several[:20]],
        "recordings": [*files[:9], *stamped[:9], _CSV_HEADER + b"\r\n", b"\n" + _CSV_HEADER[:45] + b"\n1,A,", b"\0\0"],
        "stamped": [b"".join(stamped[i : i + 3]) for i in range(0, 48, 3)] + [b"\n1 {}\n\r\n5 x"],
        "binaryfile": files,
        "replayed": [
            *files[:20],
            *(b"".join(stamped[i : i + 5]) for i in range(0, 45, 5)),
            *(
                head + b"\n" + b"\n".join(lines[i : i + 9])
                for head in (_CSV_HEADER, _CSV_HEADER[:45])
                for i in range(0, 90, 9)
            ),
        ],
    }


#: Verdicts that a run of some 10,000 inputs has met; without them it has tested nothing.
REACHED = {form.name: {1, 2} for form in formats.FORMATS if form.ticks} | {
    "binance": {-6, -5, -4, -1, 1, 2, 5, 6},
    "csv": {-5, -4, -2, -1, 0, 1, 2, 3, 4},
    "itch": {*b"SRHYLVKJhAFECXDUPQBINOW", -1, -2, -3, -4},
    "recordings": {0, 1, 2, 3},
    "stamped": {-1, 0, 1},
    "binaryfile": {0, 2, 3},
    "replayed": {0, 1, 2, 3},
}
