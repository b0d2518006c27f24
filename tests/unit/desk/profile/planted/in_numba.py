"""Five functions in Numba, of which a test makes one hot."""

from numba import njit


@njit(cache=True)
def add_steps(n):
    total = 1.0
    for i in range(n):
        total = total * 0.999 + i
    return total


@njit(cache=True)
def turn_bits(n):
    x = 88172645463325252
    for _ in range(n):
        x ^= (x << 13) & 0x7FFFFFFFFFFFFFFF
        x ^= x >> 7
    return float(x & 1023)


@njit(cache=True)
def fill_table(n):
    table = [0.0] * 64
    for i in range(n):
        table[i & 63] = table[(i + 7) & 63] * 0.5 + i
    return table[0]


@njit(cache=True)
def cross_lines(n):
    fast = slow = crossed = 0.0
    for i in range(n):
        fast += 0.2 * ((i & 7) - fast)
        slow += 0.05 * ((i & 7) - slow)
        if fast > slow:
            crossed += 1.0
    return crossed


@njit(cache=True)
def divide_ranges(n):
    total = 0.0
    for i in range(n):
        total = 1.0 / (1.0 + total) + (i & 3)
    return total


PLANTED = {
    "add_steps": (add_steps, 60_000),
    "turn_bits": (turn_bits, 60_000),
    "fill_table": (fill_table, 60_000),
    "cross_lines": (cross_lines, 30_000),
    "divide_ranges": (divide_ranges, 30_000),
}
