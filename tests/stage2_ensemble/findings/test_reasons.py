"""What is said about reasons, in plain words."""

import pytest

from features.runtime.costs import UNKNOWN, Cost
from stage2_ensemble.findings.reasons import (
    describe_blocks,
    describe_without,
    judge_loss,
    list_reasons,
)


def draw_values(auc=-0.002, low=-0.006, high=0.001) -> dict:
    values = {"auc": auc, "auc_low": low, "auc_high": high, "name": "greedy"}
    values |= {"simple_auc": -0.001, "simple_auc_low": -0.003, "simple_auc_high": 0.0}
    return values | {"val_auc": -0.01, "val_auc_low": None, "val_auc_high": None}


def weigh(**contributions) -> dict:
    return {
        block: {"contribution": value, "gain": None, "weight": None}
        for block, value in contributions.items()
    }


def test_a_backbone_that_pays_nothing_is_told_so():
    assert describe_without("x", draw_values(), Cost(3.24, 1.4), "greedy") == (
        "without x: AUC -0.0020 [-0.0060, +0.0010] out of fold, -0.0100 on val: nothing lost that "
        "can be told; training it took 3.2 min, 1,000 images take it 1.4 s"
    )


def test_where_lightgbm_ships_the_simple_ones_stand_beside():
    assert describe_without("x", draw_values(), UNKNOWN, "lightgbm") == (
        "without x: AUC -0.0020 [-0.0060, +0.0010] out of fold, -0.0010 [-0.0030, +0.0000] of the "
        "best simple combiner, -0.0100 on val: nothing lost that can be told; what it costs is "
        "not known"
    )


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (-0.01, -0.001, "it is missed"),
        (-0.01, 0.0, "nothing lost that can be told"),
        (0.0, 0.0, "nothing lost that can be told"),
        (0.001, 0.01, "better without it"),
        (None, None, "too few groups to tell"),
    ],
)
def test_the_interval_out_of_fold_says_what_may_be_said(low, high, text):
    assert judge_loss(draw_values(low=low, high=high)) == text


def test_blocks_are_told_from_large_to_small_and_tiny_ones_not():
    text = describe_blocks(weigh(small=0.001, large=3.0, middle=1.0))
    assert text == "log-odds moved by large 3.00 (75 %), middle 1.00 (25 %)"
    assert describe_blocks(weigh(a=0.0)) == "log-odds moved by nothing"
    assert describe_blocks(weigh(a=None)).startswith("a mean of ranks, no sum of contributions")


def test_what_ships_comes_first_and_then_the_gated_ones():
    blocks = {name: weigh(a=1.0) for name in ("mean", "greedy", "lightgbm", "random_forest")}
    metrics = {"val": {"shipped": "greedy"}, "blocks": blocks, "without": {"x": draw_values()}}
    starts = [line.split(":")[0] for line in list_reasons(metrics, {"x": UNKNOWN})]
    assert starts == ["greedy (ships)", "lightgbm", "random_forest", "without x"]
