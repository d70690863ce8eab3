"""Shares with intervals: single rows as known formulas have it, groups by simulated coverage."""

import numpy as np
import pytest
from scipy.stats import binomtest

from stage2_ensemble.measures.shares import Share, estimate_share


@pytest.mark.parametrize("hits", [0, 3, 100, 400])
def test_single_rows_have_wilsons_interval(hits):
    share = estimate_share(np.arange(400) < hits, np.arange(400))
    wanted = binomtest(hits, 400).proportion_ci(method="wilson")
    assert share.value == hits / 400
    assert share.low == pytest.approx(wanted.low, abs=6e-4)  # Student's quantile is a little larger
    assert share.high == pytest.approx(wanted.high, abs=6e-4)


def test_copies_of_rows_say_nothing_new():
    hits = np.arange(60) < 12
    alone = estimate_share(hits, np.arange(60))
    copies = estimate_share(np.repeat(hits, 5), np.repeat(np.arange(60), 5))
    assert (copies.low, copies.high) == pytest.approx((alone.low, alone.high), abs=2e-3)
    none = estimate_share(np.zeros(300, bool), np.repeat(np.arange(60), 5))
    assert none.high == pytest.approx(estimate_share(np.zeros(60, bool), np.arange(60)).high)


def test_weights_count():
    hits = np.array([True, False, False])
    assert estimate_share(hits, np.arange(3), np.array([2.0, 1, 1])).value == 0.5
    heavy = estimate_share(np.arange(400) < 40, np.arange(400), np.full(400, 9.0))
    assert heavy == estimate_share(np.arange(400) < 40, np.arange(400))


@pytest.mark.parametrize("seed", range(5))
def test_where_all_rows_are_hits_their_weights_do_not_blur_it(seed):
    """The ratio of two rounded sums is 1.0000000000000002 as often as not."""
    weights = np.random.default_rng(seed).uniform(0.5, 2, size=300)
    groups = np.arange(300) % 30
    every = estimate_share(np.ones(300, bool), groups, weights)
    assert (every.value, every.high) == (1.0, pytest.approx(1))
    plain = estimate_share(np.ones(300, bool), groups)
    assert every.low == pytest.approx(plain.low, abs=0.01)
    none = estimate_share(np.zeros(300, bool), groups, weights)
    assert (none.value, none.low, none.high) == (0.0, 0.0, pytest.approx(1 - every.low))


def test_rows_that_weigh_nothing_do_not_count_as_misses():
    weights = np.repeat([1.0, 0.0], [40, 20])
    share = estimate_share(np.arange(60) < 40, np.arange(60) // 2, weights)
    assert (share.value, share.high) == (1.0, pytest.approx(1))


def test_one_light_miss_among_heavy_hits_leaves_a_share_below_one():
    weights = np.full(60, 1e20)
    weights[0] = 1.0
    share = estimate_share(np.arange(60) > 0, np.arange(60) // 2, weights)
    assert share.low < share.value < 1.0


def test_what_cannot_be_said():
    assert estimate_share(np.empty(0, bool), np.empty(0, np.int64)) == Share(None)
    assert estimate_share(np.ones(5, bool), np.zeros(5, np.int64)) == Share(1.0)


def test_round_trip():
    share = Share(0.1, 0.05, 0.2)
    assert Share.from_json(share.to_json()) == share


def test_intervals_hold_the_share_though_rows_depend_on_each_other():
    rng = np.random.default_rng(0)
    groups, held = np.repeat(np.arange(40), 10), 0
    for _ in range(400):
        chances = rng.beta(0.5, 4.5, 40)  # mean 0.1, most of the variance between groups
        share = estimate_share(rng.random(400) < chances[groups], groups)
        held += share.low <= 0.1 <= share.high
    assert held / 400 > 0.9
