from typing import TypedDict

class Spin(TypedDict):
    started_ns: int
    spun_ns: int
    loops: int
    longest_ns: int
    lost_ns: int
    count: int
    gaps: list[tuple[int, int, int, int, int]]

def spin(cpu: int, duration_ns: int, threshold_ns: int, explain_ns: int, capacity: int) -> Spin: ...
