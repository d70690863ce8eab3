"""A mark that a file bears, or not, and its text made fit to be shown."""

from dataclasses import dataclass
from typing import Literal

from features.core.number_text import NO_VALUE

MarkState = Literal["found", "not found", "not validated", "signature invalid"]
LONGEST = 300
"""Characters of a value that are shown: a workflow may have a million."""


@dataclass(frozen=True)
class Mark:
    """One kind of mark."""

    kind: str
    state: MarkState
    values: tuple[tuple[str, str], ...] = ()
    """What it says, as names and cleaned texts."""
    note: str = ""
    """What the state means, where it does not speak for itself."""


def build_mark(kind: str, values: list[tuple[str, str]]) -> Mark:
    """Found where it says anything."""
    cleaned = tuple((shorten_text(name), shorten_text(value)) for name, value in values)
    return Mark(kind, "found" if cleaned else "not found", cleaned)


def shorten_text(text: str) -> str:
    """At most `LONGEST` characters, all in one line and visible: none that turns the direction of
    writing or moves a terminal's cursor."""
    head = text[: 4 * LONGEST]
    line = " ".join("".join(c if c.isprintable() else " " for c in head).split())
    if len(line) <= LONGEST and len(head) == len(text):
        return line or NO_VALUE
    return f"{line[:LONGEST]} … ({len(text):,} characters)"
