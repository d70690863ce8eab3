"""Where an interval lies, beside 0 or another figure."""

from typing import Literal

IntervalSide = Literal["above", "below", "around", "unknown"]


def find_side(low: float | None, high: float | None, figure: float = 0.0) -> IntervalSide:
    """That of `figure` on which the interval lies; `unknown` where there is none."""
    if low is None or high is None:
        return "unknown"
    if low > figure:
        return "above"
    return "below" if high < figure else "around"
