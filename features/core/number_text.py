"""How figures are written, on every page and terminal: `0.956 [0.941, 0.968]`.

A figure has three decimals and a difference four, with signs: what is compared is smaller than what
is measured. Bounds are rounded outwards, so that an interval never shrinks to fit.

    format_figure(0.95602, 0.94125, 0.96788)         # 0.956 [0.941, 0.968]
    format_difference(0.00312, -0.00021, 0.00635)    # +0.0031 [-0.0003, +0.0064]
    format_percent(0.0417)                           # 4.2 %
    find_side(-0.00021, 0.00635)                     # around
"""

import math
from collections.abc import Callable
from typing import Literal

NO_VALUE = "–"
DIGITS = 3
DIFFERENCE_DIGITS = 4
EXACT = 1e-9
"""In last digits: bounds as near as this to a written number are that number."""
IntervalSide = Literal["above", "below", "around", "unknown"]


def format_figure(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """`0.956 [0.941, 0.968]`; without an interval the value alone, without a value a dash."""
    return _format(value, low, high, DIGITS)


def format_difference(
    value: float | None, low: float | None = None, high: float | None = None
) -> str:
    """`+0.0031 [-0.0003, +0.0064]`; as `format_figure` where there is nothing."""
    return _format(value, low, high, DIFFERENCE_DIGITS, "+")


def format_bounds(low: float, high: float) -> str:
    """`[0.941, 0.968]`, the interval of a figure."""
    return _format_bounds(low, high, DIGITS)


def format_least(low: float) -> str:
    """`+0.0012`, the lower bound of a difference, rounded down."""
    return _round(low, DIFFERENCE_DIGITS, "+", math.floor)


def format_margin(value: float, half: float | None, sign: str = "") -> str:
    """`0.9560 ± 0.0121`: a mean and half of its symmetric interval, rounded up.

    For tables that compare means: all of them have the digits of a difference. `sign`: `+` or none.
    """
    margin = "" if half is None else f" ± {_round(half, DIFFERENCE_DIGITS, towards=math.ceil)}"
    return _round(value, DIFFERENCE_DIGITS, sign) + margin


def format_percent(share: float) -> str:
    """`42 %`; one more digit below 10 % and above 90 %."""
    return f"{format_of_hundred(share)} %"


def format_of_hundred(share: float, low: float | None = None, high: float | None = None) -> str:
    """`4.2 [3.1, 5.7]`: how many of a hundred; digits as in `format_percent`."""
    digits = 0 if 0.1 <= share <= 0.9 else 1
    if low is None or high is None:
        return _round(100 * share, digits)
    return _format(100 * share, 100 * low, 100 * high, digits)


def _format(
    value: float | None, low: float | None, high: float | None, digits: int, sign: str = ""
) -> str:
    if value is None:
        return NO_VALUE
    text = _round(value, digits, sign)
    if low is None or high is None:
        return text
    return f"{text} {_format_bounds(low, high, digits, sign)}"


def _format_bounds(low: float, high: float, digits: int, sign: str = "") -> str:
    return f"[{_round(low, digits, sign, math.floor)}, {_round(high, digits, sign, math.ceil)}]"


def _round(
    value: float, digits: int, sign: str = "", towards: Callable[[float], int] | None = None
) -> str:
    """To the nearest, down (`math.floor`) or up (`math.ceil`); zero has no minus."""
    if towards is None:
        rounded = round(value, digits)
    else:  # 0.94 * 1000 is a little less than 940
        slack = EXACT if towards is math.floor else -EXACT
        rounded = towards(value * 10**digits + slack) / 10**digits
    return f"{rounded + 0.0:{sign}.{digits}f}"


def find_side(low: float | None, high: float | None, figure: float = 0.0) -> IntervalSide:
    """On which side of `figure` an interval lies; `unknown` where there is none."""
    if low is None or high is None:
        return "unknown"
    if low > figure:
        return "above"
    return "below" if high < figure else "around"
