"""Figures as they stand in the cells of a table."""

from collections.abc import Mapping
from typing import Any

from features.core.number_text import format_difference, format_figure

ENDS = ("", "_low", "_high")


def format_interval(values: Mapping[str, Any], name: str = "auc") -> str:
    """`0.956 [0.941, 0.968]`."""
    return format_figure(*(values[name + end] for end in ENDS))


def format_gap(values: Mapping[str, Any], name: str = "auc") -> str:
    """`+0.0155 [+0.0100, +0.0211]`, on two lines; nothing for a metric that has none."""
    if values.get(name) is None:
        return ""
    return format_difference(*(values[name + end] for end in ENDS)).replace(" ", "\n", 1)
