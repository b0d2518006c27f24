"""ITCH 5.0 layouts as a table, and the complete decoder and encoder that it drives, for tools and tests.

Source: "Nasdaq TotalView-ITCH 5.0", the edition with the Direct Listing with Capital Raise message
(revision log of April 28, 2023). Integers are big-endian and unsigned; text is ASCII, left-justified,
padded with spaces; a price is an integer with 4 implied decimals, in 'V' with 8. The hot parser of the
data plane is itch.pxd.
"""

from typing import Any

import msgspec


class ItchError(ValueError):
    """Bytes that are no ITCH 5.0 message, or fields that make none; the message says which and why."""


class Field(msgspec.Struct, frozen=True):
    """One field: offset and size in bytes. kind: "int", "alpha", or "price" with its decimals."""

    name: str
    offset: int
    size: int
    kind: str
    decimals: int = 0


class Layout(msgspec.Struct, frozen=True):
    """One message type: its letter, the specification's title, bytes, and fields in order."""

    type: str
    title: str
    size: int
    fields: tuple[Field, ...]


_KINDS = {"i": "int", "a": "alpha", "p4": "price", "p8": "price"}


def _layout(letter: str, title: str, size: int, text: str) -> Layout:
    """`text`: lines of NAME OFFSET SIZE KIND, what follows type, locate, tracking number and timestamp."""
    fields = [
        Field("stock_locate", 1, 2, "int"),
        Field("tracking_number", 3, 2, "int"),
        Field("timestamp", 5, 6, "int"),
    ]
    for line in text.split("\n"):
        if line.strip():
            name, offset, length, kind = line.split()
            fields.append(
                Field(name, int(offset), int(length), _KINDS[kind], int(kind[1]) if kind.startswith("p") else 0)
            )
    return Layout(letter, title, size, tuple(fields))


_ALL = (
    _layout("S", "System Event", 12, "event_code 11 1 a"),
    _layout(
        "R",
        "Stock Directory",
        39,
        """
        stock                          11 8 a
        market_category                19 1 a
        financial_status_indicator     20 1 a
        round_lot_size                 21 4 i
        round_lots_only                25 1 a
        issue_classification           26 1 a
        issue_sub_type                 27 2 a
        authenticity                   29 1 a
        short_sale_threshold_indicator 30 1 a
        ipo_flag                       31 1 a
        luld_reference_price_tier      32 1 a
        etp_flag                       33 1 a
        etp_leverage_factor            34 4 i
        inverse_indicator              38 1 a
        """,
    ),
    _layout(
        "H",
        "Stock Trading Action",
        25,
        """
        stock         11 8 a
        trading_state 19 1 a
        reserved      20 1 a
        reason        21 4 a
        """,
    ),
    _layout(
        "Y",
        "Reg SHO Short Sale Price Test Restricted Indicator",
        20,
        """
        stock          11 8 a
        reg_sho_action 19 1 a
        """,
    ),
    _layout(
        "L",
        "Market Participant Position",
        26,
        """
        mpid                     11 4 a
        stock                    15 8 a
        primary_market_maker     23 1 a
        market_maker_mode        24 1 a
        market_participant_state 25 1 a
        """,
    ),
    _layout(
        "V",
        "MWCB Decline Level",
        35,
        """
        level_1 11 8 p8
        level_2 19 8 p8
        level_3 27 8 p8
        """,
    ),
    _layout("W", "MWCB Status", 12, "breached_level 11 1 a"),
    _layout(
        "K",
        "Quoting Period Update",
        28,
        """
        stock                           11 8 a
        ipo_quotation_release_time      19 4 i
        ipo_quotation_release_qualifier 23 1 a
        ipo_price                       24 4 p4
        """,
    ),
    _layout(
        "J",
        "Limit Up - Limit Down Auction Collar",
        35,
        """
        stock                          11 8 a
        auction_collar_reference_price 19 4 p4
        upper_auction_collar_price     23 4 p4
        lower_auction_collar_price     27 4 p4
        auction_collar_extension       31 4 i
        """,
    ),
    _layout(
        "h",
        "Operational Halt",
        21,
        """
        stock                   11 8 a
        market_code             19 1 a
        operational_halt_action 20 1 a
        """,
    ),
    _layout(
        "A",
        "Add Order - No MPID Attribution",
        36,
        """
        order_reference_number 11 8 i
        buy_sell_indicator     19 1 a
        shares                 20 4 i
        stock                  24 8 a
        price                  32 4 p4
        """,
    ),
    _layout(
        "F",
        "Add Order with MPID Attribution",
        40,
        """
        order_reference_number 11 8 i
        buy_sell_indicator     19 1 a
        shares                 20 4 i
        stock                  24 8 a
        price                  32 4 p4
        attribution            36 4 a
        """,
    ),
    _layout(
        "E",
        "Order Executed",
        31,
        """
        order_reference_number 11 8 i
        executed_shares        19 4 i
        match_number           23 8 i
        """,
    ),
    _layout(
        "C",
        "Order Executed With Price",
        36,
        """
        order_reference_number 11 8 i
        executed_shares        19 4 i
        match_number           23 8 i
        printable              31 1 a
        execution_price        32 4 p4
        """,
    ),
    _layout(
        "X",
        "Order Cancel",
        23,
        """
        order_reference_number 11 8 i
        cancelled_shares       19 4 i
        """,
    ),
    _layout("D", "Order Delete", 19, "order_reference_number 11 8 i"),
    _layout(
        "U",
        "Order Replace",
        35,
        """
        original_order_reference_number 11 8 i
        new_order_reference_number      19 8 i
        shares                          27 4 i
        price                           31 4 p4
        """,
    ),
    _layout(
        "P",
        "Trade (Non-Cross)",
        44,
        """
        order_reference_number 11 8 i
        buy_sell_indicator     19 1 a
        shares                 20 4 i
        stock                  24 8 a
        price                  32 4 p4
        match_number           36 8 i
        """,
    ),
    _layout(
        "Q",
        "Cross Trade",
        40,
        """
        shares       11 8 i
        stock        19 8 a
        cross_price  27 4 p4
        match_number 31 8 i
        cross_type   39 1 a
        """,
    ),
    _layout("B", "Broken Trade", 19, "match_number 11 8 i"),
    _layout(
        "I",
        "Net Order Imbalance Indicator",
        50,
        """
        paired_shares             11 8 i
        imbalance_shares          19 8 i
        imbalance_direction       27 1 a
        stock                     28 8 a
        far_price                 36 4 p4
        near_price                40 4 p4
        current_reference_price   44 4 p4
        cross_type                48 1 a
        price_variation_indicator 49 1 a
        """,
    ),
    _layout(
        "N",
        "Retail Price Improvement Indicator",
        20,
        """
        stock         11 8 a
        interest_flag 19 1 a
        """,
    ),
    _layout(
        "O",
        "Direct Listing with Capital Raise Price Discovery",
        48,
        """
        stock                   11 8 a
        open_eligibility_status 19 1 a
        minimum_allowable_price 20 4 p4
        maximum_allowable_price 24 4 p4
        near_execution_price    28 4 p4
        near_execution_time     32 8 i
        lower_price_range_collar 40 4 p4
        upper_price_range_collar 44 4 p4
        """,
    ),
)

#: Every message type of the specification, by its letter.
LAYOUTS: dict[str, Layout] = {layout.type: layout for layout in _ALL}


def decode(message: bytes) -> dict[str, Any]:
    """Every field of one message: `type` (a letter) and the names of LAYOUTS.

    Integers and prices are ints as on the wire (price() makes text of one); text is str without the
    padding. Values are not judged. Raises ItchError for an unknown type and for any other length than
    the type's.
    """
    if not message:
        raise ItchError("found an empty message, expected at least a message type")
    letter = chr(message[0])
    layout = LAYOUTS.get(letter)
    if layout is None:
        raise ItchError(f"found message type {letter!r}, allowed are {' '.join(LAYOUTS)}")
    if len(message) != layout.size:
        raise ItchError(f"found {len(message)} bytes of message type {letter!r}, expected {layout.size}")
    values: dict[str, Any] = {"type": letter}
    for field in layout.fields:
        raw = message[field.offset : field.offset + field.size]
        # latin-1, so that a byte that is not ASCII is kept, and encode() gives it back
        values[field.name] = raw.decode("latin-1").rstrip(" ") if field.kind == "alpha" else int.from_bytes(raw, "big")
    return values


def encode(letter: str, **values: Any) -> bytes:
    """The inverse of decode(): one message; a field that is not given is 0 or blank.

    Raises ItchError for an unknown type or field, and for a value that the field cannot hold.
    """
    layout = LAYOUTS.get(letter)
    if layout is None:
        raise ItchError(f"found message type {letter!r}, allowed are {' '.join(LAYOUTS)}")
    message = bytearray(letter.encode())
    for field in layout.fields:
        value = values.pop(field.name, "" if field.kind == "alpha" else 0)
        try:
            if field.kind == "alpha":
                raw = value.encode("latin-1")
                if len(raw) > field.size:
                    raise ValueError
                message += raw.ljust(field.size)
            else:
                message += value.to_bytes(field.size, "big")
        except (ValueError, OverflowError, AttributeError):
            allowed = (
                f"text of at most {field.size}" if field.kind == "alpha" else f"an unsigned integer of {field.size}"
            )
            raise ItchError(f"{letter}.{field.name}: found {value!r}, allowed is {allowed} bytes") from None
    if values:
        names = ", ".join(field.name for field in layout.fields)
        raise ItchError(f"found no field {', '.join(sorted(values))} in message type {letter!r}; it has {names}")
    return bytes(message)


def price(value: int, decimals: int = 4) -> str:
    """A wire price as text: price(1234500) is "123.4500". decimals 8 for the levels of 'V'."""
    return f"{value // 10**decimals}.{value % 10**decimals:0{decimals}d}"
