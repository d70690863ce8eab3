"""Figures with their intervals, and what the interval of a difference shows.

format_interval(metrics["val"]["stack"])         # 0.956 [0.941, 0.968]
format_change(gap)                               # +0.0046 [-0.0283, +0.0582]
INTERVALS[judge_difference(gap)]                 # interval includes 0
"""

from collections.abc import Mapping
from typing import Any

from features.core.number_text import IntervalSide, find_side, format_difference, format_figure
from stage2_ensemble.measures.resampling import LEAST_GROUPS
from stage2_ensemble.results.scores import read_interval

INTERVALS: dict[IntervalSide, str] = {
    "above": "interval above 0",
    "below": "interval below 0",
    "around": "interval includes 0",
    "unknown": "too few groups for an interval",
}
NOT_RELIABLE = "interval not reliable"
FEW_GROUPS = f"fewer than {LEAST_GROUPS} groups of a class"


def format_interval(values: Mapping[str, Any], name: str = "auc") -> str:
    """`0.956 [0.941, 0.968]`: the figure `name` of an entry."""
    return format_figure(*read_interval(values, name))


def format_change(values: Mapping[str, Any], name: str = "auc") -> str:
    """`+0.0155 [+0.0100, +0.0211]`: the same of a difference."""
    return format_difference(*read_interval(values, name))


def judge_difference(values: Mapping[str, Any], name: str = "auc") -> IntervalSide:
    """Where the 95 % interval of a difference lies; `unknown` without one."""
    _, low, high = read_interval(values, name)
    return find_side(low, high)
