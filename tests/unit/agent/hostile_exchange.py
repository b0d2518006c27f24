"""An exchange that says what it likes, drawn by a seed; and a slow model of what its answers add up to.

The model knows the rules of docs/journal.md and shares nothing with the engine but the numbers of the contradictions.
"""

import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from agent.engine.run import restore_state
from agent.journal.rebuild import State, rebuild
from agent.journal.record import SIZE
from agent.shm.ring import Ring

from .conftest import REPLACE, Hand, order
from .ouch_answers import sequenced

SYMBOLS = (b"BTCUSDT", b"ETHUSDT")
NAMES = {name.ljust(8): index for index, name in enumerate(SYMBOLS)}
SIDES, LETTERS = {b"B": 1, b"S": -1, b"T": -1, b"E": -1}, {1: b"B", -1: b"S"}
TERMS = b"0YPNN"  # time in force, display, capacity, sweep and cross of the agent's orders
MOST, MOST_PRICE = 999_999, 1_999_999_900
(UNKNOWN_ORDER, WRONG_ANSWER, WRONG_SIDE, WRONG_SYMBOL, WRONG_PRICE, WRONG_SIZE, EXECUTED_TOO_MUCH, CANCELED_TOO_MUCH,
 WRONG_MATCH, LOST_SESSION, BAD_VALUE) = range(1, 12)  # fmt: skip


class Answer(msgspec.Struct):
    """One OUCH answer."""

    type: bytes
    id: int
    original: int = 0
    side: bytes = b"B"
    quantity: int = 0
    symbol: bytes = SYMBOLS[0].ljust(8)
    price: int = 0
    match: int = 0
    dead: bool = False
    terms: bytes = TERMS

    def pack(self) -> bytes:
        head = self.type + bytes(8) + struct.pack(">I", self.id)
        if self.type in b"AU":
            if self.type == b"U":
                head = self.type + bytes(8) + struct.pack(">II", self.original, self.id)
            body = self.side + struct.pack(">I", self.quantity) + self.symbol + struct.pack(">Q", self.price)
            body += self.terms[:2] + bytes(8) + self.terms[2:] + (b"D" if self.dead else b"L") + b"0" * 14 + b"\0\0"
        elif self.type == b"E":
            body = struct.pack(">IQ", self.quantity, self.price) + b"R" + struct.pack(">QH", self.match, 0)
        elif self.type == b"C":
            body = struct.pack(">I", self.quantity) + b"U"
        elif self.type == b"J":
            body = struct.pack(">H", 1) + b"0" * 14
        elif self.type == b"B":
            body = struct.pack(">Q", self.match) + b"E" + b"0" * 14
        elif self.type == b"M":
            body = self.side + struct.pack(">I", self.quantity)
        elif self.type == b"T":
            body = struct.pack(">Q", self.price) + b"Y" + bytes(8)
        else:
            body = b""
        return sequenced(head + body)


class Order(msgspec.Struct):
    """An order; state: sent, live, or, when closed, perhaps unseen."""

    symbol: int
    side: int
    leaves: int
    price: int
    filled: int = 0
    original: int = 0
    replacement: int = 0
    state: str = "sent"


class Model:
    """What is open, what the positions are, and why the gate is shut (the last contradiction, 0: it is not)."""

    def __init__(self) -> None:
        self.positions = [0] * len(SYMBOLS)
        self.open: dict[int, Order] = {}
        self.closed: dict[int, Order] = {}
        self.executions: dict[int, list[int]] = {}
        self.reference = self.confirmed = self.shut = 0

    def restart(self) -> None:
        """What is known of the numbers that the exchange has accepted are those of known orders."""
        known = [*self.open.items(), *self.closed.items()]
        self.confirmed = max((id for id, o in known if o.state == "live"), default=0)

    def take_slot(self, id: int) -> None:
        """An order's number modulo 65,536 is its place: what was known of the one before there is forgotten."""
        self.closed = {other: o for other, o in self.closed.items() if other % 65_536 != id % 65_536}

    def enter(self, symbol: int, side: int, size: int, price: int) -> int:
        self.reference += 1
        self.take_slot(self.reference)
        self.open[self.reference] = Order(symbol, side, size, price)
        return self.reference

    def replace(self, original: int, size: int, price: int) -> int:
        self.reference += 1
        self.take_slot(self.reference)
        old = self.open[original]
        self.open[self.reference] = Order(old.symbol, old.side, size, price, old.filled, original)
        old.replacement = self.reference
        return self.reference

    def close(self, id: int, state: str = "") -> None:
        o = self.open.pop(id)
        o.leaves, o.original, o.state = 0, 0, state or o.state
        self.closed[id] = o

    def reduce(self, id: int, units: int) -> None:
        self.open[id].leaves -= units
        if self.open[id].leaves <= 0:
            self.close(id)

    def place(self, match: int, id: int) -> int:
        """Two executions of one place: the later is known. (A match number of the exchange, an order of ours.)"""
        return ((match ^ id << 32) * 0x9E3779B97F4A7C15 % 2**64 >> 32) % 32768

    def hear(self, a: Answer) -> None:
        if a.quantity > MOST or (a.quantity == 0 and a.type in (b"A", b"U", b"E", b"C")):
            self.shut = BAD_VALUE
        elif a.type == b"Q":
            if (a.id - 1) % 2**32 < self.confirmed:
                self.shut = LOST_SESSION
            else:
                self.reference = max(self.reference, (a.id - 1) % 2**32)
        elif a.type == b"B":
            self.take_back(a)
        elif a.id in self.open:
            replacement = self.open[a.id].replacement
            self.hear_of_open(a, self.open[a.id])
            while a.id not in self.open and replacement in self.open and self.open[replacement].state == "sent":
                self.close(replacement, "unseen")
                replacement = self.closed[replacement].replacement
        else:
            self.hear_of_another(a)

    def take_back(self, a: Answer) -> None:
        found = self.executions.get(self.place(a.match, a.id))
        if a.id and found and found[:2] == [a.match, a.id] and found[4]:
            self.positions[found[2]] -= found[3] * found[4]
            found[4] = 0
        else:
            self.shut = WRONG_MATCH

    def worse(self, o: Order, price: int) -> bool:
        return not 0 < price <= MOST_PRICE or (price > o.price if o.side == 1 else price < o.price)

    def compare(self, a: Answer, o: Order, expected: int) -> None:
        """An acceptance or a modification with an order as it was sent."""
        whole, size = a.type != b"M", a.quantity != expected
        for wrong, why in ((whole and a.terms != TERMS, WRONG_ANSWER), (a.side != LETTERS[o.side], WRONG_SIDE),
                           (whole and NAMES.get(a.symbol) != o.symbol, WRONG_SYMBOL),
                           (whole and self.worse(o, a.price), WRONG_PRICE), (size, WRONG_SIZE)):  # fmt: skip
            self.shut = why if wrong else self.shut

    def take(self, a: Answer, o: Order, expected: int) -> None:
        """Side, symbol, price and size of an order as the exchange has them."""
        self.compare(a, o, expected)
        if a.type != b"M":
            o.price = a.price if self.worse(o, a.price) and 0 < a.price <= MOST_PRICE else o.price
            o.symbol = NAMES.get(a.symbol, o.symbol)
        o.side = SIDES.get(a.side, o.side)

    def live(self, a: Answer, o: Order, units: int) -> None:
        o.state, o.original, o.leaves = "live", 0, units
        self.confirmed = max(self.confirmed, a.id)
        if units <= 0 or a.dead:
            self.close(a.id)

    def hear_of_open(self, a: Answer, o: Order) -> None:
        if a.type == b"A":
            if o.state != "sent" or o.original:
                self.shut = WRONG_ANSWER
            else:
                self.take(a, o, o.leaves + o.filled)
                self.live(a, o, a.quantity - o.filled)
        elif a.type == b"U":
            if o.state != "sent" or a.original in (0, a.id):
                self.shut = WRONG_ANSWER
                return
            self.shut = WRONG_ANSWER if a.original != o.original else self.shut
            expected = o.leaves
            if a.original in self.open:
                expected += o.filled - self.open[a.original].filled
                o.filled = self.open[a.original].filled
                self.close(a.original)
            self.take(a, o, expected)
            self.live(a, o, a.quantity)
        elif a.type == b"E":
            self.execute(a, o)
        elif a.type == b"C":
            self.shut = CANCELED_TOO_MUCH if a.quantity > o.leaves else self.shut
            self.shut = WRONG_ANSWER if o.state == "sent" and o.original else self.shut
            self.reduce(a.id, a.quantity)
        elif a.type == b"J":
            self.shut = WRONG_ANSWER if o.state != "sent" or (o.filled and not o.original) else self.shut
            self.close(a.id)
        elif a.type == b"M":
            if o.state == "sent":
                self.shut, o.original = WRONG_ANSWER, 0
                o.state = "live" if a.quantity else "sent"
            self.take(a, o, min(a.quantity, o.leaves))
            o.leaves = a.quantity
            if a.quantity == 0:
                self.close(a.id)
        elif a.type == b"T" and self.worse(o, a.price):
            self.shut = WRONG_PRICE

    def execute(self, a: Answer, o: Order) -> None:
        found = self.executions.get(self.place(a.match, a.id))
        price = a.price if a.price <= MOST_PRICE else o.price
        if found and found[:2] == [a.match, a.id]:
            self.shut = WRONG_MATCH
            return
        over = a.id in self.open and o.filled + a.quantity > MOST
        self.shut = EXECUTED_TOO_MUCH if a.quantity > o.leaves or over else self.shut
        self.shut = WRONG_PRICE if self.worse(o, a.price) else self.shut
        self.shut = WRONG_ANSWER if a.id in self.open and o.state == "sent" and o.original else self.shut
        self.positions[o.symbol] += o.side * a.quantity
        self.executions[self.place(a.match, a.id)] = [a.match, a.id, o.symbol, o.side, a.quantity, price]
        o.filled += a.quantity
        if a.id in self.open:
            self.reduce(a.id, o.leaves if over else a.quantity)

    def hear_of_another(self, a: Answer) -> None:
        """Of an order that is closed, or was never sent."""
        o = self.closed.get(a.id)
        used = 0 < a.id <= self.reference
        if a.type == b"A" and o and o.state == "sent" and o.filled:
            self.compare(a, o, o.filled)
            o.state = "live"
        elif a.type in (b"A", b"U") and (not used or (o and o.state == "unseen")):
            self.adopt(a, used)
        elif not used:
            self.shut = UNKNOWN_ORDER
        elif a.type == b"E":
            if o:
                self.execute(a, o)
            else:
                self.shut = UNKNOWN_ORDER
        elif a.type in (b"A", b"U", b"J", b"M"):
            self.shut = WRONG_ANSWER
        elif a.type == b"C":
            self.shut = CANCELED_TOO_MUCH

    def adopt(self, a: Answer, used: bool) -> None:
        side, symbol = SIDES.get(a.side, 0), NAMES.get(a.symbol, -1)
        priced = 0 < a.price <= MOST_PRICE
        if a.id == 0 or side == 0 or symbol < 0 or not priced or a.original == a.id or self.slot_taken(a.id):
            other = UNKNOWN_ORDER if priced else WRONG_PRICE
            self.shut = WRONG_SYMBOL if symbol < 0 else WRONG_SIDE if side == 0 else other
            return
        self.shut = WRONG_ANSWER if used else UNKNOWN_ORDER
        self.reference = max(self.reference, a.id)
        self.take_slot(a.id)
        o = self.open[a.id] = Order(symbol, side, a.quantity, a.price)
        if a.type == b"U" and a.original in self.open:
            o.filled = self.open[a.original].filled
            self.close(a.original)
        self.live(a, o, a.quantity)

    def slot_taken(self, id: int) -> bool:
        return any(other % 65_536 == id % 65_536 for other in self.open)


class Sequence:
    """An engine with a journal, driven by a seed: commands, answers that are honest or not, restarts, resumes."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.rng = random.Random(seed)
        self.lies = self.rng.choice((0, 0, 0.03, 0.3, 0.9))
        self.path = folder / f"ring-{seed}"
        self.model = Model()
        self.records: list[bytes] = []
        self.match = 0
        self.executed: list[Answer] = []
        self.contradictions = False
        self.ring = Ring.create(self.path, 1 << 16, record=SIZE)
        self.start(State(reference=0, positions={}, open_orders={}, session=b"S", sequence=0, records=0))

    def start(self, state: State) -> None:
        self.hand = Hand(symbols=SYMBOLS, limits={"max_size": MOST})
        self.hand.engine.attach_memory(journal=self.ring)
        restore_state(self.hand.engine, state)
        self.peer = self.hand.connect()

    def run(self, steps: int) -> None:
        try:
            for _ in range(steps):
                self.step()
                self.check()
            self.check_journal()
        finally:
            self.peer.close()
            self.ring.close()
            self.path.unlink()

    def step(self) -> None:
        draw = self.rng.random()
        if draw < 0.3:
            self.command()
        elif draw < 0.9:
            self.answer(self.lie() if self.rng.random() < self.lies else self.truth())
        elif draw < 0.95:
            self.hand.set_limits(kill=0)
            self.hand.engine.do_housekeeping()
            self.model.shut = 0
        else:
            self.restart()

    def restart(self) -> None:
        self.check_journal()
        state = self.rebuild()
        self.peer.close()
        self.model.restart()
        self.start(state)

    def command(self) -> None:
        """The strategy wants an order, or to replace one."""
        before = self.hand.counters.get("reject_contradicted", 0)
        size, price = self.rng.randint(1, 9), self.rng.randint(9_990, 10_010) * 100
        replaceable = [id for id, o in self.model.open.items() if o.replacement not in self.model.open]
        if replaceable and self.rng.random() < 0.4:
            id = self.rng.choice(replaceable)
            self.hand.orders = [order(price / 10_000, size, action=REPLACE, id=id)]
            wanted: Callable[[], Any] = lambda: self.model.replace(id, size, price)  # noqa: E731
            if size + self.model.open[id].filled > MOST:
                return
        else:
            symbol, side = self.rng.randrange(2), self.rng.choice((1, -1))
            self.hand.orders = [order(price / 10_000, size, side, symbol)]
            wanted = lambda: self.model.enter(symbol, side, size, price)  # noqa: E731
        self.hand.tick()
        self.hand.orders = []
        if self.model.shut:
            assert self.hand.counters["reject_contradicted"] == before + 1, self.model.shut
        elif not self.model.slot_taken(self.model.reference + 1) and self.model.reference < 2**32 - 1:
            wanted()

    def answer(self, a: Answer | None) -> None:
        if a is None:
            return
        if a.type == b"E":
            self.executed.append(a)
        self.peer.sendall(a.pack())
        self.hand.settle(1)
        self.model.hear(a)
        self.contradictions |= self.model.shut != 0

    def truth(self) -> Answer | None:
        """What an honest exchange may say now."""
        said: list[Answer] = [Answer(b"Q", self.model.reference + 1 & 0xFFFFFFFF)]
        for id, o in self.model.open.items():
            side, name = LETTERS[o.side], SYMBOLS[o.symbol].ljust(8)
            if o.state == "sent" and not o.original:
                said.append(Answer(b"A", id, 0, side, o.leaves + o.filled, name, o.price, dead=self.rng.random() < 0.1))
                said += [Answer(b"J", id)] if not o.filled else []
            elif o.state == "sent" and (old := self.model.open.get(o.original)) and old.state == "live":
                if 0 < (units := o.leaves + o.filled - old.filled) <= MOST:
                    said.append(Answer(b"U", id, o.original, side, units, name, max(1, o.price - o.side * 100)))
                said.append(Answer(b"J", id))
            elif o.state == "live":
                units = self.rng.randint(1, o.leaves)
                self.match += 1
                if o.filled + units <= MOST:
                    said += [Answer(b"E", id, quantity=units, price=max(1, o.price - o.side * 100), match=self.match)]
                said += [Answer(b"C", id, quantity=units), Answer(b"T", id, price=o.price), Answer(b"P", id)]
                said.append(Answer(b"M", id, side=side, quantity=units - 1))
        kept = [self.model.executions.get(self.model.place(a.match, a.id), [0] * 5) for a in self.executed]
        said += [Answer(b"B", x[1], match=x[0]) for x in kept[-3:] if x[4] and self.rng.random() < 0.2]
        return self.rng.choice(said)

    def lie(self) -> Answer:
        """Something that may be wrong in any field."""
        rng = self.rng
        if self.executed and rng.random() < 0.15:
            old = rng.choice(self.executed)
            return rng.choice((old, Answer(b"B", old.id, match=old.match)))
        a = self.truth()
        if a is None or rng.random() < 0.5:
            a = Answer(rng.choice((b"A", b"U", b"E", b"C", b"J", b"M", b"T", b"Q", b"I", b"P")), 0)
            a.quantity, a.price = rng.randint(1, 9), rng.randint(9_990, 10_010) * 100
            self.match += 1
            a.match = self.match
            a.id = rng.choice([*self.model.open, *self.model.closed, self.model.reference])
        wrong = {
            "id": (0, self.model.reference + rng.randint(1, 3), rng.randint(1, 9), self.model.reference + 65_536),
            "original": (a.id, 0, *self.model.open),
            "side": (b"B", b"S", b"T", b"?"),
            "quantity": (0, MOST, MOST + 1, 2**32 - 1, rng.randint(1, 20)),
            "symbol": (b"BTCUSDT ", b"ETHUSDT ", b"XYZ     "),
            "price": (0, 1, 9_990_000, 2**64 - 1),
            "dead": (True, False),
            "terms": (TERMS, b"3YPNN", b"0NPNN", b"0YANN", b"0YPYN", b"0YPNO"),
            "match": (0, *(old.match for old in self.executed)),
        }
        for field in rng.sample(sorted(wrong), rng.choice((0, 1, 1, 2))):
            setattr(a, field, rng.choice(wrong[field]))
        a.id = min(a.id, 2**32 - 2)
        if a.type != b"U":
            a.original = 0
        if a.type not in (b"A", b"U"):
            a.dead = False
        if a.type not in (b"A", b"U", b"E", b"C", b"M"):
            a.quantity = 0
        return a

    def check(self) -> None:
        """The engine's rows are the model's, and the gate is shut if anything was said that cannot be."""
        seen, model = self.hand.reading, self.model
        for index, row in enumerate(seen.symbols):
            held = [o for o in model.open.values() if o.symbol == index]
            assert row.position == model.positions[index]
            assert row.open_buy == sum(o.leaves for o in held if o.side == 1)
            assert row.open_sell == sum(o.leaves for o in held if o.side == -1)
        assert seen.counters["orders_open"] == len(model.open)
        assert seen.counters["contradicted"] == model.shut
        assert seen.limits["kill"] == (model.shut != 0)

    def rebuild(self) -> State:
        with Ring.attach(self.path, "reader") as reader:
            while (record := reader.pop()) is not None:
                self.records.append(record)
        return rebuild([b"".join(self.records)], len(SYMBOLS))

    def check_journal(self) -> None:
        """A restart would find the same."""
        state = self.rebuild()
        assert [state.positions.get(i, 0) for i in range(len(SYMBOLS))] == self.model.positions
        found = {o.id: (o.symbol, o.side, o.leaves, o.price, o.filled, o.original, o.accepted)
                 for o in state.open_orders.values()}  # fmt: skip
        assert found == {id: (o.symbol, o.side, o.leaves, o.price, o.filled, o.original, o.state == "live")
                         for id, o in self.model.open.items()}  # fmt: skip
        assert state.contradicted == self.model.shut
        states = {id: ("unseen" if unseen else "live" if accepted else "sent", symbol, side)
                  for id, symbol, side, _, _, accepted, unseen in state.done}  # fmt: skip
        # The journal knows also those whose place another order has taken.
        closed = self.model.closed
        assert {id: states.get(id) for id in closed} == {id: (o.state, o.symbol, o.side) for id, o in closed.items()}
