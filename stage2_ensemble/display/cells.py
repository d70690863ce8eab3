"""Numbers as they stand in the cells of a table."""

import math
import re
from collections.abc import Mapping
from typing import Any

NO_VALUE = "–"


def format_number(value: float | None) -> str:
    """Four digits, or a dash."""
    return NO_VALUE if value is None else f"{value:.4f}"


def format_interval(values: Mapping[str, Any], name: str = "auc") -> str:
    """`0.9560 [.941–.968]`."""
    return format_number(values[name]) + format_bounds(values, name, "–")


def format_gap(values: Mapping[str, Any], name: str = "auc", digits: int = 3) -> str:
    """`+0.155 [+.100, +.211]`; nothing for a metric that has none."""
    if values.get(name) is None:
        return ""
    return f"{values[name]:+.{digits}f}" + format_bounds(values, name, ", ", "+", digits)


def format_bounds(
    values: Mapping[str, Any], name: str, between: str, sign: str = "", digits: int = 3
) -> str:
    """` [.941–.968]`, rounded outwards: an interval never shrinks to fit the table."""
    if values[f"{name}_low"] is None:
        return ""
    low = math.floor(values[f"{name}_low"] * 10**digits + 1e-9) / 10**digits
    high = math.ceil(values[f"{name}_high"] * 10**digits - 1e-9) / 10**digits
    texts = [re.sub(r"^([+-]?)0\.", r"\1.", f"{bound:{sign}.{digits}f}") for bound in (low, high)]
    return f" [{between.join(texts)}]"
