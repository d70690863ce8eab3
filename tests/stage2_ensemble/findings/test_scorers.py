"""Metrics with their intervals, and differences."""

from types import SimpleNamespace

import numpy as np
import pytest

from features.core.auc import compare_aucs, measure_auc
from stage2_ensemble.findings.scorers import (
    PAIRED,
    compare_figures,
    measure_scorers,
    measure_with_intervals,
)
from stage2_ensemble.sentences.scorers import METRIC_TITLES


def draw_rows(reals, fakes, size=2, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([0, 1], [reals, fakes])).astype(np.int8)
    scores = rng.normal(size=len(labels)) + 2 * labels - 1
    return labels, scores, np.arange(len(labels)) // size


def test_every_metric_has_an_interval_that_holds_it():
    labels, scores, groups = draw_rows(1100, 500)
    found = measure_with_intervals(labels, scores, groups, 0.0, resamples=100).metrics
    for name in METRIC_TITLES:
        assert found[f"{name}_low"] < found[name] < found[f"{name}_high"], name
    assert (found["groups"], found["reliable"]) == (800, True)


def test_the_auc_keeps_delongs_interval():
    labels, scores, groups = draw_rows(60, 40)
    found = measure_with_intervals(labels, scores, groups, 0.0, resamples=50).metrics
    wanted = measure_auc(labels, scores, groups)
    assert (found["auc"], found["auc_low"]) == (wanted.auc, wanted.low)
    assert found["auc_high"] == wanted.high


def test_what_cannot_be_measured_has_no_interval():
    labels, scores, groups = draw_rows(120, 80)
    found = measure_with_intervals(labels, scores, groups, 0.0, resamples=50).metrics
    for name in ("tpr_at_fpr_1e-3", "tpr_at_fpr_1e-3_low", "tpr_at_fpr_1e-3_high"):
        assert found[name] is None
    assert found["false_positives_1e-3"] is None
    one = measure_with_intervals(labels, scores, np.zeros(200, int), 0.0, resamples=50).metrics
    assert (one["groups"], one["reliable"]) == (1, False)
    assert {one[f"{name}_low"] for name in METRIC_TITLES} == {None}


def test_rows_of_one_group_are_drawn_together():
    labels, scores, groups = draw_rows(200, 200, size=1)
    rows = np.repeat(np.arange(400), 5)
    together = measure_with_intervals(labels[rows], scores[rows], groups[rows], 0.0).metrics
    alone = measure_with_intervals(labels, scores, groups, 0.0).metrics
    loose = measure_with_intervals(labels[rows], scores[rows], np.arange(2000), 0.0).metrics

    def width(values):
        return values["ap_high"] - values["ap_low"]

    assert width(together) == pytest.approx(width(alone), rel=0.05)
    assert width(loose) < 0.6 * width(alone)


def test_differences_are_paired():
    labels, scores, groups = draw_rows(300, 300)
    rng = np.random.default_rng(1)
    better = measure_with_intervals(labels, scores, groups, 0.0)
    worse = measure_with_intervals(labels, scores + rng.normal(size=600), groups, 0.0)
    found = compare_figures(labels, groups, better, worse)
    assert set(found) == {m + end for m in ("auc", *PAIRED) for end in ("", "_low", "_high")}
    wanted = compare_aucs(labels, groups, better.scores, worse.scores)
    assert (found["auc"], found["auc_low"], found["auc_high"]) == (
        wanted.auc,
        wanted.low,
        wanted.high,
    )
    for name in PAIRED:
        assert found[name] == better.metrics[name] - worse.metrics[name]
        assert found[f"{name}_low"] <= found[name] <= found[f"{name}_high"]
    assert found["accuracy_low"] > 0
    assert found["log_loss_high"] < 0


def test_a_difference_of_what_cannot_be_measured_is_none():
    labels, scores, groups = draw_rows(60, 60)
    figures = measure_with_intervals(labels, scores, groups, 0.0, resamples=50)
    found = compare_figures(labels, groups, figures, figures)
    assert (found["tpr_at_fpr_1e-2"], found["tpr_at_fpr_1e-2_low"]) == (None, None)
    assert (found["ap"], found["ap_low"], found["ap_high"]) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("backbones", "compared"), [(["a"], {"mean"}), (["a", "b"], {"mean", "best_single"})]
)
def test_one_backbone_is_not_compared_with_its_own_mean(backbones, compared):
    labels, scores, groups = draw_rows(60, 40)
    models = dict.fromkeys(("mean", "best_single", "lightgbm"))
    ensemble = SimpleNamespace(backbones=backbones, models=models, shipped="lightgbm")
    rules = SimpleNamespace(find_threshold=lambda name: 0.0)
    by_name = dict.fromkeys((*models, "a-0"), scores)
    found = measure_scorers(ensemble, rules, by_name, labels, groups)
    assert set(found["differences"]) == compared
