"""Intervals, power and verdicts of a comparison, against scipy and simulation."""

from dataclasses import replace

import numpy as np
import pytest
from compared_runs import BASE, GOOD, make_runs, make_scores
from scipy import stats

from features.core.auc import compare_aucs, find_auc, measure_auc
from stage1_cnn.compare.statistics import (
    MOST_SEEDS,
    RowFacts,
    RunScores,
    adjust_holm,
    bound_sd,
    compute_power,
    count_seeds_needed,
    estimate_mean,
    measure_own_limit,
    summarise_runs,
)


def test_interval_of_a_mean_is_students():
    found = estimate_mean(BASE)
    assert found.mean == pytest.approx(0.81)
    low, high = stats.t.interval(0.95, 3, loc=0.81, scale=stats.sem(BASE))
    assert found.mean - found.half == pytest.approx(low)
    assert found.mean + found.half == pytest.approx(high)
    # By hand: squares 1 + 4 + 4 + 1 of 1e-4, so sd² = 1e-3 / 3; the quantile of 3 is 3.182.
    assert found.half == pytest.approx(3.182 * (1e-3 / 3) ** 0.5 / 2, rel=1e-3)


def test_one_seed_has_no_interval_and_no_test():
    found = estimate_mean([0.8])
    assert (found.mean, found.sd, found.half, found.p) == (0.8, None, None, None)


def test_differences_are_paired_by_seed():
    runs = make_runs({("natural", "raw"): BASE, ("balanced", "raw"): GOOD})
    baseline, entry = summarise_runs(runs, ["natural", "balanced"])
    assert baseline.differences == {}
    found = entry.differences["auc"]
    test = stats.ttest_rel(GOOD, BASE)
    low, high = test.confidence_interval(0.95)
    assert found.estimate.mean == pytest.approx(0.05)
    assert found.estimate.p == pytest.approx(test.pvalue)
    assert found.estimate.mean - found.estimate.half == pytest.approx(low)
    assert found.estimate.mean + found.estimate.half == pytest.approx(high)
    assert found.verdict == "better"


def test_only_seeds_that_both_have_are_compared():
    runs = make_runs({("natural", "raw"): BASE, ("balanced", "raw"): GOOD})
    cut = [r for r in runs if (r.variant, r.seed) != ("natural", 0)]
    _, entry = summarise_runs(cut, ["natural", "balanced"])
    assert entry.seeds == 4
    assert entry.differences["auc"].estimate.seeds == 3
    assert entry.differences["auc"].estimate.mean == pytest.approx(np.mean([0.03, 0.06, 0.06]))


def test_the_average_of_a_variant_is_an_entry_of_its_own():
    values = {("a", "raw"): BASE, ("a", "ema"): GOOD, ("b", "raw"): BASE[::-1]}
    entries = summarise_runs(make_runs(values), ["a", "b"])
    assert [e.name for e in entries] == ["a", "a + EMA", "b"]
    assert entries[1].differences["auc"].estimate.mean == pytest.approx(0.05)


def test_verdicts_are_corrected_for_all_entries_and_rows():
    shift = np.array([0.010, 0.030, 0.012, 0.028])  # paired t: p about 0.024
    better = (np.array(BASE) + shift).tolist()
    alone = make_runs({("a", "raw"): BASE, ("b", "raw"): better})
    worse = make_runs({("a", "raw"): BASE, ("b", "raw"): (np.array(BASE) - shift).tolist()}, 500)
    assert summarise_runs(alone, "ab")[1].differences["auc"].verdict == "better"
    verdicts = [e.differences["auc"] for e in summarise_runs(alone + worse, "ab") if e.differences]
    assert [v.verdict for v in verdicts] == ["cannot tell with 4 seeds"] * 2
    assert verdicts[0].p_holm == pytest.approx(2 * verdicts[0].estimate.p)


def test_a_worse_entry_is_told():
    runs = make_runs({("a", "raw"): GOOD, ("b", "raw"): BASE})
    assert summarise_runs(runs, "ab")[1].differences["auc"].verdict == "worse"


def make_judged_runs(seeds, seed_noise):
    """Two variants of which `b` is the better one, judged on 300 rows in groups of 3."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 1], 100).astype(np.int8)
    shared = rng.normal(size=300)
    runs = []
    for variant, strength in (("a", 1.0), ("b", 1.4)):
        for seed in range(seeds):
            odds = strength * labels + shared + seed_noise * rng.normal(size=300)
            scores = {"raw": make_scores(find_auc(labels, odds))}
            runs.append(RunScores(100, variant, seed, scores, {"raw": odds}))
    return runs, RowFacts(labels, np.arange(300) % 100)


def test_differences_are_paired_by_row():
    runs, judged = make_judged_runs(seeds=3, seed_noise=0.3)
    baseline, entry = summarise_runs(runs, "ab", judged)
    assert baseline.over_rows is None
    found = entry.over_rows
    assert found.auc == pytest.approx(entry.differences["auc"].estimate.mean)
    assert 0 < found.low < found.auc < found.high
    # Rows that both know are no noise to a difference.
    own = measure_auc(judged.labels, runs[0].log_odds["raw"], judged.groups)
    assert found.high - found.low < (own.high - own.low) / 2
    few = RowFacts(judged.labels, np.arange(300) % 10)
    assert summarise_runs(runs, "ab", few)[1].over_rows.low < found.low


def test_one_seed_has_an_interval_over_rows():
    runs, judged = make_judged_runs(seeds=1, seed_noise=0.0)
    entry = summarise_runs(runs, "ab", judged)[1]
    first, second = (run.log_odds["raw"] for run in runs)
    assert entry.over_rows == compare_aucs(judged.labels, judged.groups, second, first)
    assert entry.differences["auc"].verdict == "cannot tell with 1 seed"


def test_without_log_odds_nothing_is_said_over_rows():
    runs, judged = make_judged_runs(seeds=2, seed_noise=0.3)
    bare = [replace(run, log_odds={}) if run.seed else run for run in runs]
    assert summarise_runs(bare, "ab", judged)[1].over_rows is None
    assert summarise_runs(runs, "ab")[1].over_rows is None


def test_equal_differences_prove_nothing():
    runs = make_runs({("a", "raw"): [0.5, 0.6], ("b", "raw"): [0.6, 0.7]})
    found = summarise_runs(runs, "ab")[1].differences["auc"]
    assert (found.p_holm, found.seeds_needed) == (None, None)
    assert found.verdict == "cannot tell with 2 seeds"


def test_holm_by_hand():
    assert adjust_holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert adjust_holm([0.9, 0.8]) == [1.0, 1.0]
    assert adjust_holm([]) == []


# As G*Power has them for a two-sided paired t test at 5 % with a power of 80 %.
@pytest.mark.parametrize(("effect", "seeds"), [(0.5, 34), (0.8, 15), (1.0, 10)])
def test_seeds_needed_are_those_of_the_usual_tables(effect, seeds):
    assert count_seeds_needed(-effect, 1.0) == seeds


@pytest.mark.parametrize(
    ("mean", "sd", "seeds"),
    [
        (0.1, None, None),
        (0.0, 0.1, None),
        (0.1, 0.0, None),
        (100.0, 1.0, 2),
        (1e-3, 1.0, MOST_SEEDS + 1),
    ],
)
def test_seeds_needed_at_the_ends(mean, sd, seeds):
    assert count_seeds_needed(mean, sd) == seeds


def test_power_agrees_with_simulation():
    draws = np.random.default_rng(0).normal(0.9, 1, (20_000, 8))
    found = (stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean()
    assert compute_power(0.9, 8) == pytest.approx(found, abs=0.015)


def test_bounds_of_a_standard_deviation_hold_it():
    low, high = bound_sd(5)
    sds = np.random.default_rng(0).normal(size=(20_000, 5)).std(axis=1, ddof=1)
    assert ((low * sds < 1) & (high * sds > 1)).mean() == pytest.approx(0.95, abs=0.01)


def test_own_limit_is_the_median_half_width():
    assert measure_own_limit(make_runs({("a", "raw"): BASE})) == pytest.approx(0.03)
    bare = make_scores(0.5) | {"auc_low": None, "auc_high": None}
    assert measure_own_limit([RunScores(9, "a", 0, {"raw": bare})]) is None
