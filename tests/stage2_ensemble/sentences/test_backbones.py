"""What moves scores, and what a backbone is worth, in plain words."""

import pytest

from features.runtime.costs import UNKNOWN, Cost
from stage2_ensemble.sentences.backbones import (
    describe_contributions,
    describe_left_out,
    describe_loss,
    describe_loud,
    list_reasons,
    list_spare,
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
    assert describe_left_out("x", draw_values(), Cost(3.24, 1.4), "greedy") == (
        "without x: AUC -0.0020 [-0.0060, +0.0010] out of fold (no loss shown, interval includes "
        "0), -0.0100 on val; training it took 3.2 min, 1,000 images take it 1.4 s"
    )


def test_where_lightgbm_ships_the_simple_ones_stand_beside():
    assert describe_left_out("x", draw_values(), UNKNOWN, "lightgbm") == (
        "without x: AUC -0.0020 [-0.0060, +0.0010] out of fold (no loss shown, interval includes "
        "0), -0.0010 [-0.0030, +0.0000] of the best simple combiner, -0.0100 on val; what it costs "
        "is not known"
    )


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (-0.01, -0.001, "missed, interval below 0"),
        (-0.01, 0.0, "no loss shown, interval includes 0"),
        (0.0, 0.0, "no loss shown, interval includes 0"),
        (0.001, 0.01, "better without it, interval above 0"),
        (None, None, "no loss known, too few groups for an interval"),
    ],
)
def test_the_interval_out_of_fold_says_what_may_be_said(low, high, text):
    assert describe_loss(draw_values(low=low, high=high)) == text


def test_blocks_are_told_from_large_to_small_and_tiny_ones_not():
    text = describe_contributions(weigh(small=0.001, large=3.0, middle=1.0))
    assert text == "log-odds moved by large 3.00 (75 %), middle 1.00 (25 %)"
    assert describe_contributions(weigh(a=0.0)) == "log-odds moved by nothing"
    assert describe_contributions(weigh(a=None)).startswith(
        "a mean of ranks, no sum of contributions"
    )


def test_what_ships_comes_first_and_then_the_gated_ones():
    blocks = {name: weigh(a=1.0) for name in ("mean", "greedy", "lightgbm", "random_forest")}
    metrics = {"val": {"shipped": "greedy"}, "blocks": blocks, "without": {"x": draw_values()}}
    metrics["backbone_figures"] = {"x": {"spread": 1.0}, "y": {"spread": 3.1}}
    starts = [line.split(":")[0] for line in list_reasons(metrics, {"x": UNKNOWN})]
    loud = "The plain mean is mostly the opinion of y (3.1)"
    assert starts == ["greedy (ships)", "lightgbm", "random_forest", loud, "without x"]


@pytest.mark.parametrize(
    ("shipped", "said"),
    [
        ("mean", "It ships all the same."),
        ("rank_mean", "What ships is rank_mean, in which each counts the same."),
        ("lightgbm", "What ships is lightgbm, which has learned what log-odds are worth."),
    ],
)
def test_loud_backbones_are_named_and_what_ships_in_place_of_their_mean(shipped, said):
    spreads = {"a": 12.04, "clip": 1.0, "b": 2.9, "c": 3.01}
    figures = {name: {"spread": spread} for name, spread in spreads.items()}
    assert describe_loud(figures, shipped) == (
        "The plain mean is mostly the opinion of a (12.0), c (3.0): on rows of train their "
        f"log-odds have more than 3 times the standard deviation of those of clip (1.0). {said}"
    )
    many = {str(place): {"spread": 1.0} for place in range(10)}
    assert describe_loud(many | {"a": {"spread": 3.1}}, shipped) == ""  # it is outvoted
    del figures["clip"], figures["b"]
    figures["a"] = {"spread": 9.0}
    assert describe_loud(figures, shipped) == ""


def test_of_what_has_no_interval_nothing_is_said_to_be_spare():
    ends = {"a": (-0.01, -0.001), "b": (-0.01, 0.001), "c": (0.001, 0.01), "d": (None, None)}
    without = {name: draw_values(low=low, high=high) for name, (low, high) in ends.items()}
    assert list_spare(without) == ["b", "c"]
