"""Executions on paper: only of what an exchange could have executed."""

import pytest

from desk.bus import Bus, Event, Executed, MarketData, OrderReady
from desk.bus.paper import Paper


def trade(order: OrderReady, *prices: MarketData) -> list[Executed]:
    """Returns the executions of one order behind these prices."""
    bus, seen = Bus(), list[Executed]()
    Paper(bus)
    bus.subscribe(Executed, lambda event, bus: seen.append(event))
    events: list[Event] = [*prices, order]
    for event in events:
        bus.publish(event)
    assert bus.faults.counts == {}
    return seen


FULL, NONE = MarketData("main", "X", 1, 90, 5, 110, 5), MarketData("main", "X", 2, 0, 0, 0, 0)


@pytest.mark.parametrize(("side", "limit", "price"), [(1, 110, 110), (1, 120, 110), (-1, 90, 90), (-1, 1, 90)])
def test_an_order_that_crosses_is_executed_at_the_other_sides_price(side: int, limit: int, price: int) -> None:
    assert trade(OrderReady("X", 3, side, 7, limit, 4), FULL) == [Executed("", "X", 3, side, 7, price, 4)]


@pytest.mark.parametrize(("side", "quantity", "limit"), [(1, 7, 109), (-1, 7, 91), (0, 7, 100), (2, 7, 200),
                                                         (1, 0, 200), (-1, -7, 1)])  # fmt: skip
def test_one_that_does_not_cross_or_is_none_is_not_executed(side: int, quantity: int, limit: int) -> None:
    assert trade(OrderReady("X", 3, side, quantity, limit), FULL) == []


@pytest.mark.parametrize("side", [1, -1])
def test_prices_that_are_gone_are_traded_at_no_more(side: int) -> None:
    assert trade(OrderReady("X", 3, side, 7, 110 if side > 0 else 90), FULL, NONE) == []
