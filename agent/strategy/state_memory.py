"""The memory of a compiled module's state, a strategy's or a worker's."""

from agent.strategy import _table

#: A cache line, which a state begins with.
_LINE = 64


def allocate_state(size: int) -> tuple[int, bytearray]:
    """Returns the address of `size` zeroed bytes, aligned to 64, and what owns them."""
    memory = bytearray(size + _LINE)
    return -(-_table.find_address(memory) // _LINE) * _LINE, memory
