"""Fakes beside the reals of their group, with every row drawn as often as without."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import ConfigError
from features.settings.learning import Sampling
from stage1_cnn.sampling.draws import DrawCounter
from stage1_cnn.sampling.pairs import lay_beside
from stage1_cnn.sampling.samplers import Candidates, build_batches


def make_candidates(*groups):
    """`groups`: numbers of reals and fakes of each; rows in random order."""
    rows = [(label, g) for g, counts in enumerate(groups) for label in (0, 1)
            for _ in range(counts[label])]  # fmt: skip
    labels, numbers = np.random.default_rng(0).permutation(rows).T
    return Candidates(labels.astype(np.int8), groups=numbers)


def measure(candidates, sampling, batch_size, steps=40):
    """The share of draws that are paired, and how often each row is drawn."""
    batches = build_batches(candidates, sampling, batch_size, 0)
    counter = DrawCounter(candidates.labels, 1, candidates.groups)
    rows = [batches.batch(step) for step in range(steps)]
    for batch in rows:
        counter.count(batch)
    counts = np.bincount(np.concatenate(rows), minlength=len(candidates.labels))
    return counter.summarise()["paired_share"], counts


@pytest.mark.parametrize("mode", ["balanced", "undersample"])
@pytest.mark.parametrize("batch_size", [4, 16, 15])
@pytest.mark.parametrize("ratio", [1.0, 0.25])
def test_where_all_groups_are_alike_next_to_all_draws_are_paired(mode, batch_size, ratio):
    candidates = make_candidates(*[(1, 4)] * 20)
    paired, _ = measure(
        candidates, Sampling(mode=mode, real_per_fake=ratio, pairs=True), batch_size
    )
    assert paired == 1 if batch_size == 16 and ratio == 1 else paired > 0.75
    chance, _ = measure(candidates, Sampling(mode=mode, real_per_fake=ratio), batch_size)
    assert chance < paired - 0.1


def test_a_minority_of_fakes_is_paired_as_well():
    candidates = make_candidates(*[(3, 1)] * 12)
    paired, _ = measure(candidates, Sampling(pairs=True), 8)
    # Each real is drawn once while its fake is drawn three times.
    assert paired == 1


def test_rows_without_a_partner_are_drawn_as_often_as_the_others():
    candidates = make_candidates(*[(1, 4)] * 8, *[(0, 3)] * 6, *[(2, 0)] * 4)
    paired, counts = measure(candidates, Sampling(pairs=True), 10, steps=100)
    reals, fakes = (counts[candidates.labels == label] for label in (0, 1))
    assert np.ptp(reals) <= 1
    assert np.ptp(fakes) <= 1
    assert 0.3 < paired < 0.9


def test_partners_lie_side_by_side_so_that_processes_share_pairs_out_whole():
    candidates = make_candidates(*[(1, 1)] * 30)
    batches = build_batches(candidates, Sampling(pairs=True), 12, 0)
    for step in range(10):
        groups = candidates.groups[batches.batch(step)].reshape(-1, 2)
        assert (groups[:, 0] == groups[:, 1]).all()


def test_without_a_group_of_both_classes_it_says_so():
    with pytest.raises(ConfigError, match="no group of the 10 images to learn from holds both"):
        build_batches(make_candidates((4, 0), (0, 6)), Sampling(pairs=True), 4, 0)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-1, 5)), max_size=30), st.integers(0, 99))
def test_as_many_rows_as_can_be_get_the_place_that_wants_them(pairs, seed):
    groups, wanted = np.array(pairs, np.int64).reshape(-1, 2).T
    rows = np.arange(len(pairs)) + 7
    order = lay_beside(rows, groups, wanted, np.random.default_rng(seed))
    assert sorted(order) == rows.tolist()
    met = np.count_nonzero(groups[order - 7] == wanted)
    assert met == sum(min((groups == g).sum(), (wanted == g).sum()) for g in range(6))


def test_pairs_of_a_batch_are_counted():
    counter = DrawCounter(np.array([0, 1, 1, 0]), 1, np.array([5, 5, 5, 6]))
    counter.count(np.array([0, 1, 2, 3]))  # the last one is alone in its group
    counter.count(np.array([1, 2, 3, 3]))
    assert counter.summarise()["paired_share"] == 3 / 8
    counter.count(np.array([0, 1]))
    assert counter.summarise()["paired_share"] == 1
