"""What the kernel makes of thp_anon=, the policies of transparent huge pages by size. Pure, and of the standard library
only: roles plan with it on the controller.

Source: `mm/huge_memory.c` (`setup_thp_anon`, `get_order_from_str`) and `lib/cmdline.c` (`memparse`) of Linux 6.12.
"""

from __future__ import annotations

from hosttune.host import boot_pages
from hosttune.host.forms import NAME, UNINTELLIGIBLE, consists_of
from hosttune.host.hugetlb import POLICIES

#: What a size may be set to: a policy of its own, or that for all sizes.
SIZE_POLICIES = (*POLICIES, "inherit")
#: The longest value that the kernel takes: a page with the byte that ends it.
MAX_LENGTH = 4095
# In place of a value that the kernel refuses: no size is 0.
_REFUSED = "0:never"
#: First and last size in bytes, and the policy for them and those between.
Span = tuple[int, int, str]


def parse(text: str) -> list[Span] | None:
    """Returns what a value sets, in order; None if the kernel refuses it: one size that is wrong spoils all.

    Which sizes there are it does not know. Raises ValueError for what nobody writes.
    """
    if not consists_of(text, f"{NAME}:;,", 1 << 16):
        raise ValueError("not written as thp_anon= can be")
    if len(text) > MAX_LENGTH:
        return None
    found: list[Span] = []
    for part in text.split(";"):
        spans, _, policy = part.partition(":")
        if policy not in SIZE_POLICIES:
            return None
        for span in spans.split(","):
            first_text, dash, last_text = span.partition("-")
            first = boot_pages.parse_bytes(first_text)
            last = boot_pages.parse_bytes(last_text) if dash else first
            if not all(size and not size & (size - 1) for size in (first, last)) or first > last:
                return None
            found.append((first, last, policy))
    return found


def reduce(text: str) -> str:
    """Returns a value that sets the same, with nothing else of what is written."""
    try:
        spans = parse(text)
    except ValueError:
        return UNINTELLIGIBLE
    if spans is None:
        return _REFUSED
    kept = ";".join(f"{first}{f'-{last}' if last != first else ''}:{policy}" for first, last, policy in spans)
    return kept if len(kept) <= MAX_LENGTH else UNINTELLIGIBLE
